"""What a driver would want to know, seen in masks: a pedestrian on the way ahead, the road that is gone, a camera that
sees what the net was never shown.

Each is a figure per frame with two limits, one to begin at and one to end at, held for a time: a single odd mask
neither begins nor ends an event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from edge.card import LAYOUT_BANDS, Fingerprint
from edge.classes import ClassTable
from edge.config import StrictModel
from edge.errors import ConfigError
from edge.frame import Image, Letterbox
from edge.prediction import Prediction

Share = Annotated[float, Field(ge=0, le=1)]
ZONE_MIN = 1e-5  # share of the image: two pixels of 640x360
FIGURE_MAX = 1000.0  # of a figure: the strangest masks have less than 100
USUAL_S = 10.0  # the road's usual share is the median over so long
CALM_S = 2.0  # what a camera sees is averaged over so long before it is called strange


class Limits(StrictModel):
    """A figure begins an event at `begin`, kept for `hold_s`; it ends at `end`, kept for as long."""

    begin: float = Field(gt=0, le=FIGURE_MAX)
    end: float = Field(ge=0, le=FIGURE_MAX)
    hold_s: float = Field(default=0.2, ge=0, le=60)


class EventOptions(StrictModel):
    """The events' part of a config file.

    Attributes:
        zone: the way ahead, corners as [x, y] in shares of the image's width and height from its upper left.
        pedestrian_ahead: share of the zone that pedestrians cover.
        road_gone: how much of the zone's usual road is gone, 0 to 1.
        out_of_domain: how strange the masks are over two seconds, 1 = as the strangest frame of the calibration set.
            Of road, streets have 0.2, motorways 0.4 to 0.6, people in a room 1.5, a car park 1.6 (docs/results.md).
    """

    zone: tuple[tuple[Share, Share], ...] = Field(
        default=((0.42, 0.5), (0.58, 0.5), (0.85, 1.0), (0.15, 1.0)), min_length=3
    )
    pedestrian_ahead: Limits | None = Limits(begin=0.004, end=0.002)
    road_gone: Limits | None = Limits(begin=0.6, end=0.4, hold_s=0.5)
    out_of_domain: Limits | None = Limits(begin=0.9, end=0.8, hold_s=2.0)

    @field_validator("zone")
    @classmethod
    def _holds_something(cls, zone: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        area = cv2.contourArea(cv2.convexHull(np.array(zone, np.float32)))
        if area < ZONE_MIN:
            raise ValueError("the zone holds no pixel: its corners are one point or lie on one line")
        return zone

    @field_validator("pedestrian_ahead", "road_gone")
    @classmethod
    def _is_share(cls, limits: Limits | None) -> Limits | None:
        if limits is not None and limits.begin > 1:
            raise ValueError(f"begin is a share, expected at most 1, got {limits.begin:g}")
        return limits


@dataclass(frozen=True)
class Event:
    """An event that began or ended. `at_ns` is when its frame was captured; `value` the figure then."""

    name: str
    active: bool
    at_ns: int
    frame: int
    value: float

    def as_json(self) -> dict[str, object]:
        """The message of a drive's events; `captured_ns` is on the monotonic clock of the machine that recorded."""
        return {
            "event": self.name,
            "active": self.active,
            "captured_ns": self.at_ns,
            "frame": self.frame,
            "value": round(self.value, 5),
        }


class Hysteresis:
    """Whether an event is on, from a figure over time."""

    def __init__(self, limits: Limits) -> None:
        """Raises:
        ConfigError: the event would end where it begins.
        """
        if limits.end > limits.begin:
            raise ConfigError(f"events: end ({limits.end:g}) must not be above begin ({limits.begin:g})")
        self._limits = limits
        self.active = False
        self._since_ns: int | None = None  # the figure is on the other side since

    def update(self, value: float, now_ns: int) -> bool:
        """Whether this figure begins or ends the event."""
        crosses = value <= self._limits.end if self.active else value >= self._limits.begin
        if not crosses:
            self._since_ns = None
            return False
        return self._hold(now_ns)

    def _hold(self, now_ns: int) -> bool:
        if self._since_ns is None:
            self._since_ns = now_ns
        if now_ns - self._since_ns < self._limits.hold_s * 1e9:
            return False
        self.active, self._since_ns = not self.active, None
        return True


class Watcher:
    """Looks at one camera's results in turn and says which events begin and end."""

    def __init__(self, options: EventOptions, table: ClassTable, fingerprint: Fingerprint | None) -> None:
        """Raises:
        ConfigError: an event is asked for that the engine's classes cannot tell.
        """
        self._options, self._table, self._fingerprint = options, table, fingerprint
        self._states: dict[str, Hysteresis] = {}
        for name, limits in self._wanted(options).items():
            self._states[name] = Hysteresis(limits)
        self._zone: tuple[Letterbox, Image] | None = None
        self._roads: deque[tuple[int, float]] = deque()
        self._calm = Calm()

    def _wanted(self, options: EventOptions) -> dict[str, Limits]:
        wanted: dict[str, Limits] = {}
        needs = {"pedestrian_ahead": "pedestrian", "road_gone": "road"}
        for name in ("pedestrian_ahead", "road_gone", "out_of_domain"):
            limits = getattr(options, name)
            if limits is None or (name == "out_of_domain" and self._fingerprint is None):
                continue
            if name in needs:
                self._table.ids(needs[name])
            wanted[name] = limits
        return wanted

    @property
    def active(self) -> dict[str, bool]:
        """Of every event that is watched for, by name: whether it is going on."""
        return {name: state.active for name, state in self._states.items()}

    def look(self, result: Prediction) -> list[Event]:
        """The events that this result begins or ends."""
        now_ns = result.frame.captured_ns
        events = []
        for name, value in self._figures(result).items():
            state = self._states[name]
            if state.update(value, now_ns):
                events.append(Event(name, state.active, now_ns, result.frame.index, value))
        return events

    def _figures(self, result: Prediction) -> dict[str, float]:
        zone = self._zone_of(result.letterbox)
        figures: dict[str, float] = {}
        if "pedestrian_ahead" in self._states:
            figures["pedestrian_ahead"] = self._share(result.semantic, "pedestrian", zone)
        if "road_gone" in self._states:
            figures["road_gone"] = self._road_gone(self._share(result.semantic, "road", zone), result)
        if "out_of_domain" in self._states:
            assert self._fingerprint is not None
            seen = self._calm.update(describe(result), result.frame.captured_ns)
            figures["out_of_domain"] = strangeness(seen, self._fingerprint, self._table)
        return figures

    def _share(self, classes: Image, group: str, zone: Image) -> float:
        inside = cv2.bitwise_and(cv2.LUT(classes, self._table.membership(group)), zone)
        return cv2.countNonZero(inside) / max(1, cv2.countNonZero(zone))

    def _road_gone(self, share: float, result: Prediction) -> float:
        """1 - what is left of the usual share; 0 while nothing is usual yet."""
        now_ns = result.frame.captured_ns
        while self._roads and now_ns - self._roads[0][0] > USUAL_S * 1e9:
            self._roads.popleft()
        usual = float(np.median([road for _, road in self._roads])) if len(self._roads) > 5 else 0.0
        if not self._states["road_gone"].active:  # what is usual is not learnt from what is not
            self._roads.append((now_ns, share))
        return max(0.0, 1 - share / usual) if usual > 0.05 else 0.0

    def _zone_of(self, box: Letterbox) -> Image:
        """uint8 (h, w), 1 inside the zone; made once for each shape of frames."""
        if self._zone is None or self._zone[0] != box:
            mask: Image = np.zeros(box.input_wh[::-1], np.uint8)
            x, y, width, height = box.content_xywh
            corners = np.array([(x + cx * (width - 1), y + cy * (height - 1)) for cx, cy in self._options.zone])
            cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], (1,))
            self._zone = (box, mask)
        return self._zone[1]


# ---------------------------------------------------------------------------------------------------------- strangeness


@dataclass(frozen=True, slots=True)
class Description:
    """What masks are like.

    Attributes:
        shares: float (C,): the share of the image that each class covers.
        layout: float (bands, C): the share of each band of the image, from its top.
        edges: the share of cells whose class is not that of the one to the right: masks of what a net was never shown
            fall to pieces.
    """

    shares: NDArray[np.float64]
    layout: NDArray[np.float64]
    edges: float

    def towards(self, other: Description, weight: float) -> Description:
        """So much of the way to another one."""
        shares = self.shares + weight * (other.shares - self.shares)
        layout = self.layout + weight * (other.layout - self.layout)
        return Description(shares, layout, self.edges + weight * (other.edges - self.edges))


def describe(result: Prediction) -> Description:
    """Of one frame, over the part of the network's input that the image covers."""
    inside = np.ascontiguousarray(result.letterbox.content(result.semantic))
    classes = len(result.table)
    bands = np.array_split(inside, LAYOUT_BANDS)
    counts = np.array([np.bincount(band.reshape(-1), minlength=classes)[:classes] for band in bands], np.float64)
    sizes = np.array([[max(1, band.size)] for band in bands])
    edges = np.count_nonzero(inside[:, 1:] != inside[:, :-1]) / max(1, inside[:, 1:].size)
    return Description(counts.sum(axis=0) / inside.size, counts / sizes, edges)


def fingerprint_of(results: Iterable[Prediction], table: ClassTable) -> Fingerprint:
    """What an engine's masks are like on frames that it is at home with."""
    described = [describe(result) for result in results]
    mean, edges = np.mean([one.shares for one in described], axis=0), [one.edges for one in described]
    layout = np.mean([one.layout for one in described], axis=0)
    return Fingerprint(
        shares={name: round(float(share), 5) for name, share in zip(table.names, mean, strict=True)},
        drift=round(max(divergence(one.shares, mean) for one in described), 5),
        edges=round(float(np.mean(edges)), 5),
        edges_high=round(float(max(edges)), 5),
        layout={name: tuple(np.round(bands, 5).tolist()) for name, bands in zip(table.names, layout.T, strict=True)},
        layout_drift=round(max(divergence(one.layout, layout) for one in described), 5),
    )


def strangeness(seen: Description, known: Fingerprint, table: ClassTable) -> float:
    """How far masks are from the usual, 1 = as far as the farthest frame of the calibration set.

    Layout, what is where in the image, tells what the net was never shown far better than shares, fragments or any
    entropy of them (docs/results.md). A fingerprint without it has the stranger of shares and fragments.
    """
    if known.layout:
        usual = np.array([known.layout.get(name, (0.0,) * LAYOUT_BANDS) for name in table.names]).T
        return divergence(seen.layout, usual) / max(known.layout_drift, 0.005)
    mean = np.array([known.shares.get(name, 0.0) for name in table.names])
    drift = divergence(seen.shares, mean) / max(known.drift, 0.005)
    return max(drift, seen.edges / max(known.edges_high, 0.005))


def divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Jensen-Shannon divergence in bits, 0 to 1 (Lin, "Divergence measures based on the Shannon entropy", 1991)."""
    p, q = p / max(p.sum(), 1e-12), q / max(q.sum(), 1e-12)
    middle = (p + q) / 2

    def relative(a: NDArray[np.float64]) -> float:
        inside = a > 0
        return float((a[inside] * np.log2(a[inside] / middle[inside])).sum())

    return max(0.0, (relative(p) + relative(q)) / 2)


class Calm:
    """A running mean of descriptions over `CALM_S`, by the time that passes between them."""

    def __init__(self) -> None:
        self._mean: Description | None = None
        self._last_ns = 0

    def update(self, seen: Description, now_ns: int) -> Description:
        """The mean, with what was seen now in it."""
        was, passed_s = self._mean, max(0, now_ns - self._last_ns) / 1e9
        self._last_ns = now_ns
        self._mean = seen if was is None else was.towards(seen, 1 - float(np.exp(-passed_s / CALM_S)))
        return self._mean


def words(active: Mapping[str, bool]) -> str:
    """The events that are on, for people."""
    return ", ".join(name.replace("_", " ") for name, on in active.items() if on)
