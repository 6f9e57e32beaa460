"""Several drives made one, message by message; nothing is decoded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from edge.drive.file import DriveFile
from edge.drive.places import Place
from edge.drive.schema import ABOUT, IMAGE, schema_of
from edge.drive.writer import DriveWriter
from edge.errors import SourceError


def merge(
    paths: Sequence[Path], fd: int, metadata: Mapping[str, Mapping[str, str]], pause: Callable[[], object]
) -> int:
    """Write what is in the files, in their order, into one; how many frames that are.

    A file that was cut off or damaged gives what it has up to there, one that holds nothing is passed over. `metadata`
    comes on top; `pause` is called between two messages.

    Raises:
        OSError: it cannot be written.
    """
    files = [file for file in map(_read, paths) if file is not None]
    if not files:
        return 0
    writer = DriveWriter(fd, files[0].metadata[ABOUT], files[0].attachments, time.time_ns())
    for name, content in metadata.items():
        writer.add_metadata(name, content)
    for file in files:
        for topic, time_ns, message in _messages(file):
            writer.add(topic, time_ns, message, file.channels[topic].metadata)
            pause()
        writer.flush()
    writer.finish()
    return sum(len(file.places.get(IMAGE, [])) for file in files)


def _read(path: Path) -> DriveFile | None:
    try:
        file = DriveFile(path)
    except SourceError:  # killed before its first record was whole
        return None
    return file if ABOUT in file.metadata and any(file.places.values()) else None


def _messages(file: DriveFile) -> Iterator[tuple[str, int, bytes]]:
    topics = [topic for topic in file.places if _is_current(file, topic)]
    places = [(place.time_ns, topic, place) for topic in topics for place in file.places[topic]]
    for time_ns, topic, place in sorted(places, key=lambda item: item[:2]):
        message = _whole(file, topic, place)
        if message is None:
            return  # frames after it are coded as differences to it
        yield topic, time_ns, message


def _is_current(file: DriveFile, topic: str) -> bool:
    """Whether its messages are what the new file will say they are: left behind by an older edge, they may not be."""
    expected = schema_of(topic, file.metadata[ABOUT]["codec"], file.channels[topic].metadata)
    return file.schemas[topic].name == expected.name


def _whole(file: DriveFile, topic: str, place: Place) -> bytes | None:
    try:
        return file.read(topic, place)
    except SourceError:
        return None
