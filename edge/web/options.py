"""Where the page is served, and to whom: this machine alone, unless a token and a certificate say otherwise."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from codecs import BOM_UTF8
from contextlib import suppress
from pathlib import Path

from pydantic import Field

from edge.config import StrictModel
from edge.errors import ConfigError
from edge.paths import check_private, expanded, shown
from edge.regular import open_regular

TOKEN_BYTES = (16, 256)
_TOKEN_FILE_MAX = 1 << 12  # bytes; blanks around the token are allowed
_ANY = ("0.0.0.0", "::")


class WebOptions(StrictModel):
    """The page's part of a config file.

    Attributes:
        address: the IP address of the interface to listen on; 127.0.0.1 is seen by this machine alone.
        port: 0 takes any that is free.
        names: names and addresses, besides localhost, that the page may be opened under.
        token_file: holds the token that viewers must know, one line; such as systemd's LoadCredential gives.
        certificate_file, key_file: PEM, for https.
        ready_within_s: /readyz says no when no mask was published for longer than this.
    """

    address: str = "127.0.0.1"
    port: int = Field(default=8008, ge=0, le=65535)
    names: tuple[str, ...] = ()
    token_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    ready_within_s: float = Field(default=2.0, gt=0, le=3600)


def check_options(options: WebOptions) -> None:
    """Refuse what cannot be, or would show the camera to a network without asking who looks.

    Raises:
        ConfigError: saying what is missing.
    """
    address = _ip(options.address)
    if address.version == 6 and address.is_link_local and not address.scope_id:
        raise ConfigError(f"web.address: {address} is another at each interface; name one, such as {address}%eth0")
    if (options.certificate_file is None) != (options.key_file is None):
        raise ConfigError("web: expected both certificate_file and key_file, or neither")
    for name in options.names:
        if not re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", name):
            raise ConfigError(
                f"web.names: {shown(name)} is not a host name or address; write it without port, as car.local"
            )
    if address.is_loopback:
        return
    missing = [
        what
        for what, there in (
            ("token_file", options.token_file),
            ("certificate_file and key_file", options.certificate_file),
        )
        if not there
    ]
    if missing:
        raise ConfigError(
            f"web.address: {options.address} can be reached from the network, which needs {' and '.join(missing)};"
            " or take 127.0.0.1, and from elsewhere: ssh -L 8008:127.0.0.1:8008 THIS_MACHINE"
        )
    if options.address in _ANY and not options.names:
        raise ConfigError(
            f"web.address: {options.address} is every interface; web.names must then list what the page is opened"
            " under, such as [car.local, 192.168.1.5]"
        )


def read_files(options: WebOptions) -> tuple[bytes | None, ssl.SSLContext | None]:
    """The token, and the TLS context, that the options name; None for what they do not.

    Raises:
        ConfigError: the options are not safe, or their files not in order.
    """
    check_options(options)
    token = None if options.token_file is None else read_token(expanded("web.token_file", options.token_file))
    if options.certificate_file is None or options.key_file is None:
        return token, None
    certificate, key = options.certificate_file, options.key_file
    return token, tls_context(expanded("web.certificate_file", certificate), expanded("web.key_file", key))


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(address)
    except ValueError as error:
        raise ConfigError(
            f"web.address: {shown(address)} is not an IP address; expected that of an interface, such as 127.0.0.1"
        ) from error


def allowed_names(options: WebOptions) -> frozenset[str]:
    """What a browser may call us, in small letters."""
    own = () if options.address in _ANY else (options.address,)
    return frozenset(_as_in_host(name) for name in ("localhost", "127.0.0.1", "::1", *own, *options.names))


def _as_in_host(name: str) -> str:
    """As browsers send it: in small letters, an IPv6 address in its short form and without its zone."""
    with suppress(ValueError):
        name = str(ipaddress.ip_address(name)).partition("%")[0]
    return name.lower()


def read_token(path: Path) -> bytes:
    """The token in a file: one line of 16 to 256 printable characters, which others may not read.

    Raises:
        ConfigError: it cannot be read, is open to all, or is no such line. The message does not show it.
    """
    try:
        with open_regular(path) as file:
            mode, token = os.fstat(file.fileno()).st_mode, file.read(_TOKEN_FILE_MAX).removeprefix(BOM_UTF8).strip()
    except OSError as error:
        raise ConfigError(f"web.token_file: {path}: the token cannot be read: {error.strerror}") from error
    check_private("web.token_file", path, mode)
    if not TOKEN_BYTES[0] <= len(token) <= TOKEN_BYTES[1] or not re.fullmatch(rb"[!-~]+", token):
        raise ConfigError(
            f"web.token_file: {path}: a token is one line of {TOKEN_BYTES[0]} to {TOKEN_BYTES[1]} characters without"
            f" blanks. Make one: openssl rand -hex 24 > {path}"
        )
    return token


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with that certificate.

    Raises:
        ConfigError: the files cannot be read, do not belong together, or every user may read or change the key.
    """
    _check_pem("web.certificate_file", certificate)
    check_private("web.key_file", key, _check_pem("web.key_file", key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise ConfigError(
            f"web.certificate_file and key_file: {certificate} and {key}: cannot be taken as a PEM"
            f" certificate and its unencrypted key: {error}"
        ) from error
    return context


def _check_pem(name: str, path: Path) -> int:
    """The mode of a file that can be opened: OpenSSL names neither the file nor the reason, and waits for a pipe."""
    try:
        with open_regular(path) as file:
            return os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise ConfigError(f"{name}: {path}: cannot be read: {error.strerror}") from error


def _no_password() -> str:
    """Else OpenSSL asks for one on the terminal, and a service waits without end."""
    raise ValueError("the key wants a password")
