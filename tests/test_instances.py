"""Objects one by one: found in masks that are drawn here, and found again at the end of all that carries results."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import COLOURS, MakeCard
from drives import through_a_drive
from stand_in import PEDESTRIAN, ROAD, SKY, BrightnessEngine, result_of
from test_further_outputs import received, sent_over_the_socket

import edge
from edge.classes import CAMVID
from edge.errors import ConfigError, DataError, SourceDamaged
from edge.frame import Frame, Image, Letterbox
from edge.grouping import LEAST_SHARE, Groups, Instances
from edge.instances import Instance, instances_from_json
from edge.outputs import CONFIDENCE, SEMANTIC, STEP_OUTPUTS
from edge.prediction import Prediction
from edge.rle import coco_rle
from edge.segmenter import Segmenter
from edge.sinks.jsonl import as_record
from edge.steps import STEPS
from edge.timing import Stages

CAR, CYCLIST = 8, 10
Patch = tuple[int, int, int, int, int]  # class, left, top, width, height in cells


def drawn(patches: list[Patch], wh: tuple[int, int] = (64, 48)) -> Image:
    classes: Image = np.full(wh[::-1], ROAD, np.uint8)
    for kind, x, y, width, height in patches:
        classes[y : y + height, x : x + width] = kind
    return classes


def found_in(classes: Image, source_wh: tuple[int, int] | None = None, **outputs: Image) -> Prediction:
    """The step's answer to a mask of a frame of that size; of the mask's own if not given."""
    width, height = source_wh or classes.shape[::-1]
    result = result_of(0, classes, image=np.zeros((height, width, 3), np.uint8))
    specs = {"semantic": SEMANTIC} | ({"confidence": CONFIDENCE} if "confidence" in outputs else {})
    result = dataclasses.replace(result, outputs={**result.outputs, **outputs}, specs=specs)
    return Instances(CAMVID).update(result)


def objects(result: Prediction) -> tuple[Instance, ...]:
    assert result.instances is not None
    return result.instances


def boxes(result: Prediction) -> list[tuple[str, tuple[float, ...]]]:
    return [(one.class_name, one.box) for one in objects(result)]


@pytest.mark.parametrize(
    ("patches", "expected"),
    [
        ([], []),
        ([(PEDESTRIAN, 0, 0, 64, 48)], [("Pedestrian", (0, 0, 64, 48))]),  # all of the frame
        ([(PEDESTRIAN, 0, 40, 3, 8)], [("Pedestrian", (0, 40, 3, 48))]),  # at two borders
        ([(PEDESTRIAN, 61, 0, 3, 8)], [("Pedestrian", (61, 0, 64, 8))]),
        ([(PEDESTRIAN, 5, 5, 1, 1)], [("Pedestrian", (5, 5, 6, 6))]),  # one cell of a small net is enough
        ([(PEDESTRIAN, 5, 5, 4, 9), (PEDESTRIAN, 9, 14, 2, 3)], [("Pedestrian", (5, 5, 11, 17))]),  # touch at a corner
        (
            [(PEDESTRIAN, 5, 5, 4, 9), (CAR, 9, 5, 8, 9)],  # touch, and are of two classes
            [("Car", (9, 5, 17, 14)), ("Pedestrian", (5, 5, 9, 14))],
        ),
        (
            [(CYCLIST, 30, 5, 2, 2), (PEDESTRIAN, 5, 20, 2, 2), (CAR, 20, 5, 2, 2)],  # of one size: from the upper left
            [("Car", (20, 5, 22, 7)), ("Bicyclist", (30, 5, 32, 7)), ("Pedestrian", (5, 20, 7, 22))],
        ),
    ],
)
def test_each_connected_patch_of_a_class_is_one_object_the_largest_first(
    patches: list[Patch], expected: list[tuple[str, tuple[float, ...]]]
) -> None:
    result = found_in(drawn(patches))
    assert boxes(result) == expected
    assert [one.id for one in objects(result)] == list(range(1, len(expected) + 1))


@pytest.mark.parametrize("seed", range(12))
def test_ids_areas_boxes_and_centres_are_those_of_the_cells(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wh = (int(rng.integers(20, 400)), int(rng.integers(20, 400)))  # on both sides of where labels need four bytes
    kinds = rng.choice([ROAD, PEDESTRIAN, CAR, CYCLIST], wh[::-1], p=(0.7, 0.1, 0.1, 0.1)).astype(np.uint8)
    classes = np.ascontiguousarray(np.kron(kinds, np.ones((3, 4), np.uint8)))
    result = found_in(classes)
    ids = result.outputs["instances"]
    assert result.instances
    for one in result.instances:
        rows, columns = np.nonzero(ids == one.id)
        assert set(classes[rows, columns].tolist()) == {one.class_id}
        assert one.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert one.area == len(rows)
        assert one.centre == pytest.approx((columns.mean() + 0.5, rows.mean() + 0.5), abs=0.051)
    assert set(np.unique(ids).tolist()) == {0, *(one.id for one in result.instances)}
    assert [one.area for one in result.instances] == sorted((one.area for one in result.instances), reverse=True)


def test_of_more_than_a_byte_counts_the_smallest_are_left_out() -> None:
    patches = [(PEDESTRIAN, 4 * x, 4 * y, 2, 2) for x in range(20) for y in range(15)]
    result = found_in(drawn([*patches, (CAR, 76, 56, 3, 3)], (80, 60)))
    assert len(objects(result)) == 255
    assert objects(result)[0].class_name == "Car"
    assert result.outputs["instances"].max() == 255


def test_a_patch_below_the_stated_share_of_the_frame_is_no_object() -> None:
    classes = np.full((200, 400), ROAD, np.uint8)
    assert LEAST_SHARE * classes.size == 8
    classes[10, 10:18] = PEDESTRIAN
    classes[20, 10:17] = PEDESTRIAN
    result = found_in(classes)
    assert boxes(result) == [("Pedestrian", (10, 10, 18, 11))]
    ids, segments = result.panoptic()
    assert (ids[20, 10:17] == 0).all()  # void
    assert [segment["id"] for segment in segments] == [1, 256 + ROAD]


@pytest.mark.parametrize(
    ("source_wh", "content"),
    [((64, 48), (0, 0, 64, 48)), ((1280, 720), (0, 6, 64, 36)), ((90, 120), (14, 0, 36, 48))],
)
def test_boxes_are_in_pixels_of_the_frame_and_bars_hold_no_object(
    source_wh: tuple[int, int], content: tuple[int, int, int, int]
) -> None:
    x, y, width, height = content
    classes = drawn([(CAR, x, y, width // 2, height // 2)])
    classes[:y], classes[y + height :], classes[:, :x], classes[:, x + width :] = (PEDESTRIAN,) * 4
    result = found_in(classes, source_wh)
    assert result.letterbox == Letterbox(source_wh, (64, 48), content)
    assert boxes(result) == [("Car", (0, 0, source_wh[0] / 2, source_wh[1] / 2))]
    (car,) = objects(result)
    assert car.area == source_wh[0] * source_wh[1] / 4
    assert car.centre == (source_wh[0] / 4, source_wh[1] / 4)
    mask = result.instance_mask(1)
    assert mask.shape == source_wh[::-1]
    assert mask.sum() == car.area
    assert coco_rle(mask)["size"] == [source_wh[1], source_wh[0]]


def test_confidence_is_the_mean_over_the_objects_cells_where_the_engine_gives_it() -> None:
    classes = drawn([(CAR, 0, 0, 10, 10), (PEDESTRIAN, 20, 20, 4, 8)])
    sure = np.zeros_like(classes)
    sure[:10, :10], sure[20:24, 20:24] = 255, 51
    car, person = objects(found_in(classes, confidence=sure))
    assert (car.confidence, person.confidence) == (1.0, 0.1)
    assert [one.confidence for one in objects(found_in(classes))] == [None, None]


def test_panoptic_ids_cover_the_frame_with_objects_and_background() -> None:
    classes = drawn([(SKY, 0, 0, 64, 10), (CAR, 10, 20, 20, 10)])
    ids, segments = found_in(classes, (128, 96)).panoptic()
    assert ids.shape == (96, 128)
    assert segments == [
        {"id": 1, "category_id": CAR, "isthing": True, "iscrowd": 0, "area": 800, "bbox": [20, 40, 40, 20]},
        {"id": 256 + SKY, "category_id": SKY, "isthing": False, "iscrowd": 0, "area": 2560, "bbox": [0, 0, 128, 20]},
        {
            "id": 256 + ROAD,
            "category_id": ROAD,
            "isthing": False,
            "iscrowd": 0,
            "area": 128 * 76 - 800,
            "bbox": [0, 20, 128, 76],
        },
    ]
    assert json.dumps(segments)


def test_a_nets_own_grouping_takes_the_place_of_components() -> None:
    def halves(prediction: Prediction, class_ids: Any) -> Groups:
        """Two people in one patch, as a head with centres tells them apart."""
        there = (prediction.content("semantic") == PEDESTRIAN).astype(np.uint8)
        there[:, 32:] *= 2
        sides = np.array([[30, 10, 2, 8], [32, 10, 2, 8]])
        return Groups(
            there, np.array([PEDESTRIAN] * 2), sides, np.array([16, 16]), np.array([[30.5, 13.5], [32.5, 13.5]])
        )

    classes = drawn([(PEDESTRIAN, 30, 10, 4, 8)])
    result = result_of(0, classes, image=np.zeros((48, 64, 3), np.uint8))
    assert boxes(Instances(CAMVID).update(result)) == [("Pedestrian", (30, 10, 34, 18))]
    split = Instances(CAMVID, halves).update(result)
    assert boxes(split) == [("Pedestrian", (30, 10, 32, 18)), ("Pedestrian", (32, 10, 34, 18))]
    assert split.instance_mask(2).sum() == 16


def test_an_engine_without_anything_to_count_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected an engine with a group of pedestrian, cyclist, vehicle, got warm"):
        Instances(COLOURS)


def test_masks_of_objects_that_were_not_asked_for_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected a prediction with instances"):
        result_of(0, drawn([]), image=np.zeros((48, 64, 3), np.uint8)).panoptic()


# ------------------------------------------------------------------------------------------------------------ carriers


class PeopleEngine(BrightnessEngine):
    """Sees a person where the image is dark."""

    def infer(self, image: Image) -> dict[str, Any]:
        return {"semantic": np.where(image.mean(-1) < 100, PEDESTRIAN, SKY).astype(np.uint8)}


def frame(index: int) -> Frame:
    image = np.full((24, 32, 3), 200, np.uint8)
    image[4:14, 3 + index : 8 + index] = 0
    now_ns = 5_000_000_000 + index * 10**8
    return Frame(index=index, captured_ns=now_ns, source="made up", bgr=image, media_ns=now_ns)


@pytest.fixture
def engine(make_card: MakeCard) -> PeopleEngine:
    return PeopleEngine(make_card)


@pytest.fixture
def results(engine: PeopleEngine) -> list[Prediction]:
    found = list(Segmenter(engine, ["instances"]).segment_all(map(frame, range(3))))
    assert all(len(result.instances or ()) == 1 for result in found)
    return found


def test_nothing_is_computed_that_was_not_asked_for(engine: PeopleEngine) -> None:
    (result,) = Segmenter(engine).segment_all([frame(0)])
    assert result.instances is None
    assert "instances" not in as_record(result, 0)
    assert set(STEPS) >= set(STEP_OUTPUTS)


def test_edge_segment_takes_instances_as_an_output(engine: PeopleEngine) -> None:
    (result,) = edge.segment(frame(0).image, engine, outputs=["instances"])  # type: ignore[arg-type]
    assert boxes(result) == [("Pedestrian", (3, 4, 8, 14))]


def test_json_gives_back_the_same_objects(results: list[Prediction]) -> None:
    record = json.loads(json.dumps(as_record(results[1], 0)))
    assert record["outputs"] == {"instances": {"count": 1}}
    assert instances_from_json(record["instances"]) == results[1].instances


@pytest.mark.parametrize(
    "change",
    [
        {"id": 0},
        {"id": 256},
        {"id": True},
        {"class_id": 255},
        {"class_name": 3},
        {"box": [1, 2, 3]},
        {"box": [1, 2, 3, float("nan")]},
        {"centre": None},
        {"area": "9"},
        {"confidence": "high"},
    ],
)
def test_an_object_that_is_not_one_is_refused(change: dict[str, Any]) -> None:
    row = Instance(1, 9, "Pedestrian", (0.0, 0.0, 2.0, 2.0), 4.0, (1.0, 1.0), 0.5).as_json()
    good = json.loads(json.dumps(row))
    assert instances_from_json([good])
    for bad in ([good | change], good, [good, good], [good["box"]], [good] * 256):
        with pytest.raises(DataError, match="instances: "):
            instances_from_json(bad)


def test_a_drive_gives_back_the_same_objects_and_their_pixels(
    results: list[Prediction], engine: PeopleEngine, tmp_path: Path
) -> None:
    kept = through_a_drive(results, engine.card, tmp_path / "a.mcap")
    for one, result in zip(kept, results, strict=True):
        assert one.instances == result.instances
        np.testing.assert_array_equal(one.instance_mask(1), result.instance_mask(1))


def test_objects_that_were_damaged_in_a_drive_are_reported(
    results: list[Prediction], engine: PeopleEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge.sinks import drive
    from edge.sources.drive import Drive

    damaged = {**as_record(results[0], 0), "instances": [{"id": 1}]}
    monkeypatch.setattr(drive, "as_record", lambda result, dropped: damaged)
    options = drive.DriveOptions("edge 0", "test", 10, engine.card)
    with drive.DriveSink(tmp_path / "a.mcap", options, Stages()) as sink:
        sink.write(results[0], 0)
    with Drive(str(tmp_path / "a.mcap")) as source, pytest.raises(SourceDamaged, match="instances: "):
        source.recorded(0)


def test_mqtt_sends_objects_with_the_results_and_their_pixels_beside(results: list[Prediction]) -> None:
    from edge.sinks.mqtt.outbox import Outbox

    box = Outbox("boot", "car")
    box.put_result(results[0], 0)
    sent = {message.topic: message.payload for message in box.newest_parts(Stages())}
    assert instances_from_json(json.loads(sent["car/results"])["instances"]) == results[0].instances
    assert "car/outputs/instances" in sent


def test_the_split_service_hands_objects_over(results: list[Prediction], engine: PeopleEngine) -> None:
    found = received(*sent_over_the_socket(results[2]), engine)  # type: ignore[arg-type]
    assert found.instances == results[2].instances
    np.testing.assert_array_equal(found.instance_mask(1), results[2].instance_mask(1))


def test_the_page_shows_objects_in_shades(results: list[Prediction]) -> None:
    from edge.web.images import grey_maps

    assert set(np.unique(grey_maps(results[0])["instances"]).tolist()) == {0, 255}


def test_the_service_refuses_instances_of_an_engine_that_has_none(colour_bundle: Any, tmp_path: Path) -> None:
    from edge.config import parse_tree
    from edge.service.check import check
    from edge.service.config import ServeConfig

    tree = {"camera": "scene:street", "engine": str(colour_bundle.folder), "instances": True}
    config = parse_tree({**tree, "recorder": {"folder": str(tmp_path)}}, ServeConfig, "edge.yaml")
    with pytest.raises(ConfigError, match="instances: expected an engine with a group"):
        check(config)
