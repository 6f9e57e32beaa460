"""Markings of grades that are drawn here."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from stand_in import ROAD, SKY, result_of

from edge.classes import CAMVID
from edge.frame import Image
from edge.markings import CURB, MARKING, SURE, Markings
from edge.outputs import GRADES, MARKINGS


def expected(classes: Image, grades: Image) -> Image:
    """The whole of it, pixel by pixel."""
    marking, curb = (cv2.resize(grade, classes.shape[::-1], interpolation=cv2.INTER_LINEAR) for grade in grades)
    by_road = cv2.dilate((classes == ROAD).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return np.where((marking >= SURE) & by_road, MARKING, np.where(curb >= SURE, CURB, 0)).astype(np.uint8)


@pytest.mark.parametrize("seed", range(8))
def test_markings_are_where_grades_are_sure_by_the_road_and_lie_over_curbs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes: Image = np.full((96, 128), SKY, np.uint8)
    classes[40:, 10 + 2 * seed : 90] = ROAD
    grades = np.zeros((2, 24, 32), np.uint8)
    top, left = rng.integers(0, 20, 2)  # of a patch, which often touches the map's border
    patch = grades[:, top : top + 12, left : left + 14]
    patch[:] = rng.integers(0, 256, patch.shape)
    result = result_of(0, classes, image=np.zeros((96, 128, 3), np.uint8))
    seen = dataclasses.replace(result, outputs={**result.outputs, GRADES.name: grades})
    found = Markings(CAMVID).update(seen).outputs[MARKINGS]
    assert (found == expected(classes, grades)).all()
    assert set(np.unique(found)) == {0, MARKING, CURB}


def test_grades_that_are_nowhere_sure_are_no_markings() -> None:
    result = result_of(0, np.full((96, 128), ROAD, np.uint8), image=np.zeros((96, 128, 3), np.uint8))
    grades = np.full((2, 24, 32), SURE - 1, np.uint8)
    seen = dataclasses.replace(result, outputs={**result.outputs, GRADES.name: grades})
    assert not Markings(CAMVID).update(seen).outputs[MARKINGS].any()
