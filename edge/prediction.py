"""What an engine saw in one frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.classes import ClassTable
from edge.errors import ConfigError
from edge.frame import Frame, Image, Letterbox
from edge.instances import INSTANCES, Instance, thing_ids
from edge.outputs import DECODERS, MARKINGS, SEMANTIC, Output

if TYPE_CHECKING:  # what draws and measures is imported where it is used: masks alone do without
    from edge.appearance import Appearance
    from edge.contours import Mark
    from edge.geometry.free_space import FreeSpace
    from edge.geometry.ground import GroundPlane
    from edge.geometry.lane import EgoLane

_ONLY_SEMANTIC: Mapping[str, Output] = {SEMANTIC.name: SEMANTIC}


@dataclass(frozen=True, slots=True)
class Prediction:
    """What an engine saw in one frame. Its arrays are its own: keep it as long as you like.

    Attributes:
        frame: the frame that it belongs to.
        outputs: the engine's arrays by name, at network size, black bars included; see `letterbox`. "semantic", uint8
            (h, w) class ids, is always there.
        letterbox: network pixels <-> frame pixels.
        table: what the class ids mean.
        ready_ns: monotonic clock when the outputs were complete.
        specs: what each output is, by name.
        instances: its people, cyclists and vehicles one by one, the largest first; None unless they are asked for
            (docs/instances.md). The output "instances" says which pixels are whose.
        free_space: with a camera model, where the free road ahead ends, in metres (docs/metres.md).
        lane: with a camera model, the boundaries of the lane that the car drives in, as far as markings show them.
        ground: with a camera model, its pixels <-> metres on the road; None of what was recorded or sent.
    """

    frame: Frame
    outputs: Mapping[str, NDArray[Any]]
    letterbox: Letterbox
    table: ClassTable
    ready_ns: int
    specs: Mapping[str, Output] = field(default_factory=lambda: _ONLY_SEMANTIC)
    instances: tuple[Instance, ...] | None = None
    free_space: FreeSpace | None = None
    lane: EgoLane | None = None
    ground: GroundPlane | None = None

    def __repr__(self) -> str:
        """In one line, what covers most of the frame first: for a prompt and a log, where arrays say nothing."""
        width, height = self.letterbox.source_wh
        most = sorted(self.shares().items(), key=lambda item: -item[1])
        seen = ", ".join(f"{name} {share:.1%}" for name, share in most if share >= 0.001)
        return f"<Prediction of frame {self.frame.index}, {width}x{height}, {self.age_ms:.0f} ms old: {seen}>"

    @property
    def age_ms(self) -> float:
        """Milliseconds from capture to finished mask."""
        return (self.ready_ns - self.frame.captured_ns) / 1e6

    @property
    def semantic(self) -> Image:
        """uint8 (h, w) class ids at network size."""
        return self.outputs["semantic"]

    @property
    def confidence(self) -> Image | None:
        """uint8 (h, w) at network size, 255 = certain (`edge.outputs.CONFIDENCE`); None unless the engine gives it."""
        return self.outputs.get("confidence")

    def content(self, name: str) -> NDArray[Any]:
        """An output without the letterbox's black bars, a view; whole where it is no map of the input."""
        array = self.outputs[name]
        return _inside(array, self.letterbox) if DECODERS[self.specs[name].decoder].per_pixel else array

    def further(self) -> list[Output]:
        """The outputs besides "semantic", for what carries them all."""
        return [self.specs[name] for name in self.outputs if name != SEMANTIC.name]

    def class_map(self) -> Image:
        """uint8 (H, W) class ids at source resolution."""
        return self.letterbox.to_source(self.semantic)

    def mask(self, name: str) -> NDArray[np.bool_]:
        """bool (H, W) at source resolution: True where a class of the group (or the class) `name` was seen."""
        return self.table.membership(name).view(np.bool_)[self.class_map()]

    def polygons(self, name: str, min_area_px: float = 0.0) -> list[NDArray[np.int32]]:
        """The outer outlines of `mask(name)`, int32 (N, 2) of x, y in source pixels, the largest first; pieces of less
        than `min_area_px` are left out, and holes are not shown.
        """
        found, _ = cv2.findContours(self.mask(name).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        by_area = sorted(((cv2.contourArea(outline), i) for i, outline in enumerate(found)), reverse=True)
        return [found[i].reshape(-1, 2).astype(np.int32) for area, i in by_area if area >= min_area_px]

    def coco_rle(self, name: str) -> dict[str, object]:
        """`mask(name)` as COCO's compressed run lengths: {"size": [H, W], "counts": string}, for pycocotools."""
        from edge.rle import coco_rle

        return coco_rle(self.mask(name))

    def instance_mask(self, number: int) -> NDArray[np.bool_]:
        """bool (H, W) at source resolution: True where the object of that id is; for COCO's run lengths,
        `edge.rle.coco_rle` takes it.

        Raises:
            ConfigError: objects were not asked for.
        """
        return self.letterbox.to_source(self._instance_ids()) == number

    def panoptic(self) -> tuple[NDArray[np.int32], list[dict[str, Any]]]:
        """Objects and background in COCO's panoptic convention, at source resolution: int32 (H, W) ids, and what each
        id is (`segments_info`): id, category_id (the class id), isthing, iscrowd, area and bbox [x, y, w, h] in pixels.

        An object keeps its id, 1 to 255; a class that is not counted is one segment, 256 + its class id. 0 is void:
        what is too small to be an object. COCO's PNG files hold an id as R + 256 G + 65536 B.

        Raises:
            ConfigError: objects were not asked for.
        """
        number, classes = self.letterbox.to_source(self._instance_ids()), self.class_map()
        background = np.arange(256, 512, dtype=np.int32)
        background[list(thing_ids(self.table))] = 0
        ids = np.where(number > 0, number, background[classes]).astype(np.int32)
        kinds = {one.id: one.class_id for one in self.instances or ()}
        segments: list[dict[str, Any]] = []
        for segment in np.unique(ids[ids > 0]).tolist():
            mask = (ids == segment).view(np.uint8)
            segments.append(
                {
                    "id": segment,
                    "category_id": kinds.get(segment, segment - 256),
                    "isthing": segment in kinds,
                    "iscrowd": 0,
                    "area": int(np.count_nonzero(mask)),
                    "bbox": list(cv2.boundingRect(mask)),
                }
            )
        return ids, segments

    def _instance_ids(self) -> Image:
        if self.instances is None or INSTANCES not in self.outputs:
            raise ConfigError(
                'expected a prediction with instances, got none. Ask: edge.segment(..., outputs=["instances"])'
            )
        return self.outputs[INSTANCES]

    def detections(self, names: Sequence[str] | None = None) -> Any:
        """A `supervision.Detections` with a mask at source size for each of `names` that was seen: groups or classes;
        all groups if not given. With instances and without names, it has each object, and `tracker_id` with -1 for one
        that is not followed. `class_id` counts the table's groups, then its classes; `data["class_name"]` names them.
        supervision is not installed with edge.

        Raises:
            ConfigError: a name is neither a group nor a class.
            ImportError: supervision is not installed.
        """
        import supervision  # pyright: ignore[reportMissingImports]  # for this alone: edge does not need it

        if names is None and self.instances is not None:
            return supervision.Detections(**self._objects())
        asked = list(self.table.groups) if names is None else list(names)
        masks = {name: mask for name in asked if (mask := self.mask(name)).any()}
        known = [*self.table.groups, *self.table.names]
        width, height = self.frame.size_wh
        stacked = np.stack(list(masks.values())) if masks else np.zeros((0, height, width), np.bool_)
        return supervision.Detections(
            xyxy=np.array([_bounds(mask) for mask in masks.values()], np.float32).reshape(-1, 4),
            mask=stacked,
            class_id=np.array([known.index(name) for name in masks], np.int64),
            data={"class_name": np.array(list(masks), dtype=np.str_)},
        )

    def _objects(self) -> dict[str, Any]:
        """The arguments of a `supervision.Detections` of each object."""
        found, numbers = self.instances or (), self.letterbox.to_source(self._instance_ids())
        sure = [one.confidence for one in found if one.confidence is not None]
        return {
            "xyxy": np.array([one.box for one in found], np.float32).reshape(-1, 4),
            "mask": numbers == np.arange(1, len(found) + 1, dtype=np.uint8)[:, None, None],
            "class_id": np.array([len(self.table.groups) + one.class_id for one in found], np.int64),
            "confidence": np.array(sure, np.float32) if len(sure) == len(found) else None,
            "tracker_id": np.array([-1 if one.track_id is None else one.track_id for one in found], np.int64),
            "data": {
                "class_name": np.array([one.class_name for one in found], dtype=np.str_),
                "distance_m": np.array([one.distance_m for one in found], np.float64),  # None is NaN
            },
        }

    def nearest(self, group: str) -> Instance | None:
        """Of the objects of a group (or class), the one with the least distance; None where none has one."""
        class_ids = self.table.ids(group)
        known = [(one.distance_m, one) for one in self.instances or () if one.class_id in class_ids]
        return min(((far, one) for far, one in known if far is not None), key=lambda pair: pair[0], default=(0, None))[
            1
        ]

    def shares(self) -> dict[str, float]:
        """The part of the frame that each class covers, 0 to 1, by class name."""
        inside = np.ascontiguousarray(self.content("semantic"))
        counts = np.bincount(inside.reshape(-1), minlength=len(self.table))
        return {name: float(counts[i]) / inside.size for i, name in enumerate(self.table.names)}

    def summaries(self) -> dict[str, dict[str, float]]:
        """Each further output in numbers, by name, for text records (`edge.outputs.Decoder.summarize`)."""
        return {o.name: DECODERS[o.decoder].summarize(self.content(o.name)) for o in self.further()}

    def overlay(
        self,
        alpha: float | None = None,
        *,
        style: str = "tint",
        classes: Sequence[str] | str = (),
        legend: bool = True,
    ) -> Image:
        """uint8 (H, W, 3) BGR: the frame with the card's groups tinted; objects with their contours and track ids.

        Args:
            alpha: 0 to 1, the strength of the tint; 0.45 if None.
            style: "tint", "outline", "mask", or "side-by-side", which is twice as wide.
            classes: the groups or classes that are painted, `["road", "pedestrian"]` or `"road,pedestrian"`; all that
                the card tints if not given.
            legend: names them in the upper left corner, where it fits.

        Raises:
            ConfigError: no such style or class, or alpha is out of range; the message lists the choices.
        """
        from edge.appearance import Appearance, parse_classes

        names = parse_classes(classes) if isinstance(classes, str) else tuple(classes)
        return self.painted(Appearance(style, alpha, names, legend))

    def painted(self, look: Appearance) -> Image:
        """`overlay` of a look that was made before."""
        from edge.contours import draw_bgr
        from edge.overlay import paint_bgr

        matrix = self.frame.yuv.matrix if self.frame.yuv else "bt601"
        image = paint_bgr(self.frame.image, self.semantic, self.letterbox, self.table, look, matrix)
        draw_bgr(image[:, -self.frame.size_wh[0] :], self.marks(self.frame.size_wh, look))
        return image

    def marks(self, size_wh: tuple[int, int], look: Appearance | None = None) -> list[Mark]:
        """What an overlay draws over an image of that size, which shows the whole frame: the lane's boundaries and each
        object; nothing of what was not asked for. Of a look that names classes, only the objects of these.
        """
        from edge.contours import marks_of

        lines = self._lane_marks(size_wh) + self._marking_marks(size_wh)
        if not self.instances or INSTANCES not in self.outputs:
            return lines
        drawn = self.instances
        if look is not None and look.classes:
            ids = {number for name in look.classes for number in self.table.ids(name)}
            drawn = [one for one in drawn if one.class_id in ids]
        return lines + marks_of(self.outputs[INSTANCES], self.letterbox, drawn, size_wh)

    def _lane_marks(self, size_wh: tuple[int, int]) -> list[Mark]:
        if self.lane is None or self.ground is None:
            return []
        from edge.contours import line_mark

        scale = np.array(size_wh) / self.frame.size_wh
        return [line_mark(self.ground.pixels(line) * scale) for line in self.lane.lines()]

    def _marking_marks(self, size_wh: tuple[int, int]) -> list[Mark]:
        if MARKINGS not in self.outputs:
            return []
        from edge.contours import marking_marks

        return marking_marks(self.content(MARKINGS), size_wh)

    def _repr_png_(self) -> bytes:
        """What a notebook shows of it: the overlay."""
        return cv2.imencode(".png", self.overlay())[1].tobytes()


def _bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The left, top, right and bottom of what is True, right and bottom exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _inside(array: NDArray[Any], box: Letterbox) -> NDArray[Any]:
    """The view of a map of the input, at its size or coarser, that the frame covers; cells at its edge included."""
    rows, columns = array.shape[:2]
    (width, height), (x, y, across, down) = box.input_wh, box.content_xywh
    if (rows, columns) == (height, width):
        return box.content(array)
    top, bottom = y * rows // height, -(-(y + down) * rows // height)
    return array[top:bottom, x * columns // width : -(-(x + across) * columns // width)]
