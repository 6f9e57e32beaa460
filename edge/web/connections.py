"""How many connections a server keeps, so that whoever opens them takes no descriptor from cameras and recordings."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from typing import Any

CONNECTIONS_MAX = 256
CUT_MAX = 8  # that wait to be closed
SHARE = 4  # of the process's descriptors the server may take one in so many
GREETING_S = 5.0  # for a TLS handshake


def most_connections() -> int:
    """How many a server may keep under this process's limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS_MAX if soft == resource.RLIM_INFINITY else max(8, min(CONNECTIONS_MAX, soft // SHARE))


class Listener(socket.socket):
    """A listening socket that keeps at most `most` of the connections that it accepted.

    For one more, the oldest that has not become a WebSocket is cut: silent connections keep no viewer out. The server
    accepts in rows and closes what was cut behind a row, so a row is ended before many wait to be closed.
    """

    def __init__(self, family: int) -> None:
        super().__init__(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.most = most_connections()
        self._open: dict[int, _Connection] = {}  # by descriptor, the oldest first
        self._cut: list[_Connection] = []  # not closed yet

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection.

        Raises:
            ConnectionAbortedError: all that are kept are WebSockets, and there is no room for another; it was closed.
            BlockingIOError: first, those that were cut are to be closed.
        """
        self._forget_closed()
        if len(self._cut) >= CUT_MAX:
            raise BlockingIOError
        line, address = super().accept()
        if len(self._open) >= self.most and not self._cut_oldest():
            line.close()
            raise ConnectionAbortedError
        self._open.pop(line.fileno(), None)
        self._open[line.fileno()] = _Connection(line)
        return line, address

    def greeted(self, fd: int) -> None:
        """The connection speaks the server's protocol; from here on, the protocol's own times hold."""
        if fd in self._open:
            self._open[fd].is_greeted = True

    def keep(self, fd: int) -> None:
        """The connection is a WebSocket, whose feed looks after it."""
        if fd in self._open:
            self._open[fd].is_kept = True

    def cut_silent(self) -> None:
        """End the connections that did not greet in time; to be called about once a second."""
        self._forget_closed()
        for connection in self._open.values():
            if not connection.is_greeted and time.monotonic() - connection.since_s > GREETING_S:
                connection.cut()

    def _forget_closed(self) -> None:
        for fd in [fd for fd, connection in self._open.items() if connection.is_closed]:
            del self._open[fd]
        self._cut = [connection for connection in self._cut if not connection.is_closed]

    def _cut_oldest(self) -> bool:
        """Whether there was one that could be cut."""
        for fd, connection in self._open.items():
            if not connection.is_kept:
                connection.cut()
                self._cut.append(self._open.pop(fd))
                return True
        return False


class _Connection:
    """An accepted connection; the server closes it."""

    def __init__(self, line: socket.socket) -> None:
        self._line, self.since_s = line, time.monotonic()
        self.is_greeted = self.is_kept = False

    @property
    def is_closed(self) -> bool:
        return self._line.fileno() < 0

    def cut(self) -> None:
        """The server then reads its end, and closes it."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
