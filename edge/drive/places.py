"""Where the messages of a recording are, in a few bytes each: a small file may claim millions of them."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

MESSAGES_MAX = 10_000_000  # of a file: a topic of 1 kHz for almost three hours
_INDEX = struct.Struct("<HI")  # channel, bytes of what follows: log time and offset of each message
_NO_CHUNK = -1


class Place(NamedTuple):
    """Where a message's record is: at `offset` in the inflated chunk whose record is at `chunk` in the file; outside of
    chunks that is None, and `offset` counts in the file.
    """

    time_ns: int
    chunk: int | None
    offset: int


class Places(Sequence[Place]):
    """The places of one topic's messages in one file, 24 bytes each."""

    def __init__(self) -> None:
        self._times, self._chunks, self._offsets = array("Q"), array("q"), array("Q")

    def __len__(self) -> int:
        return len(self._times)

    @overload
    def __getitem__(self, index: int) -> Place: ...
    @overload
    def __getitem__(self, index: slice) -> list[Place]: ...
    def __getitem__(self, index: int | slice) -> Place | list[Place]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        chunk = self._chunks[index]
        return Place(self._times[index], None if chunk == _NO_CHUNK else chunk, self._offsets[index])

    def __iter__(self) -> Iterator[Place]:
        return (self[index] for index in range(len(self)))

    @property
    def times_ns(self) -> NDArray[np.uint64]:
        """uint64 (n,), in the order of the places."""
        return np.array(self._times, np.uint64)

    def add(self, time_ns: int, chunk: int | None, offset: int) -> None:
        """One more message."""
        self._times.append(time_ns)
        self._chunks.append(_NO_CHUNK if chunk is None else chunk)
        self._offsets.append(offset)

    def add_indexed(self, chunk: int, entries: NDArray[np.uint64]) -> None:
        """The messages of a chunk by its index: uint64 (n, 2), log time and offset of each."""
        self._times.frombytes(entries[:, 0].tobytes())
        self._chunks.frombytes(np.full(len(entries), chunk, np.int64).tobytes())
        self._offsets.frombytes(entries[:, 1].tobytes())

    def sort(self) -> None:
        """By time; messages of one time stay in the order in which they were added."""
        times = self.times_ns
        if np.all(times[:-1] <= times[1:]):
            return
        order = np.argsort(times, kind="stable")
        for column in (self._times, self._chunks, self._offsets):
            ordered = np.frombuffer(column, column.typecode)[order].tobytes()
            del column[:]
            column.frombytes(ordered)

    def at_time(self, time_ns: int) -> Place | None:
        """The last message of just that time, if there is one. They are sorted."""
        number = bisect_right(self._times, time_ns) - 1
        return self[number] if number >= 0 and self._times[number] == time_ns else None


def read_index(content: bytes) -> tuple[int, NDArray[np.uint64]]:
    """Channel, and uint64 (n, 2) log times and offsets, of a MessageIndex record.

    Raises:
        ValueError: it is not whole.
    """
    if len(content) < _INDEX.size:
        raise ValueError("a message index that is cut off")
    channel, size_bytes = _INDEX.unpack_from(content)
    if size_bytes % 16 or _INDEX.size + size_bytes > len(content):
        raise ValueError(f"a message index of {size_bytes} bytes in a record of {len(content)}")
    return channel, np.frombuffer(content, "<u8", size_bytes // 8, _INDEX.size).reshape(-1, 2)
