"""Metres of masks that are drawn here, and the same metres at the end of all that carries results."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bundles import COLOURS, MakeCard
from drives import through_a_drive
from stand_in import PEDESTRIAN, ROAD, SKY, BrightnessEngine, result_of
from test_further_outputs import received, sent_over_the_socket

import edge
from edge.classes import CAMVID
from edge.errors import ConfigError, DataError
from edge.frame import Frame, Image
from edge.geometry.free_space import FreeSpace, free_space_from_json
from edge.geometry.ground import GroundPlane
from edge.geometry.model import CameraModel
from edge.instances import ABOVE_HORIZON, CUT, TOO_FAR, Instance, instances_from_json
from edge.metres import Metres, Speed, Speeds, place
from edge.prediction import Prediction
from edge.segmenter import Segmenter
from edge.sinks.jsonl import as_record
from edge.steps import Steps

# Level, 1.5 m up, 320x180 frames of 250 px focal length: z metres ahead is 375 / z px below row 90.
MODEL = CameraModel(height_m=1.5, focal_px=250, image_wh=(320, 180))
EXACT = CameraModel(height_m=1.5, focal_px=250, image_wh=(320, 180), pitch_sd_deg=0, height_sd_m=0)


def person(left: float, top: float, right: float, bottom: float, **known: Any) -> Instance:
    return Instance(1, PEDESTRIAN, "Pedestrian", (left, top, right, bottom), 9.0, (left, top), **known)


def placed(*found: Instance, model: CameraModel = MODEL, cell_px: float = 1.0) -> tuple[Instance, ...]:
    return place(found, GroundPlane(model, (320, 180)), cell_px)


def test_the_foot_point_says_how_far_and_how_far_to_the_side() -> None:
    (one,) = placed(person(175, 90, 195, 127.5))  # 37.5 px below the horizon; its middle 25 px right of the image's
    assert (one.distance_m, one.lateral_m, one.no_distance) == (10.0, 1.0, None)
    (left,) = placed(person(125, 90, 145, 127.5))
    assert left.lateral_m == -1.0


def test_the_standard_error_has_the_cell_of_the_mask_in_it() -> None:
    (one,) = placed(person(150, 90, 170, 127.5), model=EXACT, cell_px=2.0)
    assert one.distance_sd_m == pytest.approx(2 * 10 / 37.5, abs=0.01)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((10, 100, 30, 180), CUT),
        ((10, 100, 30, 179.8), CUT),
        ((10, 20, 30, 60), ABOVE_HORIZON),
        ((10, 20, 30, 90), ABOVE_HORIZON),
        ((10, 60, 30, 90.8), TOO_FAR),
    ],
)
def test_an_object_without_a_distance_says_why(box: tuple[float, float, float, float], reason: str) -> None:
    (one,) = placed(person(*box))
    assert one.no_distance == reason
    assert (one.distance_m, one.lateral_m, one.distance_sd_m) == (None, None, None)


def walk(
    speeds: Speeds, places: list[tuple[float, float]], step_ns: int = 100_000_000, begin_ns: int = 5_000_000_000
) -> list[Speed | None]:
    return [speeds.add(begin_ns + index * step_ns, 7, right, ahead, 0.1) for index, (right, ahead) in enumerate(places)]


def test_a_track_has_the_speed_of_its_places_once_it_is_known() -> None:
    seen = walk(Speeds(), [(0.3 * i, 20 - 0.4 * i) for i in range(12)])
    assert seen[:4] == [None] * 4
    assert seen[4] == pytest.approx((5.0, 4.0))
    assert seen[-1] == pytest.approx((5.0, 4.0))


def test_a_speed_that_is_known_too_badly_is_none() -> None:
    rng = np.random.default_rng(3)
    seen = walk(Speeds(), [(0, 30 + 8 * float(rng.standard_normal())) for _ in range(8)])
    assert seen[-1] is None


def test_a_speed_is_that_of_the_last_second_and_of_one_track() -> None:
    speeds = Speeds()
    walk(speeds, [(0, 20 - i) for i in range(12)])
    assert speeds.add(60_000_000_000, 7, 0.0, 9.0, 0.1) is None


def test_a_speed_stays_right_however_long_a_track_is_followed() -> None:
    speeds, rng = Speeds(), np.random.default_rng(1)
    walk(speeds, [(3 * float(x), 40 + 20 * float(z)) for x, z in rng.standard_normal((3000, 2))], 33_000_000)
    seen = walk(speeds, [(0.1 * i, 60 - 0.2 * i) for i in range(40)], 33_000_000, 105_000_000_000)
    alone = walk(Speeds(), [(0.1 * i, 60 - 0.2 * i) for i in range(40)], 33_000_000)
    assert seen[-1] == alone[-1] == pytest.approx((6.78, 6.06), abs=0.01)


def test_an_objects_speed_is_that_of_its_track() -> None:
    step, boxes = Metres(MODEL, CAMVID), [(150, 90, 170, 90 + 375 / (20 - 0.5 * i)) for i in range(8)]
    for index, box in enumerate(boxes):
        result = dataclasses.replace(
            result_of(index, road_ahead(), image=np.zeros((180, 320, 3), np.uint8)),
            instances=(person(*box, track_id=3),),
            frame=Frame(
                index=index, captured_ns=index * 100_000_000, source="drawn", bgr=np.zeros((180, 320, 3), np.uint8)
            ),
        )
        found = step.update(result).instances
        assert found
        one = found[0]
        assert (one.closing_m_s is None) == (index < 4)
        if index >= 4:
            assert one.closing_m_s == pytest.approx(5.0, abs=0.05)


def road_ahead(wh: tuple[int, int] = (320, 180)) -> Image:
    """Road below row 90 of 180."""
    classes: Image = np.full(wh[::-1], SKY, np.uint8)
    classes[wh[1] // 2 :] = ROAD
    return classes


def in_metres(classes: Image, source_wh: tuple[int, int] = (320, 180), model: CameraModel = MODEL) -> Prediction:
    width, height = source_wh
    result = result_of(0, classes, image=np.zeros((height, width, 3), np.uint8))
    return Metres(model, CAMVID).update(result)


def free(result: Prediction) -> FreeSpace:
    assert result.free_space is not None
    return result.free_space


def test_a_free_road_is_free_as_far_as_can_be_told() -> None:
    found = free(in_metres(road_ahead()))
    assert found.ahead_m == found.reach_m
    assert 30 < found.reach_m <= 100
    assert {ahead for _, ahead in found.polyline_m} == {found.reach_m}


def test_what_stands_on_the_road_ends_it_there() -> None:
    classes = road_ahead()
    classes[60:120, 150:171] = 8  # a car whose wheels are 30 px below the horizon: 12.5 m
    found = free(in_metres(classes))
    assert found.ahead_m == pytest.approx(12.5)
    beside = free(in_metres(np.roll(classes, 60, axis=1)))  # 60 px to the right at 12.5 m: 3 m
    assert beside.ahead_m == beside.reach_m
    assert min(ahead for _, ahead in beside.polyline_m) == pytest.approx(12.5)
    right = [right for right, ahead in beside.polyline_m if ahead < 13]
    assert min(right) > 2
    assert max(right) < 4


def test_a_way_that_is_no_road_at_the_bottom_of_the_image_is_not_free() -> None:
    classes = road_ahead()
    classes[150:] = 8  # a car right ahead, cut by the bottom
    found = free(in_metres(classes))
    assert found.ahead_m == pytest.approx(1.5 * 250 / 90, abs=0.01)  # no more than the image's lower border shows


def test_the_cars_own_bonnet_is_no_obstacle() -> None:
    classes = road_ahead()
    classes[162:] = SKY
    bonnet = MODEL.model_copy(update={"bonnet_share": 0.1})
    assert free(in_metres(classes, model=bonnet)).ahead_m == free(in_metres(road_ahead())).reach_m
    (one,) = placed(person(10, 100, 30, 162), model=bonnet)
    assert one.no_distance == CUT


def test_a_hole_of_one_cell_is_no_obstacle() -> None:
    classes = road_ahead()
    classes[140, 160] = SKY
    assert free(in_metres(classes)).ahead_m == free(in_metres(road_ahead())).reach_m


@pytest.mark.parametrize(
    ("mask_wh", "source_wh"), [((160, 90), (320, 180)), ((64, 48), (320, 180)), ((320, 180), (1280, 720))]
)
def test_metres_are_alike_whatever_the_sizes_of_frame_and_mask(
    mask_wh: tuple[int, int], source_wh: tuple[int, int]
) -> None:
    result = result_of(0, np.zeros(mask_wh[::-1], np.uint8), image=np.zeros((*source_wh[::-1], 3), np.uint8))
    truth = road_ahead(source_wh)
    scale = source_wh[0] / 320
    truth[: round(120 * scale), :] = SKY  # the road ends at 12.5 m
    content = result.letterbox.content(result.outputs["semantic"])
    content[:] = cv2.resize(truth, content.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    found = free(Metres(MODEL, CAMVID).update(result))
    assert found.ahead_m == pytest.approx(12.5, rel=0.1)


def test_frames_of_another_shape_than_the_models_are_refused() -> None:
    with pytest.raises(ConfigError, match="images of 320x180, the frames are 320x240: expected the same shape"):
        in_metres(road_ahead((320, 240)), (320, 240))


def test_an_engine_that_sees_neither_road_nor_people_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected an engine with a group of road, pedestrian, cyclist, vehicle, got"):
        Metres(MODEL, COLOURS)


# ------------------------------------------------------------------------------------------------------------ carriers


class StreetEngine(BrightnessEngine):
    """Sees a person where the image is dark, sky where it is bright, road else."""

    def infer(self, image: Image) -> dict[str, Any]:
        light = image.mean(-1)
        return {"semantic": np.where(light < 60, PEDESTRIAN, np.where(light < 150, ROAD, SKY)).astype(np.uint8)}


SMALL = CameraModel(height_m=1.5, hfov_deg=50)


def frame(index: int) -> Frame:
    image = np.full((24, 32, 3), 200, np.uint8)
    image[13:] = 100
    image[9:18, 13 + index : 16 + index] = 0
    now_ns = 5_000_000_000 + index * 10**8
    return Frame(index=index, captured_ns=now_ns, source="made up", bgr=image, media_ns=now_ns)


@pytest.fixture
def engine(make_card: MakeCard) -> StreetEngine:
    return StreetEngine(make_card)


@pytest.fixture
def results(engine: StreetEngine) -> list[Prediction]:
    found = list(Segmenter(engine, camera_model=SMALL).segment_all(map(frame, range(6))))
    for result in found:
        assert result.instances
        assert result.instances[0].distance_m is not None
    assert found[-1].instances
    assert found[-1].instances[0].speed_m_s is not None
    return found


def test_nothing_is_in_metres_without_a_camera_model(engine: StreetEngine) -> None:
    (result,) = Segmenter(engine, ["instances"]).segment_all([frame(0)])
    assert (result.free_space, result.ground) == (None, None)
    assert result.instances
    assert "distance_m" not in result.instances[0].as_json()
    assert len(Steps.of(engine)) == 0


def test_edge_segment_takes_a_camera_model_by_its_file(engine: StreetEngine, tmp_path: Path) -> None:
    (tmp_path / "camera.yaml").write_text("geometry: {height_m: 1.5, hfov_deg: 50}\n", encoding="utf-8")
    (result,) = edge.segment(frame(0).image, engine, camera_model=tmp_path / "camera.yaml")  # type: ignore[arg-type]
    nearest = result.nearest("pedestrian")
    assert nearest is not None
    assert nearest.distance_m == pytest.approx(1.5 * 16 / np.tan(np.radians(25)) / 6, abs=0.01)  # 6 rows below
    assert result.nearest("vehicle") is None
    assert result.ground is not None
    assert result.ground.birds_eye(result.frame.image, -2, 2, 4, 12, 10).shape == (80, 40, 3)


def test_json_gives_back_the_same_metres(results: list[Prediction]) -> None:
    record = json.loads(json.dumps(as_record(results[-1], 0)))
    assert instances_from_json(record["instances"]) == results[-1].instances
    assert free_space_from_json(record["free_space"]) == results[-1].free_space


@pytest.mark.parametrize(
    "change",
    [
        {"polyline_m": None},
        {"polyline_m": [[1.0]]},
        {"polyline_m": [[1.0, "2"]]},
        {"polyline_m": [[1.0, float("inf")]]},
        {"polyline_m": [[0.0, 1.0]] * 2000},
        {"ahead_m": "far"},
        {"reach_m": None},
    ],
)
def test_a_free_space_that_is_none_is_refused(change: dict[str, Any]) -> None:
    good = json.loads(json.dumps(FreeSpace(((0.0, 9.0),), None, 50.0).as_json()))
    assert free_space_from_json(good).ahead_m is None
    for bad in (good | change, [good]):
        with pytest.raises(DataError, match="free_space: "):
            free_space_from_json(bad)


def test_a_reason_that_edge_does_not_give_is_refused() -> None:
    row = json.loads(json.dumps(placed(person(10, 100, 30, 180))[0].as_json()))
    assert instances_from_json([row])[0].no_distance == CUT
    with pytest.raises(DataError, match="no_distance"):
        instances_from_json([row | {"no_distance": "who knows"}])


def test_a_drive_gives_back_the_same_metres_and_has_the_calibration(
    results: list[Prediction], engine: StreetEngine, tmp_path: Path
) -> None:
    from edge.drive.file import DriveFile
    from edge.drive.schema import CALIBRATION, message_class

    for one, result in zip(through_a_drive(results, engine.card, tmp_path / "a.mcap"), results, strict=True):
        assert one.instances == result.instances
        assert one.free_space == result.free_space
    file = DriveFile(tmp_path / "a.mcap")
    assert file.schemas[CALIBRATION].name == "foxglove.CameraCalibration"
    assert len(file.places[CALIBRATION]) == len(results)
    message = message_class("foxglove.CameraCalibration").FromString(
        file.read(CALIBRATION, file.places[CALIBRATION][0])
    )
    focal = 16 / np.tan(np.radians(25))
    assert (message.width, message.height) == (32, 24)
    assert list(message.K) == pytest.approx([focal, 0, 15.5, 0, focal, 11.5, 0, 0, 1])
    assert list(message.D) == [0.0] * 5


def test_mqtt_has_metres_in_its_results(results: list[Prediction]) -> None:
    from edge.sinks.mqtt.outbox import Outbox
    from edge.timing import Stages

    box = Outbox("boot", "car")
    box.put_result(results[-1], 0)
    sent = {message.topic: message.payload for message in box.newest_parts(Stages())}
    record = json.loads(sent["car/results"])
    assert instances_from_json(record["instances"]) == results[-1].instances
    assert free_space_from_json(record["free_space"]) == results[-1].free_space


def test_the_split_service_hands_metres_over(results: list[Prediction], engine: StreetEngine) -> None:
    found = received(*sent_over_the_socket(results[-1]), engine)  # type: ignore[arg-type]
    assert found.instances == results[-1].instances
    assert found.free_space == results[-1].free_space


def test_overlays_write_the_distance_beside_the_id(results: list[Prediction]) -> None:
    assert results[-1].instances
    one = results[-1].instances[0]
    assert [mark.label for mark in results[-1].marks((320, 240))] == [f"{one.track_id} {one.distance_m:.0f} m"]
    without = dataclasses.replace(one, distance_m=None)
    unknown = dataclasses.replace(results[-1], instances=(without,))
    assert [mark.label for mark in unknown.marks((320, 240))] == [str(one.track_id)]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"camera": "scene:street", "geometries": {"front": {"height_m": 1.3, "hfov_deg": 60}}}, "geometries.front: "),
        (
            {"cameras": {"front": "scene:street?seed=1"}, "geometry": {"height_m": 1.3, "hfov_deg": 60}},
            "geometry: is of one camera only",
        ),
        (
            {"cameras": {"front": "scene:street?seed=1"}, "geometries": {"rear": {"height_m": 1.3, "hfov_deg": 60}}},
            "geometries.rear: expected a name in `cameras` .front.",
        ),
    ],
)
def test_the_service_refuses_a_model_of_no_camera(keys: dict[str, Any], expected: str, tmp_path: Path) -> None:
    from edge.config import parse_tree
    from edge.service.check import check
    from edge.service.config import ServeConfig

    config = parse_tree({**keys, "recorder": {"folder": str(tmp_path)}}, ServeConfig, "edge.yaml")
    with pytest.raises(ConfigError, match=expected):
        check(config)


def test_each_camera_of_the_service_has_its_own_model() -> None:
    from edge.config import parse_tree
    from edge.service.config import ServeConfig

    model = {"height_m": 1.3, "hfov_deg": 60}
    one = parse_tree({"camera": "scene:street", "geometry": model}, ServeConfig, "edge.yaml")
    assert one.geometry_of("") == CameraModel(height_m=1.3, hfov_deg=60)
    two = parse_tree({"cameras": {"a": "0", "b": "1"}, "geometries": {"b": model}}, ServeConfig, "edge.yaml")
    assert (two.geometry_of("a"), two.geometry_of("b")) == (None, one.geometry)
