"""Transport streams (ISO/IEC 13818-1, 2.4.3.2): packets that follow each other, and the heads of the frames in them."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.sources.wholeness.fault import NotWhole

_TS_BYTES, _SYNC, _NULL_PID, _VIDEO = 188, 0x47, 0x1FFF, 0xE0
_LENGTHS = {188: 0, 192: 4, 204: 0}  # of a packet, and what stands before it: Blu-ray a time, DVB a code behind it
_SAMPLE_BYTES = 1 << 20  # what lies between two packets is learned from the first of them
_LEAST_SHARE = 0.1  # of the bytes at one place of a packet that are its mark; by chance it is 1 of 256


class _Heads(NamedTuple):
    """uint8 (N, 188) all packets; uint8 (N, 6) their heads; int32 (N,) their PIDs."""

    packets: NDArray[np.uint8]
    heads: NDArray[np.uint8]
    pids: NDArray[np.int32]

    @property
    def has_payload(self) -> NDArray[np.bool_]:
        return (self.heads[:, 3] & 0x10 > 0) & (self.pids != _NULL_PID)

    @property
    def begins(self) -> NDArray[np.bool_]:
        """Whether a PES packet or table begins in it."""
        return self.heads[:, 1] & 0x40 > 0

    @property
    def payload_at(self) -> NDArray[np.intp]:
        """Where its payload begins: behind the adaptation field, if it has one."""
        return 4 + np.where(self.heads[:, 3] & 0x20 > 0, self.heads[:, 4].astype(np.intp) + 1, 0)


def count_heads(file: BinaryIO, size: int) -> int:
    """How many heads of frames there are, if there is one video; 0 if not, and where no packets are found.

    Raises:
        NotWhole: packets are missing, there twice or damaged, or the file ends within one.
    """
    found = _packets(file, size)
    if found is None:
        return 0
    packets, rest = found
    heads = np.array(packets[:, :6])
    stream = _Heads(packets, heads, (heads[:, 1].astype(np.int32) & 0x1F) << 8 | heads[:, 2])
    if lost := int(_is_senseless(heads).sum()):
        raise NotWhole(f"{lost} packets of the transport stream make no sense")
    videos, frames, headless = _videos(stream)
    missing, repeated = _jumps(stream, videos)
    if missing:
        raise NotWhole(f"packets of the transport stream missing in {missing} places")
    if repeated:
        raise NotWhole(f"{repeated} packets of the transport stream are there twice")
    if headless:
        raise NotWhole(f"{headless} without their heads")
    if rest or any(_breaks_off(stream, pid) for pid in videos):
        raise NotWhole("broken off within the last one")
    return frames


def _packets(file: BinaryIO, size: int) -> tuple[NDArray[np.uint8], int] | None:
    """uint8 (N, 188) of the file, and how many bytes are left behind the last; None where there are none.

    A stream may have been caught in the middle of a packet. Where the packets lie, most of the bytes tell: the first
    ones may be damaged.
    """
    data = np.memmap(file, np.uint8, "r") if size >= min(_LENGTHS) else np.zeros(0, np.uint8)
    best = _LEAST_SHARE, 0, 0
    for length in _LENGTHS:
        rows = data[: min(size, _SAMPLE_BYTES) // length * length].reshape(-1, length)
        shares = (rows == _SYNC).mean(axis=0) if len(rows) else np.zeros(1)
        best = max(best, (float(shares.max()), length, int(shares.argmax())))
    _, length, sync = best
    if not length:
        return None
    start = (sync - _LENGTHS[length]) % length
    count = (size - start) // length
    rows = data[start : start + count * length].reshape(count, length)
    return rows[:, _LENGTHS[length] :][:, :_TS_BYTES], (size - start) % length


def _is_senseless(heads: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Without its mark, marked by the receiver as damaged, or with neither payload nor adaptation field (2.4.3.3)."""
    return (heads[:, 0] != _SYNC) | (heads[:, 1] & 0x80 > 0) | (heads[:, 3] & 0x30 == 0)


def _videos(stream: _Heads) -> tuple[list[int], int, int]:
    """The PIDs of videos; how many frames there are, if there is one; and how many heads of frames are damaged: a PES
    packet begins with 00 00 01 and the kind of stream (2.4.3.6).
    """
    starts = np.flatnonzero(stream.begins & stream.has_payload)
    at = np.minimum(stream.payload_at[starts], _TS_BYTES - 4)
    words = stream.packets[starts[:, None], at[:, None] + np.arange(4)]
    is_head = (words[:, :3] == (0, 0, 1)).all(axis=1) & (words[:, 3] & 0xF0 == _VIDEO)
    mine = stream.pids[starts]
    videos = [int(pid) for pid in np.unique(mine) if is_head[mine == pid].mean() > 0.5]
    packets = {pid: int((stream.pids == pid).sum()) for pid in videos}
    if len(videos) > 1 and 1 in packets.values():
        raise NotWhole("a packet of the transport stream belongs to no other")
    frames = int((mine == videos[0]).sum()) if len(videos) == 1 else 0
    return videos, frames, int((np.isin(mine, videos) & ~is_head).sum())


def _jumps(stream: _Heads, videos: list[int]) -> tuple[int, int]:
    """In how many places packets of videos are missing, and how many are there twice: each PID counts from 0 to 15.

    A stream that was put behind another begins with a table 0 again. A packet may come twice (2.4.3.3), but FFmpeg
    takes both.
    """
    heads, pids = stream.heads, stream.pids
    counts = heads[:, 3].astype(int) & 15
    announced = (heads[:, 3] & 0x20 > 0) & (heads[:, 4] > 0) & (heads[:, 5] & 0x80 > 0)
    pieces = np.cumsum((pids == 0) & (counts == 0))
    missing = repeated = 0
    for pid in videos:
        mine = np.flatnonzero(stream.has_payload & (pids == pid))
        steps = (counts[mine[1:]] - counts[mine[:-1]]) % 16
        counted = (pieces[mine[1:]] == pieces[mine[:-1]]) & ~announced[mine[1:]]
        missing += int(((steps > 1) & counted).sum())
        repeated += int(((steps == 0) & counted).sum())
    return missing, repeated


def _breaks_off(stream: _Heads, pid: int) -> bool:
    """Whether the last PES packet of a video says that it is longer; most say nothing (2.4.3.7)."""
    mine = np.flatnonzero(stream.has_payload & (stream.pids == pid))
    last = mine[np.flatnonzero(stream.begins[mine])[-1] :]
    at = int(stream.payload_at[last[0]])
    length = int.from_bytes(stream.packets[last[0], at + 4 : at + 6].tobytes(), "big")
    return length > 0 and int((_TS_BYTES - stream.payload_at[last]).sum()) < 6 + length
