"""A network between camera and us that holds everything back for a while, and then lets it through at once."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType


class Relay:
    """Passes connections on to a port of this machine, each after `delay_s`. Nothing comes while `open` is not set."""

    def __init__(self, port: int, delay_s: float = 0.0) -> None:
        self._far, self._server, self._delay_s = port, socket.create_server(("127.0.0.1", 0)), delay_s
        self.port: int = self._server.getsockname()[1]
        self.open = threading.Event()
        self.open.set()
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
                for source, target, held in ((near, far, None), (far, near, self.open)):
                    threading.Thread(target=_pump, args=[source, target, held], daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, held: threading.Event | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if held is not None:
                held.wait()
            target.sendall(data)
