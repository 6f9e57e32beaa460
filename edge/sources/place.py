"""What a user types for a recording: a path, and which of its cameras to take."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edge.errors import ConfigError

TOPIC, STREAM = "?topic=", "#stream="


class Place(NamedTuple):
    """A path, and the choice behind it: `key` is TOPIC or STREAM, "" where there is no choice."""

    path: Path
    key: str = ""
    value: str = ""


def place_of(name: str) -> Place:
    """Split "drive.mcap?topic=/camera/image" or "drive.mp4#stream=1". A file whose own name looks like that wins."""
    for key in (TOPIC, STREAM):
        path, sign, value = name.partition(key)
        if sign and not _exists(name):
            return Place(Path(path), key, value)
    return Place(Path(name))


def stream_number(place: Place) -> int | None:
    """Which of a file's video streams is asked for; None where the file's default is to be taken.

    Raises:
        ConfigError: it is not a number.
    """
    if place.key != STREAM:
        return None
    if not (place.value.isascii() and place.value.isdecimal() and len(place.value) <= 4):
        raise ConfigError(f"{place.path}: {STREAM}{place.value}: expected the number of a video stream, from 0")
    return int(place.value)


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long, or with a NUL
        return False
