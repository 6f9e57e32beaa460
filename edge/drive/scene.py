"""What was seen, in metres on the road, for Foxglove's panel "3D": objects, lane, free road, the mask from above.

The frame "road" has its origin on the road below the lens: x ahead, y to the left, z up, as ROS has it. Where the
camera stands in it is a message, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.drive.schema import (
    FRAME_ID,
    GRID,
    GRID_SCHEMA,
    SCENE,
    SCENE_SCHEMA,
    TRANSFORM,
    TRANSFORM_SCHEMA,
    message_class,
)
from edge.frame import Image, Letterbox
from edge.geometry.ground import Floats, GroundPlane
from edge.instances import Instance
from edge.prediction import Prediction

ROAD_FRAME = "road"
CELL_M, NEAR_M, FAR_M, SIDE_M = 0.5, 4.0, 44.0, 10.0  # of the grid
UNSEEN = 255  # a cell beside the image
_LIFETIME_NS = 1_000_000_000  # of an entity that no later message replaces
_DEPTHS_M = {"pedestrian": 0.5, "cyclist": 1.7, "vehicle": 4.2}  # along the road, which one view does not show
_ABOVE_M, _TEXT_M, _LINE_M = 0.3, 0.6, 0.12
_WHITE, _GREEN, _YELLOW = (255, 255, 255), (60, 220, 90), (255, 210, 0)
_UINT8 = 1  # foxglove.PackedElementField.NumericType
_TO_ROS = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # right, down, ahead -> ahead, left, up


def road_parts(result: Prediction, plane: GroundPlane) -> Iterator[tuple[str, Callable[[int], bytes]]]:
    """Topic of the camera's place, the scene and the grid, and what makes the message at a time on the wall clock."""
    yield TRANSFORM, partial(_transform, plane)
    yield SCENE, partial(_scene, result, plane)
    yield GRID, partial(_grid, result, plane)


def _transform(plane: GroundPlane, time_ns: int) -> bytes:
    """A foxglove.FrameTransform: where the camera's axes (right, down, ahead) are on the road."""
    message = message_class(TRANSFORM_SCHEMA)(parent_frame_id=ROAD_FRAME, child_frame_id=FRAME_ID)
    message.translation.z = plane.model.height_m
    x, y, z, w = _quaternion(_TO_ROS @ plane.rotation)
    message.rotation.x, message.rotation.y, message.rotation.z, message.rotation.w = x, y, z, w
    message.timestamp.FromNanoseconds(time_ns)
    return message.SerializeToString()


def _quaternion(rotation: Floats) -> tuple[float, float, float, float]:
    """x, y, z and w of a rotation, float64 (3, 3): Bar-Itzhack, "New method for extracting the quaternion from a
    rotation matrix", J. Guid. Control Dyn. 23, 2000.
    """
    (a, b, c), (d, e, f), (g, h, i) = rotation.tolist()
    matrix = np.array(
        [
            [a - e - i, b + d, c + g, h - f],
            [b + d, e - a - i, f + h, c - g],
            [c + g, f + h, i - a - e, d - b],
            [h - f, c - g, d - b, a + e + i],
        ]
    )
    x, y, z, w = np.linalg.eigh(matrix)[1][:, -1].tolist()
    return x, y, z, w


def _scene(result: Prediction, plane: GroundPlane, time_ns: int) -> bytes:
    """A foxglove.SceneUpdate of three entities, each of which takes the place of the one before."""
    update = message_class(SCENE_SCHEMA)()
    objects, lane, free = (_entity(update, name, time_ns) for name in ("objects", "lane", "free space"))
    for one in result.instances or ():
        if one.distance_m is not None and one.lateral_m is not None:
            _add_object(objects, one, one.distance_m, one.lateral_m, result, plane)
    for line in result.lane.lines() if result.lane is not None else ():
        _add_line(lane, line.tolist(), _YELLOW)
    if result.free_space is not None:
        _add_line(free, result.free_space.polyline_m, _GREEN)
    return update.SerializeToString()


def _entity(update: Any, name: str, time_ns: int) -> Any:
    entity = update.entities.add(frame_id=ROAD_FRAME, id=name)
    entity.timestamp.FromNanoseconds(time_ns)
    entity.lifetime.FromNanoseconds(_LIFETIME_NS)
    return entity


def _add_object(
    entity: Any, one: Instance, ahead_m: float, right_m: float, result: Prediction, plane: GroundPlane
) -> None:
    """A box as wide and tall as it is seen, as long as its kind is; its number and distance above it."""
    left, top, right, bottom = one.box
    depth_m = next((m for group, m in _DEPTHS_M.items() if one.class_id in _ids(result, group)), 1.0)
    cube, text = entity.cubes.add(), entity.texts.add(billboard=True, font_size=_TEXT_M)
    cube.size.x, cube.size.y = depth_m, (right - left) * ahead_m / plane.matrix[0, 0]
    cube.size.z = (bottom - top) * ahead_m / plane.matrix[1, 1]
    _set(cube.pose.position, ahead_m + depth_m / 2, -right_m, cube.size.z / 2)
    _set(text.pose.position, ahead_m, -right_m, cube.size.z + _ABOVE_M)
    cube.pose.orientation.w = text.pose.orientation.w = 1.0
    _paint(cube.color, result.table.colours_rgb[one.class_id], 0.6)
    _paint(text.color, _WHITE, 1.0)
    text.text = f"{'' if one.track_id is None else one.track_id} {ahead_m:.1f} m".strip()


def _ids(result: Prediction, group: str) -> tuple[int, ...]:
    return tuple(result.table.ids(group)) if group in result.table.groups else ()


def _add_line(entity: Any, places: Sequence[Sequence[float]], rgb: tuple[int, int, int]) -> None:
    """A line through places on the road, metres to the right and ahead."""
    if len(places) < 2:
        return
    line = entity.lines.add(thickness=_LINE_M)  # a strip, by default
    line.pose.orientation.w = 1.0
    _paint(line.color, rgb, 1.0)
    for right_m, ahead_m in places:
        line.points.add(x=ahead_m, y=-right_m)


def _set(point: Any, x: float, y: float, z: float) -> None:
    point.x, point.y, point.z = x, y, z


def _paint(colour: Any, rgb: Sequence[int], alpha: float) -> None:
    colour.r, colour.g, colour.b = (part / 255 for part in rgb)
    colour.a = alpha


def _grid(result: Prediction, plane: GroundPlane, time_ns: int) -> bytes:
    """A foxglove.Grid of class ids: what the mask has of each cell of the road; columns run ahead, rows to the left."""
    cells = class_grid(np.ascontiguousarray(result.content("semantic")), plane, result.letterbox)
    columns = cells.shape[1]
    message = message_class(GRID_SCHEMA)(
        frame_id=ROAD_FRAME, column_count=columns, row_stride=columns, cell_stride=1, data=cells.tobytes()
    )
    message.cell_size.x = message.cell_size.y = CELL_M
    _set(message.pose.position, NEAR_M, -SIDE_M, 0.0)
    message.pose.orientation.w = 1.0
    message.fields.add(name="class", offset=0, type=_UINT8)
    message.timestamp.FromNanoseconds(time_ns)
    return message.SerializeToString()


def class_grid(classes: Image, plane: GroundPlane, letterbox: Letterbox) -> Image:
    """uint8 (rows, columns): the class ids of the road's cells, from right to left and from near to far; 255 beside the
    image. `classes` is uint8 (h, w) at network size without black bars. What stands on the road is drawn out backwards.
    """
    inside, x, y = _cells(plane, letterbox)
    return np.where(inside, classes[y, x], np.uint8(UNSEEN))


@lru_cache(maxsize=4)
def _cells(plane: GroundPlane, box: Letterbox) -> tuple[NDArray[np.bool_], NDArray[np.intp], NDArray[np.intp]]:
    """Of each cell of the grid: whether it is in the image, and the mask's column and row there."""
    ahead = np.arange(NEAR_M, FAR_M, CELL_M) + CELL_M / 2
    right = SIDE_M - CELL_M / 2 - np.arange(0, 2 * SIDE_M, CELL_M)
    shape = (math.ceil(2 * SIDE_M / CELL_M), len(ahead))
    # The first row is the rightmost: y grows to the left.
    places = np.stack([np.repeat(right, len(ahead)), np.tile(ahead, len(right))], axis=1)
    seen = plane.pixels(places)
    width, height = box.content_xywh[2:]
    at = np.nan_to_num(seen * np.array((width, height)) / box.source_wh, nan=-1.0)
    inside = np.all((at >= 0) & (at < np.array((width, height))), axis=1)
    at = np.where(inside[:, None], at, 0).astype(np.intp)
    return inside.reshape(shape), at[:, 0].reshape(shape), at[:, 1].reshape(shape)
