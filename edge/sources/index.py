"""Times of frames beside what holds them: `drive.mp4` may have a `drive.times.csv`, a folder of images a `times.csv`.

    frame,time_s
    0,1795389519.126337
    1,1795389519.193004

One row a frame, from 0 on; the times are of any clock, in seconds, each above the last.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from io import StringIO
from itertools import pairwise
from pathlib import Path

from edge.errors import SourceError
from edge.regular import TEXT_BYTES, read_regular

HEADER = ["frame", "time_s"]
_SECONDS = re.compile(r"(-?)(\d{1,10})(?:\.(\d{1,12}))?")


def load_times(place: str) -> list[int] | None:
    """Times in ns, counted from the first, of the frames of a video file or a folder; None where there is no such file.

    Raises:
        SourceError: there is one, and it is not in order.
    """
    path = Path(place)
    index = path / "times.csv" if path.is_dir() else path.with_suffix(".times.csv")
    try:
        rows = list(csv.reader(StringIO(read_regular(index, TEXT_BYTES).decode("utf-8"), newline="")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(
            f"{index}: cannot be read as an index of times: {getattr(error, 'strerror', None) or error}"
        ) from error
    if not rows or rows[0] != HEADER:
        found = ",".join(rows[0]) if rows else "nothing"
        raise SourceError(f"{index}: an index of times begins with {','.join(HEADER)}; found {found!r}")
    times_ns = [_time_ns(row, number, index) for number, row in enumerate(rows[1:])]
    for number, (before, after) in enumerate(pairwise(times_ns), 1):
        if after <= before:
            raise SourceError(f"{index}: the time of frame {number} is not above that of frame {number - 1}")
    return [time_ns - times_ns[0] for time_ns in times_ns]


def _time_ns(row: Sequence[str], number: int, index: Path) -> int:
    """Exact, as a float is not: seconds since 1970 with nanoseconds have 19 digits."""
    match = _SECONDS.fullmatch(row[1].strip()) if len(row) == 2 else None
    if match is None or row[0].strip() != str(number):
        raise SourceError(f"{index}: line {number + 2} is {','.join(row)!r}; expected {number},TIME in seconds")
    sign, whole, fraction = match.groups()
    time_ns = int(whole) * 10**9 + int((fraction or "0")[:9].ljust(9, "0"))
    return -time_ns if sign else time_ns


def check_times(times_ns: Sequence[int], frames: int, place: str) -> None:
    """Raises SourceError: there are not as many times as frames."""
    if len(times_ns) != frames:
        raise SourceError(
            f"{place}: frame {frames - 1} is its last so far, and its index has {len(times_ns)} times. Make the index"
            " anew, or remove it"
        )


def time_of(times_ns: Sequence[int], index: int, place: str) -> int:
    """Raises SourceError: there are more frames than times."""
    if index >= len(times_ns):
        check_times(times_ns, index + 1, place)
    return times_ns[index]


def median_rate_hz(times_ns: Sequence[int]) -> float | None:
    """Frames per second of the median step; None where it is unknown. Frames that were dropped do not change it."""
    steps = sorted(after - before for before, after in pairwise(times_ns) if after > before)
    return round(1e9 / steps[(len(steps) - 1) // 2], 3) if steps else None
