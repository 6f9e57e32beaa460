"""A network between camera and us that holds everything back for a while, and then lets it through at once."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType


class Relay:
    """Passes connections on to a port of this machine, each after `delay_s`.

    Nothing comes while `open` is not set; what comes while `damages` is set is damaged: by default, a byte in each
    thousand is changed.
    """

    def __init__(self, port: int, delay_s: float = 0.0) -> None:
        self._far, self._server, self._delay_s = port, socket.create_server(("127.0.0.1", 0)), delay_s
        self.port: int = self._server.getsockname()[1]
        self.open = threading.Event()
        self.open.set()
        self.damages = threading.Event()
        self.damage: Callable[[bytes, random.Random], bytes] = damaged
        self._sockets = [self._server]

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.open.set()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._server.accept()[0]
                time.sleep(self._delay_s)
                far = socket.create_connection(("127.0.0.1", self._far))
                self._sockets += [near, far]
                threading.Thread(target=self._ask, args=[near, far], daemon=True).start()
                threading.Thread(target=self._answer, args=[far, near], daemon=True).start()

    def _ask(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                far.sendall(data)
        _hang_up(near, far)

    def _answer(self, far: socket.socket, near: socket.socket) -> None:
        chance = random.Random(1)
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                self.open.wait()
                near.sendall(self.damage(data, chance) if self.damages.is_set() else data)
        _hang_up(near, far)


def _hang_up(*ends: socket.socket) -> None:
    """A camera that goes on sending to who is gone is held up by it, and its frames come late to everybody."""
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def damaged(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(1 + len(data) // 1000):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)
