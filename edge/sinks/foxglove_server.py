"""Foxglove's WebSocket server (foxglove-sdk): the live sink and a replay serve their topics through it.

The SDK serves in threads of its own. To log a message is to put it into a queue for each viewer; one that is full loses
its oldest message, so a slow viewer holds up neither the loop nor another viewer.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from edge.drive.schema import Schema
from edge.errors import ConfigError
from edge.install import install_command
from edge.paths import check_private, expanded, shown
from edge.regular import open_regular
from edge.zone import with_plain_zone

if TYPE_CHECKING:
    from foxglove import Channel
    from foxglove.websocket import WebSocketServer

PORT = 8765  # Foxglove's own
EXTRA = "edge-segmentation[foxglove]"
_FREED_S = 2.0  # the SDK ends its server, and gives back the port, in its own time
_PEM_MAX = 1 << 20  # bytes
_IPV6 = r"[\da-fA-F]*:[\da-fA-F:.]+(?:%[\w.-]+)?"
# What the SDK says of a port or address that may be had later: a program ends, an interface or a network comes up.
_PASSING = ("in use", "Cannot assign", "lookup address information", "No such device")

log = logging.getLogger(__name__)


class PortTakenError(ConfigError):
    """The port is another program's now, or no interface or name server has the address yet: these may pass."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 takes any that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """HOST:PORT, HOST, or PORT on this machine alone; an IPv6 address with a port is in brackets.

        Raises:
            ConfigError: it is something else.
        """
        text = with_plain_zone(text)
        if match := re.fullmatch(rf"(?:(?P<host>[\w.-]+|\[{_IPV6}\]):)?(?P<port>\d{{1,5}})", text):
            host, port = (match["host"] or "127.0.0.1").strip("[]"), int(match["port"])
        elif match := re.fullmatch(rf"(?P<host>[\w.-]+|{_IPV6})|\[(?P<v6>{_IPV6})\]", text):
            host, port = match["host"] or match["v6"], PORT
        else:
            raise ConfigError(f"foxglove: expected HOST:PORT, such as 127.0.0.1:{PORT}, got {shown(text)}")
        if port > 65535:
            raise ConfigError(f"foxglove: expected a port of 0 to 65535, got {port}")
        return cls(host, port)

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Certificate:
    """For wss://: PEM of a certificate and of its key (PKCS #8)."""

    certificate: bytes
    key: bytes

    @classmethod
    def read(cls, certificate_file: str | None, key_file: str | None) -> Certificate | None:
        """None where neither file is named.

        Raises:
            ConfigError: only one is named, one cannot be read, or every user may read the key.
        """
        if certificate_file is None and key_file is None:
            return None
        if certificate_file is None or key_file is None:
            raise ConfigError("foxglove: expected both certificate_file and key_file, or neither")
        return cls(_pem("certificate_file", certificate_file, False), _pem("key_file", key_file, True))


def _pem(name: str, text: str, is_secret: bool) -> bytes:
    path = expanded(f"foxglove.{name}", text)
    try:
        with open_regular(path) as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read(_PEM_MAX)
    except OSError as error:
        raise ConfigError(f"foxglove.{name}: {path}: cannot be read: {error.strerror or error}") from error
    if is_secret:
        check_private(f"foxglove.{name}", path, mode)
    return content


def check_library() -> None:
    """Raises ConfigError: foxglove-sdk is not installed."""
    if find_spec("foxglove") is None:
        raise ConfigError(f"Foxglove needs the library foxglove-sdk. Try: {install_command(EXTRA)}")


class FoxgloveServer:
    """Serves channels while it is entered.

    Attributes:
        backlog: how many messages wait for one viewer, at most.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        listener: Any,
        *,
        backlog: int,
        certificate: Certificate | None = None,
        time_range_ns: tuple[int, int] | None = None,
    ) -> None:
        """`name` is what viewers show; `listener` is a `foxglove.websocket.ServerListener`, which threads of the SDK
        call. With `time_range_ns`, the first and last time of a recording, viewers get controls of playback.

        Raises:
            ConfigError: the library is not installed.
        """
        check_library()
        from foxglove import Context

        self._name, self._address, self._listener, self._backlog = name, address, listener, backlog
        self._certificate, self._time_range_ns = certificate, time_range_ns
        self._context = Context()
        self._server: WebSocketServer | None = None

    def __enter__(self) -> FoxgloveServer:
        """Raises:
        ConfigError: the address cannot be listened on.
        """
        give_up_s = time.monotonic() + _FREED_S
        while time.monotonic() < give_up_s:
            with suppress(PortTakenError):
                self.begin()
                return self
            time.sleep(0.05)
        self.begin()
        return self

    def begin(self) -> None:
        """As to enter it, without waiting for a port that is about to be freed."""
        try:
            self._server = self._start()
        except RuntimeError as error:  # the SDK has no error of its own
            raise self._refusal(error) from error
        log.info("foxglove: %s", self.url)
        if not self._address.is_loopback:
            log.warning("foxglove: %s: whoever can reach it sees the camera, without a password", self.url)

    def __exit__(self, *exception: object) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _start(self) -> WebSocketServer:
        from foxglove import start_server
        from foxglove.websocket import Capability

        return start_server(
            name=self._name,
            host=self._address.host,
            port=self._address.port,
            capabilities=[Capability.Time],
            server_listener=self._listener,
            context=self._context,
            playback_time_range=self._time_range_ns,
            message_backlog_size=self._backlog,
            tls_cert=self._certificate and self._certificate.certificate,
            tls_key=self._certificate and self._certificate.key,
        )

    def _refusal(self, error: Exception) -> ConfigError:
        reason = str(error).removeprefix("FoxgloveError: ").removeprefix("Failed to bind port: ")
        advice = f" See who listens: ss -tlnp 'sport = {self._address.port}'" if "in use" in reason else ""
        kind = PortTakenError if any(words in reason for words in _PASSING) else ConfigError
        return kind(f"foxglove: {self._address}: cannot be listened on: {reason}.{advice}")

    @property
    def running(self) -> WebSocketServer:
        """The SDK's server; only while this one is entered."""
        assert self._server is not None
        return self._server

    @property
    def url(self) -> str:
        """Where, with the port that was really taken; known once it is entered."""
        scheme = "wss" if self._certificate else "ws"
        return f"{scheme}://{Address(self._address.host, self.running.port)}"

    def channel(self, topic: str, schema: Schema, metadata: Mapping[str, str]) -> Channel:
        """Advertise a topic. One without a schema has an empty name and encoding for it."""
        import foxglove

        own = foxglove.Schema(name=schema.name, encoding=schema.encoding, data=schema.data) if schema.name else None
        return foxglove.Channel(
            topic, schema=own, message_encoding=schema.message_encoding, context=self._context, metadata=dict(metadata)
        )
