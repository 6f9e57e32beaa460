"""Calibration sets: which frames an INT8 net's ranges are taken from, and why these.

A set is a small YAML file, `calibration/NAME.yaml`: a drive's name, and the index and content hash of each frame chosen
from it. Frames stay where they are. A frame that is gone or has changed is refused, never passed over: peers that took
"no more data" for "done" calibrated on a few frames, or on the same one again and again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edge.config import StrictModel, drive_name, load_yaml
from edge.content import CELL_WH, describe, distances, most_different, radius
from edge.errors import CalibrationError, ConfigError
from edge.frame import Frame, Image, Letterbox
from edge.segmenter import Canvas
from edge.sources.open import is_camera, open_source
from edge.sources.source import Source

NAME = r"^[a-z][a-z0-9_-]*$"


class ChosenFrame(StrictModel):
    """`sha256` is of the decoded pixels, so that it holds whatever the file is packed in."""

    index: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ChosenDrive(StrictModel):
    """`drive` is anything `edge run` takes; `$EDGE_DATA` at its start is the environment variable."""

    drive: str
    frames: tuple[ChosenFrame, ...] = Field(min_length=1)


class CalibrationSet(StrictModel):
    """Which frames INT8's ranges come from, and why these; a file `calibration/NAME.yaml`."""

    name: str = Field(pattern=NAME)
    why: str
    drives: tuple[ChosenDrive, ...] = Field(min_length=1)

    @property
    def sha256(self) -> str:
        """Over the frames alone: a set with other words about it is the same set."""
        content = [[frame.sha256 for frame in drive.frames] for drive in self.drives]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def frame_count(self) -> int:
        """Of all drives together."""
        return sum(len(drive.frames) for drive in self.drives)

    def to_yaml(self) -> str:
        """The text that `load_yaml` reads, a line per frame."""
        lines = [f"name: {_quoted(self.name)}", f"why: {_quoted(self.why)}", "drives:"]
        for drive in self.drives:
            lines += [f"  - drive: {_quoted(drive.drive)}", "    frames:"]
            lines += [f"      - {{index: {frame.index}, sha256: {_quoted(frame.sha256)}}}" for frame in drive.frames]
        return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Text as YAML takes it: a set may be called "on", a hash may be all digits."""
    return json.dumps(text).replace("\x7f", "\\x7f")  # JSON leaves this one as it is, YAML does not take it


def load_set(path: Path) -> CalibrationSet:
    """The set in a file.

    Raises:
        ConfigError: it cannot be read, or is not a set; all misfits are listed.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such calibration set. Choose its frames: edge calibrate select")
    return load_yaml(path, CalibrationSet)


def frame_sha256(frame: Frame) -> str:
    """A hash of a frame's pixels as they were decoded."""
    planes = [frame.image] if frame.yuv is None else [frame.yuv.y, frame.yuv.u, frame.yuv.v]
    digest = hashlib.sha256()
    for plane in planes:
        digest.update(repr(plane.shape).encode())
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


def read_frames(chosen: CalibrationSet) -> Iterator[tuple[str, Frame]]:
    """Every frame of the set, with words for it in messages; each drive is read once.

    Raises:
        CalibrationError: a frame is listed twice, not there any more, or not the one that was chosen.
        SourceError: a drive cannot be read.
    """
    _check_listed_once(chosen)
    for drive in chosen.drives:
        wanted = {frame.index: frame.sha256 for frame in drive.frames}
        with _open_drive(drive.drive) as source:
            for frame in source:
                if frame.index not in wanted:
                    continue
                words = f"frame {frame.index} of {drive.drive}"
                if frame_sha256(frame) != wanted.pop(frame.index):
                    raise CalibrationError(
                        f"{words}: is not the one that calibration set {chosen.name} was made with."
                        " Restore the drive, or choose anew: edge calibrate select"
                    )
                yield words, frame
                if not wanted:
                    break
        if wanted:
            raise CalibrationError(
                f"{drive.drive}: has no frame {min(wanted)}, which calibration set {chosen.name} lists"
                f" ({len(wanted)} are missing). Restore the drive, or choose anew: edge calibrate select"
            )


def _check_listed_once(chosen: CalibrationSet) -> None:
    """Refuse a set that is smaller than it says: with one frame under two indices, or two hashes for one frame."""
    places: set[tuple[str, int]] = set()
    holders: dict[str, str] = {}
    for drive in chosen.drives:
        for frame in drive.frames:
            words = f"frame {frame.index} of {drive.drive}"
            if (drive.drive, frame.index) in places:
                raise CalibrationError(
                    f"calibration set {chosen.name}: lists {words} twice. Remove one of the two lines"
                )
            if frame.sha256 in holders:
                raise CalibrationError(
                    f"calibration set {chosen.name}: {words} is the same as {holders[frame.sha256]}; each must add"
                    " something. Remove one of the two lines"
                )
            places.add((drive.drive, frame.index))
            holders[frame.sha256] = words


def _open_drive(drive: str) -> Source:
    """The drive, which must give the same frames tomorrow."""
    name = drive_name(drive)
    if is_camera(name) or name.startswith("scene:"):  # a scene's barcode holds the time of its drawing
        raise CalibrationError(
            f"{drive}: is a camera or a rendered scene, whose frames never come again as they were."
            " Record a video of it and name that"
        )
    return open_source(name)


# ------------------------------------------------------------------------------------------------------------ choosing


@dataclass(frozen=True)
class Candidate:
    """One frame that may be chosen: where it is, what it holds and a small image of it."""

    drive: str
    index: int
    sha256: str
    features: NDArray[np.float32]
    thumbnail: Image


@dataclass(frozen=True)
class Coverage:
    """How far, at most, any candidate is from its nearest chosen frame, in units of the candidates' spread."""

    chosen: float
    first: float  # of as many frames from the beginning
    spaced: float  # of as many frames at equal distances


def find_candidates(drives: Sequence[str], every: int, on_frame: Callable[[], None] = lambda: None) -> list[Candidate]:
    """Every `every`-th frame of the drives; of identical ones, the first.

    Raises:
        CalibrationError: a drive is a camera or a rendered scene.
        SourceError: a drive cannot be read, or not to its end.
    """
    found: dict[str, Candidate] = {}
    for drive in drives:
        with _open_drive(drive) as source:
            for frame in source:
                if frame.index % every == 0:
                    candidate = _candidate(drive, frame)
                    found.setdefault(candidate.sha256, candidate)
                    on_frame()
    return list(found.values())


def _candidate(drive: str, frame: Frame) -> Candidate:
    canvas = Canvas(Letterbox.fit(frame.size_wh, CELL_WH, "stretch"))
    canvas.draw(frame)
    return Candidate(drive, frame.index, frame_sha256(frame), describe(canvas.image), canvas.image)


def choose(candidates: Sequence[Candidate], count: int) -> tuple[list[Candidate], Coverage]:
    """The `count` candidates that cover the rest best: each next one is the farthest from all that are chosen.

    Greedy k-center: at most twice as far from the farthest candidate as the best choice would be (Gonzalez, "Clustering
    to minimize the maximum intercluster distance", 1985). The same candidates give the same choice.

    Raises:
        CalibrationError: there are fewer candidates than wanted.
    """
    if len(candidates) < count:
        raise CalibrationError(
            f"expected {count} frames, the drives hold {len(candidates)} different ones."
            " Name more drives, or fewer frames: --count"
        )
    points = np.stack([candidate.features for candidate in candidates])
    picked, farthest = most_different(points, count)
    spread = float(distances(points, points.mean(0)).max()) or 1.0
    spaced = np.linspace(0, len(points) - 1, count).round().astype(int)
    coverage = Coverage(farthest / spread, radius(points, range(count)) / spread, radius(points, spaced) / spread)
    return [candidates[place] for place in picked], coverage


def make_set(
    name: str, candidates: Sequence[Candidate], chosen: Sequence[Candidate], coverage: Coverage
) -> CalibrationSet:
    """The set of the chosen frames, in the order of their drives."""
    drives = tuple(dict.fromkeys(candidate.drive for candidate in chosen))
    why = (
        f"the {len(chosen)} most different of {len(candidates)} frames (colours and where they are, light, detail);"
        f" none is farther than {coverage.chosen:.2f} spreads from a chosen one"
        f" (first {len(chosen)}: {coverage.first:.2f}, evenly spaced: {coverage.spaced:.2f})"
    )
    return CalibrationSet(
        name=name,
        why=why,
        drives=tuple(
            ChosenDrive(
                drive=drive,
                frames=tuple(ChosenFrame(index=c.index, sha256=c.sha256) for c in chosen if c.drive == drive),
            )
            for drive in drives
        ),
    )


def contact_sheet(chosen: Sequence[Candidate]) -> Image:
    """The chosen frames side by side, uint8 BGR, to look at."""
    width, height = CELL_WH
    columns = max(1, round((len(chosen) * 1.6 * height / width) ** 0.5))  # about 16:10
    sheet = np.zeros((-(-len(chosen) // columns) * height, columns * width, 3), np.uint8)
    for place, candidate in enumerate(chosen):
        y, x = place // columns * height, place % columns * width
        sheet[y : y + height, x : x + width] = candidate.thumbnail
    return sheet
