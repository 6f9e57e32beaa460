"""A folder of recordings within a quota, the oldest making room for the newest."""

from __future__ import annotations

import fcntl
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path

from edge.errors import OutputError
from edge.sinks.files import writing

TRIES = 16  # segments that cannot be deleted are passed over, up to so many


class SegmentFile:
    """A file that gets its name when it holds a frame that plays: none that has its name is empty."""

    def __init__(self, path: Path) -> None:
        self.path, self.is_named = path, False
        self._partial = path.with_name(f".{path.name}.part")
        self.fd = os.open(self._partial, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)

    @property
    def size_bytes(self) -> int:
        """Of what was written so far, with or without a name."""
        return os.fstat(self.fd).st_size

    def give_name(self) -> None:
        """What was written is on the disk, under the file's name, when this is over.

        Raises:
            OSError: the disk refuses.
        """
        os.fdatasync(self.fd)  # first: else a power cut leaves a name without a frame
        self._partial.rename(self.path)
        self.is_named = True
        sync_folder(self.path.parent)

    def leave(self, whole_bytes: int | None = None) -> None:
        """Close it, cut to what is whole; without a name it goes."""
        try:
            if whole_bytes is not None:
                os.ftruncate(self.fd, whole_bytes)
            os.fdatasync(self.fd)
        finally:
            os.close(self.fd)
            if not self.is_named:
                self._partial.unlink(missing_ok=True)


class SegmentStore:
    """The segments that are kept in a folder, the oldest first, and how much room there is for more.

    They are known by their names, and ordered by the number in them: a clock may be wrong.

    Attributes:
        undeletable: which of the oldest could not be deleted at the last try, and why; "" where that worked.
    """

    def __init__(self, folder: Path, quota_bytes: int, suffix: str, repair: Callable[[Path], None]) -> None:
        """`suffix` is the recordings' own, such as ".mp4"; `repair` makes whole again what a kill left half written.

        Raises:
            OutputError: the folder cannot be made, or may not be written by this user.
        """
        self.folder, self.quota_bytes, self._suffix, self._repair = folder, quota_bytes, suffix, repair
        self._kept: deque[tuple[int, Path, int]] = deque()
        self._number = self.size_bytes = 0
        self._lock_fd: int | None = None
        self.undeletable = ""
        with writing(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Nothing is written to try it: the disk may be full now, and is no reason not to begin.
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"{folder}: may not be written by this user. Name another place, or see: ls -ld {folder}")

    def lock(self) -> None:
        """Take the folder for this process, and see what is in it.

        Raises:
            OutputError: another recorder has it.
        """
        with writing(self.folder):
            self._lock_fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self.unlock()
                raise OutputError(
                    f"{self.folder}: another recorder writes here. Give each a folder of its own"
                ) from error
            for unnamed in self.folder.glob(f".edge-*{self._suffix}.part"):  # of a run killed at its first frame
                unnamed.unlink()
            own = sorted(self._own_files())
            if own:
                self._repair(own[-1][1])
            for number, path in own:
                self.add(number, path)

    def unlock(self) -> None:
        """Let another recorder have it."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def remake(self) -> None:
        """Make the folder again if it was deleted; one that is not there because its disk is away is left alone.

        Raises:
            OutputError: it cannot be made.
        """
        if self._lock_fd is None or os.fstat(self._lock_fd).st_nlink or self.folder.exists():
            return
        with writing(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.unlock()
        self._kept.clear()
        self.size_bytes = 0
        self.lock()

    @property
    def segments(self) -> int:
        """How many are kept."""
        return len(self._kept)

    def disk_bytes(self) -> int:
        """The size of the disk that the folder is on."""
        disk = os.statvfs(self.folder)
        return disk.f_blocks * disk.f_frsize

    def free_bytes(self) -> int:
        """Of the disk, what this user may still write: less than all that is free where root has a reserve."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def next_path(self) -> tuple[int, Path]:
        """Number and name for a new segment."""
        self._number += 1
        now = datetime.now(timezone.utc)
        return self._number, self.folder / f"edge-{now:%Y%m%dT%H%M%SZ}-{self._number:06d}{self._suffix}"

    def add(self, number: int, path: Path) -> None:
        """Keep a segment that is complete; the numbers of new ones are greater.

        Raises:
            OSError: there is no such file.
        """
        size_bytes = path.stat().st_size
        self._kept.append((number, path, size_bytes))
        self._number = max(self._number, number)
        self.size_bytes += size_bytes

    def make_room(self, in_work_bytes: int, free_bytes: int) -> int:
        """Delete the oldest until the quota holds and so much is free; how many went."""
        deleted = 0
        while self.size_bytes + in_work_bytes > self.quota_bytes or self.free_bytes() < free_bytes:
            if not self.delete_oldest():
                break
            deleted += 1
        return deleted

    def delete_oldest(self) -> bool:
        """Whether one could be deleted: the oldest, or one of the next where that one cannot be."""
        self.undeletable = ""
        for place, (_, path, size_bytes) in enumerate(islice(self._kept, TRIES)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:  # immutable, or its folder or disk is read-only
                self.undeletable = self.undeletable or f"{path}: cannot be deleted: {error.strerror}"
                continue
            del self._kept[place]
            self.size_bytes -= size_bytes
            return True
        return False

    def _own_files(self) -> Iterator[tuple[int, Path]]:
        name = re.compile(rf"edge-\d{{8}}T\d{{6}}Z-(\d{{6,}}){re.escape(self._suffix)}")
        for path in self.folder.iterdir():
            if (match := name.fullmatch(path.name)) and path.is_file() and not path.is_symlink():
                yield int(match[1]), path


def sync_folder(folder: Path) -> None:
    """The names in it are on the disk when this is over."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
