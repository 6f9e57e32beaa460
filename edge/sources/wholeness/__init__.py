"""Whether a video file's own structure is whole: what demuxers step over without a word.

FFmpeg looks for the next thing that it knows where a file makes no sense, and says nothing of what lay between. Each
container tells of a loss in its own way: boxes and elements that do not join, fragments and packets whose numbers jump.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from edge.sources.wholeness import avi, matroska, mp4, transport
from edge.sources.wholeness.fault import NotWhole

_JPEG_START = b"\xff\xd8"  # as a JPEG begins


def _first_jpeg(file: BinaryIO, size: int) -> int:
    """FFmpeg takes what holds JPEGs, and makes no sense otherwise, for JPEGs in a row: an AVI without its head, say."""
    if file.read(len(_JPEG_START)) != _JPEG_START:
        raise NotWhole("no sense at byte 0")
    return 0


_CHECKS = {
    "mp4": mp4.count_samples,
    "matroska": matroska.count_blocks,
    "mpegts": transport.count_heads,
    "mjpeg": _first_jpeg,
    "avi": avi.count_chunks,
}


def integrity_error(path: Path, container: str, packets: int, number: int = 0) -> str:
    """What the structure of a file shows to be missing; "" if nothing. Costs a look at each part's head.

    `container` is FFmpeg's name of the format, `packets` how many it gave of video stream `number`; only the first
    stream's are counted in the structure. A file that ends between two
    parts is whole where nothing counts them: nothing in it says that there was more.
    """
    check = next((check for name, check in _CHECKS.items() if name in container), None)
    if check is None:
        return ""
    try:
        with path.open("rb") as file:
            promised = check(file, path.stat().st_size)
    except NotWhole as fault:
        return str(fault)
    except OSError:  # it was read before: whoever took it away since is no fault of the file's
        return ""
    # Where a transport stream has many more, each field or slice is announced by itself, and nothing is missing.
    if number:
        return ""
    most = 1.5 * packets + 2 if container == "mpegts" else promised + 1
    return f"{promised - packets} missing" if packets < promised < most else ""
