"""Passwords and tokens in the names of sources: found once, hidden wherever a name or a library's message is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote

from edge.errors import EdgeError

# Without a slash only what no file is called: a slip of the hand that leaves the password where it is.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/|(?:rtsps?|rtmps?|https?|srt|rtp|udp|tcp)(?::|//)", re.I)
_PIPELINE = "gst:"
_OPTIONS = re.compile(r"(?:csi:|scene:|/dev/)[^?]*\?")
_SIGN = r"(?:(?!%3D|%26|%5F)[^=&;#?/\s_])"
_KEY_PART = (
    "(?:pas|pwd|psw|token|secret|auth|key|sig|cred|session|login|jwt|hash|cookie|streamid|bearer|ticket|digest|pincode)"
)
_SECRET_KEY = rf"{_SIGN}*{_KEY_PART}{_SIGN}*|(?:{_SIGN}*-)?code|access{_SIGN}*|invite|k|p|pw|pin|sid|psk|otp"
_LONE_KEY = r"[acst](?=(?:=|%3D)[^&;#]*[^\d&;#][^&;#]*)"  # a short key says little: a number is a channel or a size
_IS = "(?:=|%3D)"  # also percent-encoded, as some recorders' addresses are copied
# Up to the last "@": a password may hold any sign, though "/", "?" and "#" should be written %2F, %3F and %23 there.
# One slash, three or none are slips of the hand.
_USER = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:?/{0,3}(?P<user>[^@:]*)(?::(?P<secret>.*))?@", re.DOTALL)
# XMEye and others: rtsp://host/user=admin_password=secret_channel=1; a value may hold "_" itself.
_IN_PATH = re.compile(
    rf"(?:^|[/_&;]|%26|%5F)(?:{_SECRET_KEY}){_IS}(?P<secret>.*?)(?=(?:_|%5F)[A-Za-z]+{_IS}|[&;/]|%26|$)",
    re.IGNORECASE | re.DOTALL,
)
_IN_QUERY = re.compile(
    rf"(?:^|[?&;#])(?:(?:[^=&;#]*_)?(?:{_SECRET_KEY})(?:_[^=&;#]*)?|{_LONE_KEY}){_IS}(?P<secret>[^&;#]*)", re.I
)
# What stands behind "#" alone, without a key, is a token more often than a place in a page.
_FRAGMENT = re.compile(r"#(?P<secret>[^=&#!]{3,})$")
# Some recorders: rtsp://host/user/admin/password/secret/1, rtsp://host/live/admin:secret/1.
_SEGMENT = re.compile(r"(?:^|/)(?:(?:pass(?:word|wd)?|pwd?|token|key)/|[A-Za-z]\w*:(?=[^/]{3}))(?P<secret>[^/]+)", re.I)
# What is posted to holds its secret in its path: http://host/hooks/services/T0/B0/secret
_WEBHOOK = re.compile(r"(?:/(?:web)?hooks?\w*/|://hooks\.[^/]+/)(?P<secret>[^?#]+)", re.I)
# Parts of a path and values without a telling key that look random, as tokens do: letters and digits in turn.
_PART = re.compile(r"(?<=[/=?&;])(?P<secret>[\w.~%+:-]{8,})")
_RANDOM = re.compile(r"[a-z](?=[A-Z\d])|\d(?=[A-Za-z])|[A-Z](?=\d)")
_TURNS = 4
_FILE = re.compile(r"\.(?:mp4|mkv|avi|mov|webm|m4v|m4s|ts|h26[45]|mcap|bag|db3|png|jpe?g|m3u8|mpd|sdp|cgi)$", re.I)
# An address without its scheme, a slip of the hand; a recording may be called so.
_LOGIN = re.compile(
    r"(?![^/]*\.(?:mp4|mkv|avi|mov|webm|m4v|ts|h26[45]|mcap|bag|db3|png|jpe?g)$)"
    r"[^/\s:@]+:(?P<secret>[^/\s@]+)@[\w.-]+(?::\d+)?(?:[/?#].*)?",
    re.I,
)
# SRT's own form holds "#" and is the whole rest up to "&": srt://host:9000?streamid=#!::u=admin,s=secret
_STREAM_ID = re.compile(r"[?&]streamid=(?P<secret>[^&]*)", re.I)
# The last part of an address that is streamed to is its key, with which a stream can be sent.
_STREAM_KEY = re.compile(r"rtmps?://[^/]+/[^/]+/(?P<secret>[^?#]+)", re.I)
_PROPERTY = re.compile(
    r"(?:^|[\s\"',{;])[\w:.-]*(?:pw|pwd|pass(?:word|wd|phrase|code)?|token|secret|auth(?:orization)?|credentials?|key"
    r"|cookies?|jwt|streamid)\s*=\s*(?:\(\w+\)\s*)?"
    r"(?:\"(?P<double>(?:\\.|[^\"\\])*)\"|'(?P<single>(?:\\.|[^'\\])*)'|\\\"(?P<inner>.*?)\\\"|\{(?P<list>[^}]*)\}"
    r"|(?P<plain>(?:\\.|[^\s\"'\\])+))",
    re.IGNORECASE | re.DOTALL,
)
_ADDRESS_WITHIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/+[^\s\"']+")
_SHORTEST_SECRET = 3  # a shorter one would make holes in every other word


def redacted(name: str) -> str:
    """A source's name as it may be shown; one without secrets, and any path, stays as it is.

    >>> redacted("rtsp://admin:12345@10.0.0.7/live?channel=1&token=abc")
    'rtsp://admin:***@10.0.0.7/live?channel=1&token=***'
    """
    shown, at = "", 0
    for start, end in sorted(set(_secret_spans(name))):
        if start >= at:
            shown, at = f"{shown}{name[at:start]}***", end
        at = max(at, end)
    return shown + name[at:]


def without_secrets(text: str, name: str) -> str:
    """A text, such as a library's message, without the secrets of a source's name."""
    text = text.replace(name, redacted(name))
    secrets = {name[start:end] for start, end in _secret_spans(name)}
    for secret in sorted({*secrets, *map(unquote, secrets)}, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text


@contextmanager
def hidden_in_errors(name: str) -> Iterator[None]:
    """What is raised on the way to a source says none of its secrets."""
    try:
        yield
    except EdgeError as error:
        if (shown := without_secrets(str(error), name)) != str(error):
            raise type(error)(shown) from None
        raise


def _secret_spans(name: str) -> Iterator[tuple[int, int]]:
    if name.startswith(_PIPELINE):
        yield from (_span(match, match.lastgroup or "") for match in _PROPERTY.finditer(name))
        for address in _ADDRESS_WITHIN.finditer(name):
            yield from _spans_of_address(name, address.start(), address.end())
    elif _OPTIONS.match(name):  # options that a device does not have, such as a token
        yield from _spans_of_address(name, name.find("?"), len(name))
    elif _ADDRESS.match(name):
        yield from _spans_of_address(name, 0, len(name))
    elif login := _LOGIN.fullmatch(name):
        yield _span(login, "secret")
        yield from _spans_of_address(name, login.end("secret") + 1, len(name))


def _spans_of_address(name: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    address = name[start:end]
    path = 0
    if user := _USER.match(address):
        path = user.end()
        group = "user" if user["secret"] is None else "secret"  # a user alone may be a token
        if user[group]:
            yield start + user.start(group), start + user.end(group)
    host = address.find("/", path or address.find("://") + 3)
    host = len(address) if host < 0 else host
    query = min((at for sign in "?#" if (at := address.find(sign, path)) >= 0), default=len(address))
    for pattern, begin, until in (
        (_IN_PATH, path, query),
        (_SEGMENT, host, query),
        (_WEBHOOK, 0, len(address)),
        (_STREAM_KEY, 0, query),
        (_STREAM_ID, 0, len(address)),
        (_IN_QUERY, query, len(address)),
        (_FRAGMENT, query, len(address)),
    ):
        for match in pattern.finditer(address[begin:until]):
            if match["secret"]:
                yield start + begin + match.start("secret"), start + begin + match.end("secret")

    if "://" in address and not address.startswith("file:"):
        for match in _PART.finditer(address, path or host):
            if len(_RANDOM.findall(match["secret"])) >= _TURNS and not _FILE.search(match["secret"]):
                yield start + match.start("secret"), start + match.end("secret")


def _span(match: re.Match[str], group: str) -> tuple[int, int]:
    return match.start(group), match.end(group)
