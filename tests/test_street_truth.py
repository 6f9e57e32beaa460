"""What a street says of its camera and of everybody's place is what its images show."""

from __future__ import annotations

import numpy as np
import pytest

from edge.street.render import StreetScene

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("wh", [(640, 480), (320, 180)])  # small ones are drawn twice as large
def test_people_stand_where_the_street_says(wh: tuple[int, int]) -> None:
    scene, seen = StreetScene(12, wh, 1.0), 0
    for index in (2, 4):
        camera, outlines = scene.camera(index), scene.render(index).instances
        for one in scene.places(index):
            if not 6 < one.ahead_m < 25 or one.class_id != 9:
                continue
            rows, columns = np.nonzero(outlines == one.instance)
            foot = camera.horizon_v + camera.focal_px * camera.height_m / one.ahead_m
            tall = camera.focal_px * 1.7 / one.ahead_m
            if len(rows) < 0.06 * tall**2 or rows.max() + 1 < foot - 0.3 * tall:
                continue  # hidden behind something
            seen += 1
            assert rows.max() + 1 == pytest.approx(foot, abs=0.08 * tall + 1)
            middle = camera.centre_u + camera.focal_px * one.right_m / one.ahead_m
            assert (columns.min() + columns.max() + 1) / 2 == pytest.approx(middle, abs=0.15 * tall + 1)
    assert seen >= 3


@pytest.mark.parametrize(
    ("seed", "kinds"), [(200, ("solid", "dashed")), (206, ("curb", "dashed")), (203, ("dashed", "solid"))]
)
def test_the_lane_is_where_its_markings_are_painted(seed: int, kinds: tuple[str, str]) -> None:
    scene = StreetScene(seed, (640, 360), 1.0)
    classes = scene.render(1).classes
    lane, camera, marks = scene.lane(1, classes), scene.camera(1), scene.markings(1, classes)
    assert (lane.left.kind, lane.right.kind) == kinds
    for side in (lane.left, lane.right):
        value, seen = 2 if side.kind == "curb" else 1, 0
        for ahead in np.arange(4.0, 15.0, 0.25).tolist():
            row = int(camera.horizon_v + camera.focal_px * camera.height_m / ahead)
            column = int(camera.centre_u + camera.focal_px * side.right_at(ahead) / ahead)
            seen += row < 360 and bool((marks[row, max(0, column - 3) : column + 4] == value).any())
        assert seen >= 8  # 2 m, a dash
        assert side.seen_m > 4
