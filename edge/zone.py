"""The zone of a link-local IPv6 address: the interface at which it is, such as eth0 in fe80::5%eth0."""

from __future__ import annotations

import re

_IN_BRACKETS = re.compile(r"(\[[0-9A-Fa-f:.]+)%25(?=[^\]]+\])")


def with_plain_zone(address: str) -> str:
    """A URL or HOST:PORT with "%" before the zone, as the system's resolver takes it; URLs write it %25 (RFC 6874).

    >>> with_plain_zone("rtsp://[fe80::5%25eth0]:554/live")
    'rtsp://[fe80::5%eth0]:554/live'
    """
    return _IN_BRACKETS.sub(r"\1%", address)
