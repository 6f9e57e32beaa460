"""The flight recorder: the last seconds of frames, masks and events in memory, made a drive when something happens.

The ring is a folder of short drives in a file system that is memory: what a process that is killed had seen is still
there, and the next one writes it out. No second process watches the first.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from annotated_types import Ge, Gt, Le

import edge
from edge.drive.location import add_fix
from edge.drive.merge import merge
from edge.drive.schema import EVENTS, IMAGE, TRIGGER, VIDEO_SCHEMA, message_class
from edge.errors import ConfigError, OutputError
from edge.frame import Frame
from edge.paths import expanded
from edge.prediction import Prediction
from edge.sinks.drive import DriveOptions, FrameEncoder, add_seen, open_writer
from edge.sinks.files import writing
from edge.sinks.shelf import SegmentFile, SegmentStore
from edge.sinks.size_changes import SizeChanges
from edge.sinks.stamps import DriveClock
from edge.sinks.table import SinkContext, SinkKind
from edge.status import Status, StatusKeeper
from edge.timing import Stages

if TYPE_CHECKING:
    from typing_extensions import Self

    from edge.card import Card
    from edge.drive.writer import DriveWriter
    from edge.events import Event

AFTER_S = 2.0  # what came next is recorded, too
PIECE_S = 1.0
RETRY_S = 2.0
QUOTA_MAX_GB, MEMORY_MAX_MB = 1e6, 1e5
_GIL_YIELD_S = 0.0005  # between two messages: threads that wait for the interpreter get it at once, not after its 5 ms
RESERVE_BYTES = 1 << 28  # of the disk are left free

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FlightOptions:
    """The flight recorder's part of a config file.

    Attributes:
        folder: for nothing but its drives; it is made, for this user alone.
        seconds: are kept in memory, before what happens; two more follow it.
        memory_mb: that the ring may take, in MB (1e6 bytes); what is more than that, in seconds, is not kept.
        deadline_ms: a mask that is older than this is something that happened; None: however old.
        cooldown_s: after a drive was written, nothing is, for so long.
        quota_gb: the drives' size in GB; beyond it the oldest goes.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}

    folder: str
    seconds: Annotated[float, Gt(0), Le(3600)] = 20.0
    memory_mb: Annotated[float, Gt(0), Le(MEMORY_MAX_MB)] = 64.0
    deadline_ms: Annotated[float, Gt(0), Le(3_600_000)] | None = None
    cooldown_s: Annotated[float, Ge(0), Le(86_400)] = 60.0
    quota_gb: Annotated[float, Gt(0), Le(QUOTA_MAX_GB)] = 2.0


def check_flight(options: FlightOptions) -> Path:
    """The folder of the drives, with the options checked.

    Raises:
        ConfigError: they cannot be, or the libraries are not installed.
    """
    limits = (("seconds", 3600), ("memory_mb", MEMORY_MAX_MB), ("quota_gb", QUOTA_MAX_GB))
    for name, most in limits:
        if not 0 < (value := getattr(options, name)) <= most:
            raise ConfigError(f"flight.{name}: expected more than 0 and at most {most:g}, got {value:g}")
    if options.cooldown_s < 0:
        raise ConfigError(f"flight.cooldown_s: expected 0 or more, got {options.cooldown_s:g}")
    message_class(VIDEO_SCHEMA)
    return expanded("flight.folder", options.folder)


def flight_of_camera(options: FlightOptions, camera: str, cameras: int) -> FlightOptions:
    """Drives of one of several cameras have a folder of their own, and an even part of quota and memory."""
    folder, quota_gb, memory_mb = str(Path(options.folder) / camera), options.quota_gb, options.memory_mb
    return replace(options, folder=folder, quota_gb=quota_gb / cameras, memory_mb=memory_mb / cameras)


class _Wish(NamedTuple):
    """A drive that is to be written, when the frames up to `due_ns` are in the ring."""

    reason: str
    due_ns: int


class FlightRecorder:
    """Keeps each result for a while. Once entered it never raises: what goes wrong is in `health`.

    `trigger` and `event` may be called from any thread.
    """

    def __init__(self, options: FlightOptions, drive: DriveOptions, stages: Stages) -> None:
        """Raises:
        ConfigError: the options cannot be, or the libraries are not installed.
        OutputError: the folder cannot be made, or may not be written by this user.
        """
        folder = check_flight(options)
        self._options, self._drive, self._stages = options, drive, stages
        self._store = SegmentStore(folder, int(options.quota_gb * 1e9), ".mcap", repair=lambda path: None)
        self._ring = _Ring(ring_folder(folder), options.seconds + AFTER_S, int(options.memory_mb * 1e6))
        self._sizes = SizeChanges()
        self._encoder: FrameEncoder | None = None
        self._clock: DriveClock | None = None
        self._events: deque[Event] = deque()
        self._lock = threading.Lock()  # over the wish and the end of the cooldown
        self._wish: _Wish | None = None
        self._quiet_until_ns = 0
        self._writer: threading.Thread | None = None
        self._leaving = threading.Event()  # then no other thread needs the interpreter, and the end is awaited
        self._next_try_s = 0.0
        self._unwritten = ""  # why the newest drive was lost; "" where it was not
        self._health = StatusKeeper(
            totals=["drives", "drives_lost", "triggers", "suppressed", "frames_lost"], levels=["ring_bytes"]
        )

    def __enter__(self) -> Self:
        """What a run before this one left behind is written out.

        Raises:
            OutputError: another flight recorder writes into the folder, or there is no memory to keep a ring in.
        """
        self._store.lock()
        try:
            with writing(self._ring.folder):
                left = self._ring.begin()
        except BaseException:  # Ctrl-C too: no other owner could let go of the folder
            self._store.unlock()
            raise
        if left:
            self._write_out(left, "the process ended without a word: it was killed, or crashed")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write out what was asked for, or what led to the error that ends the run; then let go of the memory."""
        self._leaving.set()
        self._await_writer()
        reason = self._wish.reason if self._wish else ""
        if error is not None and not isinstance(error, KeyboardInterrupt):
            reason = f"the run ended: {error}"
        if reason:
            self._write_out(self._ring.hand_over(), reason)
            self._await_writer()
        if self._encoder is not None:
            self._encoder.close()
        self._ring.leave()
        self._store.unlock()
        self._health.become("stopped")

    @property
    def health(self) -> Status:
        """How it is now: "lost" where frames are not kept, "degraded" where the newest drive could not be written.
        `drives_lost` counts those; of `triggers`, those that fell into a cooldown were `suppressed`. Any thread may
        ask.
        """
        return self._health.now

    def event(self, event: Event, result: Prediction) -> None:
        """Keep the event; one that begins is a trigger, unless it is one of many people coming and going."""
        self._events.append(event)
        if event.active and event.visit is None:
            self.trigger(f"{event.name} began at frame {event.frame}")

    def set_engine(self, card: Card, precision: str) -> None:
        """Another engine works: pieces that are begun from here on say so. Any thread may tell."""
        self._drive = replace(self._drive, card=card, precision=precision)

    def trigger(self, reason: str) -> None:
        """Have the ring written to the disk, soon."""
        now_ns = time.monotonic_ns()
        with self._lock:
            is_quiet = self._wish is not None or now_ns < self._quiet_until_ns
            if not is_quiet:
                self._wish = _Wish(reason, now_ns + int(AFTER_S * 1e9))
                self._quiet_until_ns = now_ns + int(self._options.cooldown_s * 1e9)
        self._health.count(triggers=1, suppressed=is_quiet)

    def write(self, result: Prediction, dropped: int) -> None:
        """Keep the frame and what was seen in it; a mask that is too old is a trigger."""
        if time.monotonic() < self._next_try_s:
            self._health.count(frames_lost=1)
            return
        try:
            self._keep(result, dropped)
        except (OSError, OutputError) as error:
            self._give_up(str(error))
        deadline_ms = self._options.deadline_ms
        if deadline_ms is not None and result.age_ms > deadline_ms:
            self.trigger(f"the mask of frame {result.frame.index} was {result.age_ms:.0f} ms old")

    def _keep(self, result: Prediction, dropped: int) -> None:
        """Raises OSError where memory is full, OutputError where the frame cannot be coded."""
        if self._encoder is None or self._encoder.size_wh != result.frame.size_wh:
            if self._encoder is not None and not self._sizes.may_change(result.frame):
                self._leave_out(result.frame, self._encoder.size_wh)
                return
            self._begin(result)
        assert self._encoder is not None
        assert self._clock is not None
        time_ns = self._clock.stamp_ns(result.frame)
        image, is_key = self._encoder.message(result.frame, time_ns, self._stages)
        with self._stages["write"].span():
            if is_key:
                self._begin_piece(time_ns, self._clock, self._encoder.size_wh)
            writer = self._ring.writer
            if writer is None:  # nothing can be made of this frame without the one before
                self._health.count(frames_lost=1)
                return
            writer.add(IMAGE, time_ns, image)
            add_fix(writer, result.frame, time_ns)
            add_seen(writer, result, dropped, time_ns)
            while self._events:
                writer.add(EVENTS, time_ns, json.dumps(self._events.popleft().as_json()).encode())
            self._ring.end_frame(time_ns)
        self._keeps()
        self._health.measure(ring_bytes=self._ring.size_bytes)

    def _leave_out(self, frame: Frame, kept_wh: tuple[int, int]) -> None:
        """The camera changes its size too often for a piece, with the engine's card in it, each time."""
        if self._sizes.left_out(frame, kept_wh):
            log.warning("flight recorder: %s", self._sizes.trouble)
        self._keeps()
        self._health.count(frames_lost=1)

    def _keeps(self) -> None:
        unwritten = self._unwritten  # of the thread that writes
        self._health.become("degraded" if unwritten else "ok", unwritten or self._sizes.trouble)

    def _begin(self, first: Prediction) -> None:
        """Frames of this size from here on."""
        self._ring.end_piece()
        if self._encoder is not None:
            self._encoder.close()
        self._clock = self._clock or DriveClock(first.frame)
        self._encoder = FrameEncoder(self._drive, first)

    def _begin_piece(self, time_ns: int, clock: DriveClock, size_wh: tuple[int, int]) -> None:
        """With a keyframe, which a drive can begin with: if it is time for the next piece, or for a whole drive."""
        wish, is_writing = self._wish, self._writer is not None and self._writer.is_alive()
        if wish is not None and time.monotonic_ns() >= wish.due_ns and self._ring.size_bytes and not is_writing:
            self._write_out(self._ring.hand_over(), wish.reason)
            with self._lock:
                self._wish = None
        if self._ring.wants_piece(time_ns):
            self._ring.begin_piece(time_ns, lambda fd: open_writer(fd, self._drive, clock, size_wh))

    def _give_up(self, reason: str) -> None:
        """Nothing is kept for a while."""
        with suppress(OSError):
            self._ring.end_piece()
        self._next_try_s = time.monotonic() + RETRY_S
        if self._health.state != "lost":
            log.warning("flight recorder: lost %s", reason)
        self._health.become("lost", reason)
        self._health.count(frames_lost=1)

    def _write_out(self, pieces: Sequence[Path], reason: str) -> None:
        """Make a drive of the pieces, which are the writing thread's from here on."""
        self._await_writer()
        self._writer = threading.Thread(
            target=self._work, args=(pieces, reason), name="flight recorder writes", daemon=True
        )
        self._writer.start()

    def _await_writer(self) -> None:
        if self._writer is not None:
            self._writer.join()
            self._writer = None

    def _work(self, pieces: Sequence[Path], reason: str) -> None:
        try:
            with writing(self._store.folder):
                path = self._write_drive(pieces, reason)
        except OutputError as error:  # a disk that is full, read-only or gone
            self._lose(reason, f"{error} {self._store.undeletable}".rstrip())
        except Exception as error:  # whatever it is, the thread that records must hear of it
            log.exception("flight recorder: an error of edge's own")
            self._lose(reason, f"{self._store.folder}: {error}")
        else:
            self._unwritten = ""
            if path is not None:
                log.warning("flight recorder: %s: %s", path, reason)
                self._health.count(drives=1)
        for piece in pieces:
            with suppress(OSError):  # the next run finds it, and tries again
                piece.unlink(missing_ok=True)

    def _lose(self, reason: str, why: str) -> None:
        log.error("flight recorder: %s: the drive is lost: %s", reason, why)
        self._unwritten = f"a drive is lost: {why}"
        self._health.become("degraded", self._unwritten)
        self._health.count(drives_lost=1)

    def _write_drive(self, pieces: Sequence[Path], reason: str) -> Path | None:
        """A whole file or none; None where the pieces hold no frame."""
        size_bytes = sum(piece.stat().st_size for piece in pieces)
        self._store.remake()
        self._store.make_room(size_bytes, size_bytes + RESERVE_BYTES)
        number, path = self._store.next_path()
        file = SegmentFile(path)
        try:
            trigger = {"reason": reason, "at": datetime.now(timezone.utc).isoformat(timespec="milliseconds")}
            if merge(pieces, file.fd, {TRIGGER: trigger}, pause=lambda: self._leaving.wait(_GIL_YIELD_S)):
                file.give_name()
        finally:
            file.leave()
        if not file.is_named:
            return None
        self._store.add(number, path)
        return path


def ring_folder(folder: Path) -> Path:
    """Where the ring of a flight recorder with that folder is: in memory, and the same for the next process.

    systemd's runtime directory, if the unit has one, or /dev/shm.
    """
    memory = os.environ.get("RUNTIME_DIRECTORY", "/dev/shm").partition(":")[0]
    name = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]
    return Path(memory) / f"edge-flight-{os.getuid()}-{name}"


class _Ring:
    """Short drives in a folder, the oldest making room."""

    def __init__(self, folder: Path, seconds: float, limit_bytes: int) -> None:
        self.folder, self._seconds, self._limit_bytes = folder, seconds, limit_bytes
        self.writer: DriveWriter | None = None
        self._fd = -1
        self._pieces: deque[_Piece] = deque()  # the last is the one that is being written, if one is
        self._run, self._number = time.time_ns(), 0

    def begin(self) -> list[Path]:
        """Make the folder; what another process left in it.

        Raises:
            OSError: it cannot be made.
            OutputError: it is another user's.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self.folder.lstat()
        if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
            raise OutputError(f"{self.folder}: is not this user's folder. See who made it: ls -ld {self.folder}")
        return sorted(self.folder.glob("*.mcap"))

    def wants_piece(self, time_ns: int) -> bool:
        return self.writer is None or time_ns - self._pieces[-1].began_ns >= PIECE_S * 1e9

    def begin_piece(self, time_ns: int, open_writer: Callable[[int], DriveWriter]) -> None:
        self.end_piece()
        if not self.folder.is_dir():  # systemd's RemoveIPC= empties /dev/shm when its user logs out
            self.begin()
        self._number += 1
        path = self.folder / f"{self._run:020d}-{self._number:06d}.mcap"
        self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        self._pieces.append(_Piece(path, time_ns, time_ns))
        self.writer = open_writer(self._fd)

    def end_frame(self, time_ns: int) -> None:
        """What was added is there for whoever comes after a crash; what is too old, or too much, goes."""
        assert self.writer is not None
        self.writer.flush()
        newest = self._pieces[-1]
        newest.ended_ns, newest.size_bytes = time_ns, self.writer.size_bytes
        while len(self._pieces) > 1 and self._is_too_much(time_ns):
            self._pieces.popleft().path.unlink(missing_ok=True)

    def _is_too_much(self, now_ns: int) -> bool:
        return now_ns - self._pieces[0].ended_ns > self._seconds * 1e9 or self.size_bytes > self._limit_bytes

    @property
    def size_bytes(self) -> int:
        return sum(piece.size_bytes for piece in self._pieces)

    def end_piece(self) -> None:
        """A file needs no summary to be read again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd, self.writer = -1, None

    def hand_over(self) -> list[Path]:
        """All pieces, which are no longer the ring's."""
        self.end_piece()
        paths = [piece.path for piece in self._pieces if piece.path.exists()]
        self._pieces.clear()
        return paths

    def leave(self) -> None:
        for path in self.hand_over():
            with suppress(OSError):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


@dataclass
class _Piece:
    path: Path
    began_ns: int
    ended_ns: int
    size_bytes: int = 0


def _make(options: FlightOptions, context: SinkContext) -> FlightRecorder:
    about = (context.source, context.rate_hz, context.card, context.precision, context.settings)
    return FlightRecorder(options, DriveOptions(f"edge {edge.__version__}", *about), context.stages)


KIND = SinkKind("flight", _make, FlightOptions, check=check_flight, of_camera=flight_of_camera)
