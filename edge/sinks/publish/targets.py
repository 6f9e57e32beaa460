"""The media servers that a stream can go to, by the scheme of their URL: a row for each protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from edge.errors import ConfigError
from edge.secrets import redacted
from edge.zone import with_plain_zone

ANSWER_S = 5.0  # a server that neither takes nor refuses anything for so long is given up
_US = str(round(ANSWER_S * 1e6))
_TCP = {"rtsp_transport": "tcp", "timeout": _US}


class Protocol(NamedTuple):
    """How a stream goes: FFmpeg's muxer, its options, and the encoder's."""

    muxer: str
    options: Mapping[str, str] = {}
    encoder: Mapping[str, str] = {}


PROTOCOLS = {
    "rtsp": Protocol("rtsp", _TCP),
    "rtsps": Protocol("rtsp", _TCP),
    "rtmp": Protocol("flv", {"rw_timeout": _US}),
    "rtmps": Protocol("flv", {"rw_timeout": _US}),
    "udp": Protocol("mpegts"),
    # What every browser decodes: https://www.rfc-editor.org/rfc/rfc7742, section 6.2.
    "https": Protocol("whip", {}, {"profile": "baseline"}),
    "http": Protocol("whip", {}, {"profile": "baseline"}),
}


class Target(NamedTuple):
    """Where a stream goes. `url` and `options` are FFmpeg's and may hold a secret, `shown` does not."""

    url: str
    shown: str
    muxer: str
    options: dict[str, str]
    encoder: dict[str, str]

    @classmethod
    def parse(cls, url: str) -> Target:
        """The target that a URL names.

        Raises:
            ConfigError: it does not name a media server. No message shows a secret.
        """
        try:
            parts = urlsplit(with_plain_zone(url))
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(f"publish: {redacted(url)}: is no URL: {error}") from error
        protocol = PROTOCOLS.get(parts.scheme)
        if protocol is None or not host:
            known = ", ".join(f"{scheme}://" for scheme in PROTOCOLS)
            raise ConfigError(
                f"publish: expected the URL of a media server, such as rtsp://HOST/car, beginning with one of {known}"
            )
        options = dict(protocol.options)
        place = urlunsplit(parts) if "%25" in url else url
        if protocol.muxer == "whip" and parts.password:  # https://:TOKEN@HOST/PATH
            options["authorization"] = unquote(parts.password)
            place = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        return cls(place, redacted(url), protocol.muxer, options, dict(protocol.encoder))

    def check_muxer(self) -> None:
        """Raises ConfigError: this FFmpeg has no such muxer."""
        import av

        if self.muxer not in av.formats_available:
            raise ConfigError(
                f"publish: {self.shown}: the FFmpeg of av {av.__version__} has no muxer {self.muxer!r}."
                " Try: pip install --upgrade av"
            )
