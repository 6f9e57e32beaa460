"""Cameras of the network: RTSP and HTTP."""

from __future__ import annotations

import logging
import re
from urllib.parse import urlsplit

from edge.errors import SourceNotFound
from edge.secrets import redacted, without_secrets
from edge.sources.capture.wire import CaptureRequest
from edge.sources.kinds import ADDRESSES
from edge.sources.supervised import Supervised
from edge.zone import with_plain_zone

log = logging.getLogger(__name__)

_TLS_SCHEMES = ("rtsps", "https")
_UNVERIFIED = re.compile(r"^tls=unverified(?:&|$)|&tls=unverified(?=&|$)")


def open_stream(url: str) -> Supervised:
    """The stream of that address, which may hold user name and password. Capture begins at once.

    Certificates of rtsps:// and https:// are verified, unless the query says tls=unverified, which the camera never
    sees.

    Raises:
        SourceNotFound: it is no address of a camera.
    """
    name, request = redacted(url), stream_request(url)
    if not request.verify_tls:
        log.warning("camera %s: its certificate is not verified: anybody on the way may be the camera", name)
    return Supervised(name, request, hide=lambda text: without_secrets(text, url))


def stream_request(url: str) -> CaptureRequest:
    """What the capture process of that address is asked for.

    Raises:
        SourceNotFound: it is no address of a camera.
    """
    name = redacted(url)
    example = "One looks like this: rtsp://user:password@192.168.1.20:554/stream"
    try:
        parts = urlsplit(with_plain_zone(url))
        host, _ = parts.hostname, parts.port
    except ValueError:  # its text may hold the password
        raise SourceNotFound(
            f"{name}: is no address. A password's own /, ? and # are written %2F, %3F and %23"
        ) from None
    if parts.scheme not in ADDRESSES:
        raise SourceNotFound(f"{name}: {parts.scheme}:// is not supported, only {', '.join(ADDRESSES)}. {example}")
    if not host or not url.isprintable() or " " in url:
        raise SourceNotFound(f"{name}: is no address. {example}")
    query = _UNVERIFIED.sub("", parts.query) if parts.scheme in _TLS_SCHEMES else parts.query
    return CaptureRequest("stream", parts._replace(query=query).geturl(), verify_tls=query == parts.query)
