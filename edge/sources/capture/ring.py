"""Frames handed from one process to another in shared memory, without a copy.

A slot belongs to one side at a time, and only messages pass it on: the writer fills a slot of its own and announces it;
from then on it is the reader's, until the reader gives it back. Nothing but the pixels is shared, so there is nothing
to lock, and a writer that dies half way through a slot never announced it. A message is a system call on both sides,
which orders the memory accesses around it.

The memory has no name (memfd): it is gone with the last process that holds it, however that ends.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections import deque
from typing import TYPE_CHECKING

from edge.sources.capture.wire import WireError

if TYPE_CHECKING:  # the capture process of a stream does without numpy
    import numpy as np
    from numpy.typing import NDArray

# As many as the reader may use at once, one that waits to be used, one on its way, and one being written.
LEASES = 4
SLOTS = LEASES + 3
# A file that shrinks under a mapping kills who reads from it (SIGBUS).
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class RingWriter:
    """The writer's side: slots to fill. `fd` is for the reader to map."""

    def __init__(self, number: int, slot_bytes: int) -> None:
        self.number, self.slots, self._slot_bytes = number, SLOTS, slot_bytes
        self.fd = os.memfd_create("edge-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, SLOTS * slot_bytes)
        self._memory = mmap.mmap(self.fd, SLOTS * slot_bytes)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
        self._free = deque(range(SLOTS))

    def take(self) -> int | None:
        """A slot to fill; None while the reader has them all."""
        return self._free.popleft() if self._free else None

    def view(self, slot: int) -> memoryview:
        """The slot's bytes, writable."""
        return memoryview(self._memory)[slot * self._slot_bytes : (slot + 1) * self._slot_bytes]

    def give_back(self, slot: int) -> None:
        """The reader is done with this slot: it may be written again."""
        self._free.append(slot)

    def close(self) -> None:
        """Let go of the memory; the reader keeps what it has mapped."""
        os.close(self.fd)


class RingReader:
    """The reader's side: announced slots as arrays, read-only.

    Raises:
        WireError: the memory is not as it was announced.
    """

    def __init__(self, fd: int, number: int, slots: int, slot_bytes: int) -> None:
        import numpy as np

        self.number, self.slots = number, slots
        self._check(fd, slots * slot_bytes)
        self._memory = np.frombuffer(mmap.mmap(fd, slots * slot_bytes, prot=mmap.PROT_READ), np.uint8)
        self._memory = self._memory.reshape(slots, slot_bytes)
        self._returned: deque[int] = deque()
        self._leased: set[int] = set()

    def _check(self, fd: int, size: int) -> None:
        try:
            sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS == _SEALS
        except OSError as error:
            raise WireError("what it gave as memory is not a memory file") from error
        if not sealed or os.fstat(fd).st_size != size:
            raise WireError(f"memory of {os.fstat(fd).st_size} bytes, sealed: {sealed}; expected {size}, sealed")

    def lease(self, slot: int) -> NDArray[np.uint8]:
        """uint8 (slot_bytes,), read-only: the slot is given back when this array and all views of it are gone.

        While more than `LEASES` are out a copy is returned, and the slot is free at once.
        """
        import numpy as np

        if len(self._leased) >= LEASES:
            self._returned.append(slot)
            return self._memory[slot].copy()
        self._leased.add(slot)
        return np.asarray(_Lease(self, slot))

    def skip(self, slot: int) -> None:
        """This slot's frame is not used."""
        self._returned.append(slot)

    def returned(self) -> list[int]:
        """The slots that are the writer's again; each is given once."""
        slots = [self._returned.popleft() for _ in range(len(self._returned))]
        self._leased.difference_update(slots)
        return slots


class _Lease:
    """What numpy takes for an array's memory and keeps for as long as any view of it lives."""

    def __init__(self, ring: RingReader, slot: int) -> None:
        self._ring, self._slot = ring, slot
        self.__array_interface__ = ring._memory[slot].__array_interface__

    def __del__(self) -> None:
        # Any thread may come here, at any time: one append is all that is safe.
        self._ring._returned.append(self._slot)
