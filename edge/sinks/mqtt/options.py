"""Which broker, and how edge authenticates to it."""

from __future__ import annotations

import dataclasses
import importlib.util
import ipaddress
import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from edge.errors import ConfigError
from edge.install import install_command
from edge.paths import check_private, expanded, shown
from edge.regular import open_regular
from edge.sinks.mqtt.link import Address
from edge.zone import with_plain_zone

if TYPE_CHECKING:
    from edge.sinks.mqtt.journal import Journal

_CREDENTIALS_MAX = 1 << 16  # bytes


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """The broker's part of a config file.

    Attributes:
        url: mqtts://HOST[:PORT]; mqtt:// only for a broker on this machine.
        topic: what all topics begin with, such as edge/car-7.
        credentials_file: user on the first line, password on the second; such as systemd's LoadCredential gives.
        ca_file: PEM of who signed the broker's certificate; None: whom the system trusts.
        events_file: where events are kept until the broker has them, over a restart and a power cut; None: in memory.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    url: str
    topic: str
    credentials_file: str | None = None
    ca_file: str | None = None
    events_file: str | None = None


def check_mqtt(options: MqttOptions) -> None:
    """See whether a connection could be tried: options, their files and the library.

    Raises:
        ConfigError: they are not in order. No message shows a password.
    """
    if importlib.util.find_spec("paho") is None:
        raise ConfigError(f"mqtt: paho-mqtt is not installed. Run: {install_command('edge-segmentation[serve]')}")
    check_topic(options.topic)
    address_of(options)
    journal_of(options)


def mqtt_of_camera(options: MqttOptions, camera: str, cameras: int) -> MqttOptions:
    """Topics of one of several cameras are below a part of its name, and its events in a file of their own."""
    path = None if options.events_file is None else Path(options.events_file)
    own = None if path is None else str(path.with_stem(f"{path.stem}-{camera}"))
    return dataclasses.replace(options, topic=f"{options.topic}/{camera}", events_file=own)


def journal_of(options: MqttOptions) -> Journal | None:
    """Where events are kept on disk, not opened yet; None where the options name no file.

    Raises:
        ConfigError: the file cannot be there.
    """
    if options.events_file is None:
        return None
    path = expanded("mqtt.events_file", options.events_file)
    if not path.parent.is_dir():
        raise ConfigError(f"mqtt.events_file: {path.parent}: folder not found. Try: mkdir -p {path.parent}")
    if path.exists() and not path.is_file():
        raise ConfigError(f"mqtt.events_file: {path}: expected a file, which edge makes")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(f"mqtt.events_file: {path}: may not be written. See who may: namei -l {path}")
    from edge.sinks.mqtt.journal import Journal  # late: most services do without SQLite

    return Journal(path)


def check_topic(topic: str) -> None:
    """Refuse what no broker takes as a topic, or none should."""
    if (
        not re.fullmatch(r"[^$/#+\s\x00-\x1f][^#+\x00-\x1f]*(?<!/)", topic)
        or "//" in topic
        or len(topic.encode()) > 200
    ):
        raise ConfigError(
            f"mqtt.topic: {shown(topic)} cannot begin topics; expected one like edge/car-7, without # + $"
        )


def address_of(options: MqttOptions) -> Address:
    """Where the broker is and who we are, with the files that the options name read.

    Raises:
        ConfigError: the options or their files are not in order. No message shows a password.
    """
    try:
        url = urlsplit(with_plain_zone(options.url))
        host, port = url.hostname, url.port
    except ValueError as error:
        # Without the error's text: what stands in the port's place may be a password.
        raise ConfigError("mqtt.url: is no URL; expected mqtts://HOST:PORT with a port from 1 to 65535") from error
    if url.scheme not in ("mqtt", "mqtts") or not host or url.path.strip("/") or url.query or url.fragment:
        raise ConfigError(f"mqtt.url: expected mqtts://HOST or mqtts://HOST:PORT, got scheme {url.scheme!r}")
    if url.username is not None or url.password is not None:
        raise ConfigError("mqtt.url: holds a user or password; they belong into the file that credentials_file names")
    user, password = _credentials(options)
    if url.scheme == "mqtts":
        return Address(host, port or 8883, _tls_context(options.ca_file), user, password)
    if options.ca_file is not None:
        raise ConfigError("mqtt.ca_file: is for mqtts://, and mqtt.url begins with mqtt://")
    if not _is_this_machine(host):
        raise ConfigError(f"mqtt.url: without TLS everybody on the way reads along; take mqtts://{host}")
    return Address(host, port or 1883, None, user, password)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    try:
        path = None if ca_file is None else expanded("mqtt.ca_file", ca_file)
        if path is not None:
            open_regular(path).close()  # OpenSSL would wait for a pipe
        context = ssl.create_default_context(cafile=path)
    except OSError as error:  # SSLError is one
        reason = error.strerror or error
        raise ConfigError(f"mqtt.ca_file: {ca_file}: cannot be read as PEM certificates: {reason}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _credentials(options: MqttOptions) -> tuple[str | None, str | None]:
    """User and password; None where the options name no file with them."""
    if options.credentials_file is None:
        return None, None
    path = expanded("mqtt.credentials_file", options.credentials_file)
    try:
        with open_regular(path) as file:
            mode, text = os.fstat(file.fileno()).st_mode, file.read(_CREDENTIALS_MAX + 1).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise ConfigError(f"mqtt.credentials_file: {path}: cannot be read: {reason}") from error
    check_private("mqtt.credentials_file", path, mode)
    lines = text.splitlines()
    if len(lines) != 2 or not all(lines) or not "".join(lines).isprintable() or len(text) > _CREDENTIALS_MAX:
        raise ConfigError(
            f"mqtt.credentials_file: {path}: expected two lines, user and password, without control characters; got"
            f" {len(lines)} of {len(text)} characters"
        )
    return lines[0], lines[1]
