"""What Foxglove shows in metres: the camera's place, boxes and lines, and the mask from above."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in import PEDESTRIAN, ROAD, SKY, result_of

from edge.drive.file import DriveFile
from edge.drive.scene import CELL_M, FAR_M, NEAR_M, SIDE_M, UNSEEN, _quaternion, class_grid, road_parts
from edge.drive.schema import GRID, SCENE, TRANSFORM, message_class
from edge.frame import Letterbox
from edge.geometry.free_space import FreeSpace
from edge.geometry.ground import GroundPlane, rotation_of
from edge.geometry.lane import Boundary, EgoLane
from edge.geometry.model import CameraModel
from edge.instances import CUT, Instance
from edge.prediction import Prediction
from edge.sinks.drive import DriveOptions, DriveSink
from edge.timing import Stages

# Level, 1.5 m up, 250 px: z metres ahead is 375 / z px below row 90.
PLANE = GroundPlane(CameraModel(height_m=1.5, focal_px=250, image_wh=(320, 180)), (320, 180))
PERSON = Instance(
    1, PEDESTRIAN, "Pedestrian", (155, 80, 165, 127.5), 9.0, (0, 0), None, 7, distance_m=10.0, lateral_m=1.0
)
LINE = Boundary(-1.5, 0.0, 0.0, 30.0, "solid", 1.0)


def seen(**known: object) -> Prediction:
    classes = np.full((90, 160), SKY, np.uint8)
    classes[45:] = ROAD
    classes[45:, 80:] = 4  # pavement to the right of the lens
    result = result_of(0, classes, image=np.zeros((180, 320, 3), np.uint8))
    return dataclasses.replace(result, ground=PLANE, **known)


def messages(result: Prediction) -> dict[str, Any]:
    assert result.ground is not None
    names = {TRANSFORM: "foxglove.FrameTransform", SCENE: "foxglove.SceneUpdate", GRID: "foxglove.Grid"}
    return {topic: message_class(names[topic]).FromString(make(5)) for topic, make in road_parts(result, result.ground)}


def test_a_person_is_a_box_where_they_stand_with_their_number_and_distance() -> None:
    cut = dataclasses.replace(PERSON, id=2, distance_m=None, lateral_m=None, no_distance=CUT)
    scene = messages(seen(instances=(PERSON, cut)))[SCENE]
    assert [entity.id for entity in scene.entities] == ["objects", "lane", "free space"]
    assert {entity.frame_id for entity in scene.entities} == {"road"}
    (cube,), (text,) = scene.entities[0].cubes, scene.entities[0].texts
    assert (cube.size.x, cube.size.y, cube.size.z) == pytest.approx((0.5, 0.4, 1.9))
    assert (cube.pose.position.x, cube.pose.position.y, cube.pose.position.z) == pytest.approx((10.25, -1.0, 0.95))
    assert text.text == "7 10.0 m"


def test_lane_and_free_road_are_lines_ahead_and_to_the_left() -> None:
    free = FreeSpace(((-2.0, 8.0), (2.0, 9.0)), 8.0, 60.0)
    _, lane, road = messages(seen(lane=EgoLane(LINE, None), free_space=free))[SCENE].entities
    (line,) = lane.lines
    assert {round(point.y, 3) for point in line.points} == {1.5}
    assert [line.points[0].x, line.points[-1].x] == pytest.approx([4, 30])
    assert [(point.x, point.y) for point in road.lines[0].points] == [(8, 2), (9, -2)]


def test_what_is_gone_is_gone_from_the_scene() -> None:
    scene = messages(seen())[SCENE]
    assert [(len(e.cubes), len(e.lines)) for e in scene.entities] == [(0, 0)] * 3
    assert all(entity.lifetime.ToNanoseconds() == 10**9 for entity in scene.entities)


angles = st.floats(-40, 40)


def turned(quaternion: tuple[float, ...], vector: np.ndarray) -> np.ndarray:
    axis, w = np.array(quaternion[:3]), quaternion[3]
    return vector + 2 * np.cross(axis, np.cross(axis, vector) + w * vector)


@given(angles, angles, angles)
def test_the_cameras_axes_are_turned_onto_the_roads(pitch: float, roll: float, yaw: float) -> None:
    rotation = rotation_of(pitch, roll, yaw)
    for vector in np.eye(3):
        np.testing.assert_allclose(turned(_quaternion(rotation), vector), rotation @ vector, atol=1e-6)


def test_the_transform_puts_the_foot_of_a_ray_on_the_road() -> None:
    """The ray through a person's foot, from where the transform has the camera, meets the road where they stand."""
    plane = GroundPlane(CameraModel(height_m=1.5, hfov_deg=60, pitch_deg=4, roll_deg=2, yaw_deg=-3), (320, 180))
    transform = messages(dataclasses.replace(seen(), ground=plane))[TRANSFORM]
    assert (transform.parent_frame_id, transform.child_frame_id) == ("road", "camera")
    q = transform.rotation
    (pixel,) = plane.pixels([(1.0, 10.0)])
    ray = turned((q.x, q.y, q.z, q.w), plane.rays([pixel])[0])
    foot = np.array((0, 0, transform.translation.z)) + ray * transform.translation.z / -ray[2]
    np.testing.assert_allclose(foot, (10.0, -1.0, 0.0), atol=1e-6)


def test_the_grid_has_the_mask_from_above() -> None:
    grid = messages(seen())[GRID]
    cells = np.frombuffer(grid.data, np.uint8).reshape(-1, grid.column_count)
    assert cells.shape == (2 * SIDE_M / CELL_M, (FAR_M - NEAR_M) / CELL_M)
    assert (grid.row_stride, grid.cell_stride, grid.cell_size.x) == (grid.column_count, 1, CELL_M)
    assert (grid.pose.position.x, grid.pose.position.y) == (NEAR_M, -SIDE_M)
    assert [(field.name, field.type) for field in grid.fields] == [("class", 1)]
    half = len(cells) // 2
    assert set(cells[:half].ravel().tolist()) == {4, UNSEEN}  # y is negative to the right
    assert set(cells[half:].ravel().tolist()) == {ROAD, UNSEEN}
    assert (cells[:, -1] != UNSEEN).all()  # 44 m ahead the whole of it is in the image
    assert (cells[[0, -1], 0] == UNSEEN).all()


def test_a_cell_has_the_class_of_its_middle() -> None:
    classes = np.full((90, 160), ROAD, np.uint8)
    row = int((90 + 375 / 20.25) / 2)
    classes[row] = PEDESTRIAN
    cells = class_grid(classes, PLANE, Letterbox((320, 180), (160, 90), (0, 0, 160, 90)))
    column = int((20.25 - NEAR_M) / CELL_M)
    assert (cells[:, column] == PEDESTRIAN).all()


def test_a_drive_has_them_with_a_camera_model_and_else_none(tmp_path: Path) -> None:
    for ground, expected in ((PLANE, {TRANSFORM, SCENE, GRID}), (None, set())):
        path = tmp_path / f"{len(expected)}.mcap"
        with DriveSink(path, DriveOptions("edge 0", "test", 10, codec="jpeg"), Stages()) as sink:
            sink.write(dataclasses.replace(seen(), ground=ground), 0)
        assert {topic for topic in DriveFile(path).places if topic.startswith("/road/")} == expected
