"""Cameras of the network: RTSP and HTTP."""

from __future__ import annotations

import logging
import re
from urllib.parse import unquote, urlsplit

from edge.errors import SourceNotFound
from edge.sources.capture.wire import Order
from edge.sources.supervised import Supervised

log = logging.getLogger(__name__)

SCHEMES = ("rtsp", "rtsps", "http", "https")
# Up to the last "@": a password may hold any sign, though "/", "?" and "#" should be written %2F, %3F and %23 there.
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(.*)@", re.DOTALL)
_SECRET_VALUE = re.compile(r"([?&;][^=&;#]*(?:pass|pwd|token|secret|auth|key|sig)[^=&;#]*=)([^&;#]*)", re.IGNORECASE)
_TLS_SCHEMES = ("rtsps", "https")
_UNVERIFIED = re.compile(r"^tls=unverified(?:&|$)|&tls=unverified(?=&|$)")
_SHORTEST_SECRET = 3  # a shorter one would make holes in every other word


def open_stream(url: str) -> Supervised:
    """The stream of that address, which may hold user name and password. Capture begins at once.

    Certificates of rtsps:// and https:// are verified, unless the query says tls=unverified, which the camera never
    sees.

    Raises:
        SourceNotFound: it is no address of a camera.
    """
    name, order = redacted(url), stream_order(url)
    if order.trusts_any:
        log.warning("camera %s: its certificate is not verified: anybody on the way may be the camera", name)
    return Supervised(name, order, hide=lambda text: without_secrets(text, url))


def stream_order(url: str) -> Order:
    """What the capture process of that address is asked for.

    Raises:
        SourceNotFound: it is no address of a camera.
    """
    name = redacted(url)
    example = "One looks like this: rtsp://user:password@192.168.1.20:554/stream"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:  # its text may hold the password
        raise SourceNotFound(
            f"{name}: is no address. A password's own /, ? and # are written %2F, %3F and %23"
        ) from None
    if parts.scheme not in SCHEMES:
        raise SourceNotFound(f"{name}: {parts.scheme}:// is not supported, only {', '.join(SCHEMES)}. {example}")
    if not host or not url.isprintable() or " " in url:
        raise SourceNotFound(f"{name}: is no address. {example}")
    query = _UNVERIFIED.sub("", parts.query) if parts.scheme in _TLS_SCHEMES else parts.query
    return Order("stream", parts._replace(query=query).geturl(), trusts_any=query != parts.query)


def redacted(url: str) -> str:
    """The address as it may be shown.

    >>> redacted("rtsp://admin:12345@10.0.0.7/live?channel=1&token=abc")
    'rtsp://admin:***@10.0.0.7/live?channel=1&token=***'
    """
    user = _USER.match(url)
    if user and ":" in user[2]:
        url = f"{user[1]}{user[2].partition(':')[0]}:***{url[user.end(2) :]}"
    return _SECRET_VALUE.sub(r"\1***", url)


def without_secrets(text: str, url: str) -> str:
    """A text, such as a library's message, without the address's secrets."""
    user = _USER.match(url)
    secrets = [value for _, value in _SECRET_VALUE.findall(url)]
    if user and ":" in user[2]:
        secrets.append(user[2].partition(":")[2])
    text = text.replace(url, redacted(url))
    for secret in sorted({*secrets, *map(unquote, secrets)}, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text
