"""Where a camera looks, found in a drive: `edge camera calibrate`.

The pitch and the yaw come from the vanishing point of markings and road edges, the height from a lane of known width.
The lens is given: a single view of a flat road says nothing of its focal length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from edge.backends import open_engine
from edge.engine import Engine
from edge.errors import ConfigError, DataError
from edge.frame import Frame, Image
from edge.geometry.ground import Floats, GroundPlane, angles_of
from edge.geometry.model import CameraModel
from edge.geometry.vanishing import Lines, Pairs, meeting_point, mode_row, road_segments
from edge.prediction import Prediction
from edge.segmenter import Segmenter
from edge.sinks.files import write_bytes, write_text
from edge.sources.open import open_source
from edge.sources.source import Source, display_wh_of

FRAMES = 80
_LEAST_FRAMES, _LEAST_SHARE = 5, 0.15  # that have lines which meet, of those looked at
_STEP = 5  # of a source without an end, every so many frames
_LEAST_SD_DEG = 0.1
_THINGS = ("vehicle", "pedestrian", "cyclist")
_LANE_SIDES = ((-2.6, -0.4), (0.4, 2.6))  # where the lane's lines are looked for, in heights of the camera
_LANE_BIN, _LANE_NEAR, _LANE_AHEAD = 0.02, 0.15, 14.0
_LANE_SD = 0.03  # of the lane's width: how well roads keep to it
_HEIGHTS_M = (0.4, 5.0)
_IMAGES = (".jpg", ".jpeg", ".png")
_GRID_RIGHT, _GRID_AHEAD = range(-8, 9, 2), (5, 10, 15, 20, 30, 50)
_CYAN, _YELLOW, _GREEN, _MAGENTA = (255, 255, 0), (0, 220, 255), (0, 255, 0), (255, 0, 255)


@dataclass(frozen=True)
class _View:
    """A frame with its segments in pixels, (N, 4), and the pairs of them."""

    frame: Frame
    segments: Floats
    pairs: Pairs


@dataclass(frozen=True)
class _Seen:
    """Where the lines of a frame meet: its own pitch and yaw in degrees, and its segments that run there, (N, 4)."""

    frame: Frame
    pitch_deg: float
    yaw_deg: float
    segments: Floats


@dataclass(frozen=True)
class CalibratedCamera:
    """What was found.

    Attributes:
        model: the camera model; its `pitch_sd_deg` has the nodding in it.
        frames, used: that were looked at; in which lines meet.
        pitch_se_deg: the standard error of the mean pitch, yaw_se_deg of the yaw; nodding_deg: how far the pitch of
            single frames scatters.
        lane_m: the width of the lane that the height was found by; None where the height was given.
        overlay: uint8 (H, W, 3) BGR: horizon, vanishing point and a grid in metres over a frame, to judge it by.
    """

    model: CameraModel
    source: str
    frames: int
    used: int
    pitch_se_deg: float
    yaw_se_deg: float
    nodding_deg: float
    lane_m: float | None
    overlay: Image

    def as_json(self) -> dict[str, Any]:
        """As JSON takes it."""
        names = ("source", "frames", "used", "pitch_se_deg", "yaw_se_deg", "nodding_deg", "lane_m")
        return {"geometry": self._section(), **{name: getattr(self, name) for name in names}}

    def _section(self) -> dict[str, Any]:
        return self.model.model_dump(mode="json", exclude_defaults=True)

    def as_yaml(self) -> str:
        """The file that `--camera-model` takes, and a config's section."""
        head = (
            f"# edge camera calibrate {self.source}: lines meet in {self.used} of {self.frames} frames.\n"
            f"# Pitch to {self.pitch_se_deg:.2f} degrees, yaw to {self.yaw_se_deg:.2f} (standard errors); nodding"
            f" {self.nodding_deg:.2f}. {self._height_words()}. The lens is as given.\n"
        )
        return head + yaml.safe_dump({"geometry": self._section()}, sort_keys=False, default_flow_style=None)

    def _height_words(self) -> str:
        if self.lane_m is None:
            return f"Height {self.model.height_m:g} m as given"
        return f"Height {self.model.height_m:.2f} m, to {self.model.height_sd_m:.2f}, from a lane of {self.lane_m:g} m"

    def __str__(self) -> str:
        """For people."""
        model = self.model
        return "\n".join(
            (
                f"source   {self.source}: lines meet in {self.used} of {self.frames} frames",
                f"pitch    {model.pitch_deg:.2f}° ± {self.pitch_se_deg:.2f}°, down; frames scatter by"
                f" {self.nodding_deg:.2f}°",
                f"yaw      {model.yaw_deg:.2f}° ± {self.yaw_se_deg:.2f}°; a drive with bends to one side shifts it",
                f"roll     {model.roll_deg:g}° as given",
                f"height   {self._height_words().removeprefix('Height ')}",
                "lens     as given: a wrong field of view makes pitch, yaw and every distance wrong",
            )
        )


def calibrate_camera(
    source: str | Source,
    lens: CameraModel,
    *,
    lane_width_m: float | None = None,
    engine: str | Path | Engine = "road",
    frames: int = FRAMES,
    on_frame: Callable[[int, int], object] = lambda done, count: None,
) -> CalibratedCamera:
    """The camera model of a drive: lens, roll and height of `lens`, with the pitch and the yaw that its frames show;
    with `lane_width_m`, the height too, from the lane that the car drives in. A source is closed at the end, an engine
    only if it was given by name.

    Raises:
        ConfigError: the frames are of another shape than the lens's images.
        SourceError, EngineError: one of them cannot be opened.
        DataError: too few frames have lines that meet, or no lane's lines are seen.
    """
    with open_source(source) if isinstance(source, str) else source as opened:
        views = list(_views(opened, lens, engine, frames, on_frame))
        name = opened.name
    if not views:
        raise DataError(f"{name}: holds no frame")
    seen = _meeting(views)
    if len(seen) < max(_LEAST_FRAMES, _LEAST_SHARE * len(views)):
        raise DataError(
            f"{name}: lines on the road meet in {len(seen)} of {len(views)} frames, expected"
            f" {max(_LEAST_FRAMES, math.ceil(_LEAST_SHARE * len(views)))}. Take a drive along a road with markings or"
            " straight borders, seen to both sides"
        )
    return _described(name, lens, lane_width_m, len(views), seen)


def _described(
    name: str, lens: CameraModel, lane_width_m: float | None, count: int, seen: Sequence[_Seen]
) -> CalibratedCamera:
    pitches, yaws = (np.array([getattr(one, key) for one in seen]) for key in ("pitch_deg", "yaw_deg"))
    (pitch, nodding), (yaw, turning) = map(_median_and_sd, (pitches, yaws))
    # The median's standard error is a quarter more than the mean's; neighbours in time are not independent.
    pitch_se, yaw_se = (1.25 * sd / math.sqrt(max(1, len(seen) / 2)) for sd in (nodding, turning))
    found = {"pitch_deg": round(pitch, 3), "yaw_deg": round(yaw, 3)}
    found["pitch_sd_deg"] = round(max(_LEAST_SD_DEG, math.hypot(nodding, pitch_se)), 3)
    if lane_width_m is not None:
        height, sd = _height(name, lens, lane_width_m, seen)
        found |= {"height_m": round(height, 3), "height_sd_m": round(sd, 3)}
    model = lens.model_copy(update=found)
    shown = min(seen, key=lambda one: abs(one.pitch_deg - pitch) - len(one.segments) / 1000)
    figures = (round(pitch_se, 3), round(yaw_se, 3), round(nodding, 3), lane_width_m)
    return CalibratedCamera(model, name, count, len(seen), *figures, draw_overlay(shown.frame, model, shown.segments))


def _views(
    source: Source, lens: CameraModel, engine: str | Path | Engine, count: int, on_frame: Callable[[int, int], object]
) -> Iterator[_View]:
    """Frames spread over the drive, with the segments on their roads."""
    with ExitStack() as stack:
        if isinstance(engine, (str, Path)):
            opened = open_engine(engine, side_by_side=True, source_wh=display_wh_of(source))
            engine = stack.enter_context(closing(opened))
        if "road" not in engine.card.table.groups:
            raise ConfigError(f"engine {engine.card.name}: expected one with a group called road. Try: --engine road")
        for done, result in enumerate(Segmenter(engine).segment_all(_spread(source, count)), start=1):
            on_frame(done, count)
            yield _view(result, lens)


def _spread(source: Source, count: int) -> Iterator[Frame]:
    step = max(1, source.frame_count // count) if source.frame_count else _STEP
    taken = 0
    for number, frame in enumerate(source):
        if number % step == 0:
            yield frame
            taken += 1
        if taken == count:
            return


def _view(result: Prediction, lens: CameraModel) -> _View:
    frame, table = result.frame, result.table
    grey = frame.yuv.y if frame.yuv is not None else cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY)
    others = np.zeros(frame.size_wh[::-1], np.bool_)
    for group in _THINGS:
        if group in table.groups:
            others |= result.mask(group)
    segments = road_segments(grey, result.mask("road").view(np.uint8), others.view(np.uint8))
    plane = GroundPlane(lens, frame.size_wh, frame.pixel_aspect)
    return _View(frame, segments, Pairs.of(Lines.of(segments, plane)))


def _meeting(views: Sequence[_View]) -> list[_Seen]:
    """The frames whose lines meet near the row for which most of all frames are."""
    row = mode_row(np.sum([view.pairs.votes() for view in views], axis=0))
    seen: list[_Seen] = []
    for view in views:
        met = meeting_point(view.pairs, row)
        if met is not None:
            pitch, yaw = angles_of((met[1], met[0]), np.eye(3))
            inliers = np.union1d(met[3].first, met[3].second)
            seen.append(_Seen(view.frame, pitch, yaw, view.segments[inliers]))
    return seen


def _median_and_sd(values: Floats) -> tuple[float, float]:
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))


def _height(name: str, lens: CameraModel, lane_width_m: float, seen: Sequence[_Seen]) -> tuple[float, float]:
    """The height in metres and its standard error, from how far apart the lane's lines are in heights."""
    places = [_offsets(one, lens) for one in seen]
    right, weights = (np.concatenate([place[k] for place in places]) for k in range(2))
    lines = [_strongest(right, weights, side) for side in _LANE_SIDES]
    if None in lines:
        raise DataError(f"{name}: no lines of a lane to both sides of the car. Give the height: --height-m 1.35")
    (left_at, left_sd), (right_at, right_sd) = (line for line in lines if line is not None)
    height = lane_width_m / (right_at - left_at)
    if not _HEIGHTS_M[0] <= height <= _HEIGHTS_M[1]:
        raise DataError(
            f"{name}: a lane of {lane_width_m:g} m gives a height of {height:.2f} m, expected {_HEIGHTS_M[0]:g} to"
            f" {_HEIGHTS_M[1]:g} m. Is the field of view right? Or give the height: --height-m 1.35"
        )
    share = math.hypot(_LANE_SD, math.hypot(left_sd, right_sd) / (right_at - left_at))
    return height, height * share


def _offsets(one: _Seen, lens: CameraModel) -> tuple[Floats, Floats]:
    """How far to the right the segments of a frame are, in heights of the camera, and how long each is in pixels."""
    own = lens.model_copy(update={"pitch_deg": one.pitch_deg, "yaw_deg": one.yaw_deg, "height_m": 1.0})
    plane = GroundPlane(own, one.frame.size_wh, one.frame.pixel_aspect)
    middles = (one.segments[:, :2] + one.segments[:, 2:]) / 2
    places = plane.ground(middles)
    lengths = np.hypot(*(one.segments[:, 2:] - one.segments[:, :2]).T)
    near = places[:, 1] < _LANE_AHEAD
    return places[near, 0], lengths[near]


def _strongest(right: Floats, weights: Floats, side: tuple[float, float]) -> tuple[float, float] | None:
    """Where the most of the segments are between two offsets, and its standard error; None where hardly any are."""
    inside = (right > side[0]) & (right < side[1])
    if inside.sum() < _LEAST_FRAMES:
        return None
    at = np.arange(side[0], side[1], _LANE_BIN)
    density = np.exp(-0.5 * np.square((at - right[inside, None]) / (_LANE_NEAR / 2))).T @ weights[inside]
    mode = float(at[int(np.argmax(density))])
    own = inside & (np.abs(right - mode) < _LANE_NEAR)
    middle = float(np.average(right[own], weights=weights[own]))  # of both edges of a marking
    spread = math.sqrt(float(np.average(np.square(right[own] - middle), weights=weights[own])))
    return middle, spread / math.sqrt(max(1, int(own.sum()) / 4))


def draw_overlay(frame: Frame, model: CameraModel, segments: Floats) -> Image:
    """uint8 (H, W, 3) BGR: a frame with the horizon, the vanishing point, the segments that meet there, and a grid on
    the road: lines along it every two metres, across it at the distances that are written beside them.
    """
    image = frame.image.copy()
    plane = GroundPlane(model, frame.size_wh, frame.pixel_aspect)
    thick = max(1, round(frame.size_wh[1] / 540))
    for right in _GRID_RIGHT:
        _polyline(image, plane, [(right, ahead) for ahead in np.geomspace(2, _GRID_AHEAD[-1], 60)], thick)
    for ahead in _GRID_AHEAD:
        _polyline(image, plane, [(right, ahead) for right in np.linspace(_GRID_RIGHT[0], _GRID_RIGHT[-1], 40)], thick)
        at = plane.pixels([(_GRID_RIGHT[-1], ahead)])
        if np.isfinite(at).all():
            _text(image, f"{ahead} m", (int(at[0, 0]) + 4, int(at[0, 1])))
    for x0, y0, x1, y1 in np.rint(segments).astype(int).tolist():
        cv2.line(image, (x0, y0), (x1, y1), _GREEN, thick, cv2.LINE_AA)
    left, right_end = ((round(x), round(y)) for x, y in plane.horizon())
    cv2.line(image, left, right_end, _CYAN, thick, cv2.LINE_AA)
    x, y = plane.vanishing_point()
    cv2.drawMarker(image, (round(x), round(y)), _MAGENTA, cv2.MARKER_CROSS, 24 * thick, thick, cv2.LINE_AA)
    return image


def _polyline(image: Image, plane: GroundPlane, places: Sequence[tuple[float, float]], thick: int) -> None:
    points = plane.pixels(places)
    points = points[np.isfinite(points).all(axis=1)].clip(-20_000, 20_000)
    cv2.polylines(image, [np.rint(points).astype(np.int32)], False, _YELLOW, thick, cv2.LINE_AA)


def _text(image: Image, text: str, at: tuple[int, int]) -> None:
    height, width = image.shape[:2]
    scale = max(0.4, height / 1080)
    place = (min(at[0], width - round(90 * scale)), at[1])
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _YELLOW, 1, cv2.LINE_AA)


def write_model(path: Path, found: CalibratedCamera) -> None:
    """The file for `--camera-model` and the config.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(path, found.as_yaml())


def write_overlay(path: Path, found: CalibratedCamera) -> None:
    """The image to judge it by, .jpg or .png.

    Raises:
        ConfigError: the name ends with something else.
        OutputError: it cannot be written.
    """
    if path.suffix.lower() not in _IMAGES:
        raise ConfigError(f"{path}: expected a name that ends with {', '.join(_IMAGES)}")
    write_bytes(path, cv2.imencode(path.suffix.lower(), found.overlay)[1].tobytes())
