"""Who moves along the street and where they are at a time: cars, cyclists and walkers.

Each stream of traffic is a row of slots that slides along the road at one speed; a slot's number and the seed say who
is in it. So anybody's place at any time follows from arithmetic, without a simulation to run up to that time.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edge.street.mesh import Pose
from edge.street.place import FAR_M, Path, Place, rng_of
from edge.street.world import Block

# Instance ids are unlike within what is in view: every stream has its own range and counts through it.
_RANGE = 3000
_PARKED_BASE, _STREAM_BASE, _LEAD_BASE, _CROSSING_BASE = 1, 9001, 60001, 63001
PARKED_REACH_M = 100.0


@dataclass(frozen=True)
class Actor:
    """A person or vehicle that moves: `identity` seeds its looks, `phase` is that of its gait or pedals."""

    kind: str
    identity: tuple[int, ...]
    instance: int
    pose: Pose
    phase: float = 0.0
    pace: float = 0.0


@dataclass(frozen=True)
class Stream:
    """Slots of `slot_m` that move at `speed_mps` (negative: towards the camera); `share` of them are taken."""

    number: int
    kind: str
    x: float
    speed_mps: float
    slot_m: float
    share: float


@dataclass(frozen=True)
class _Member:
    """A member of a stream: S is `start_s` plus what the stream has moved."""

    identity: tuple[int, ...]
    instance: int
    x: float
    start_s: float
    heading_rad: float
    phase: float
    phase_hz: float
    sway_m: float


def make_streams(seed: int, place: Place) -> tuple[Stream, ...]:
    """Who moves along a street: oncoming cars, cyclists, people on foot."""
    rng = rng_of(seed, 70)
    streams = [Stream(0, "car", place.right.lane_m * 0.5, -rng.uniform(8, 12), place.traffic_gap_m, 0.8)]
    for side, speed in ((place.left, rng.uniform(3.6, 5.2)), (place.right, -rng.uniform(3.8, 5.6))):
        x = side.sign * (side.kerb - side.bay_m - (0.6 if side.cycle_lane_m else 0.38))
        streams.append(Stream(len(streams), "cyclist", x, speed, 34.0, place.cyclist_density * 0.75))
    for side in (place.left, place.right):
        room = max(0.0, side.edge - side.walk - 1.0)
        walks = (
            (0.1, rng.uniform(1.1, 1.5)),
            (0.5, -rng.uniform(1.0, 1.45)),
            (0.95, 0.0),
            (0.75, rng.uniform(0.8, 1.7)),
        )
        for share, speed in walks:
            x = side.sign * (side.walk + 0.65 + room * share)
            density = place.people_density * (0.25 if speed else 0.14)
            streams.append(Stream(len(streams), "walker", x, speed, 11.0, density))
    return tuple(streams)


# A cycle of the gait is two steps; adults walk about 1.45 m in it.
_STRIDE_M = 1.45


class Traffic:
    """Says who is in view at a time."""

    def __init__(self, seed: int, place: Place, path: Path) -> None:
        self._seed, self._place, self._path = seed, place, path
        self._streams = make_streams(seed, place)
        self._slots: OrderedDict[tuple[int, int], tuple[_Member, ...]] = OrderedDict()
        rng = rng_of(seed, 71)
        self._lead_period_s = rng.uniform(95, 140)
        self._lead_phase = rng.uniform(-0.16, 0.16)
        self._has_lead = bool(rng.random() < 0.75)

    def at(self, time_s: float, blocks: list[Block], people_reach_m: float) -> list[Actor]:
        """Everybody from just before the camera to FAR_M, people to `people_reach_m`."""
        s = self._path.car_s(time_s)
        actors = []
        for stream in self._streams:
            span = (s - 5.0, s + FAR_M) if stream.kind == "car" else (s - 1.0, s + people_reach_m)
            actors.extend(self._in_stream(stream, time_s, span))
        actors.extend(self._leading(time_s, s))
        for block in blocks:
            actors.extend(_parked(block, s))
            actors.extend(self._crossing(block, time_s, (s + 2.0, s + people_reach_m)))
        return actors

    def _in_stream(self, stream: Stream, time_s: float, span: tuple[float, float]) -> Iterator[Actor]:
        shift = stream.speed_mps * time_s
        first, last = (int(np.floor((edge - shift) / stream.slot_m)) for edge in span)
        pace = abs(stream.speed_mps) / 1.35
        for slot in range(first, last + 1):
            for one in self._slot(stream, slot):
                x = one.x + one.sway_m * math.sin(0.9 * time_s + one.phase)
                pose = Pose(x, one.start_s + shift, one.heading_rad)
                phase = one.phase + 2 * np.pi * one.phase_hz * time_s
                yield Actor(stream.kind, one.identity, one.instance, pose, phase, pace)

    def _slot(self, stream: Stream, slot: int) -> tuple[_Member, ...]:
        key = (stream.number, slot)
        if key not in self._slots:
            self._slots[key] = tuple(self._members(stream, slot))
            if len(self._slots) > 3000:
                self._slots.popitem(last=False)
        return self._slots[key]

    def _members(self, stream: Stream, slot: int) -> Iterator[_Member]:
        """Who is in a slot: no one, one, or two people side by side."""
        rng = rng_of(self._seed, 72, stream.number, slot)
        if rng.random() > stream.share:
            return
        start = (slot + rng.uniform(0.25, 0.75)) * stream.slot_m
        walker = stream.kind == "walker"
        beside = 0.6 if stream.x > 0 else -0.6
        for n in range(2 if walker and rng.random() < 0.25 else 1):
            heading = 0.0 if stream.speed_mps > 0 else np.pi
            standing = stream.speed_mps == 0
            yield _Member(
                identity=(73, stream.number, slot, n),
                instance=_STREAM_BASE + stream.number * _RANGE + (2 * slot + n) % _RANGE,
                x=stream.x + rng.uniform(-0.2, 0.2) + beside * n,
                start_s=start + 0.25 * n,
                heading_rad=rng.uniform(0, 2 * np.pi) if standing else heading,
                phase=rng.uniform(0, 2 * np.pi),
                phase_hz=abs(stream.speed_mps) / _STRIDE_M if walker else rng.uniform(0.9, 1.3),
                sway_m=0.0 if standing or stream.kind == "car" else 0.08,
            )

    def _leading(self, time_s: float, s: float) -> Iterator[Actor]:
        """Cars ahead in our lane: they drop back towards us, then draw away until they are out of sight."""
        if not self._has_lead:
            return
        turns = time_s / self._lead_period_s + self._lead_phase + 0.5
        number = int(np.floor(turns))
        away = np.cos(np.pi * (turns - number)) ** 2
        gap = 15.0 + 250.0 * away
        for n in range(3):
            rng = rng_of(self._seed, 74, number, n)
            gap += 0.0 if n == 0 else rng.uniform(9, 22)
            if gap < FAR_M:
                x = self._path.lane_x_m + rng.uniform(-0.15, 0.15)
                instance = _LEAD_BASE + (number * 3 + n) % 2400
                yield Actor("car", (75, number, n), instance, Pose(x, s + gap, 0.0))

    def _crossing(self, block: Block, time_s: float, span: tuple[float, float]) -> Iterator[Actor]:
        """People who cross well before the camera comes by: at the zebra crossing, or just anywhere."""
        rng = rng_of(self._seed, 77, block.number)
        for n in range(int(rng.integers(0, 4))):
            place = block.zebra_s if block.zebra_s is not None and n < 2 else block.s0 + rng.uniform(4, 44)
            place += rng.uniform(-1.0, 1.0)
            speed, early_s = rng.uniform(1.2, 1.8), rng.uniform(0.0, 3.5)
            direction = 1 if rng.random() < 0.5 else -1
            if not span[0] < place < span[1]:
                continue
            left, right = -self._place.left.edge + 0.9, self._place.right.edge - 0.9
            walk_s = (right - left) / speed
            since = time_s - (self._path.time_at(place - 4.0) - walk_s - early_s)
            x = (left if direction > 0 else right) + direction * speed * min(max(since, 0.0), walk_s)
            pace = speed / 1.35 if 0 < since < walk_s else 0.0
            phase = 2 * np.pi * since * speed / _STRIDE_M
            pose = Pose(x, place, direction * np.pi / 2)
            yield Actor(
                "walker", (78, block.number, n), _CROSSING_BASE + (block.number * 4 + n) % 2400, pose, phase, pace
            )


def _parked(block: Block, s: float) -> Iterator[Actor]:
    for car in block.parked:
        if s - 3 < car.s < s + PARKED_REACH_M:
            heading = 0.0 if car.facing > 0 else np.pi
            yield Actor("parked", (76, car.key), _PARKED_BASE + car.key % 9000, Pose(car.x, car.s, heading))
