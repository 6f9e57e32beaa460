"""What one frame is measured for: against its label, against the frame before, against another engine."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.card import Fingerprint
from edge.classes import ClassTable
from edge.domain import is_unlike
from edge.errors import ConfigError, DataError
from edge.evaluate.drives import HORIZON
from edge.evaluate.labels import ignored_ids
from edge.evaluate.metres import MetresMeasure, TrueMetres
from edge.evaluate.overlaps import TrueObjects, overlaps_of
from edge.evaluate.records import Counts, Record
from edge.frame import Frame, Image
from edge.geometry.ground import GroundPlane
from edge.geometry.model import CameraModel
from edge.instances import INSTANCES
from edge.metrics import Confusion, count_bands, count_outlines
from edge.prediction import Prediction
from edge.segmenter import Canvas, Segmenter

# On a flat road the distance of a row hangs on its depth below the horizon: for a camera 1.4 m up that sees 40 degrees,
# 1.4 m / (2 tan 20°) = 1.9 m over that depth as a share of the height. 0.1 is 19 m, 0.25 is 8 m.
BANDS = ("above horizon", "far (over 19 m)", "middle (8 to 19 m)", "near (under 8 m)")
_BELOW_HORIZON = (0.0, 0.1, 0.25)
_BANDS_M = (19.0, 8.0)  # the same with a camera model, straight ahead
SIZES = ("under 5 %", "5 to 10 %", "10 to 20 %", "20 % and more")  # of the image's height
_SIZE_STEPS = (0.05, 0.1, 0.2)
_LEAST_PERSON_PX = 12  # less is a speck of the labeller's
FOLLOWED_EVERY = 5  # one frame in so many: flicker and outlines of neighbours are nearly alike, and cost most
_FLOW_SHARE = 2  # optical flow is computed at half the network's size: a quarter of the cost, and logits are coarser


class Truths(Protocol):
    """Where labels come from, such as `Labels`. `dense`: neighbours in time have labels, too, nearly alike."""

    count: int
    dense: bool

    def find(self, frame: Frame) -> Image | None:
        """uint8 (H, W) class ids, of the frame's size; None where the frame has no label."""
        ...

    def objects(self, frame: Frame) -> TrueObjects | None:
        """The objects of a frame; None where they are not known."""
        ...

    def where(self, frame: Frame) -> str:
        """What to call the frame's label in a complaint."""
        ...


@dataclass(frozen=True)
class View:
    """What the next frame needs of this one, at half the network's size: luma and classes, uint8 (h, w) both."""

    index: int
    luma: Image
    classes: Image


def is_followed(index: int) -> bool:
    """Whether a frame is compared with the one before it, and its outlines are measured if all have labels."""
    return index % FOLLOWED_EVERY == 0


def view_of(result: Prediction) -> View:
    """The small view of a result."""
    inside = result.letterbox.content(result.semantic)
    size_wh = (max(1, inside.shape[1] // _FLOW_SHARE), max(1, inside.shape[0] // _FLOW_SHARE))
    classes = cv2.resize(np.ascontiguousarray(inside), size_wh, interpolation=cv2.INTER_NEAREST_EXACT)
    return View(result.frame.index, result.frame.small_luma(size_wh), classes)


class Measures:
    """Measures frames of one drive. Any number of threads may, at once."""

    def __init__(
        self,
        table: ClassTable,
        truths: Truths | None = None,
        *,
        horizon: float = HORIZON,
        camera_model: CameraModel | None = None,
        other: Segmenter | None = None,
        mirror: Segmenter | None = None,
        fingerprint: Fingerprint | None = None,
        metres: Callable[[Frame], TrueMetres] | None = None,
        with_objects: bool = True,
    ) -> None:
        """`metres` gives what is true in metres, of results that are in metres; without `with_objects`, objects are not
        compared.
        """
        self._table, self._truths, self._horizon, self._camera_model = table, truths, horizon, camera_model
        self._other, self._mirror, self._fingerprint = other, mirror, fingerprint
        self._people_ids = table.ids("pedestrian") if "pedestrian" in table.groups else ()
        self._ignored_ids = ignored_ids(table)
        self._metres, self._in_metres, self._with_objects = metres, MetresMeasure(), with_objects
        self._local = threading.local()

    @property
    def empty(self) -> Record:
        """A record of zeros: the shapes of what is measured."""
        count = len(self._table)
        none = np.zeros(2, np.int64)
        return Record(
            *(0, -1, 0, np.zeros(count, np.int64), none, np.zeros((count, 3), np.int64), none, none, none),
            confusion=np.zeros((len(BANDS), count, count), np.int64),
            other=np.zeros((count, count), np.int64),
            outlines=np.zeros((count, 4), np.int64),
            people=np.zeros((len(SIZES), 4), np.int64),
        )

    def __call__(self, result: Prediction, pair: tuple[View, View] | None) -> Record:
        """The record of one frame; `pair` is the frame before and this one, where their flicker is measured.

        Raises:
            DataError: its label cannot be read or does not fit.
            EngineError: the other engine cannot be run.
        """
        frame, inside = result.frame, np.ascontiguousarray(result.letterbox.content(result.semantic))
        followed, steady = self._steadiness(pair)
        second = self._other.segment(frame) if self._other else None
        labelled = self._against_label(result, inside, second)
        if "seen" not in labelled:
            labelled["seen"] = _histogram(inside)[: len(self._table)]
        return Record(
            index=frame.index,
            media_ns=-1 if frame.media_ns is None else frame.media_ns,
            age_ns=result.ready_ns - frame.captured_ns,
            followed=followed,
            steady=steady,
            agreement=_agreement(result, second) if second else np.zeros(2, np.int64),
            mirrored=_same(inside, self._seen_mirrored(result)) if self._mirror else np.zeros(2, np.int64),
            unlike=self._unlike(result),
            **labelled,
            **self._against_objects(result),
            **self._against_metres(result),
            outputs=json.dumps({name: of for name, of in result.summaries().items() if self._is_asked(name)}),
            speed_mm_s=_speed_mm_s(frame),
        )

    def _is_asked(self, output: str) -> bool:
        """Objects that distances alone need are not."""
        return self._with_objects or output != INSTANCES

    def _unlike(self, result: Prediction) -> Counts:
        """Sampled by the frame's number, so that shards add up to the whole."""
        if self._fingerprint is None or not is_followed(result.frame.index):
            return np.zeros(2, np.int64)
        return np.array([is_unlike(result, self._fingerprint), 1], np.int64)

    def _against_label(self, result: Prediction, inside: Image, second: Prediction | None) -> dict[str, Counts]:
        """What a label adds to a record: nothing without one. `seen` is among it where network and label share a size:
        it was counted on the way.
        """
        truth = self._truths.find(result.frame) if self._truths else None
        if self._truths is None or truth is None:
            return {}
        found, edges = result.class_map(), self._band_edges(truth, result.frame.pixel_aspect)
        try:
            confusion, seen = count_bands(truth, found, edges, len(self._table), self._ignored_ids)
            other = self._confusion(truth, second.class_map() if second else None)
        except DataError as error:
            raise DataError(f"{self._truths.where(result.frame)}: {error}") from error
        return {
            "confusion": confusion,
            "other": other,
            "outlines": self._outlines(result.frame.index, truth, found, inside),
            "people": self._people(truth, found),
            **({"seen": seen} if result.letterbox.is_identity else {}),
        }

    def _against_objects(self, result: Prediction) -> dict[str, Any]:
        """What the truth of objects adds to a record: nothing without it, or where objects are not asked for."""
        if self._truths is None or result.instances is None or not self._with_objects:
            return {}
        truth = self._truths.objects(result.frame)
        if truth is None:
            return {}
        try:
            found = overlaps_of(result, truth)
        except DataError as error:
            raise DataError(f"{self._truths.where(result.frame)}: {error}") from error
        return {"objects": found.kind, "truths": found.truths, "found": found.found, "overlaps": found.overlaps}

    def _against_metres(self, result: Prediction) -> dict[str, Any]:
        """What a truth in metres adds to a record: nothing without it."""
        if self._metres is None or result.ground is None:
            return {}
        found = self._in_metres(result, self._metres(result.frame))
        return {"in_metres": 1, "placed": found.placed, "lane": found.lane, "free": found.free}

    def _outlines(self, index: int, truth: Image, found: Image, inside: Image) -> Counts:
        """Zeros, as of a frame without any outline, where its neighbours say the same: they cost most."""
        if self._truths is not None and self._truths.dense and not is_followed(index):
            return np.zeros((len(self._table), 4), np.int64)
        if inside.size < truth.size:  # a mask has no more outline than the net gave it
            truth = cv2.resize(truth, inside.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            found = inside
        return count_outlines(truth, found, ~_is_one_of(truth, self._ignored_ids), len(self._table))

    def _confusion(self, truth: Image, found: Image | None) -> Counts:
        confusion = Confusion(len(self._table), self._ignored_ids)
        if found is not None:
            confusion.add(truth, found)
        return confusion.counts

    def _band_edges(self, truth: Image, pixel_aspect: float) -> list[int]:
        """The rows at which bands of distance begin and end."""
        height, width = truth.shape
        shares = [self._horizon + below for below in _BELOW_HORIZON]
        if self._camera_model is not None:
            plane = GroundPlane(self._camera_model, (width, height), pixel_aspect)
            straight = plane.pixels([(0.0, ahead) for ahead in _BANDS_M])[:, 1]
            shares = [row / height for row in (plane.vanishing_point()[1], *straight.tolist())]
        return [0, *(min(height, max(0, round(share * height))) for share in shares), height]

    def _people(self, truth: Image, found: Image) -> Counts:
        """By height: how many there are, how many of them are at least half found, and their pixels likewise.

        One is a connected patch of the label: people who overlap count as one.
        """
        counts = np.zeros((len(SIZES), 4), np.int64)
        there = _is_one_of(truth, self._people_ids).view(np.uint8)
        x, y, width, height = cv2.boundingRect(there)
        if not width:
            return counts
        there, seen = (array[y : y + height, x : x + width] for array in (there, found))
        kind = cv2.CV_16U if there.size < 1 << 16 else cv2.CV_32S  # twice as fast, where no number can overflow
        number, patches, boxes, _ = cv2.connectedComponentsWithStats(there, connectivity=8, ltype=kind)
        hits = np.bincount(patches[_is_one_of(seen, self._people_ids)], minlength=number)
        for patch in range(1, number):
            pixels, height = int(boxes[patch, cv2.CC_STAT_AREA]), int(boxes[patch, cv2.CC_STAT_HEIGHT])
            if pixels >= _LEAST_PERSON_PX:
                size = bisect_right(_SIZE_STEPS, height / len(truth))
                counts[size] += (1, 2 * hits[patch] >= pixels, pixels, hits[patch])
        return counts

    def _steadiness(self, pair: tuple[View, View] | None) -> tuple[Counts, Counts]:
        """Do masks keep their classes along the motion of the image? Varghese et al., "Unsupervised temporal
        consistency metric for video segmentation in highly-automated driving", CVPR workshops 2020: the mask before is
        warped along the optical flow (DIS, Kroeger et al. 2016) and compared with the mask now.

        Pixels whose flow is not undone by the flow back are left out, by the bound of Sundaram et al. 2010, eq. 5:
        they were hidden before, left the image, or were not understood.
        """
        classes = len(self._table)
        followed, steady = np.zeros(2, np.int64), np.zeros((classes, 3), np.int64)
        if pair is None:
            return followed, steady
        before, now = pair
        if before.luma.shape != now.luma.shape or min(now.luma.shape) < _LEAST_FLOW_PX:
            return followed, steady
        warped, known = self._warped(before, now)
        warped[~known] = 255
        changes = Confusion(classes)
        changes.add(warped, now.classes)
        pairs = changes.counts
        followed[:] = np.count_nonzero(known), known.size
        steady[:] = np.stack([np.diag(pairs), pairs.sum(1), pairs.sum(0)], axis=1)
        return followed, steady

    def _warped(self, before: View, now: View) -> tuple[Image, NDArray[np.bool_]]:
        """uint8 (h, w) the classes before, where they are now; bool (h, w) where that is known."""
        flow = self._flow()
        back = flow.calc(now.luma, before.luma, None)  # type: ignore[call-overload]
        forth = flow.calc(before.luma, now.luma, None)  # type: ignore[call-overload]
        height, width = now.luma.shape
        back_x, back_y = cv2.split(back)  # arithmetic on one long row of numbers is several times as fast
        was_x = back_x + np.arange(width, dtype=np.float32)
        was_y = back_y + np.arange(height, dtype=np.float32)[:, None]
        forth_x, forth_y = cv2.split(cv2.remap(forth, was_x, was_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
        reach = _squared(back_x, back_y) + _squared(forth_x, forth_y)
        known = _squared(back_x + forth_x, back_y + forth_y) < 0.01 * reach + 0.5
        known &= (was_x > -0.5) & (was_x < width - 0.5)
        known &= (was_y > -0.5) & (was_y < height - 0.5)
        return cv2.remap(before.classes, was_x, was_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), known

    def _flow(self) -> cv2.DISOpticalFlow:
        """This thread's own: one holds buffers."""
        if not hasattr(self._local, "flow"):
            self._local.flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        return self._local.flow

    def _seen_mirrored(self, result: Prediction) -> Image:
        """uint8 (h, w): what the engine sees in the mirrored image, mirrored back."""
        assert self._mirror is not None
        canvas = Canvas(result.letterbox)
        canvas.draw(result.frame)
        content = canvas.box.content(canvas.image)
        content[:] = content[:, ::-1].copy()
        return canvas.box.content(self._mirror.engine.infer(canvas.image)["semantic"])[:, ::-1]


_LEAST_FLOW_PX = 16  # DIS works on patches of 8


def _squared(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    return x * x + y * y


def _speed_mm_s(frame: Frame) -> int:
    speed = None if frame.fix is None else frame.fix.speed_m_s
    return -1 if speed is None else round(1000 * speed)


def _histogram(ids: Image) -> Counts:
    """(256,) how often each id occurs."""
    return cv2.calcHist([ids], [0], None, [256], [0, 256]).reshape(-1).astype(np.int64)


def _is_one_of(ids: Image, members: Sequence[int]) -> NDArray[np.bool_]:
    """bool (H, W). For the one or two ids that there are it takes a fifth of a table's time."""
    there = np.zeros(ids.shape, np.bool_)
    for one in members:
        there |= ids == one
    return there


def _same(one: Image, two: Image) -> Counts:
    return np.array([np.count_nonzero(one == two), one.size], np.int64)


def _agreement(result: Prediction, second: Prediction) -> Counts:
    """Pixels of the same class, and all: at network size if both engines share it, else at the image's."""
    if result.letterbox == second.letterbox:
        return _same(result.letterbox.content(result.semantic), second.letterbox.content(second.semantic))
    return _same(result.class_map(), second.class_map())


def check_tables(one: ClassTable, two: ClassTable) -> None:
    """Refuse to compare engines of different classes.

    Raises:
        ConfigError: naming the first difference.
    """
    if one.names != two.names:
        differing = [pair for pair in zip(one.names, two.names, strict=False) if pair[0] != pair[1]]
        what = f"{differing[0][0]} against {differing[0][1]}" if differing else f"{len(one)} against {len(two)}"
        raise ConfigError(f"the two engines have different classes ({what}) and cannot be compared")
