"""The lane of roads that are drawn here."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import cv2
import numpy as np
import pytest
from stand_in import ROAD, result_of

from edge.classes import CAMVID
from edge.errors import DataError
from edge.frame import Frame, Image, Letterbox, Yuv420
from edge.geometry.ground import GroundPlane
from edge.geometry.lane import Boundary, EgoLane, lane_from_json
from edge.geometry.lane_finder import LaneFinder
from edge.geometry.model import CameraModel
from edge.metres import Metres
from edge.outputs import GRADES

WH = (1280, 720)
MODEL = CameraModel(height_m=1.4, focal_px=1000, image_wh=WH, pitch_deg=2.0)
PLANE, BOX = GroundPlane(MODEL, WH), Letterbox(WH, (320, 180), (0, 0, 320, 180))
EVERYWHERE = np.ones((180, 320), np.uint8)
SOLID, DASHED = (1000.0, 1000.0), (3.0, 9.0)  # metres of marking and of gap


def drawn(
    *lines: tuple[float, tuple[float, float]], bend: float = 0.0, heading: float = 0.0, noise: float = 4
) -> Image:
    """A grey road with white lines 0.12 m wide at these offsets."""
    image = np.random.default_rng(1).normal(90, noise, (WH[1], WH[0])).clip(0, 255).astype(np.uint8)
    for offset, (on, off) in lines:
        for begin in np.arange(3.0, 60.0, on + off):
            ahead = np.linspace(begin, min(60.0, begin + on), 30)
            middle = offset + heading * ahead + bend * ahead**2 / 2
            sides = [np.stack([middle + half, ahead], axis=1) for half in (-0.06, 0.06)]
            corners = PLANE.pixels(np.concatenate([sides[0], sides[1][::-1]]))
            cv2.fillPoly(image, [np.rint(corners * 16).astype(np.int32)], (230,), cv2.LINE_AA, 4)
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)


def lane_of(image: Image, road: Image = EVERYWHERE, grades: Image | None = None) -> EgoLane:
    return LaneFinder(PLANE, BOX).find(Frame(index=0, captured_ns=0, source="drawn", bgr=image), road, grades)


def strip(left_m: float, right_m: float, wh: tuple[int, int], value: int = 1) -> Image:
    """A map of the frame at that size, `value` on the road between two lines along it."""
    ahead = np.linspace(3, 60, 100)
    sides = [PLANE.pixels(np.stack([np.full(100, x), ahead], axis=1)) * wh[0] / WH[0] for x in (left_m, right_m)]
    corners = np.concatenate([sides[0], sides[1][::-1]])
    return cv2.fillPoly(np.zeros(wh[::-1], np.uint8), [np.rint(corners * 16).astype(np.int32)], (value,), shift=4)


def graded(marking: Image | None = None, curb: Image | None = None) -> Image:
    none = np.zeros((45, 80), np.uint8)
    return np.stack([none if grade is None else grade for grade in (marking, curb)])


def curb_at(right_m: float) -> Image:
    """A curb's grades as a net gives them: sure along its line, wider than a stone."""
    return (
        cv2.resize(strip(right_m - 0.15, right_m + 0.15, (320, 180), 255), (80, 45), interpolation=cv2.INTER_AREA) * 2
    )


def test_the_lane_is_between_the_nearest_markings_and_they_are_dashed_or_solid() -> None:
    lane = lane_of(drawn((-5.2, DASHED), (-1.6, DASHED), (2.0, SOLID)))
    assert lane.left is not None
    assert lane.right is not None
    assert lane.left.offset_m == pytest.approx(-1.6, abs=0.06)
    assert lane.right.offset_m == pytest.approx(2.0, abs=0.06)
    assert (lane.left.kind, lane.right.kind) == ("dashed", "solid")
    assert lane.right.confidence == 1.0


@pytest.mark.parametrize(("bend", "heading"), [(1 / 300, 0.0), (-1 / 400, 0.01), (0.0, -0.03)])
def test_a_bend_and_a_heading_are_found(bend: float, heading: float) -> None:
    lane = lane_of(drawn((-1.8, SOLID), (1.7, SOLID), bend=bend, heading=heading))
    assert lane.left is not None
    assert lane.right is not None
    for ahead in (5.0, 15.0, 25.0):
        turned = heading * ahead + bend * ahead**2 / 2
        assert lane.left.right_at(ahead) == pytest.approx(-1.8 + turned, abs=0.15)
        assert lane.right.right_at(ahead) == pytest.approx(1.7 + turned, abs=0.15)


def test_without_markings_there_is_no_lane() -> None:
    assert lane_of(drawn()) == EgoLane(None, None)
    assert lane_of(drawn(noise=25)) == EgoLane(None, None)
    assert lane_of(np.zeros((720, 1280, 3), np.uint8)) == EgoLane(None, None)


def test_a_line_that_is_not_on_the_road_is_none() -> None:
    assert lane_of(drawn((-1.8, SOLID), (1.7, SOLID)), 0 * EVERYWHERE) == EgoLane(None, None)


def test_where_no_marking_is_seen_a_curb_is_the_boundary() -> None:
    curbs = np.maximum(curb_at(-1.9), curb_at(2.1))
    lane = lane_of(drawn(), grades=graded(curb=curbs))
    assert lane.left is not None
    assert lane.right is not None
    assert (lane.left.kind, lane.right.kind) == ("curb", "curb")
    assert lane.left.right_at(10) == pytest.approx(-1.9, abs=0.1)
    assert lane.right.right_at(10) == pytest.approx(2.1, abs=0.1)


def test_a_marking_is_preferred_to_a_curb_behind_it() -> None:
    lane = lane_of(drawn((-1.3, SOLID), (1.7, DASHED)), grades=graded(curb=curb_at(-2.2)))
    assert lane.left is not None
    assert (lane.left.kind, lane.left.offset_m) == ("solid", pytest.approx(-1.3, abs=0.06))


def test_a_bright_stone_that_is_graded_as_curb_is_one() -> None:
    lane = lane_of(drawn((-1.9, SOLID), (1.7, DASHED)), grades=graded(curb=curb_at(-1.9)))
    assert lane.left is not None
    assert lane.left.kind == "curb"


def test_where_neither_is_seen_the_masks_edge_is_the_boundary_and_less_sure() -> None:
    lane = lane_of(drawn(), strip(-1.8, 2.2, (320, 180)))
    assert lane.left is not None
    assert lane.right is not None
    assert (lane.left.kind, lane.right.kind) == ("road_edge", "road_edge")
    assert lane.left.right_at(10) == pytest.approx(-1.8, abs=0.15)
    assert max(lane.left.confidence, lane.right.confidence) <= 0.5


def test_parked_cars_are_no_edge_of_the_road() -> None:
    cars = 2 * (1 - strip(-1.8, 2.2, (320, 180)))
    assert lane_of(drawn(), strip(-1.8, 2.2, (320, 180)) | cars) == EgoLane(None, None)


def test_a_double_line_is_a_boundary_and_a_crossing_is_none() -> None:
    lane = lane_of(drawn((-1.7, DASHED), (1.5, SOLID), (1.78, SOLID)))
    assert lane.right is not None
    assert (lane.right.kind, lane.right.offset_m) == ("solid", pytest.approx(1.64, abs=0.2))
    bars = [(x, (5.0, 1000.0)) for x in np.arange(-3.8, 3.9, 0.9).tolist()]
    assert lane_of(drawn(*bars)) == EgoLane(None, None)


def test_what_is_seen_far_away_alone_is_no_line() -> None:
    image, below = drawn((1.2, SOLID)), int(PLANE.pixels([(0.0, 20.0)])[0, 1])
    image[below:] = drawn((-1.6, DASHED), (2.0, SOLID))[below:]
    lane = lane_of(image)
    assert lane.right is not None
    assert lane.right.offset_m == pytest.approx(2.0, abs=0.1)


def test_one_line_alone_is_one_boundary() -> None:
    lane = lane_of(drawn((1.7, SOLID)))
    assert lane.left is None
    assert lane.right is not None
    assert lane.holds(0.0, 10.0) is None


def test_lines_too_far_apart_for_a_lane_leave_the_surer_one() -> None:
    lane = lane_of(drawn((-3.2, DASHED), (3.2, SOLID)))
    assert (lane.left is None) != (lane.right is None)


def test_planes_and_bgr_give_the_same_lane() -> None:
    image = drawn((-1.6, DASHED), (2.0, SOLID))
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    half = np.full((360, 640), 128, np.uint8)
    planes = Frame(index=0, captured_ns=0, source="drawn", yuv=Yuv420(grey, half, half))
    assert LaneFinder(PLANE, BOX).find(planes, EVERYWHERE) == lane_of(image)


def test_a_place_is_in_the_lane_between_its_lines_as_far_as_they_are_seen() -> None:
    left, right = (Boundary(offset, 0.0, 0.01, 20.0, "solid", 1.0) for offset in (-1.7, 1.8))
    lane = EgoLane(left, right)
    assert lane.holds(0.0, 10.0) is True
    assert lane.holds(-1.5, 10.0) is False  # the lane has bent by half a metre
    assert lane.holds(2.1, 10.0) is True
    assert lane.holds(0.0, 21.0) is None


def test_who_stands_in_the_lane_is_known_behind_the_step() -> None:
    classes: Image = np.full((180, 320), ROAD, np.uint8)
    foot = PLANE.pixels([(0.3, 12.0), (4.5, 12.0)]) / 4
    for x, y in foot:
        classes[int(y) - 30 : int(y), int(x) - 4 : int(x) + 4] = 9
    from edge.grouping import Instances

    result = Instances(CAMVID).update(result_of(0, classes, image=drawn((-1.8, SOLID), (1.7, SOLID))))
    found = Metres(MODEL, CAMVID).update(result)
    assert found.instances is not None
    assert {one.in_lane for one in found.instances if (one.lateral_m or 0) < 1} == {True}
    assert {one.in_lane for one in found.instances if (one.lateral_m or 0) > 3} == {False}


def test_the_step_takes_the_nets_grades_where_they_are_computed() -> None:
    curbs = graded(curb=np.maximum(curb_at(-1.9), curb_at(2.1)))
    result = result_of(0, np.full((180, 320), ROAD, np.uint8), image=drawn())
    assert Metres(MODEL, CAMVID).update(result).lane == EgoLane(None, None)
    known = dataclasses.replace(result, outputs={**result.outputs, GRADES.name: curbs})
    lane = Metres(MODEL, CAMVID).update(known).lane
    assert lane is not None
    assert lane.left is not None
    assert lane.right is not None
    assert (lane.left.kind, lane.right.kind) == ("curb", "curb")


def test_overlays_draw_the_lanes_boundaries_where_they_are() -> None:
    image = drawn((-1.8, SOLID), (1.7, SOLID))
    seen = Metres(MODEL, CAMVID).update(result_of(0, np.full((180, 320), ROAD, np.uint8), image=image))
    small = (640, 360)
    left, right = seen.marks(small)
    for mark, offset in ((left, -1.8), (right, 1.7)):
        points = mark.contours[0][:, 0]
        expected = PLANE.pixels([(offset, 4.0)])[0] / 2
        assert np.abs(points - expected).max(axis=1).min() < 6
    assert (seen.overlay() != dataclasses.replace(seen, lane=None).overlay()).any()


@pytest.mark.parametrize(
    "change",
    [{"left": 3}, {"left": {}}, {"right": {"kind": "wavy"}}, {"right": {"offset_m": "2"}}, {"right": {"far_m": None}}],
)
def test_json_gives_back_the_same_lane_and_what_is_none_is_refused(change: dict[str, Any]) -> None:
    lane = EgoLane(None, Boundary(1.7, 0.01, 0.001, 20.0, "dashed", 0.5))
    good = json.loads(json.dumps(lane.as_json()))
    assert lane_from_json(good) == lane
    name, value = next(iter(change.items()))
    bad = good | {name: good[name] | value if isinstance(good[name], dict) and isinstance(value, dict) else value}
    for wrong in (bad, [good]):
        with pytest.raises(DataError, match="lane: "):
            lane_from_json(wrong)
