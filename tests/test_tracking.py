"""Ids that last: people drawn into masks, who walk, cross, hide and come back."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from stand_in import PEDESTRIAN, ROAD, result_of

from edge.classes import CAMVID
from edge.frame import Image
from edge.grouping import Instances
from edge.instances import Instance
from edge.outputs import CONFIDENCE, SEMANTIC
from edge.prediction import Prediction
from edge.steps import MAX_MISSED, Steps
from edge.tracking import LOST_NS, Tracks

CAR = 8
WH = (320, 160)  # cells; the camera's frames have twice as many pixels each way
Patch = tuple[int, float, float, int, int]  # class, left, top, width, height in cells
Scene = Callable[[float], Sequence[Patch]]  # by the time in seconds


def result_at(index: int, time_s: float, patches: Sequence[Patch], sure: int | None = None) -> Prediction:
    classes: Image = np.full(WH[::-1], ROAD, np.uint8)
    for kind, x, y, width, height in patches:
        left, top = max(0, round(x)), max(0, round(y))
        classes[top : max(0, round(y) + height), left : max(0, round(x) + width)] = kind
    image = np.zeros((2 * WH[1], 2 * WH[0], 1), np.uint8)
    result = result_of(index, classes, image=image, media_ns=round(time_s * 1e9))
    if sure is None:
        return result
    outputs = {**result.outputs, "confidence": np.full(classes.shape, sure, np.uint8)}
    return dataclasses.replace(result, outputs=outputs, specs={"semantic": SEMANTIC, "confidence": CONFIDENCE})


def steps() -> Steps:
    return Steps([Instances(CAMVID), Tracks()])


def followed(scene: Scene, times_s: Sequence[float], run: Steps | None = None) -> list[tuple[Instance, ...]]:
    run = run or steps()
    return [run.update(result_at(i, t, scene(t))).instances or () for i, t in enumerate(times_s)]


def times(rate_hz: float, seconds: float) -> list[float]:
    return (np.arange(round(rate_hz * seconds) + 1) / rate_hz).tolist()


def ids(found: Sequence[Instance]) -> list[int | None]:
    """From left to right."""
    return [one.track_id for one in sorted(found, key=lambda one: one.box)]


@pytest.mark.parametrize("rate_hz", [4, 10, 15, 60])
@pytest.mark.parametrize("speed", [0, 12, 40])  # cells a second
def test_who_walks_keeps_an_id_and_has_a_speed_at_any_rate(rate_hz: float, speed: float) -> None:
    found = followed(lambda t: [(PEDESTRIAN, 40 + speed * t, 60, 12, 30)], times(rate_hz, 3))
    assert [ids(objects) for objects in found] == [[1]] * len(found)
    assert (found[0][0].age_s, found[0][0].speed_px_s) == (0.0, None)
    assert found[-1][0].age_s == 3.0
    assert found[-1][0].speed_px_s == pytest.approx(2 * speed, abs=2 + 0.2 * speed)  # drawn in whole cells


def test_time_counts_and_not_frames() -> None:
    """Every frame, and one in an uneven hundred milliseconds: the same ids, ages and, nearly, speeds."""
    rng = np.random.default_rng(3)
    uneven = np.cumsum(rng.uniform(0.02, 0.18, 30)).tolist()
    (dense,), (sparse,) = (
        followed(lambda t: [(PEDESTRIAN, 40 + 30 * t, 60, 12, 30)], moments)[-1]
        for moments in (np.linspace(uneven[0], uneven[-1], 120).tolist(), uneven)
    )
    assert (dense.track_id, dense.age_s) == (sparse.track_id, sparse.age_s)
    assert sparse.speed_px_s == pytest.approx(dense.speed_px_s, rel=0.15)


@pytest.mark.parametrize("speed", [15, 30, 60])
@pytest.mark.parametrize("rate_hz", [10, 30])
@pytest.mark.parametrize("apart", [0, 8])
def test_two_who_cross_and_are_one_patch_meanwhile_come_out_with_their_ids(
    speed: float, rate_hz: float, apart: int
) -> None:
    way_s = 150 / (2 * speed)

    def scene(t: float) -> list[Patch]:
        right, left = 80 + speed * t, 230 - speed * t
        return [(PEDESTRIAN, right, 60, 12, 30), (PEDESTRIAN, left, 60 + apart, 12, 30)]

    found = followed(scene, times(rate_hz, 2 * way_s))
    assert any(len(objects) == 1 for objects in found)
    assert ids(found[0]) == [1, 2]
    assert ids(found[-1]) == [2, 1]


@pytest.mark.parametrize(("hidden_s", "expected"), [(0.3, 1), (0.9, 1), (1.0, 1), (1.2, 2)])
@pytest.mark.parametrize("speed", [0, 20])
def test_who_is_hidden_for_up_to_a_second_comes_back_as_the_same(hidden_s: float, speed: float, expected: int) -> None:
    def scene(t: float) -> list[Patch]:
        bystander: Patch = (CAR, 250, 20, 30, 20)
        hidden = 1.0 < t < 1.0 + hidden_s - 0.01
        return [bystander] if hidden else [bystander, (PEDESTRIAN, 40 + speed * t, 60, 12, 30)]

    found = followed(scene, times(10, 3))
    assert min(len(objects) for objects in found) == 1
    (person,) = (one for one in found[-1] if one.class_id == PEDESTRIAN)
    (before,) = (one for one in found[0] if one.class_id == PEDESTRIAN)
    assert (person.track_id == before.track_id) == (expected == 1)
    assert person.age_s == (3.0 if expected == 1 else pytest.approx(3.0 - 1.0 - hidden_s, abs=0.11))


def test_who_is_no_longer_one_but_another_has_another_id() -> None:
    kinds = {0.0: PEDESTRIAN, 0.1: CAR, 0.2: PEDESTRIAN}
    found = followed(lambda t: [(kinds[t], 40, 60, 12, 30)], list(kinds))
    assert [ids(objects) for objects in found] == [[1], [2], [1]]


def test_a_far_one_is_not_who_was_lost() -> None:
    places = {0.0: 40.0, 0.1: 40.0, 0.2: 200.0}
    found = followed(lambda t: [(PEDESTRIAN, places[t], 60, 12, 30)], list(places))
    assert [ids(objects) for objects in found] == [[1], [1], [2]]


@pytest.mark.parametrize(
    ("index", "time_s"),
    [(2 + MAX_MISSED + 1, 0.3), (2, 0.2 + LOST_NS / 1e9), (1, 0.05), (0, 0.0)],
)
def test_after_a_gap_or_a_seek_all_are_new_and_no_id_comes_twice(index: int, time_s: float) -> None:
    run, person = steps(), [(PEDESTRIAN, 40.0, 60.0, 12, 30)]
    before = [run.update(result_at(i, i / 10, person)).instances or () for i in range(2)]
    after = run.update(result_at(index, time_s, person)).instances or ()
    assert [ids(objects) for objects in before] == [[1], [1]]
    assert [(one.track_id, one.age_s) for one in after] == [(2, 0.0)]


def test_an_object_that_the_engine_is_not_sure_of_goes_on_but_begins_nothing() -> None:
    run, person = steps(), [(PEDESTRIAN, 40.0, 60.0, 12, 30)]
    certain = {0: 60, 1: 60, 2: 200, 3: 60, 4: 200}
    found = [run.update(result_at(i, i / 10, person, sure)).instances or () for i, sure in certain.items()]
    assert [ids(objects) for objects in found] == [[None], [None], [1], [1], [1]]


def test_sure_objects_choose_their_tracks_before_unsure_ones() -> None:
    run = steps()
    run.update(result_at(0, 0.0, [(PEDESTRIAN, 40.0, 60.0, 20, 30)], 255))
    result = result_at(1, 0.1, [(PEDESTRIAN, 38.0, 60.0, 8, 30), (PEDESTRIAN, 48.0, 60.0, 20, 30)], 255)
    result.outputs["confidence"][:, 48:] = 60  # overlaps more, and is unsure
    assert ids(run.update(result).instances or ()) == [1, None]


def crowd(seed: int) -> Scene:
    """Thirty people and cars in lanes of their own, whose boxes tremble and who are away now and then."""
    rng = np.random.default_rng(seed)
    speeds, begins = rng.uniform(-18, 18, 30), rng.uniform(20, 90, 30)
    away = rng.random((30, 200)) < 0.1

    def scene(t: float) -> list[Patch]:
        frame = round(t * 15)
        noise = np.random.default_rng((seed, frame)).integers(-1, 2, (30, 2))
        found: list[Patch] = []
        for i in range(30):
            lane, side = divmod(i, 2)
            kind, wide = (CAR, 12) if i % 3 == 0 else (PEDESTRIAN, 5)
            x = 160 * side + float(np.clip(begins[i] + speeds[i] * t, 2, 140)) + noise[i, 0]
            if frame == 0 or not away[i, frame]:
                found.append((kind, x, 1 + 10.5 * lane, wide + int(noise[i, 1]), 8))
        return found

    return scene


@pytest.mark.parametrize("seed", range(3))
def test_thirty_who_tremble_and_flicker_keep_their_ids(seed: int) -> None:
    found = followed(crowd(seed), times(15, 4))
    assert len(found[0]) == 30
    lanes: dict[tuple[float, bool], set[int | None]] = {}
    for objects in found:
        for one in objects:
            lanes.setdefault((one.centre[1] // 21, one.centre[0] >= 320), set()).add(one.track_id)
    assert len(lanes) == 30
    assert sum(map(len, lanes.values())) == 30


def test_a_replay_gives_the_same_ids_ages_and_speeds() -> None:
    moments = times(15, 4)
    assert followed(crowd(7), moments) == followed(crowd(7), moments)


def test_frames_without_anyone_are_none_the_worse() -> None:
    found = followed(lambda t: [] if t < 0.5 else [(PEDESTRIAN, 40, 60, 12, 30)], times(10, 1))
    assert [ids(objects) for objects in found] == [[]] * 5 + [[1]] * 6
    assert steps().update(result_at(0, 0.0, [(PEDESTRIAN, 40, 60, 12, 30)], 10)).instances


def test_detections_of_objects_have_tracker_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    run = steps()
    result = run.update(result_at(0, 0.0, [(CAR, 100.0, 20.0, 30, 20), (PEDESTRIAN, 40.0, 60.0, 12, 30)], 204))
    found = result.detections()
    assert found.xyxy.tolist() == [[200, 40, 260, 80], [80, 120, 104, 180]]
    assert found.tracker_id.tolist() == [1, 2]
    assert found.data["class_name"].tolist() == ["Car", "Pedestrian"]
    assert found.confidence == pytest.approx([0.8, 0.8])
    assert found.mask.shape == (2, 2 * WH[1], 2 * WH[0])
    assert found.mask.sum(axis=(1, 2)).tolist() == [60 * 40, 24 * 60]
    assert not hasattr(result.detections(["pedestrian"]), "tracker_id")
