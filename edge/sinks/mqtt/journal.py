"""Events on disk until the broker has them: they survive `kill -9` at once and a power cut after a moment.

An SQLite file in WAL mode. `put` leaves an event with the operating system and does not wait for the disk; a thread of
its own brings it there within `SYNC_S`. Trouble with the disk is reported and never raised: events are then in memory
alone, as they are without a journal.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

from edge.sinks.mqtt.outbox import Kept

SYNC_S = 0.25
PAYLOAD_MAX_BYTES = 1 << 16
_BUSY_S = 0.5

log = logging.getLogger(__name__)


class Journal:
    """The events of one file, which no other program may use meanwhile. Its owner calls it from one thread at a time.

    Attributes:
        fault: why events are in memory alone; "" while they are not.
    """

    def __init__(self, path: Path) -> None:
        self.fault = ""
        self._path = path
        self._lock_fd: int | None = None
        self._db: sqlite3.Connection | None = None
        self._opened_inode: tuple[int, int] | None = None
        self._dirty, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._sync, name="mqtt events", daemon=True)

    def open(self, most: int) -> dict[int, Kept]:
        """The newest `most` events that are left of earlier runs, by their ascending keys; older ones are deleted."""
        try:
            self._lock()
            self._db = self._connected()
            self._opened_inode = self._inode()
            self._db.execute(
                "DELETE FROM events WHERE length(payload) > ? OR"
                " key <= (SELECT key FROM events ORDER BY key DESC LIMIT 1 OFFSET ?)",
                (PAYLOAD_MAX_BYTES, most),
            )
            rows = self._db.execute("SELECT key, payload, tried FROM events ORDER BY key").fetchall()
        except (OSError, sqlite3.Error) as error:
            self._failed(error)
            self.close()
            return {}
        self._thread.start()
        return {key: Kept(bytes(payload), bool(tried)) for key, payload, tried in rows}

    def put(self, key: int, payload: bytes) -> None:
        """Keep an event."""
        self._execute("INSERT OR REPLACE INTO events VALUES (?, ?, 0)", (key, payload))

    def tried(self, key: int) -> None:
        """It is about to be sent."""
        self._execute("UPDATE events SET tried = 1 WHERE key = ?", (key,))

    def remove(self, key: int) -> None:
        """It needs to be kept no longer."""
        self._execute("DELETE FROM events WHERE key = ?", (key,))

    def close(self) -> None:
        """Bring what is left to the disk, and let go of the file."""
        self._closing.set()
        self._dirty.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
        self._db = self._lock_fd = None

    def _lock(self) -> None:
        self._lock_fd = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError("another program keeps its events here. Give each a file of its own") from error

    def _connected(self) -> sqlite3.Connection:
        """The file, a new one if it is not there. One that cannot be read is laid aside."""
        try:
            return self._prepared()
        except sqlite3.OperationalError:  # the disk's fault, not the file's
            raise
        except sqlite3.DatabaseError as error:
            aside = next(place for place in self._places_aside() if not place.exists())
            log.warning("mqtt: %s: %s. It is laid aside as %s", self._path, error, aside)
            self._path.replace(aside)
            for ending in ("-wal", "-shm"):
                self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
            return self._prepared()

    def _places_aside(self) -> Iterator[Path]:
        """Names for a damaged file; one that was laid aside before is kept."""
        yield self._path.with_name(f"{self._path.name}.damaged")
        yield from (self._path.with_name(f"{self._path.name}.damaged-{number}") for number in count(2))

    def _prepared(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # not for other users to read
        db = _connect(self._path)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            if (found := db.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
                raise sqlite3.DatabaseError(str(found[0]))
            db.execute("CREATE TABLE IF NOT EXISTS events (key INTEGER PRIMARY KEY, payload BLOB, tried INTEGER)")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        if self._db is None:
            return
        try:
            self._db.execute(statement, values)
        except sqlite3.Error as error:
            self._failed(error)
        else:
            self._dirty.set()
            if self._inode() == self._opened_inode:
                self._recovered()
            else:  # SQLite goes on in the file that has no name any more, and says nothing
                self._failed(OSError("was removed or replaced while it was used. Restart the service"))

    def _inode(self) -> tuple[int, int] | None:
        with suppress(OSError):
            status = self._path.stat()
            return status.st_dev, status.st_ino
        return None

    def _sync(self) -> None:
        """The thread: after a change, the log goes to the disk and from there into the file."""
        with closing(_connect(self._path)) as db:
            while not self._closing.is_set():
                self._dirty.wait()
                self._closing.wait(SYNC_S)
                self._dirty.clear()
                try:
                    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                except sqlite3.Error as error:
                    self._failed(error)

    def _failed(self, error: Exception) -> None:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        fault = f"{self._path}: {why}. Events are kept in memory alone"
        if fault != self.fault:
            self.fault = fault
            log.warning("mqtt: %s", fault)

    def _recovered(self) -> None:
        if self.fault:
            self.fault = ""
            log.info("mqtt: %s: events are kept again", self._path)


def _connect(path: Path) -> sqlite3.Connection:
    """Each statement is a transaction; whoever owns the connection sees to it that threads take turns."""
    db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous = NORMAL")
    return db
