"""Position and speed from gpsd, by its JSON protocol, in a thread of its own. Nothing ever waits for it.

https://gpsd.gitlab.io/gpsd/gpsd_json.html has the protocol: lines of JSON; TPV is a fix, or says that there is no fix.
"""

from __future__ import annotations

import json
import logging
import re
import select
import socket
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import Field

from edge.config import StrictModel
from edge.errors import ConfigError, DataError, SourceError
from edge.location import STALE_NS, Fix, fix_from_json
from edge.status import Status
from edge.zone import with_plain_zone

if TYPE_CHECKING:
    from typing_extensions import Self

PORT = 2947
RETRY_S = (0.5, 10.0)  # first and longest wait before the next attempt
CONNECT_S = 5.0
SILENT_S = 10.0  # then gpsd is asked for a word, and after as long again it is given up
_LEAVE_S = 1.0
_LINE_MAX = 1 << 16  # bytes; gpsd's longest are 10 kB
_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[A-Za-z0-9._:%-]{1,253})\]|(?P<host>[A-Za-z0-9._-]{1,253}))(?::(?P<port>[0-9]{1,5}))?"
)
_FIX_MODE = 2  # TPV's mode: 2 and 3 are fixes

# Ours by gpsd's names.
_FIELDS = {
    "latitude_deg": ("lat",),
    "longitude_deg": ("lon",),
    "altitude_m": ("altMSL", "alt"),
    "error_m": ("eph", "epx"),
    "speed_m_s": ("speed",),
    "heading_deg": ("track",),
    "time": ("time",),
}

log = logging.getLogger(__name__)


class GpsOptions(StrictModel):
    """The GPS's part of a config file.

    Attributes:
        host, port: where gpsd listens.
        device: the only receiver that counts, such as /dev/ttyACM0, where gpsd has several.
    """

    host: str = Field(default="127.0.0.1", max_length=253, pattern=r"^[A-Za-z0-9._:%-]+$")
    port: int = Field(default=PORT, ge=1, le=65535)
    device: str | None = Field(default=None, max_length=253, pattern=r"^[/a-z][\x21-\x7e]*$")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"gpsd at {host}:{self.port}"


def gps_options(text: str) -> GpsOptions:
    """The options of "HOST:PORT", "HOST", an IPv6 address, or "[IPv6]:PORT".

    Raises:
        ConfigError: it is something else.
    """
    match = _ADDRESS.fullmatch(with_plain_zone(f"[{text}]" if text.count(":") > 1 and "[" not in text else text))
    port = int(match["port"] or PORT) if match else 0
    if match is None or not 0 < port < 1 << 16:
        raise ConfigError(f"--gps {text}: expected HOST:PORT of a gpsd, such as localhost:{PORT}")
    return GpsOptions(host=match["v6"] or match["host"], port=port)


class Gps:
    """The newest fix of a gpsd that may come and go. It never raises: what goes wrong is in `health`.

        with Gps(GpsOptions()) as gps:
            print(gps.fix_at(time.monotonic_ns()), gps.health)

    Its thread owns the connection; `fix_at` and `health` are for any thread.
    """

    def __init__(self, options: GpsOptions) -> None:
        self._options = options
        self._newest: tuple[Fix, int] | None = None  # and when it came, on the monotonic clock
        self._trouble = "not connected yet"  # "" while there is a connection
        self._fixes = self._connections = self._satellites = 0
        self._logged = ""
        self._leaving = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._work, name="gps", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread; one that waits for a name or a host to answer ends with that."""
        self._leaving.set()
        self._wake.send(b"!")
        self._thread.join(_LEAVE_S)
        if not self._thread.is_alive():
            self._wake.close()
            self._woken.close()

    def fix_at(self, captured_ns: int) -> Fix | None:
        """The newest fix, for a frame of that time; None where it came more than 3 s before."""
        newest = self._newest
        return newest[0] if newest is not None and captured_ns - newest[1] <= STALE_NS else None

    @property
    def health(self) -> Status:
        """How it is now: "ok" with a fix, "degraded" without, "lost" without gpsd."""
        totals = {"fixes": self._fixes, "connections": self._connections}
        levels = {"satellites": self._satellites}
        if self._trouble:
            return Status("lost", self._trouble, totals=totals, levels=levels)
        has_fix = self.fix_at(time.monotonic_ns()) is not None
        return Status(*(("ok", "") if has_fix else ("degraded", "no fix")), totals=totals, levels=levels)

    # -- the thread

    def _work(self) -> None:
        wait_s = RETRY_S[0]
        while not self._leaving.is_set():
            fixes = self._fixes
            try:
                self._listen()
            except (OSError, SourceError) as error:
                self._lose(str(error))
            wait_s = RETRY_S[0] if self._fixes > fixes else min(2 * wait_s, RETRY_S[1])
            self._leaving.wait(wait_s)

    def _lose(self, why: str) -> None:
        """Each reason is in the log once, until there was a connection again."""
        self._trouble, self._satellites = why, 0
        if why != self._logged:
            log.warning("gps: %s: %s. It is tried again", self._options, why)
            self._logged = why

    def _listen(self) -> None:
        """One connection, until it breaks or all is to end.

        Raises:
            OSError, SourceError: why it broke.
        """
        options = self._options
        with socket.create_connection((options.host, options.port), CONNECT_S) as line:
            watch = {"enable": True, "json": True, **({"device": options.device} if options.device else {})}
            line.sendall(f"?WATCH={json.dumps(watch)};\n".encode())
            held, asked = bytearray(), False
            while True:
                there = self._await(line)
                if self._leaving.is_set():
                    return
                if there:
                    if not (data := line.recv(_LINE_MAX)):
                        raise SourceError("it closed the connection")
                    held += data
                    self._take_lines(held)
                elif asked:
                    raise SourceError(f"it said nothing for {2 * SILENT_S:g} s")
                else:
                    line.sendall(b"?VERSION;\n")
                asked = not there

    def _await(self, line: socket.socket) -> bool:
        """Whether gpsd said something in time."""
        poll = select.poll()
        for one in (line, self._woken):
            poll.register(one, select.POLLIN)
        return any(fd == line.fileno() for fd, _ in poll.poll(SILENT_S * 1000))

    def _take_lines(self, held: bytearray) -> None:
        """Take the whole lines off what is held."""
        while (end := held.find(b"\n")) >= 0:
            text = bytes(held[:end]).strip()
            del held[: end + 1]
            if text:
                self._take(_message(text))
        if len(held) > _LINE_MAX:
            raise SourceError(f"sent a line of more than {_LINE_MAX} bytes: expected gpsd")

    def _take(self, message: dict[str, Any]) -> None:
        kind, device = message.get("class"), message.get("device")
        if kind == "VERSION" and self._trouble:
            self._trouble = self._logged = ""
            self._connections += 1
            log.info("gps: %s: connected", self._options)
        elif self._options.device not in (None, device):
            return
        elif kind == "TPV":
            self._take_fix(message)
        elif kind == "SKY" and isinstance(used := message.get("uSat"), int):
            self._satellites = used

    def _take_fix(self, message: dict[str, Any]) -> None:
        mode = message.get("mode")
        if not isinstance(mode, int) or mode < _FIX_MODE or "lat" not in message or "lon" not in message:
            if isinstance(mode, int) and mode < _FIX_MODE:
                self._newest = None
            return
        given = {ours: next((message[k] for k in theirs if k in message), None) for ours, theirs in _FIELDS.items()}
        try:
            fix = fix_from_json(given)
        except DataError as error:
            raise SourceError(str(error)) from error
        self._newest = fix, time.monotonic_ns()
        self._fixes += 1


def _message(text: bytes) -> dict[str, Any]:
    """Raises SourceError: gpsd does not speak like that."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or "class" not in message:
        raise SourceError(f"sent {text[:40]!r}: expected gpsd's JSON")
    return message
