"""Objects by a head's centres and offsets: its maps are drawn here, exactly as `edge.train.heads` would want them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in import PEDESTRIAN, ROAD, result_of

from edge.centres import STRIDE, grouped
from edge.classes import CAMVID
from edge.frame import Image
from edge.grouping import Groups, components
from edge.instances import thing_ids
from edge.outputs import CENTRES, OFFSETS, SEMANTIC
from edge.prediction import Prediction

CAR, CYCLIST = 8, 10
THINGS = thing_ids(CAMVID)
Person = tuple[int, int, int, int, int]  # class, left, top, width, height


def seen(people: list[Person], wh: tuple[int, int] = (120, 88), heard: bool = True) -> Prediction:
    """A mask of people, later ones before earlier ones, and the maps that say where each one's centre is; without
    `heard`, the head sees no centre.
    """
    classes: Image = np.full(wh[::-1], ROAD, np.uint8)
    owner = np.zeros(wh[::-1], np.int32)
    for number, (kind, x, y, width, height) in enumerate(people, start=1):
        classes[y : y + height, x : x + width], owner[y : y + height, x : x + width] = kind, number
    h, w = (-(-side // STRIDE) for side in wh[::-1])
    centres, offsets = np.zeros((h, w), np.uint8), np.zeros((2, h, w), np.float32)
    down, across = np.mgrid[:h, :w]
    cells = np.pad(owner, ((0, STRIDE), (0, STRIDE)))[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE][:h, :w]
    for number in range(1, len(people) + 1):
        rows, columns = np.nonzero(owner == number)
        if rows.size and heard:
            y, x = (float(at.mean() - STRIDE // 2) / STRIDE for at in (rows, columns))
            centres[min(max(round(y), 0), h - 1), min(max(round(x), 0), w - 1)] = 200
            own = cells == number
            offsets[0][own], offsets[1][own] = (x - across)[own], (y - down)[own]
    result = result_of(0, classes, image=np.zeros((*wh[::-1], 3), np.uint8))
    outputs = {"semantic": classes, CENTRES.name: centres, OFFSETS.name: offsets}
    specs = {"semantic": SEMANTIC, CENTRES.name: CENTRES, OFFSETS.name: OFFSETS}
    return dataclasses.replace(result, outputs=outputs, specs=specs)


def boxes(groups: Groups) -> list[list[int]]:
    return sorted(groups.boxes.tolist())


def test_people_who_touch_are_one_object_each() -> None:
    result = seen([(PEDESTRIAN, 20, 20, 12, 40), (PEDESTRIAN, 32, 20, 12, 40)])
    assert len(components(result, THINGS).classes) == 1
    assert boxes(grouped(result, THINGS)) == [[20, 20, 12, 40], [32, 20, 12, 40]]


def test_one_person_behind_a_pole_is_one_object() -> None:
    result = seen([(PEDESTRIAN, 20, 20, 24, 40)])
    result.outputs["semantic"][20:60, 30:33] = 2  # Pole
    assert len(components(result, THINGS).classes) == 2
    assert boxes(grouped(result, THINGS)) == [[20, 20, 24, 40]]


def test_a_cyclist_with_a_few_pixels_of_a_pedestrian_is_one_object_without_them() -> None:
    result = seen([(CYCLIST, 20, 20, 24, 40)])
    result.outputs["semantic"][20:24, 20:44] = PEDESTRIAN
    found = grouped(result, THINGS)
    assert found.classes.tolist() == [CYCLIST]
    assert (found.ids[20:24] == 0).all()


def test_two_classes_at_one_centre_are_two_objects_where_both_are_large() -> None:
    result = seen([(CAR, 20, 20, 40, 40)])
    result.outputs["semantic"][20:36, 20:60] = PEDESTRIAN
    assert sorted(grouped(result, THINGS).classes.tolist()) == [CAR, PEDESTRIAN]


@pytest.mark.parametrize("wh", [(120, 88), (118, 87), (40, 24)])
def test_without_a_centre_objects_are_the_connected_patches(wh: tuple[int, int]) -> None:
    result = seen([(PEDESTRIAN, 4, 4, 8, 16), (PEDESTRIAN, 24, 4, 8, 16)], wh, heard=False)
    assert boxes(grouped(result, THINGS)) == boxes(components(result, THINGS))


def test_what_is_far_from_every_centre_is_an_object_of_its_own() -> None:
    result = seen([(PEDESTRIAN, 8, 20, 12, 40)])
    result.outputs["semantic"][20:60, 90:100] = PEDESTRIAN  # of which the head says nothing
    assert boxes(grouped(result, THINGS)) == [[8, 20, 12, 40], [90, 20, 10, 40]]


def test_without_the_heads_maps_objects_are_the_connected_patches() -> None:
    result = seen([(PEDESTRIAN, 20, 20, 12, 40), (PEDESTRIAN, 32, 20, 12, 40)])
    alone = dataclasses.replace(result, outputs={"semantic": result.semantic}, specs={"semantic": SEMANTIC})
    assert len(grouped(alone, THINGS).classes) == 1


people = st.lists(
    st.tuples(
        st.sampled_from([PEDESTRIAN, CAR, CYCLIST]),
        st.integers(0, 110),
        st.integers(0, 80),
        st.integers(1, 40),
        st.integers(1, 40),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(people, st.integers(0, 2**32 - 1), st.sampled_from([(120, 88), (117, 85), (64, 40)]))
def test_whatever_the_head_says_objects_agree_with_the_mask(
    drawn: list[Person], seed: int, wh: tuple[int, int]
) -> None:
    """No object has pixels of two classes, or of one that is not counted; ids are 1..n; figures are of the pixels."""
    result = seen(drawn, wh)
    rng = np.random.default_rng(seed)
    result.outputs[OFFSETS.name][:] += rng.normal(0, 3, result.outputs[OFFSETS.name].shape).astype(np.float32)
    result.outputs[CENTRES.name][rng.random(result.outputs[CENTRES.name].shape) < 0.02] = 180
    found = grouped(result, THINGS)
    assert np.unique(found.ids[found.ids > 0]).tolist() == list(range(1, len(found.classes) + 1))
    for number, (class_id, box, area, centre) in enumerate(
        zip(found.classes, found.boxes, found.areas, found.centres, strict=True), start=1
    ):
        rows, columns = np.nonzero(found.ids == number)
        assert set(result.semantic[rows, columns].tolist()) == {class_id}
        assert class_id in THINGS
        assert area == rows.size
        assert box.tolist() == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert centre == pytest.approx([columns.mean(), rows.mean()])
