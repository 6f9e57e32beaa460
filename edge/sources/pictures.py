"""A folder of pictures, or a pattern such as "drive/*.png", in name order."""

from __future__ import annotations

import glob
import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from edge.errors import NotAVideo, SourceDamaged, SourceNotFound
from edge.frame import Frame, Image
from edge.timing import Durations

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class Pictures:
    """Pictures as frames, ten a second as far as time matters; each frame's source is its file."""

    live = False
    rate_hz = 10.0

    def __init__(self, place: str) -> None:
        self.name = place
        self.decode = Durations()
        self.paths = list_pictures(place)
        first = _read(self.paths[0])
        if first is None:
            raise NotAVideo(f"{self.paths[0]}: is not a picture that can be read. Take it out of {place}, or replace it.")
        self.size_wh = (first.shape[1], first.shape[0])
        self.frame_count = len(self.paths)

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        """Every readable picture.

        Raises:
            SourceDamaged: after the last one, naming the pictures that could not be read.
        """
        unreadable: list[Path] = []
        for index, path in enumerate(self.paths):
            with self.decode.span():
                image = _read(path)
            if image is None:
                unreadable.append(path)
                continue
            yield Frame(index=index, captured_ns=time.monotonic_ns(), media_ns=index * 100_000_000, source=str(path), bgr=image)
        if unreadable:
            raise SourceDamaged(
                f"{self.name}: {len(unreadable)} of {len(self.paths)} pictures could not be read, first"
                f" {unreadable[0]}. The results cover the others; replace or remove these files."
            )


def list_pictures(place: str) -> list[Path]:
    """The pictures of a folder, or those a pattern matches, sorted by name.

    Raises:
        SourceNotFound: there are none.
    """
    if Path(place).is_dir():
        found = [path for path in Path(place).iterdir() if path.suffix.lower() in SUFFIXES]
    else:
        found = [Path(name) for name in glob.glob(place, recursive=True)]
        found = [path for path in found if path.is_file() and path.suffix.lower() in SUFFIXES]
    if not found:
        raise SourceNotFound(f"{place}: no pictures there ({', '.join(SUFFIXES)}). Look at what is there: ls {place}")
    return sorted(found)


def _read(path: Path) -> Image | None:
    try:
        return cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:  # raised for some malformed headers, where None is usual
        return None
