"""What a street says of its camera and of everybody's place is what its images show."""

from __future__ import annotations

import numpy as np
import pytest

from edge.street.render import StreetScene


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
