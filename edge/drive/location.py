"""Where the car was, in a drive: for Foxglove's map, and as it is read back."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from edge.drive.file import DriveFile, Message, Messages
from edge.drive.schema import ABOUT, FIX, FIX_SCHEMA, POSITION, message_class
from edge.drive.writer import DriveWriter
from edge.errors import DataError, SourceDamaged
from edge.frame import Frame
from edge.location import STALE_NS, Fix, fix_from_json

FRAME_ID = "gps"
_RADIUS_SDS = 2.45  # of a circle that holds 95 % of a normal distribution in the plane
_UNKNOWN_VARIANCE = 1e6  # m²


def add_fix(writer: DriveWriter, frame: Frame, time_ns: int) -> None:
    """The frame's fix, where it is not the file's newest already."""
    fix = frame.fix
    if fix is None or fix is writer.fix:  # an equal one that came later holds for longer
        return
    writer.fix = fix
    for topic, message in fix_messages(fix, time_ns):
        writer.add(topic, time_ns, message)


def fix_messages(fix: Fix, time_ns: int) -> Iterator[tuple[str, bytes]]:
    """Topic and message, for Foxglove and as it is read back."""
    yield POSITION, position_message(fix, time_ns)
    yield FIX, json.dumps(fix.as_json()).encode()


def position_message(fix: Fix, time_ns: int) -> bytes:
    """A foxglove.LocationFix, which has no speed."""
    message = message_class(FIX_SCHEMA)(frame_id=FRAME_ID, latitude=fix.latitude_deg, longitude=fix.longitude_deg)
    message.altitude = fix.altitude_m or 0.0
    if fix.error_m is not None:
        across = (fix.error_m / _RADIUS_SDS) ** 2
        message.position_covariance.extend((across, 0, 0, 0, across, 0, 0, 0, _UNKNOWN_VARIANCE))
        message.position_covariance_type = type(message).PositionCovarianceType.Value("APPROXIMATED")
    message.timestamp.FromNanoseconds(time_ns)
    return message.SerializeToString()


class RecordedFixes:
    """The fixes in the files of one drive."""

    def __init__(self, files: Sequence[DriveFile], name: str) -> None:
        self._name = name
        own = [file for file in files if ABOUT in file.metadata]
        self._messages = Messages(own, FIX)
        self._last: tuple[Message, Fix] | None = None

    def at(self, time_ns: int) -> Fix | None:
        """The newest fix at the time of a frame; None where it is more than 3 s old.

        Raises:
            SourceDamaged: it cannot be read.
        """
        number = bisect_right(self._messages, time_ns, key=lambda message: message.time_ns) - 1
        if number < 0 or time_ns - (message := self._messages[number]).time_ns > STALE_NS:
            return None
        if self._last is None or self._last[0] != message:
            self._last = message, self._read(message)
        return self._last[1]

    def _read(self, message: Message) -> Fix:
        try:
            return fix_from_json(json.loads(message.file.read(FIX, message.place)))
        except (DataError, ValueError, RecursionError) as error:
            raise SourceDamaged(f"{self._name}: a recorded GPS fix is damaged: {error}") from error
