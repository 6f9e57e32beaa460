"""Pixels and metres: numbers worked out by hand, and there and back over cameras, sizes and shapes of pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import parse_tree
from edge.errors import ConfigError
from edge.geometry.ground import GroundPlane, angles_of
from edge.geometry.model import CameraFile, CameraModel

LENS = [-0.3, 0.1, 0.001, -0.0005, -0.01]


def model(**values: Any) -> CameraModel:
    given: dict[str, Any] = {"height_m": 1.5, "focal_px": 1000, "image_wh": [1280, 720]} | values
    return parse_tree({"geometry": given}, CameraFile, "camera.yaml").geometry


def test_a_level_camera_sees_the_road_where_similar_triangles_put_it() -> None:
    plane = GroundPlane(model(), (1280, 720))
    # 1.5 m below the lens, 15 m ahead: 1000 * 1.5 / 15 = 100 px below the middle; 3 m to the right: 200 px.
    assert plane.pixels([(0, 15), (3, 15), (-1.5, 7.5)]) == pytest.approx(
        np.array([(640, 460), (840, 460), (440, 560)])
    )
    assert plane.ground([(640, 460), (840, 460)]) == pytest.approx(np.array([(0, 15), (3, 15)]))


def test_a_camera_that_looks_down_sees_the_horizon_above_the_middle() -> None:
    plane = GroundPlane(model(pitch_deg=math.degrees(math.atan(0.1))), (1280, 720))
    assert plane.vanishing_point() == pytest.approx((640, 260))  # 1000 * 0.1 above
    assert np.array(plane.horizon()) == pytest.approx(np.array([(0, 260), (1280, 260)]))
    assert plane.ground([(640, 360)]) == pytest.approx(np.array([(0, 15)]))  # the axis falls by 0.1 m a metre


def test_a_camera_turned_clockwise_sees_the_right_end_of_the_horizon_higher() -> None:
    plane = GroundPlane(model(roll_deg=math.degrees(math.atan(0.1))), (1280, 720))
    assert np.array(plane.horizon()) == pytest.approx(np.array([(0, 424), (1280, 296)]))


def test_a_camera_that_looks_to_the_right_sees_the_way_of_the_car_on_the_left() -> None:
    plane = GroundPlane(model(yaw_deg=math.degrees(math.atan(0.2))), (1280, 720))
    assert plane.vanishing_point() == pytest.approx((440, 360))


def test_a_field_of_view_is_the_width_of_the_image_whatever_its_size() -> None:
    narrow = model(focal_px=None, image_wh=None, hfov_deg=90)
    for wh in ((640, 480), (1920, 1080)):
        plane = GroundPlane(narrow, wh)
        assert plane.matrix[0, 0] == pytest.approx(wh[0] / 2)
        assert plane.matrix[1, 1] == pytest.approx(wh[0] / 2)


def test_pixels_that_are_wider_than_high_have_a_shorter_focal_length_across() -> None:
    plane = GroundPlane(model(), (960, 720), pixel_aspect=4 / 3)  # 1280x720 as anamorphic video
    assert np.diag(plane.matrix)[:2] == pytest.approx((750, 1000))
    assert plane.pixels([(3, 15)]) == pytest.approx(np.array([(480 + 150, 460)]))


def test_at_the_horizon_and_above_there_is_no_ground() -> None:
    plane = GroundPlane(model(), (1280, 720))
    found = plane.ground([(100, 360), (100, 100), (100, 361)])
    assert np.isnan(found).any(axis=1).tolist() == [True, True, False]
    assert np.isnan(plane.distance_sd([(100, 100)])).all()
    assert np.isnan(plane.pixels([(0, -5)])).all()


def test_the_standard_error_is_that_of_pitch_height_and_a_pixel() -> None:
    place = [(640, 460)]  # 15 m ahead
    only_row = GroundPlane(model(pitch_sd_deg=0, height_sd_m=0), (1280, 720)).distance_sd(place, 2.0)
    assert only_row == pytest.approx([2 * 15 / 100], rel=1e-3)  # d = 1500 / rows, so by a row 1500 / 100^2
    only_height = GroundPlane(model(pitch_sd_deg=0, height_sd_m=0.03), (1280, 720)).distance_sd(place, 0.0)
    assert only_height == pytest.approx([15 * 0.03 / 1.5])
    only_pitch = GroundPlane(model(pitch_sd_deg=0.3, height_sd_m=0), (1280, 720)).distance_sd(place, 0.0)
    assert only_pitch == pytest.approx([(15**2 + 1.5**2) / 1.5 * math.radians(0.3)], rel=1e-3)
    all_three = GroundPlane(model(pitch_sd_deg=0.3, height_sd_m=0.03), (1280, 720)).distance_sd(place, 2.0)
    assert all_three == pytest.approx(np.sqrt(only_row**2 + only_height**2 + only_pitch**2))


@given(
    wh=st.tuples(st.integers(160, 4000), st.integers(120, 3000)),
    aspect=st.sampled_from([1.0, 4 / 3, 16 / 11, 0.9]),
    height=st.floats(0.3, 4),
    fov=st.floats(25, 120),
    angles=st.tuples(st.floats(-10, 35), st.floats(-15, 15), st.floats(-20, 20)),
    data=st.data(),
)
def test_pixels_come_back_from_the_road(
    wh: Any, aspect: float, height: float, fov: float, angles: Any, data: Any
) -> None:
    pitch, roll, yaw = angles
    camera = model(
        height_m=height, focal_px=None, image_wh=None, hfov_deg=fov, pitch_deg=pitch, roll_deg=roll, yaw_deg=yaw
    )
    plane = GroundPlane(camera, wh, aspect)
    points = np.array([data.draw(st.tuples(st.floats(0, wh[0]), st.floats(0, wh[1]))) for _ in range(8)])
    places = plane.ground(points)
    seen = np.asarray(np.isfinite(places).all(axis=1))
    below = np.asarray(_below_horizon(plane, points) > 1)
    assert seen[below].all()
    assert plane.pixels(places[below]) == pytest.approx(points[below], abs=1e-3)


def _below_horizon(plane: GroundPlane, points: np.ndarray) -> np.ndarray:
    (_, left), (width, right) = plane.horizon()
    return points[:, 1] - (left + (right - left) * points[:, 0] / width)


@given(scale=st.floats(0.2, 3), lens=st.sampled_from([[], LENS, LENS[:4]]), pitch=st.floats(-5, 15))
def test_a_frame_that_was_resized_has_the_same_metres(scale: float, lens: list[float], pitch: float) -> None:
    camera = model(pitch_deg=pitch, distortion=lens, centre_px=[650, 350])
    whole = GroundPlane(camera, (1280, 720))
    small = GroundPlane(camera, (round(1280 * scale), round(720 * scale)))
    points = np.array([(100.0, 700), (640, 640), (1200, 690)])
    there = points * np.array(small.size_wh) / (1280, 720)
    assert small.ground(there) == pytest.approx(whole.ground(points), rel=1e-6)
    assert small.pixels(small.ground(there)) == pytest.approx(there, abs=0.01)


@given(pitch=st.floats(-10, 20), yaw=st.floats(-20, 20), roll=st.floats(-10, 10))
def test_the_vanishing_point_says_where_the_camera_looks(pitch: float, yaw: float, roll: float) -> None:
    plane = GroundPlane(model(pitch_deg=pitch, yaw_deg=yaw, roll_deg=roll), (1280, 720))
    assert angles_of(plane.vanishing_point(), plane.matrix, roll) == pytest.approx((pitch, yaw), abs=1e-6)


def test_lines_along_the_road_run_to_the_vanishing_point() -> None:
    plane = GroundPlane(model(pitch_deg=3, yaw_deg=4, roll_deg=2), (1280, 720))
    assert plane.pixels([(-2, 1e6), (2, 1e6)]) == pytest.approx(np.array([plane.vanishing_point()] * 2), abs=0.01)


def test_from_above_a_lane_is_as_wide_far_away_as_near() -> None:
    plane = GroundPlane(model(pitch_deg=4), (1280, 720))
    image = np.zeros((720, 1280), np.uint8)
    corners = plane.pixels([(-1.8, 4), (-1.8, 60), (1.8, 60), (1.8, 4)])
    import cv2

    cv2.fillPoly(image, [np.rint(corners).astype(np.int32)], (255,))
    above = plane.birds_eye(image, -5, 5, 6, 30, 10)
    assert above.shape == (240, 100)
    widths = (above > 127).sum(axis=1)
    assert widths == pytest.approx(np.full(240, 36), abs=2)


def test_frames_of_another_shape_are_refused() -> None:
    with pytest.raises(ConfigError, match="images of 1280x720, the frames are 640x480: expected the same shape"):
        GroundPlane(model(), (640, 480))
    assert GroundPlane(model(), (854, 480))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"height_m": 0}, "geometry.height_m: Input should be greater than or equal to 0.1, found 0"),
        ({"height_m": "1.5"}, "geometry.height_m: Input should be a valid number, found '1.5'"),
        ({"height": 1.5}, "geometry.height: no such key; did you mean 'height_m'?"),
        ({"pitch_deg": 90}, "geometry.pitch_deg: Input should be less than or equal to 60, found 90"),
        ({"roll_deg": -90}, "geometry.roll_deg: "),
        ({"yaw_deg": 90}, "geometry.yaw_deg: "),
        ({"hfov_deg": 60}, "expected hfov_deg, or focal_px with image_wh: one of them"),
        ({"focal_px": None}, "expected hfov_deg, or focal_px with image_wh: one of them"),
        ({"focal_px": -5}, "geometry.focal_px: Input should be greater than 0, found -5"),
        ({"image_wh": None}, "focal_px: expected image_wh beside it"),
        ({"image_wh": [1280]}, "geometry.image_wh"),
        ({"centre_px": [1300, 360]}, "centre_px: expected a point in the image of 1280x720, got (1300.0, 360.0)"),
        ({"distortion": [0.1]}, "distortion: expected 4 or 5 or 8 numbers in OpenCV's order, got 1"),
        ({"distortion": [-3.0, 0, 0, 0]}, "distortion: cannot be undone at the image's border"),
        ({"bonnet_share": 8}, "geometry.bonnet_share: Input should be less than or equal to 0.5, found 8"),
        ({"pitch_sd_deg": -1}, "geometry.pitch_sd_deg: "),
        ({"height_sd_m": float("nan")}, "geometry.height_sd_m: "),
    ],
)
def test_each_wrong_value_is_a_line_that_names_it(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        model(**values)
    first, *lines = str(caught.value).splitlines()
    assert first == "camera.yaml: 1 problem(s)"
    assert len(lines) == 1
    assert expected in lines[0]


@pytest.mark.parametrize("distortion", [(), (-0.2, 0.05, 0.001, -0.001)])
def test_feet_are_where_the_ground_is_and_as_sure(distortion: tuple[float, ...]) -> None:
    plane = GroundPlane(model(distortion=distortion, roll_deg=1.0, yaw_deg=-2.0), (1280, 720))
    points = [(640.0, 700.0), (200.0, 480.0), (900.0, 400.0), (640.0, 10.0)]
    expected = np.column_stack([plane.ground(points), plane.distance_sd(points, 2.0)])
    assert np.array(plane.feet(points, 2.0)) == pytest.approx(expected, rel=1e-3, nan_ok=True)
