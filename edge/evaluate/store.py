"""Finished shards of drives on disk: what was interrupted goes on where it stood."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import edge
from edge.engine import find_bundle
from edge.errors import SourceError
from edge.evaluate.object_labels import label_places
from edge.evaluate.records import from_bytes, to_bytes
from edge.pattern import below, is_pattern, matching
from edge.sinks.files import write_bytes
from edge.sources.place import place_of

if TYPE_CHECKING:
    from edge.evaluate.run import EvaluationConfig, Measured, Shard

FORMAT = 4  # of the records: another one is measured again
_CHUNK_BYTES = 1 << 20


class Store:
    """A folder of shards. Each is found again by the content of its drive and labels, the engines, and the options.

    Owns the folder's files; several processes may share it, since each file appears whole or not at all.
    """

    def __init__(self, folder: Path, config: EvaluationConfig) -> None:
        self._folder = folder
        names = [config.engine, *([config.other] if config.other else [])]
        graphs = [sorted(graph.sha256 for graph in find_bundle(name).card.graphs) for name in names]
        wishes = [config.precision, config.other_precision, config.backend, config.mirror, config.labels_of]
        wishes += [config.input_wh] if config.input_wh else []
        self._key = json.dumps([FORMAT, edge.__version__, graphs, wishes, config.outputs])
        self._content: dict[str, str] = {}

    def load(self, shard: Shard) -> Measured | None:
        """The shard as it was kept; None if it was not."""
        from edge.evaluate.run import Measured

        try:
            path = self._path(shard)
            content = path.read_bytes()
        except OSError:  # SourceError too: the drive is not there, which measuring it will tell
            return None
        records, facts = from_bytes(content, str(path))
        return Measured(records=records, **json.loads(facts))

    def save(self, shard: Shard, measured: Measured) -> None:
        """Keep it.

        Raises:
            OutputError: it cannot be written.
        """
        facts = {f.name: getattr(measured, f.name) for f in dataclasses.fields(measured) if f.name != "records"}
        write_bytes(self._path(shard), to_bytes(measured.records, json.dumps(facts)))

    def _path(self, shard: Shard) -> Path:
        drive = shard.drive
        labels = [self._of(str(place)) for place in label_places(drive.labels)]
        facts = [self._of(drive.frames), labels, drive.sparse, drive.horizon]
        facts += [drive.camera_model.model_dump_json()] if drive.camera_model else []
        key = json.dumps([self._key, facts, shard.start, shard.stop])
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"

    def _of(self, place: str) -> str:
        if place not in self._content:
            self._content[place] = content_hash(place)
        return self._content[place]


def content_hash(place: str) -> str:
    """The SHA-256 of a file or of the names and files of a folder or pattern, and of the choice of a camera in it.

    Anything else, such as a scene, is represented by its name.

    Raises:
        SourceError: it cannot be read, or holds too many files.
    """
    chosen = place_of(place)
    hasher = hashlib.sha256(f"{chosen.key}{chosen.value}".encode(errors="surrogateescape"))
    try:
        if chosen.path.is_file():
            _add(chosen.path, hasher)
        elif found := _found(chosen.path):
            for item in sorted(found):
                hasher.update(os.fsencode(f"\0{os.path.relpath(item, chosen.path)}\0"))
                if item.is_file():
                    _add(item, hasher)
        else:
            hasher.update(os.fsencode(place))
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"{error.filename or place}: cannot be read: {error.strerror}") from error
    return hasher.hexdigest()


def _found(path: Path) -> list[Path]:
    if path.is_dir():
        return below(path)
    return matching(str(path)) if is_pattern(str(path)) else []


def _add(path: Path, hasher: hashlib._Hash) -> None:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
