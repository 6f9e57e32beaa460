"""The camera found again: from lines whose camera is known, from drawn roads, and on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bundles import COLOURS, MakeCard
from stand_in import BrightnessEngine
from videos import write_video

from edge.camera_calibration import CalibratedCamera, calibrate_camera, write_overlay
from edge.cli import make_app
from edge.errors import ConfigError, DataError
from edge.frame import Image
from edge.geometry.ground import Floats, GroundPlane, angles_of
from edge.geometry.model import CameraModel, load_camera_model
from edge.geometry.vanishing import Lines, Pairs, meeting_point, mode_row, road_segments

WH = (640, 480)
LENS: dict[str, Any] = {"height_m": 1.4, "focal_px": 600.0, "image_wh": WH}


def camera(**values: Any) -> CameraModel:
    return CameraModel(**{**LENS, **values})


def segments_of(model: CameraModel, bend: float = 0.0, stretch_m: float = 3.0) -> Floats:
    """Pieces of lines along a road that bends by `bend` / 2 metres per metre squared, in pixels."""
    plane, pieces = GroundPlane(model, WH), []
    for right in (-5.0, -1.8, 1.7, 1.9, 4.5):
        for near in np.arange(5.0, 25.0, stretch_m):
            far = near + stretch_m
            ends = plane.pixels([(right + bend * far**2 / 2, far), (right + bend * near**2 / 2, near)])
            if ((ends >= 0) & (ends <= WH)).all():
                pieces.append(ends.ravel())
    return np.array(pieces)


def found(segments: Floats, model: CameraModel) -> tuple[float, float]:
    """Pitch and yaw in degrees that the segments show, the model's own pitch and yaw being unknown."""
    unknown = model.model_copy(update={"pitch_deg": 0.0, "yaw_deg": 0.0})
    pairs = Pairs.of(Lines.of(segments, GroundPlane(unknown, WH)))
    met = meeting_point(pairs, mode_row(pairs.votes()))
    assert met is not None
    return angles_of((met[1], met[0]), np.eye(3))


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"pitch_deg": 6.0, "yaw_deg": 3.0},
        {"pitch_deg": -4.0, "yaw_deg": -5.0, "roll_deg": 2.0},
        {"pitch_deg": 5.0, "distortion": (-0.25, 0.08, 0.0, 0.0)},
        {"pitch_deg": 2.0, "centre_px": (350.0, 200.0)},
    ],
)
def test_lines_along_the_road_give_pitch_and_yaw(known: dict[str, Any]) -> None:
    model = camera(**known)
    assert found(segments_of(model), model) == pytest.approx((model.pitch_deg, model.yaw_deg), abs=0.02)


@pytest.mark.parametrize("radius_m", [250.0, -400.0])
def test_a_bend_does_not_move_the_horizon(radius_m: float) -> None:
    model = camera(pitch_deg=3.0)
    pitch, _ = found(segments_of(model, 1 / radius_m), model)
    assert pitch == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("seed", range(6))
def test_lines_of_no_common_direction_are_outvoted(seed: int) -> None:
    rng, model = np.random.default_rng(seed), camera(pitch_deg=4.0)
    own = segments_of(model)
    own += rng.normal(0, 0.3, own.shape)
    at = rng.uniform((0, 260), WH, (len(own), 2))
    others = np.hstack([at, at + np.stack([rng.uniform(-60, 60, len(at)), rng.uniform(15, 60, len(at))], axis=1)])
    pitch, _ = found(np.concatenate([own, others]), model)
    assert pitch == pytest.approx(4.0, abs=0.15)


def test_lines_that_meet_nowhere_give_nothing() -> None:
    assert meeting_point(Pairs.of(Lines.of(np.zeros((0, 4)), GroundPlane(camera(), WH))), 0.0) is None


def drawn(model: CameraModel, yaw_deg: float = 0.0) -> Image:
    """A dark road between two bright fields, markings a little brighter than the road: 3.5 m between the lane's."""
    own = model.model_copy(update={"yaw_deg": model.yaw_deg + yaw_deg})
    plane, image = GroundPlane(own, WH), np.full((WH[1], WH[0], 3), 200, np.uint8)
    strips = [((-5.5, 6.5), 50), ((-1.65, -1.5), 92), ((1.85, 2.0), 92), ((5.0, 5.15), 92)]
    for (left, right), grey in strips:
        corners = plane.pixels([(left, 3.0), (left, 300), (right, 300), (right, 3.0)])
        cv2.fillPoly(image, [np.rint(corners * 16).astype(np.int32)], (grey,) * 3, cv2.LINE_AA, 4)
    return image


def drive_of(model: CameraModel, folder: Path, frames: int = 7) -> str:
    folder.mkdir(exist_ok=True)
    for index in range(frames):
        cv2.imwrite(str(folder / f"{index:03}.png"), drawn(model, yaw_deg=0.2 * (index - frames // 2)))
    return str(folder)


@pytest.fixture
def engine(make_card: MakeCard) -> Any:
    return BrightnessEngine(make_card, (160, 120))


def test_segments_are_those_on_the_road_and_not_those_of_a_car() -> None:
    image = drawn(camera(pitch_deg=4))
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    road = (grey < 100).astype(np.uint8)
    car = np.zeros_like(road)
    car[280:400, 380:] = 1
    everywhere, beside = (road_segments(grey, road, others) for others in (np.zeros_like(road), car))
    assert 0 < len(beside) < len(everywhere)
    assert (everywhere[:, 1] < everywhere[:, 3]).all()
    for x, y in (beside[:, :2] + beside[:, 2:]) / 2:
        assert not car[int(y), int(x)]


def test_a_drive_gives_pitch_yaw_and_by_the_lanes_width_the_height(engine: Any, tmp_path: Path) -> None:
    truth = camera(pitch_deg=5.0, yaw_deg=1.5)
    lens = camera(height_m=3.0)
    done = calibrate_camera(drive_of(truth, tmp_path / "drive"), lens, lane_width_m=3.5, engine=engine)
    assert done.used == done.frames == 7
    assert done.model.pitch_deg == pytest.approx(5.0, abs=0.1)
    assert done.model.yaw_deg == pytest.approx(1.5, abs=0.15)
    assert done.model.height_m == pytest.approx(1.4, abs=0.06)
    assert 0.03 < done.model.height_sd_m < 0.15
    assert done.pitch_se_deg < 0.1
    assert done.overlay.shape == (480, 640, 3)


def test_the_file_that_is_written_is_the_model(engine: Any, tmp_path: Path) -> None:
    done = calibrate_camera(drive_of(camera(pitch_deg=5.0), tmp_path / "drive"), camera(), engine=engine)
    assert (done.model.height_m, done.lane_m) == (1.4, None)
    (tmp_path / "camera.yaml").write_text(done.as_yaml(), encoding="utf-8")
    assert load_camera_model(tmp_path / "camera.yaml") == done.model
    write_overlay(tmp_path / "look.jpg", done)
    image = cv2.imread(str(tmp_path / "look.jpg"))
    assert image is not None
    assert image.shape == (480, 640, 3)
    with pytest.raises(ConfigError, match="expected a name that ends with"):
        write_overlay(tmp_path / "look.txt", done)


def test_a_drive_without_lines_is_refused(engine: Any, tmp_path: Path) -> None:
    for index in range(6):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((480, 640, 3), 50, np.uint8))
    with pytest.raises(DataError, match="lines on the road meet in 0 of 6 frames, expected 5"):
        calibrate_camera(str(tmp_path), camera(), engine=engine)


def test_a_lane_that_cannot_be_is_refused(engine: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a lane of 35 m gives a height of"):
        calibrate_camera(
            drive_of(camera(pitch_deg=5.0), tmp_path / "drive"), camera(), lane_width_m=35.0, engine=engine
        )


def test_an_engine_that_knows_no_road_is_refused(engine: Any, make_card: MakeCard, tmp_path: Path) -> None:
    engine.card = make_card(b"no graph", table=COLOURS, input_wh=(160, 120), name="colours")
    with pytest.raises(ConfigError, match="engine colours: expected one with a group called road"):
        calibrate_camera(drive_of(camera(pitch_deg=5.0), tmp_path / "drive"), camera(), engine=engine)


def calibrated(drive: Path, *options: str) -> None:
    make_app(["camera"])(["camera", "calibrate", str(drive), *options], standalone_mode=False)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "expected --hfov-deg, --focal-px or --lens, one of them"),
        (["--hfov-deg", "60", "--focal-px", "500"], "expected --hfov-deg, --focal-px or --lens, one of them"),
        (["--hfov-deg", "60"], "expected --height-m .of the lens above the road. or --lane-width-m"),
        (["--hfov-deg", "60", "--height-m", "1.4", "--lane-width-m", "3.5"], "not both"),
        (["--hfov-deg", "60", "--lane-width-m", "35"], "--lane-width-m 35: expected 1.5 to 10 metres"),
        (["--hfov-deg", "200", "--height-m", "1.4"], "hfov_deg: Input should be less than or equal to 150"),
        (["--lens", "nothing.yaml", "--height-m", "1.4"], "nothing.yaml: there is no such file"),
    ],
)
def test_a_lens_and_a_height_are_needed(options: list[str], expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=expected):
        calibrated(write_video(tmp_path / "drive.mp4"), *options)


def test_json_and_words_have_the_figures() -> None:
    done = CalibratedCamera(camera(pitch_deg=1.5), "a.mp4", 9, 8, 0.02, 0.1, 0.05, 3.5, np.zeros((4, 4, 3), np.uint8))
    assert done.as_json()["geometry"]["pitch_deg"] == 1.5
    assert "lines meet in 8 of 9 frames" in str(done)
    assert "from a lane of 3.5 m" in done.as_yaml()


@pytest.mark.slow
def test_the_camera_of_a_rendered_street_is_found() -> None:
    from edge.sources.scene import SceneSource

    with SceneSource("scene:street?seed=31&frames=8&size=1280x720&fps=1") as source:
        truths = [source.scene.camera(index) for index in range(8)]
        lens = CameraModel(height_m=truths[0].height_m, hfov_deg=truths[0].hfov_deg)
        done = calibrate_camera(source, lens)
    assert done.model.pitch_deg == pytest.approx(float(np.median([one.pitch_deg for one in truths])), abs=0.5)
