"""Whether a video file's own structure is whole: what demuxers step over without a word.

FFmpeg looks for the next thing that it knows where a file makes no sense, and says nothing of what lay between. Each
container tells of a loss in its own way: boxes and elements that do not join, fragments and packets whose numbers jump.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray


class NotWhole(Exception):
    """Where a file's structure breaks, in words."""


def why_not_whole(path: Path, container: str, packets: int) -> str:
    """What the structure of a file shows to be missing; "" if nothing. Costs a look at each part's head.

    `container` is FFmpeg's name of the format, `packets` how many it gave. A file that ends between two parts is whole:
    nothing in it says that there was more.
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
    # Where there are many more, each field or slice is announced by itself, and nothing is missing.
    return f"{promised - packets} missing" if packets < promised < 1.5 * packets + 2 else ""


# --------------------------------------------------------------------------------- MP4 (ISO/IEC 14496-12), fragments

_TOP_BOXES = {*(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"free", b"skip", b"wide", b"uuid")}
_TOP_BOXES |= {b"sidx", b"ssix", b"prft", b"emsg", b"meta", b"udta", b"pdin", b"imda"}


class _Box(NamedTuple):
    kind: bytes
    start: int  # of what it holds
    end: int


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    while start < end:
        file.seek(start)
        head = file.read(16)
        if len(head) < 8 or start + 8 > end:
            raise NotWhole("broken off within the last one")
        size, kind = struct.unpack_from(">I4s", head)
        body = start + 8
        if size == 1 and len(head) == 16:
            (size,), body = struct.unpack_from(">Q", head, 8), start + 16
        size = size or end - start
        if not kind.isalnum() or size < body - start:
            raise NotWhole(f"no sense at byte {start}")
        if start + size > end:
            raise NotWhole("broken off within the last one")
        yield _Box(kind, body, start + size)
        start += size


def _samples_of_fragments(file: BinaryIO, size: int) -> int:
    """How many samples the fragments announce; 0 where there are none: the index counts them then."""
    boxes = list(_boxes(file, 0, size)) if _is_fragmented(file, size) else []
    samples, wanted = 0, None
    for box in boxes:
        if box.kind != b"moof":
            continue
        number, count = _fragment(file, box)
        if wanted is not None and number != wanted:
            raise NotWhole(f"{abs(number - wanted)} fragments missing")
        samples, wanted = samples + count, number + 1
    strange = {box.kind for box in boxes} - _TOP_BOXES
    if strange:
        raise NotWhole(f"no sense in {len(strange)} places")
    return samples


def _is_fragmented(file: BinaryIO, size: int) -> bool:
    moov = next((box for box in itertools.islice(_boxes(file, 0, size), 4) if box.kind == b"moov"), None)
    return moov is not None and any(box.kind == b"mvex" for box in _boxes(file, moov.start, moov.end))


def _fragment(file: BinaryIO, moof: _Box) -> tuple[int, int]:
    """Its number, and how many samples it announces."""
    number = samples = 0
    for box in _boxes(file, moof.start, moof.end):
        if box.kind == b"mfhd":
            number = _word(file, box.start + 4)
        elif box.kind == b"traf":
            runs = [run for run in _boxes(file, box.start, box.end) if run.kind == b"trun"]
            samples += sum(_word(file, run.start + 4) for run in runs)
    return number, samples


def _word(file: BinaryIO, at: int) -> int:
    file.seek(at)
    data = file.read(4)
    if len(data) < 4:
        raise NotWhole("broken off within the last one")
    return int.from_bytes(data, "big")


# ----------------------------------------------------------------------------------------------- Matroska (RFC 9559)

_SEGMENT, _CLUSTER, _VOID, _CRC = 0x18538067, 0x1F43B675, 0xEC, 0xBF
_TOP = {0x1A45DFA3, _SEGMENT, _VOID, _CRC}
_CHILDREN = {
    # SeekHead, Info, Tracks, Cues, Attachments, Chapters, Tags
    _SEGMENT: {
        _CLUSTER,
        0x114D9B74,
        0x1549A966,
        0x1654AE6B,
        0x1C53BB6B,
        0x1941A469,
        0x1043A770,
        0x1254C367,
        _VOID,
        _CRC,
    },
    # SimpleBlock, BlockGroup, Timestamp, PrevSize, Position, SilentTracks, EncryptedBlock
    _CLUSTER: {0xA3, 0xA0, 0xE7, 0xAB, 0xA7, 0x5854, 0xAF, _VOID, _CRC},
}


class _Element(NamedTuple):
    kind: int
    start: int  # of what it holds
    end: int | None  # None: as long as it goes


def _elements_of_matroska(file: BinaryIO, size: int) -> int:
    """Each element lies where its parent has room for it. 0: how many packets there should be is not in them."""
    parents: list[tuple[int | None, set[int]]] = [(size, _TOP)]
    at = 0
    while at < size:
        element = _element(file, at)
        while at == parents[-1][0] or (parents[-1][0] is None and element.kind not in parents[-1][1]):
            parents.pop()
        if element.kind not in parents[-1][1]:
            raise NotWhole(f"no sense at byte {at}")
        if element.end is not None and element.end > min(end for end, _ in parents if end is not None):
            raise NotWhole("broken off within the last one")
        if element.kind in _CHILDREN:
            parents.append((element.end, _CHILDREN[element.kind]))
        at = element.start if element.kind in _CHILDREN or element.end is None else element.end
    return 0


def _element(file: BinaryIO, at: int) -> _Element:
    file.seek(at)
    head = file.read(12)
    id_bytes = _vint_bytes(head, 0)
    size_bytes = _vint_bytes(head, id_bytes)
    if id_bytes > 4 or len(head) < id_bytes + size_bytes:
        raise NotWhole(f"no sense at byte {at}")
    size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & ((1 << 7 * size_bytes) - 1)
    start = at + id_bytes + size_bytes
    unknown = size == (1 << 7 * size_bytes) - 1
    return _Element(int.from_bytes(head[:id_bytes], "big"), start, None if unknown else start + size)


def _vint_bytes(head: bytes, at: int) -> int:
    if at >= len(head) or head[at] == 0:
        raise NotWhole("no sense in it")
    return 9 - head[at].bit_length()


# ----------------------------------------------------------------------- transport streams (ISO/IEC 13818-1, 2.4.3.2)

_TS_BYTES, _SYNC, _NULL_PID, _VIDEO = 188, 0x47, 0x1FFF, 0xE0


def _continuity(file: BinaryIO, size: int) -> int:
    if size < _TS_BYTES or size % _TS_BYTES:
        return 0
    packets = np.memmap(file, np.uint8, "r", shape=(size // _TS_BYTES, _TS_BYTES))
    if packets[0, 0] != _SYNC:
        return 0  # of 192 or 204 bytes: they have no check of ours
    heads = np.array(packets[:, :6])
    if lost := int((heads[:, 0] != _SYNC).sum()):
        raise NotWhole(f"{lost} packets of the transport stream make no sense")
    pids = (heads[:, 1].astype(np.int32) & 0x1F) << 8 | heads[:, 2]
    if jumps := _jumps(heads, pids):
        raise NotWhole(f"packets of the transport stream missing in {jumps} places")
    frames, headless = _video_heads(packets, heads, pids)
    if headless:
        raise NotWhole(f"{headless} without their heads")
    return frames


def _jumps(heads: NDArray[np.uint8], pids: NDArray[np.int32]) -> int:
    """Each PID counts its packets from 0 to 15; a stream that was put behind another begins with a table 0 again."""
    counts = heads[:, 3].astype(int) & 15
    has_payload = (heads[:, 3] & 0x10 > 0) & (pids != _NULL_PID)
    announced = (heads[:, 3] & 0x20 > 0) & (heads[:, 4] > 0) & (heads[:, 5] & 0x80 > 0)
    pieces = np.cumsum((pids == 0) & (counts == 0))
    jumps = 0
    for pid in np.unique(pids[has_payload]):
        mine = np.flatnonzero(has_payload & (pids == pid))
        steps = (counts[mine[1:]] - counts[mine[:-1]]) % 16
        counted = (pieces[mine[1:]] == pieces[mine[:-1]]) & ~announced[mine[1:]]
        jumps += int(((steps > 1) & counted).sum())
    return jumps


def _video_heads(packets: NDArray[np.uint8], heads: NDArray[np.uint8], pids: NDArray[np.int32]) -> tuple[int, int]:
    """How many frames there are, if there is one video, and how many heads of frames are damaged: a PES packet begins
    with 00 00 01 and the kind of stream (2.4.3.6).
    """
    starts = np.flatnonzero((heads[:, 1] & 0x40 > 0) & (heads[:, 3] & 0x10 > 0))
    skipped = np.where(heads[starts, 3] & 0x20 > 0, heads[starts, 4].astype(int) + 1, 0)
    at = np.minimum(4 + skipped, _TS_BYTES - 4)
    words = packets[starts[:, None], at[:, None] + np.arange(4)]
    is_head = (words[:, :3] == (0, 0, 1)).all(axis=1) & (words[:, 3] & 0xF0 == _VIDEO)
    mine = pids[starts]
    video = [pid for pid in np.unique(mine) if is_head[mine == pid].mean() > 0.5]
    frames = int((mine == video[0]).sum()) if len(video) == 1 else 0
    return frames, int((np.isin(mine, video) & ~is_head).sum())


_CHECKS = {"mp4": _samples_of_fragments, "matroska": _elements_of_matroska, "mpegts": _continuity}
