"""Unattended recording: H.264 in segments that survive a kill and a power cut, the oldest making room for the newest.

A segment is fragmented MP4 with a fragment for each frame: whatever its end was, it plays up to there. What is written
is on the disk, not only in memory, within half a second. A disk that is full or broken stops the recording, never the
loop, and the recording goes on by itself. docs/recording.md has the measurements.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from annotated_types import Ge, Gt, Le

from edge.appearance import Appearance
from edge.errors import ConfigError, OutputError
from edge.frame import Frame
from edge.paths import expanded
from edge.prediction import Prediction
from edge.sinks.recorder_video import Videos
from edge.sinks.shelf import SegmentStore
from edge.sinks.size_changes import SizeChanges
from edge.sinks.stamps import DriveClock
from edge.sinks.table import SinkKind
from edge.status import State, Status, StatusKeeper
from edge.timing import Stages

if TYPE_CHECKING:
    from typing_extensions import Self

SYNC_S = 0.5  # what a power cut can cost
RETRY_S = 2.0
QUOTA_MAX_GB, SEGMENT_MAX_S = 1e6, 86_400.0
RESERVE = (0.05, 1 << 30)  # of the disk are left free: so great a part, and at most so many bytes
_SEGMENTS_IN_QUOTA = 4  # at least: so that a small one still holds more than the segment that is being written

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecorderOptions:
    """The recorder's part of a config file.

    Attributes:
        folder: for nothing but recordings; it is made, for this user alone.
        quota_gb: the recordings' size in GB (1e9 bytes); beyond it the oldest goes.
        segment_s: how long a file lasts.
        overlay: the tints and the line of figures are drawn; else the frame is as the camera gave it.
        style, alpha, classes, legend: how the overlay looks, see `edge.appearance.Appearance`.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}

    folder: str
    quota_gb: Annotated[float, Gt(0), Le(QUOTA_MAX_GB)] = 10.0
    segment_s: Annotated[float, Gt(0), Le(SEGMENT_MAX_S)] = 60.0
    overlay: bool = True
    style: Literal["tint", "outline", "mask", "side-by-side"] = "tint"
    alpha: Annotated[float, Ge(0), Le(1)] | None = None
    classes: tuple[str, ...] = ()
    legend: bool = True

    @property
    def look(self) -> Appearance | None:
        """Of the overlay; None if none is drawn.

        Raises:
            ConfigError: it cannot be.
        """
        if not self.overlay:
            return None
        try:
            return Appearance(self.style, self.alpha, self.classes, self.legend)
        except ConfigError as error:
            raise ConfigError(f"recorder.{error}") from error


def check_recorder(options: RecorderOptions) -> Path:
    """The folder of the recordings, with the options checked.

    Raises:
        ConfigError: they cannot be.
    """
    for name, most in (("quota_gb", QUOTA_MAX_GB), ("segment_s", SEGMENT_MAX_S)):
        if not 0 < (value := getattr(options, name)) <= most:
            raise ConfigError(f"recorder.{name}: expected more than 0 and at most {most:g}, got {value:g}")
    _ = options.look
    return expanded("recorder.folder", options.folder)


def recorder_of_camera(options: RecorderOptions, camera: str, cameras: int) -> RecorderOptions:
    """Recordings of one of several cameras have a folder of their own, and an even part of the quota."""
    folder = str(Path(options.folder) / camera)
    return dataclasses.replace(options, folder=folder, quota_gb=options.quota_gb / cameras)


class Segment(Protocol):
    """One file of a recording. What a disk or an encoder has against it comes out as OSError or FFmpegError.

    Attributes:
        path, number: its name, and the place in the order of segments that is in it.
        size_wh: that all its frames have.
        plays: whether it has its name, which it gets when it holds a frame that plays.
        size_bytes: in the file so far.
    """

    path: Path
    number: int
    size_wh: tuple[int, int]

    @property
    def plays(self) -> bool: ...

    @property
    def size_bytes(self) -> int: ...

    def write(self, result: Prediction, dropped: int, stages: Stages) -> None:
        """Add a frame; `stages` takes what it cost."""
        ...

    def sync(self) -> None:
        """What was written is on the disk when this is over."""
        ...

    def close(self) -> None:
        """Complete the file; one that cannot be completed ends with its last whole frame."""
        ...


class SegmentKind(Protocol):
    """What is recorded, in files that end with `suffix`."""

    suffix: str

    def begin(self, path: Path, number: int, first: Prediction) -> Segment:
        """A file for frames of the first one's size; the first itself is not written yet."""
        ...

    def repair(self, path: Path) -> None:
        """Make whole again what a kill left half written."""
        ...


class Recorder:
    """Records each result. Once entered it never raises: what goes wrong is in `health`, which any thread may read."""

    def __init__(
        self, options: RecorderOptions, rate_hz: float | None, stages: Stages, kind: SegmentKind | None = None
    ) -> None:
        """Of a `kind`, by default video. `rate_hz` is nominal; frames are shown as far apart as they were taken.

        Raises:
            ConfigError: the options cannot be.
            OutputError: the folder cannot be made, or may not be written by this user.
        """
        folder = check_recorder(options)
        self._options, self._stages = options, stages
        self._kind = kind or Videos(rate_hz, options.look)
        self._store = SegmentStore(folder, int(options.quota_gb * 1e9), self._kind.suffix, self._kind.repair)
        self._segment: Segment | None = None
        self._sizes = SizeChanges()
        self._next_try_s = self._next_sync_s = 0.0
        self._clock: DriveClock | None = None
        self._now_ns = self._began_ns = 0  # of the frame and of the segment's first, by that clock
        self._health = StatusKeeper(
            totals=["frames", "frames_lost", "segments_deleted"], levels=["segments", "size_bytes"]
        )

    def __enter__(self) -> Self:
        """Raises OutputError: another recorder writes into the folder."""
        self._store.lock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Complete the segment."""
        self._end_segment()
        self._store.unlock()
        self._become("stopped", "")

    @property
    def health(self) -> Status:
        """How it is now: "lost" records nothing, for that reason, and tries again. `frames_lost` came meanwhile, or in
        a size that alternates; `segments` and `size_bytes` are kept on the disk, the one being written included;
        `segments_deleted` made room. Any thread may ask.
        """
        return self._health.now

    def __str__(self) -> str:
        """For people."""
        now = self._health.now
        frames, frames_lost, _ = now.totals.values()
        lost = f", {frames_lost} lost: {now.reason}" if frames_lost else ""
        size_mb = now.levels["size_bytes"] / 1e6
        return f"drive    {self._store.folder}: {frames} frames{lost}; {now.levels['segments']} files, {size_mb:.1f} MB"

    def write(self, result: Prediction, dropped: int) -> None:
        """Record the frame, or count it as lost."""
        if self._segment is None and time.monotonic() < self._next_try_s:
            self._count(frames_lost=1)
            return
        try:
            with _translated(self._store.folder):
                self._record(result, dropped)
        except _DiskFull as error:  # a quota of the system's can be used up where the disk has room
            if self._store.delete_oldest():
                self._end_segment()
                self._count(segments_deleted=1, frames_lost=1)
            else:
                self._give_up(f"{error}. {self._store.undeletable}" if self._store.undeletable else str(error))
        except OutputError as error:
            self._give_up(str(error))

    def _record(self, result: Prediction, dropped: int) -> None:
        self._clock = self._clock or DriveClock(result.frame)
        self._now_ns = self._clock.stamp_ns(result.frame)
        if self._segment is not None and result.frame.size_wh != self._segment.size_wh:
            if not self._sizes.may_change(result.frame):
                self._leave_out(result.frame, self._segment)
                return
            self._end_segment()
        if self._segment is not None and self._is_over(self._segment):
            self._end_segment()
        if self._segment is None:
            self._segment = self._begin_segment(result)
        self._segment.write(result, dropped, self._stages)
        self._count(frames=1)
        if self._segment.plays:
            self._become("ok", self._sizes.trouble)
        if time.monotonic() >= self._next_sync_s:
            self._sync(self._segment)

    def _is_over(self, segment: Segment) -> bool:
        """It has its length, or its share of the quota."""
        lasted_s = (self._now_ns - self._began_ns) / 1e9
        too_large = segment.size_bytes >= self._store.quota_bytes // _SEGMENTS_IN_QUOTA
        return lasted_s >= self._options.segment_s or too_large

    def _leave_out(self, frame: Frame, segment: Segment) -> None:
        """The camera changes its size too often for a file each time."""
        if self._sizes.left_out(frame, segment.size_wh):
            log.warning("recorder: %s", self._sizes.trouble)
        self._count(frames_lost=1)
        self._become("ok", self._sizes.trouble)

    def _begin_segment(self, first: Prediction) -> Segment:
        self._store.remake()
        self._make_room(0, self._reserve_bytes() * 5 // 4)  # more than at which it stops: it does not stop at once
        number, path = self._store.next_path()
        segment, self._began_ns = self._kind.begin(path, number, first), self._now_ns
        self._next_sync_s = time.monotonic() + SYNC_S
        return segment

    def _sync(self, segment: Segment) -> None:
        with self._stages["write"].span():
            segment.sync()
        self._make_room(segment.size_bytes, self._reserve_bytes())
        self._next_sync_s = time.monotonic() + SYNC_S

    def _make_room(self, in_work_bytes: int, free_bytes: int) -> None:
        """Let the oldest segments go until the quota holds and so much of the disk is free.

        Raises:
            OutputError: there are none left, and the disk is as good as full.
        """
        deleted = self._store.make_room(in_work_bytes, free_bytes)
        self._count(segments_deleted=deleted)
        free_mb = self._store.free_bytes() / 1e6
        if free_mb < free_bytes / 1e6:
            place = self._store.folder
            raise OutputError(
                f"{place}: the disk is full: {free_mb:.0f} MB are free, {free_bytes / 1e6:.0f} MB are expected; "
                f"{self._store.undeletable or 'no recording is left to make room'}. Free space, see: df -h {place}"
            )

    def _reserve_bytes(self) -> int:
        """So much of the disk is left to others."""
        return min(int(self._store.disk_bytes() * RESERVE[0]), RESERVE[1])

    def _end_segment(self) -> None:
        """Close the file; one that cannot be completed plays up to where it breaks off."""
        segment, self._segment = self._segment, None
        if segment is None:
            return
        with suppress(OutputError), _translated(self._store.folder):
            segment.close()
        with suppress(OSError):  # it has no name, or its disk is gone
            self._store.add(segment.number, segment.path)
        self._count()

    def _give_up(self, reason: str) -> None:
        """Nothing is recorded for a while."""
        self._end_segment()
        self._next_try_s = time.monotonic() + RETRY_S
        self._become("lost", reason)
        self._count(frames_lost=1)

    def _count(self, **more: int) -> None:
        segment = self._segment
        self._health.count(**more)
        self._health.measure(
            segments=self._store.segments + bool(segment),
            size_bytes=self._store.size_bytes + (segment.size_bytes if segment else 0),
        )

    def _become(self, state: State, reason: str) -> None:
        was = self._health.state
        # The figures in the reason change while the state does not: that is logged once.
        if self._health.become(state, reason) and state != was:
            log.log(logging.WARNING if state == "lost" else logging.INFO, "recorder: %s %s", state, reason)


class _DiskFull(OutputError):
    """The system has no room for what was to be written."""


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """FFmpeg's and the system's errors as OutputError."""
    from av.error import FFmpegError

    try:
        yield
    except OutputError:
        raise
    except (OSError, FFmpegError) as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _DiskFull(f"{folder}: the disk is full. Free space, see: df -h {folder}") from error
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error


KIND = SinkKind(
    "recorder",
    lambda options, context: Recorder(options, context.rate_hz, context.stages),
    RecorderOptions,
    check=check_recorder,
    of_camera=recorder_of_camera,
)
