"""Distances, the lane and the free road against a truth in metres."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_in import ROAD, result_of

from edge.classes import CAMVID
from edge.cli import make_app
from edge.evaluate.measures import Measures
from edge.evaluate.metres import MetresMeasure, TrueMetres, street_model
from edge.evaluate.metres_figures import distance_rows, lane_rows, metres_figures, metres_text
from edge.evaluate.records import Record, Records
from edge.frame import Image
from edge.geometry.lane import Boundary, EgoLane
from edge.grouping import Instances
from edge.metres import Metres
from edge.street.truth import Placed, StreetCamera, StreetLane, TrueBoundary

WH = (640, 360)
CAMERA = StreetCamera(600.0, 320.0, 160.0, 1.35, WH)
LEFT, RIGHT = (TrueBoundary("solid", tuple([x] * 61), 9.0) for x in (-1.7, 1.6))
PEOPLE = (Placed(5, 9, 1.0, 10.0, 10.0), Placed(7, 9, -3.0, 20.0, 20.0))
LANE = EgoLane(*(Boundary(x, 0.0, 0.0, 30.0, "solid", 1.0) for x in (-1.6, 1.6)))


def street(*people: Placed) -> tuple[Image, Any]:
    """Class ids and instances of a flat road to the horizon with people of 1.7 m by 0.6 m on it."""
    classes: Image = np.zeros(WH[::-1], np.uint8)
    classes[161:] = ROAD
    instances = np.zeros(WH[::-1], np.uint16)
    for one in people:
        scale = CAMERA.focal_px / one.ahead_m
        x, y = CAMERA.centre_u + scale * one.right_m, CAMERA.horizon_v + scale * CAMERA.height_m
        place = np.s_[round(y - 1.7 * scale) : round(y), round(x - 0.3 * scale) : round(x + 0.3 * scale)]
        classes[place], instances[place] = one.class_id, one.instance
    return classes, instances


def record_of(found: Image, people: tuple[Placed, ...] = PEOPLE, lane: EgoLane = LANE) -> Record:
    """A mask against a street with people."""
    classes, instances = street(*people)
    seen = Instances(CAMVID).update(result_of(0, found, image=np.zeros((*WH[::-1], 3), np.uint8)))
    result = dataclasses.replace(Metres(street_model([CAMERA]), CAMVID).update(seen), lane=lane)
    truth = TrueMetres(CAMERA, people, StreetLane(LEFT, RIGHT), classes, instances)
    compared = MetresMeasure()(result, truth)
    empty = Measures(CAMVID).empty
    none = dict.fromkeys(("confusion", "other", "outlines", "people"))
    return dataclasses.replace(
        empty, **none, in_metres=1, placed=compared.placed, lane=compared.lane, free=compared.free
    )


def figures_of(*records: Record) -> dict[str, Any]:
    numbered = [dataclasses.replace(record, index=number) for number, record in enumerate(records)]
    figures = metres_figures([Records.of(numbered, Measures(CAMVID).empty)], CAMVID)
    assert figures is not None
    return figures


def band(figures: dict[str, Any], name: str, group: str = "pedestrian") -> dict[str, Any]:
    return next(one for one in figures["distances"][group] if one["band"] == name)


def test_the_masks_that_are_true_have_the_true_distances() -> None:
    figures = figures_of(record_of(street(*PEOPLE)[0]))
    for name in ("5 to 15 m", "15 to 30 m"):
        one = band(figures, name)
        assert (one["count"], one["found"], one["pixels_found"]) == (1, 1, 1.0)
        assert one["error"] < 0.03
        assert one["error_by_outline"] < 0.03
        assert one["aside_m"] < 0.05
    assert band(figures, "30 to 60 m")["count"] == 0
    assert band(figures, "30 to 60 m")["error"] is None


def test_a_mask_that_misses_the_feet_makes_a_person_farther() -> None:
    found = street(*PEOPLE)[0]
    found[220:241, 360:400][found[220:241, 360:400] == 9] = ROAD
    one = band(figures_of(record_of(found)), "5 to 15 m")
    assert one["bias"] > 0.1
    assert one["error_by_outline"] < 0.03


def test_two_people_in_one_patch_are_not_found_as_one() -> None:
    beside = (Placed(5, 9, 1.0, 10.0, 10.0), Placed(6, 9, 1.55, 10.0, 10.0))
    one = band(figures_of(record_of(street(*beside)[0], beside)), "5 to 15 m")
    assert (one["count"], one["found"]) == (2, 0)
    assert one["pixels_found"] == 1.0


def test_who_is_hidden_to_the_knees_does_not_count() -> None:
    classes, instances = street(*PEOPLE)
    hidden = np.s_[225:241, 340:420]
    classes[hidden], instances[hidden] = ROAD, 0
    seen = Instances(CAMVID).update(result_of(0, classes, image=np.zeros((*WH[::-1], 3), np.uint8)))
    result = Metres(street_model([CAMERA]), CAMVID).update(seen)
    truth = TrueMetres(CAMERA, PEOPLE, StreetLane(LEFT, RIGHT), classes, instances)
    assert MetresMeasure()(result, truth).placed[:, 2].tolist() == [20_000]


def test_the_lane_is_scored_where_it_is_seen() -> None:
    found, nothing = record_of(street()[0], ()), record_of(street()[0], (), EgoLane(None, None))
    dashed = EgoLane(dataclasses.replace(LANE.left, kind="dashed", offset_m=-2.4), None)  # type: ignore[type-var]
    figures = figures_of(found, nothing, record_of(street()[0], (), dashed))["lane"]
    left, right = figures["left"], figures["right"]
    assert (left["expected"], left["found"], left["wrong"]) == (3, 2, 1)
    assert left["recall"] == pytest.approx(2 / 3, abs=1e-4)
    assert left["kind_right"] == 0.5
    assert (right["recall"], right["offset_m"]) == (pytest.approx(1 / 3, abs=1e-4), 0.0)
    assert figures["both"] == {"expected": 3, "recall": pytest.approx(1 / 3, abs=1e-4)}


def test_a_road_that_is_free_too_far_is_told_from_one_that_is_too_short() -> None:
    ahead = (Placed(5, 9, 0.0, 10.0, 10.0),)
    with_person, without = street(*ahead)[0], street()[0]
    assert figures_of(record_of(with_person, ahead))["free_road"]["error"] < 0.01
    assert figures_of(record_of(without, ahead))["free_road"]["too_far"] == 1.0
    assert figures_of(record_of(with_person, ()))["free_road"]["too_near"] == 1.0


def test_text_has_a_row_for_each_band_in_which_someone_is() -> None:
    figures = figures_of(record_of(street(*PEOPLE)[0]))
    assert [row[0] for row in distance_rows(figures)] == ["pedestrian, 5 to 15 m", "pedestrian, 15 to 30 m"]
    assert [row[0] for row in lane_rows(figures)] == ["left", "right", "both"]
    assert "free road ahead, 1 frames" in "\n".join(metres_text({"metres": figures}))
    assert list(metres_text({})) == []


def test_without_a_truth_in_metres_there_are_no_figures() -> None:
    empty = Measures(CAMVID).empty
    assert metres_figures([Records.of([empty], empty)], CAMVID) is None


@pytest.mark.slow
def test_a_rendered_street_is_evaluated_in_metres(tmp_path: Path) -> None:
    report, page = tmp_path / "report.json", tmp_path / "report.html"
    words = ("evaluate", "scene:street?seed=205&frames=2&size=640x360&fps=1", "--json", report, "--html", page)
    assert make_app()([str(word) for word in words], standalone_mode=False) == 0
    figures = json.loads(report.read_text())["metres"]
    assert figures["frames"] == 2
    assert figures["lane"]["both"] == {"expected": 2, "recall": 1.0}
    assert figures["lane"]["left"]["offset_m"] < 0.2
    assert "In metres" in page.read_text()
    assert "objects" not in json.loads(report.read_text())
