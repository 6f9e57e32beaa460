"""uvicorn in a thread of its own, with limits on who may hold it up, and an end that comes when it is asked for."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from edge.errors import ConfigError

REQUEST_S = 10.0  # all that a plain connection gets, from its first byte to its last answer's end
LINGER_S = 2.0  # for a viewer to take what it was sent before its connection is cut
HEADER_LIMIT_BYTES, MESSAGE_LIMIT_BYTES = 16_384, 256
CONNECTIONS_MAX = 256
STOP_S = 0.2  # for requests under way at the end

log = logging.getLogger(__name__)


class ServerThread:
    """Serves an app while it is entered. `url` is where, known once it is entered."""

    def __init__(
        self,
        name: str,
        address: str,
        port: int,
        make_app: Callable[[ExitStack], ASGIApp],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`name` is what the log calls it. `make_app` is called in the thread, in its event loop; what it enters on the
        stack is left when the server ends.
        """
        self._name, self._address, self._port, self._make_app, self._tls = name, address, port, make_app, tls
        self.url = ""
        self._server: uvicorn.Server | None = None
        self._runs = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> ServerThread:
        """Raises:
        ConfigError: the address or port cannot be listened on.
        """
        self._socket = _listen(self._address, self._port)
        host, port = self._socket.getsockname()[:2]
        self.url = f"{'https' if self._tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/"
        self._thread.start()
        self._runs.wait()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join()

    def has_ended(self, within_s: float) -> bool:
        """Whether it ended by itself, which it does only if it fails."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:  # a page is no reason to end the run; the log says why it is gone
            log.exception("%s: the %s ended", self.url, self._name)
        finally:
            self._socket.close()
            self._runs.set()

    async def _serve(self) -> None:
        with ExitStack() as stack:
            config = _config(self._make_app(stack))
            config.load()
            config.ssl = self._tls  # uvicorn's own context would allow old ciphers
            self._server = server = uvicorn.Server(config)
            self._runs.set()
            await server.serve(sockets=[self._socket])
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)  # in which the aborted connections end


def _config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
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
        ws_per_message_deflate=False,  # pictures and class maps are deflated already
        h11_max_incomplete_event_size=HEADER_LIMIT_BYTES,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=STOP_S,  # type: ignore[arg-type] # asyncio takes fractions, whatever the type says
    )


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(CONNECTIONS_MAX)  # who connects before the thread runs waits, and is not refused
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"web: {address}, port {port}: cannot be listened on: {error.strerror}."
            f" Who has it: ss -ltnp 'sport = :{port}'. Or take another web.port"
        ) from error
    listener.setblocking(False)
    return listener


class _Request(H11Protocol):
    """A plain HTTP connection, cut after a time: who sends or reads a byte a minute takes no place from others."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._end = self.loop.call_later(REQUEST_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._end.cancel()
        super().handle_websocket_upgrade(event)


class _Viewer(WebSocketsSansIOProtocol):
    """A WebSocket, cut when the app is through with it: a viewer who reads nothing would keep it open for ever."""

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self.loop.call_later(LINGER_S, self.transport.abort)
