"""A folder of images, or a pattern such as "drive/*.png", in name order, with numbers in names as numbers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge.closing import Closing
from edge.errors import NotAVideo, SourceDamaged, SourceError, SourceNotFound
from edge.frame import Frame, Image
from edge.natural import is_hidden, natural_key
from edge.paths import no_such_file
from edge.pattern import is_pattern, matching
from edge.regular import read_regular
from edge.shortage import check_shortage
from edge.sources.imagefile import ImageError
from edge.sources.index import check_times, load_times, median_rate_hz
from edge.sources.jpegscan import decode_whole_image
from edge.sources.kinds import IMAGE_SUFFIXES
from edge.sources.mistaken import is_of_few_colours, what_it_is
from edge.timing import Durations

log = logging.getLogger(__name__)

RATE_HZ = 10.0


class ImageFiles(Closing):
    """Images as frames, ten a second where no index has their times; each frame's source is its file."""

    live = False

    def __init__(self, place: str, paths: Sequence[Path] | None = None) -> None:
        """Those of a folder or pattern; or these paths, for which `place` is the name."""
        self.name = place
        self.decode = Durations()
        self.paths = list_image_files(place) if paths is None else sorted(paths, key=natural_key)
        try:
            first = _read(self.paths[0])
        except SourceDamaged as error:
            raise NotAVideo(str(error)) from error
        if is_of_few_colours(first):
            log.warning("%s: has as few colours as a mask or label. Expected what a camera took", self.paths[0])
        self.size_wh = (first.shape[1], first.shape[0])
        self.frame_count = len(self.paths)
        self._times_ns = load_times(place) or [round(index * 1e9 / RATE_HZ) for index in range(self.frame_count)]
        check_times(self._times_ns, self.frame_count, place)
        self.rate_hz = median_rate_hz(self._times_ns) or RATE_HZ

    def close(self) -> None:
        """Nothing is held open."""

    def __iter__(self) -> Iterator[Frame]:
        """Every readable image.

        Raises:
            SourceDamaged: after the last one, naming the images that could not be read.
        """
        unreadable: list[SourceDamaged] = []
        for index in range(self.frame_count):
            try:
                frame = self._frame(index)
            except SourceDamaged as error:
                unreadable.append(error)
                continue
            yield frame
        if unreadable:
            raise SourceDamaged(
                f"{self.name}: {len(unreadable)} of {len(self.paths)} images could not be read, first {unreadable[0]}"
                " The results cover the others."
            )

    def at(self, index: int) -> Frame:
        """Image `index` of the list; see `Seekable.at`."""
        if not 0 <= index < len(self.paths):
            raise SourceError(f"{self.name}: has no frame {index}; its frames are 0 to {len(self.paths) - 1}")
        return self._frame(index)

    def _frame(self, index: int) -> Frame:
        path = self.paths[index]
        with self.decode.span():
            image = _read(path)
        now_ns, media_ns = time.monotonic_ns(), self._times_ns[index]
        return Frame(index=index, captured_ns=now_ns, media_ns=media_ns, source=str(path), bgr=image)


def list_image_files(place: str) -> list[Path]:
    """The images of a folder, or those a pattern matches, by name; numbers in names count as numbers.

    Raises:
        SourceNotFound: there are none.
    """
    try:
        found = [path for path in _candidates(place) if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    except SourceError:
        raise
    except OSError as error:
        check_shortage(error)
        raise SourceError(f"{place}: cannot be listed: {error.strerror}. See who may: namei -l {place}") from error
    if not found and not Path(place).exists() and not is_pattern(place):
        raise SourceNotFound(no_such_file(Path(place)))
    if not found and Path(place).is_dir() and (mistaken := what_it_is(Path(place))):
        raise SourceNotFound(f"{place}: {mistaken}")
    if not found:
        raise SourceNotFound(
            f"{place}: no images there ({', '.join(IMAGE_SUFFIXES)}). Look at what is there: ls {place}"
        )
    return sorted(found, key=natural_key)


def _candidates(place: str) -> list[Path]:
    if Path(place).is_dir():
        return [path for path in Path(place).iterdir() if not is_hidden(path)]
    if Path(place).exists():  # a name is a name, even with a pattern's signs in it
        return [Path(place)]
    return matching(place)


def _read(path: Path) -> Image:
    """uint8 (H, W, 3) BGR.

    Raises:
        SourceDamaged: it cannot be read, with the reason.
    """
    try:
        return decode_whole_image(read_regular(path))
    except ImageError as error:
        raise SourceDamaged(f"{path}: {error}. Replace or remove it.") from error
    except OSError as error:
        check_shortage(error)
        raise SourceDamaged(f"{path}: cannot be read: {error.strerror}. See who may: namei -l {path}") from error
