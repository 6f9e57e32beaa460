"""The lane from frame to frame."""

from __future__ import annotations

import dataclasses

import pytest

from edge.geometry.lane import Boundary, EgoLane, Kind
from edge.geometry.lane_tracker import EVERY_NS, HOLD_NS, LaneTracker

STEP_NS = EVERY_NS
NONE = EgoLane(None, None)


def line(offset_m: float, kind: Kind = "solid") -> Boundary:
    return Boundary(offset_m, 0.0, 0.0, 30.0, kind, 1.0)


def lane(left_m: float = -1.7, right_m: float = 1.8, kind: Kind = "solid") -> EgoLane:
    return EgoLane(line(left_m), line(right_m, kind))


def followed(lanes: list[EgoLane], step_ns: int = STEP_NS) -> list[EgoLane]:
    tracker = LaneTracker()
    return [tracker.update(lambda one=one: one, number * step_ns) for number, one in enumerate(lanes)]


def right_m(one: EgoLane) -> float:
    assert one.right is not None
    return one.right.offset_m


def test_the_first_frame_counts_alone() -> None:
    assert followed([lane()]) == [lane()]


def test_a_boundary_that_sways_is_held_steadier() -> None:
    swaying = followed([lane(right_m=1.8 + 0.1 * (-1) ** n) for n in range(20)])
    offsets = [right_m(one) for one in swaying[10:]]
    assert max(offsets) - min(offsets) < 0.1


def test_a_boundary_that_is_seen_elsewhere_in_one_frame_stays() -> None:
    lanes = followed([lane(), lane(right_m=2.6), lane()])
    assert [right_m(one) for one in lanes] == [1.8, 1.8, 1.8]


def test_a_boundary_that_stays_elsewhere_is_there() -> None:
    lanes = followed([lane(), *[lane(right_m=2.6)] * 3])
    assert [right_m(one) for one in lanes] == [1.8, 1.8, 1.8, 2.6]


def test_a_boundary_that_is_not_seen_is_less_sure_from_frame_to_frame_and_then_gone() -> None:
    lanes = followed([lane(), *[NONE] * 9])
    sure = [one.right.confidence for one in lanes if one.right is not None]
    assert sure == sorted(sure, reverse=True)
    assert sure[-1] < 0.3
    assert len(sure) == 1 + HOLD_NS // STEP_NS
    assert lanes[-1] == NONE


@pytest.mark.parametrize(("rate_hz", "looked"), [(10, 10), (15, 15), (30, 15), (60, 20), (120, 20)])
def test_a_lane_is_looked_for_at_most_twenty_times_a_second(rate_hz: int, looked: int) -> None:
    tracker, looks = LaneTracker(), list[int]()

    def find(number: int) -> EgoLane:
        looks.append(number)
        return lane()

    lanes = [tracker.update(lambda n=n: find(n), n * 10**9 // rate_hz) for n in range(rate_hz)]
    assert len(looks) == looked
    assert lanes == [lane()] * rate_hz


def test_a_lane_is_looked_for_at_once_when_time_runs_backwards() -> None:
    tracker = LaneTracker()
    tracker.update(lane, 10**9)
    assert tracker.update(lambda: lane(right_m=2.6), 10**9 - 1) == lane(right_m=2.6)


def test_frames_far_apart_say_nothing_of_each_other() -> None:
    assert followed([lane(), lane(right_m=2.6), NONE], step_ns=10**9) == [lane(), lane(right_m=2.6), NONE]


@pytest.mark.parametrize("odd", ["dashed", "curb"])
def test_one_frame_does_not_change_how_a_line_is_painted(odd: Kind) -> None:
    lanes = followed([lane(), lane(), lane(kind=odd), lane()])
    assert [one.right.kind for one in lanes if one.right is not None] == ["solid"] * 4


def test_a_pair_too_wide_for_a_lane_leaves_the_surer_one() -> None:
    left = dataclasses.replace(line(-3.0), confidence=0.4)
    found = followed([EgoLane(left, line(3.0))])[0]
    assert found == EgoLane(None, line(3.0))
