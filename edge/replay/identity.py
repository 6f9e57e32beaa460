"""What decides the bytes of a mask: the recording's content, the engine's, the libraries, the kind of processor."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2

import edge
from edge.errors import SourceError
from edge.natural import natural_key
from edge.pattern import below
from edge.sources.images import ImageFiles
from edge.sources.place import place_of
from edge.sources.seek import Playable
from edge.steps import step_names

if TYPE_CHECKING:
    from edge.engine import Engine


def library_versions(engine: Engine) -> str:
    """Of what comes between file and mask, such as "edge 0.1.0, av 18.1.0, cv2 4.13.0, openvino 2026.4.1 on x86_64"."""
    return f"edge {edge.__version__}, av {av.__version__}, cv2 {cv2.__version__}, {engine.identity}"


def engine_identity(engine: Engine) -> list[str]:
    """All that is known of an engine that its masks depend on."""
    card = engine.card
    graphs = [f"{graph.precision} {graph.runtime} {graph.sha256}" for graph in card.graphs]
    outputs = [output.name for output in engine.outputs]
    made = [f"outputs {' '.join(outputs)}", *(f"step {name}" for name in step_names(outputs))]
    return [*sorted(graphs), engine.precision, str(card.input_wh), card.resize, *made, library_versions(engine)]


def recording_sha256(source: Playable) -> str:
    """Hash of a recording's content: of its file, or its files and their order; of a rendered street, of its name.

    Raises:
        SourceError: a file cannot be read.
    """
    digest = hashlib.sha256(f"{source.frame_count}".encode())
    try:
        for path in _files(source):
            digest.update(_file_sha256(path))
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(
            f"{error.filename}: cannot be read: {error.strerror}. See who may: namei -l {error.filename}"
        ) from error
    place = place_of(source.name)
    digest.update(os.fsencode(place.value if place.path.exists() else source.name))
    return digest.hexdigest()


def _files(source: Playable) -> list[Path]:
    if isinstance(source, ImageFiles):
        return source.paths
    path = place_of(source.name).path
    if path.is_dir():
        return sorted((entry for entry in below(path) if entry.is_file()), key=natural_key)
    return [path] if path.is_file() else []


def _file_sha256(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.digest()
