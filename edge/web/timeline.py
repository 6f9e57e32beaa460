"""What happened at a camera, for the page: the newest moments, each with a small image, in bounded memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import cv2

from edge.appearance import Appearance
from edge.overlay import paint_bgr
from edge.prediction import Prediction
from edge.visits import ROAD, Event, Visit
from edge.web.images import view_bgr

MOMENTS_MAX = 100  # the oldest is evicted
THUMBNAIL_PX, JPEG_QUALITY = 320, 75  # of the longer side
THUMBNAIL_BYTES_MAX = 64_000  # noise is larger; 100 of these are 6 MB, of a street less than 2 MB
DETAIL_MAX = 300  # characters of a reason, which may come from a driver

Level = Literal["info", "good", "warn", "bad"]


class Kind(NamedTuple):
    """How a kind of moment is shown."""

    title: str
    level: Level


KINDS: dict[str, Kind] = {
    "pedestrian_ahead": Kind("Pedestrian ahead", "warn"),
    "road_gone": Kind("Road gone", "warn"),
    "person_near": Kind("Someone near", "bad"),
    "person_soon": Kind("Someone reached soon", "bad"),
    "lane_departure": Kind("Leaving the lane", "warn"),
    "road_short": Kind("Road ends near", "warn"),
    "scene_unfamiliar": Kind("Scene unfamiliar", "warn"),
    "input_reduced": Kind("Input reduced", "warn"),
    "camera_lost": Kind("Camera lost", "bad"),
    "camera_back": Kind("Camera back", "good"),
}
_FACTS = {
    "track_id": "track {}",
    "distance_m": "{:.1f} m",
    "time_s": "{:.1f} s",
    "side": "{}",
    "margin_m": "{:.2f} m",
    "ahead_m": "{:.1f} m",
}  # of events in metres and seconds, as they are shown


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that began, and perhaps ended.

    Attributes:
        number: counted from 1; it names the thumbnail.
        kind: a key of `KINDS`, or the name of a visit's event: on_road, in_zone.
        began_ns: monotonic clock; `began_s` the same in seconds since 1970.
        lasted_s: None while it lasts; 0 of what has no length.
        thumbnail: JPEG of the frame at its beginning, with masks; empty where there was no frame.
    """

    number: int
    kind: str
    title: str
    level: Level
    detail: str
    began_ns: int
    began_s: float
    lasted_s: float | None
    thumbnail: bytes

    def as_json(self) -> dict[str, object]:
        """Without the thumbnail, of which it says whether there is one."""
        return {
            "number": self.number,
            "kind": self.kind,
            "title": self.title,
            "level": self.level,
            "detail": self.detail,
            "began_ms": round(self.began_s * 1e3),
            "lasted_s": None if self.lasted_s is None else round(self.lasted_s, 1),
            "thumbnail": bool(self.thumbnail),
        }


class Timeline:
    """The newest moments of one camera. Any thread may write and read.

    Attributes:
        version: another one after each change.
    """

    def __init__(self) -> None:
        self.version = 0
        self._lock = threading.Lock()
        self._moments: OrderedDict[int, Moment] = OrderedDict()
        self._lasting: dict[str, int] = {}  # by what they are of, as long as they are kept
        self._count = 0

    def add(
        self,
        kind: str,
        at_ns: int,
        result: Prediction | None,
        detail: str = "",
        *,
        of: str | None = None,
        shown: Kind | None = None,
    ) -> None:
        """A moment at `at_ns` on the monotonic clock, with a thumbnail of `result`. It lasts until `end(of)` where `of`
        is given. `shown` is of a kind that is not in `KINDS`.
        """
        thumbnail = thumbnail_of(result) if result is not None else b""
        title, level = shown or KINDS[kind]
        began_s = time.time() - (time.monotonic_ns() - at_ns) / 1e9
        lasted_s = 0.0 if of is None else None
        with self._lock:
            self._count = number = self._count + 1
            self._moments[number] = Moment(
                number, kind, title, level, detail[:DETAIL_MAX], at_ns, began_s, lasted_s, thumbnail
            )
            if of is not None:
                self._lasting[of] = number
            self._evict()
            self.version += 1

    def end(self, of: str, at_ns: int, detail: str | None = None) -> float | None:
        """It is over; how long it lasted in seconds, None where it is not kept any more."""
        with self._lock:
            moment = self._moments.get(self._lasting.pop(of, 0))
            if moment is None:
                return None
            lasted_s = max(0.0, (at_ns - moment.began_ns) / 1e9)
            detail = moment.detail if detail is None else detail
            self._moments[moment.number] = replace(moment, lasted_s=lasted_s, detail=detail)
            self.version += 1
            return lasted_s

    def lasts(self, of: str) -> bool:
        """Whether it has begun, is not over, and is kept."""
        return of in self._lasting

    def _evict(self) -> None:
        while len(self._moments) > MOMENTS_MAX:
            oldest, _ = self._moments.popitem(last=False)
            self._lasting = {of: number for of, number in self._lasting.items() if number != oldest}

    def moments(self) -> list[Moment]:
        """The newest first."""
        with self._lock:
            return list(reversed(self._moments.values()))

    def thumbnail(self, number: int) -> bytes:
        """JPEG of the moment of that number; empty where it is not kept."""
        with self._lock:
            moment = self._moments.get(number)
        return b"" if moment is None else moment.thumbnail


class Watch:
    """Writes one camera's timeline: what events say, and what changes in its state."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self._last: Prediction | None = None
        self._lost_ns = 0
        self._lock = threading.Lock()  # several threads ask how the camera is

    def event(self, event: Event, result: Prediction) -> None:
        """An event of `edge.events`. Unfamiliar scenes are left to `result`, which has them without any event, too."""
        of, facts = f"{event.name} {event.facts.get('track_id', '')}", event.facts
        if event.visit is not None:
            self._visit(event, event.visit, f"{event.visit.track_id} {event.visit.place}", result)
        elif event.name in KINDS and event.active:
            detail = " · ".join(words.format(facts[name]) for name, words in _FACTS.items() if name in facts)
            self.timeline.add(event.name, event.at_ns, result, detail, of=of)
        elif event.name in KINDS:
            self.timeline.end(of, event.at_ns)

    def _visit(self, event: Event, visit: Visit, of: str, result: Prediction) -> None:
        detail = f"track {visit.track_id} · {visit.passed} so far"
        if not event.active:
            self.timeline.end(of, event.at_ns, detail)
            return
        where = "on the road" if visit.place == ROAD else f"in {visit.place}"
        kind = Kind(f"{visit.group.capitalize()} {where}", "info")
        self.timeline.add(event.name, event.at_ns, result, detail, of=of, shown=kind)

    def result(self, result: Prediction, *, unlike: bool, reduced: str) -> None:
        """A result, whether its scene is unfamiliar, and why its input is reduced; "" where it is not."""
        at_ns = result.frame.captured_ns
        if self.timeline.lasts("camera_lost") and at_ns > self._lost_ns:
            away_s = self.timeline.end("camera_lost", at_ns)
            self.timeline.add("camera_back", at_ns, result, "" if away_s is None else f"after {away_s:.1f} s")
        self._switch("scene_unfamiliar", unlike, result, "")
        self._switch("input_reduced", bool(reduced), result, reduced)
        self._last = result

    def _switch(self, kind: str, on: bool, result: Prediction, detail: str) -> None:
        if on == self.timeline.lasts(kind):
            return
        if on:
            self.timeline.add(kind, result.frame.captured_ns, result, detail, of=kind)
        else:
            self.timeline.end(kind, result.frame.captured_ns)

    def lost(self, reason: str, since_ns: int) -> None:
        """The camera gives no frames. Said again and again, it is one moment; before the first frame, none."""
        with self._lock:
            if self._last is None or since_ns == self._lost_ns or self.timeline.lasts("camera_lost"):
                return
            self._lost_ns = since_ns
            self.timeline.add("camera_lost", since_ns, self._last, reason, of="camera_lost")


def thumbnail_of(result: Prediction) -> bytes:
    """JPEG of the frame with its masks, small; empty where it cannot be made or is too large."""
    width, height = result.frame.size_wh
    image = view_bgr(result.frame, max(1, round(THUMBNAIL_PX * min(1.0, width / height))))
    painted = paint_bgr(image, result.semantic, result.letterbox, result.table, Appearance(legend=False))
    done, jpeg = cv2.imencode(".jpg", painted, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return jpeg.tobytes() if done and len(jpeg) <= THUMBNAIL_BYTES_MAX else b""
