"""uvicorn in a thread of its own, with limits on who may hold it up, and an end that comes when it is asked for."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from edge.errors import ConfigError
from edge.web.connections import CONNECTIONS_MAX, Listener

if TYPE_CHECKING:
    from typing_extensions import Self

REQUEST_S = 10.0  # all that a plain connection gets, from its first byte to its last answer's end
CONTROLS_PER_S = 10  # pings and pongs of a viewer; browsers send a pong each 20 s
LINGER_S = 2.0  # for a viewer to take what it was sent before its connection is cut
HEADER_LIMIT_BYTES, MESSAGE_LIMIT_BYTES = 16_384, 256
STOP_S = 0.2  # for requests under way at the end
RETRY_S = (0.5, 10.0)  # first and longest wait before the port is tried again
# Another program ends, an interface comes up; the last two: the interface of a zone is missing, eth0 in fe80::5%eth0.
PASSING = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.ENODEV, socket.EAI_NONAME)

log = logging.getLogger(__name__)


class ServerThread:
    """Serves an app while it is entered.

    Attributes:
        url: where, known once it is entered, with the port that was really taken, also where 0 was asked for.
        trouble: why it is not served now; "" where it is.
    """

    def __init__(
        self,
        name: str,
        address: str,
        port: int,
        make_app: Callable[[ExitStack], ASGIApp],
        tls: ssl.SSLContext | None = None,
        *,
        retry: bool = False,
    ) -> None:
        """`name` is what the log calls it. `make_app` is called in the thread, in its event loop; what it enters on the
        stack is left when the server ends. `retry`: a port that is taken, or an address that no interface has, is tried
        again until it can be had; meanwhile `trouble` says so.
        """
        self._name, self._address, self._port, self._make_app, self._tls = name, address, port, make_app, tls
        self._retry = retry
        self.url = self.trouble = ""
        self._socket: Listener | None = None
        self._server: uvicorn.Server | None = None
        self._runs, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        """Raises:
        ConfigError: the address or port cannot be listened on, and to try again would not help or was not asked for.
        """
        self._bind()
        self._thread.start()
        if self._socket is not None:
            self._runs.wait()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join()

    def _bind(self) -> None:
        """Take the port, or say in `trouble` why it cannot be had now."""
        try:
            self._socket = listen(self._address, self._port)
        except ConfigError as error:
            cause = error.__cause__
            if not (self._retry and isinstance(cause, OSError) and cause.errno in PASSING):
                raise
            if not self.trouble:
                log.warning("%s. It is tried again", error)
            self.trouble = f"{self._address}, port {self._port}: {cause.strerror}; tried again"
            return
        host, port = self._socket.getsockname()[:2]
        self.url = f"{'https' if self._tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/"
        self.trouble = ""
        log.info("%s: %s", self._name, self.url)

    def _await_port(self) -> Listener | None:
        """The listening socket, once it can be had; None where the server is stopped before."""
        wait_s = RETRY_S[0]
        while self._socket is None and not self._stopping.wait(wait_s):
            self._bind()
            wait_s = min(2 * wait_s, RETRY_S[1])
        return self._socket

    def has_ended(self, within_s: float) -> bool:
        """Whether it ended by itself, which it does only if it fails."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            if (listener := self._await_port()) is not None:
                asyncio.run(self._serve(listener))
        except Exception as error:  # a page is no reason to end the run; the log says why it is gone
            log.exception("%s: the %s ended", self.url, self._name)
            self.trouble = f"ended: {error}"
        finally:
            if self._socket is not None:
                self._socket.close()
            self._runs.set()

    async def _serve(self, listener: Listener) -> None:
        with ExitStack() as stack:
            config = _config(self._make_app(stack), listener)
            config.load()
            config.ssl = self._tls  # uvicorn's own context would allow old ciphers
            self._server = server = uvicorn.Server(config)
            if self._stopping.is_set():
                return
            self._runs.set()
            reaper = asyncio.create_task(_cut_silent(listener))
            stack.callback(reaper.cancel)
            await server.serve(sockets=[listener])
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)  # in which the aborted connections end


async def _cut_silent(listener: Listener) -> None:
    while True:
        await asyncio.sleep(1.0)
        listener.cut_silent()


class _Config(uvicorn.Config):
    """With the listener, for the connections to report to."""

    listener: Listener


def _config(app: Any, listener: Listener) -> uvicorn.Config:
    config = _Config(
        app,
        http=_Request,
        ws=_Viewer,
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="error",  # what any client can provoke is no news, and fills a disk
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_max_size=MESSAGE_LIMIT_BYTES,
        ws_per_message_deflate=False,  # images and class maps are deflated already
        h11_max_incomplete_event_size=HEADER_LIMIT_BYTES,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=STOP_S,  # type: ignore[arg-type] # asyncio takes fractions, whatever the type says
    )
    config.listener = listener
    return config


def listen(address: str, port: int) -> Listener:
    """A listening socket there; port 0 takes any that is free.

    Raises:
        ConfigError: it cannot be had; the cause is an OSError.
    """
    listener = Listener(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(CONNECTIONS_MAX)  # who connects before the thread runs waits, and is not refused
    except OSError as error:
        listener.close()
        advice = f"Who has it: ss -ltnp 'sport = :{port}'. Or take another web.port"
        if error.errno != errno.EADDRINUSE:
            advice = "See this machine's addresses: ip address"
        raise ConfigError(f"web: {address}, port {port}: cannot be listened on: {error.strerror}. {advice}") from error
    listener.setblocking(False)
    return listener


class _Request(H11Protocol):
    """A plain HTTP connection, cut after a time: who sends or reads a byte a minute takes no place from others."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._fd = transport.get_extra_info("socket").fileno()
        self.config.listener.greeted(self._fd)  # type: ignore[attr-defined] # a _Config
        self._end = self.loop.call_later(REQUEST_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._end.cancel()
        self.config.listener.keep(self._fd)  # type: ignore[attr-defined] # a _Config
        super().handle_websocket_upgrade(event)


class _Viewer(WebSocketsSansIOProtocol):
    """A WebSocket, cut when the app is through with it: a viewer who reads nothing would keep it open without end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._controls, self._counted_s = 0, 0.0
        super().connection_made(transport)

    def handle_ping(self) -> None:
        self._count_control()
        super().handle_ping()

    def handle_pong(self, event: Any) -> None:
        self._count_control()
        super().handle_pong(event)

    def _count_control(self) -> None:
        """Cut who sends pings or pongs in a loop: no app reads them, so nothing else holds them back."""
        if (now_s := time.monotonic()) - self._counted_s >= 1.0:
            self._controls, self._counted_s = 0, now_s
        self._controls += 1
        if self._controls > CONTROLS_PER_S:
            self.transport.abort()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self.loop.call_later(LINGER_S, self.transport.abort)
