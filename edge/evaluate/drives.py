"""Which drives are evaluated: named one by one, or listed in a manifest with their labels and tags."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import Field

from edge.config import StrictModel, data_path, load_yaml
from edge.errors import ConfigError
from edge.geometry.model import CameraModel, load_camera_model
from edge.sinks.files import escaped

HORIZON = 0.5  # where the horizon lies, as a share of the image's height


@dataclass(frozen=True)
class Drive:
    """One recorded drive.

    Attributes:
        name: what reports call it; no two drives share one.
        frames: a source, as `open_source` takes it.
        labels: a folder of class-id PNG files; None where there are none.
        sparse: labels belong to some frames only.
        horizon: where the horizon lies, as a share of the image's height; distance bands hang on it.
        camera_model: in its place: the bands are then metres (docs/metres.md).
        tags: what slices are made by, such as {"time_of_day": "dusk"}.
    """

    name: str
    frames: str
    labels: Path | None = None
    sparse: bool = False
    horizon: float = HORIZON
    tags: Mapping[str, str] = field(default_factory=dict)
    camera_model: CameraModel | None = None


class _Entry(StrictModel):
    frames: str = Field(min_length=1)
    name: str | None = None
    labels: str | None = None
    sparse_labels: bool = False
    horizon: float = Field(default=HORIZON, gt=0, lt=1)
    camera_model: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)


class _Manifest(StrictModel):
    drives: tuple[_Entry, ...] = Field(min_length=1)


def list_drives(
    words: Sequence[str], labels: Path | None = None, sparse: bool = False, camera_model: CameraModel | None = None
) -> list[Drive]:
    """The drives that words name: sources, and manifests (.yaml), whose paths are relative to them.

    `labels` are those of a single source; the camera model is that of all sources that no manifest names.

    Raises:
        ConfigError: a manifest is not one, labels are given for several drives, or two drives share a name.
    """
    drives: list[Drive] = []
    for word in words:
        if Path(word).suffix in (".yaml", ".yml"):
            drives += _listed(Path(word))
        else:
            drives.append(Drive(_short(word), word, labels, sparse, camera_model=camera_model))
    if labels and (len(drives) > 1 or any(drive.labels != labels for drive in drives)):
        raise ConfigError("--labels are of one drive; list several with their labels in a manifest: docs/evaluation.md")
    return _with_own_names(drives)


def _listed(path: Path) -> list[Drive]:
    def place(text: str) -> str:
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text):  # a scene
            return text
        return str(path.parent / data_path(text))

    return [
        Drive(
            entry.name or _short(entry.frames),
            place(entry.frames),
            Path(place(entry.labels)) if entry.labels else None,
            entry.sparse_labels,
            entry.horizon,
            entry.tags,
            load_camera_model(Path(place(entry.camera_model))) if entry.camera_model else None,
        )
        for entry in load_yaml(path, _Manifest).drives
    ]


def _short(frames: str) -> str:
    return frames if frames.startswith("scene:") else escaped(Path(frames).name or frames)


def _with_own_names(drives: list[Drive]) -> list[Drive]:
    """Drives that were named after their files, made distinct by their whole paths; two of one path are refused."""
    shared = {name for name, count in Counter(drive.name for drive in drives).items() if count > 1}
    named = [replace(d, name=escaped(d.frames)) if d.name in shared else d for d in drives]
    for name, count in Counter(drive.name for drive in named).items():
        if count > 1:
            raise ConfigError(f"drive {name!r}: is named {count} times; each counts once")
    return named
