"""Objects by the centres and offsets of a net's head (Panoptic-DeepLab, arXiv 1911.10194, section 3.3): each cell of a
countable class belongs to the centre nearest to where its offset points. Masks stay the net's classes: an object has
no pixel of another class.

What no centre is near to is grouped as without a head, so that no object is lost to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Image
from edge.grouping import Groups, components, least_cells
from edge.instances import MOST
from edge.outputs import CENTRES, OFFSETS
from edge.prediction import Prediction

SURE = 90  # of a centre, of 255
STRIDE = 4  # of the head's maps
VOTE = (3.0, 0.35)  # cells from a centre that an offset ends which speaks for it: at least, and per cell of its length
REACH = (6.0, 0.6)  # the same, of an offset that has no nearer centre
LEAST_VOTES, _OWN_SHARE = 4, 0.7  # of a centre
_MINOR = 0.25  # of an object's cells: less of a second class is dropped, more is an object of its own


def grouped(prediction: Prediction, class_ids: Sequence[int]) -> Groups:
    """As `components`, by the head where the engine has one and it sees a centre."""
    if CENTRES.name not in prediction.outputs or OFFSETS.name not in prediction.outputs:
        return components(prediction, class_ids)
    peaks = np.argwhere(prediction.outputs[CENTRES.name] >= SURE)
    if not len(peaks):
        return components(prediction, class_ids)
    cells = _Cells.of(prediction, class_ids)
    if not len(cells.at):
        return components(prediction, class_ids)
    owners = _owners(cells, peaks, prediction.outputs[CENTRES.name], prediction.outputs[OFFSETS.name])
    return _described(prediction, class_ids, owners)


@dataclass(frozen=True)
class _Cells:
    """The cells of 1/4 in which something countable is: (N, 2) rows and columns, of a grid of `shape`."""

    at: NDArray[np.intp]
    shape: tuple[int, int]

    @classmethod
    def of(cls, prediction: Prediction, class_ids: Sequence[int]) -> _Cells:
        there = np.zeros(prediction.semantic.shape, np.uint8)
        prediction.letterbox.content(there)[:] = _countable(class_ids)[prediction.content("semantic")]
        height, width = cast("tuple[int, int]", prediction.outputs[CENTRES.name].shape)
        rows, columns = cast("tuple[int, int]", there.shape)
        whole = cv2.copyMakeBorder(there, 0, height * STRIDE - rows, 0, width * STRIDE - columns, cv2.BORDER_CONSTANT)
        small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
        return cls(np.argwhere(small), (height, width))


def _countable(class_ids: Sequence[int]) -> Image:
    table = np.zeros(256, np.uint8)
    table[list(class_ids)] = 255
    return table


def _owners(cells: _Cells, peaks: NDArray[np.intp], heat: Image, offsets: NDArray[np.float32]) -> Image:
    """uint8 (h, w) of 1/4: the number of each cell's centre, counted from 1; 0 where there is no object or no centre is
    near enough.

    The surest centre first: one whose cells mostly point to a surer one too is that object once more.
    """
    order = np.argsort(-heat[tuple(peaks.T)].astype(np.intp), kind="stable")[:MOST]
    peaks = peaks[order]
    rows, columns = cells.at.T
    pull = offsets[:, rows, columns]
    aim = np.stack([rows + pull[1], columns + pull[0]])
    distance = np.hypot(aim[0] - peaks[:, :1], aim[1] - peaks[:, 1:])
    length = np.hypot(*pull)
    votes = distance <= np.maximum(VOTE[0], VOTE[1] * length)
    chosen = _own_centres(distance, votes)
    owners = np.zeros(cells.shape, np.uint8)
    if len(chosen):
        nearest = distance[chosen].argmin(0)
        near = distance[chosen].min(0) <= np.maximum(REACH[0], REACH[1] * length)
        owners[rows, columns] = np.where(near, nearest + 1, 0)
    return owners


def _own_centres(distance: NDArray[np.floating], votes: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Of (centres, cells) each: the centres to which enough cells point that point to no surer one."""
    nearest = np.full(distance.shape[1], np.inf)
    chosen: list[int] = []
    for place, (away, given) in enumerate(zip(distance, votes, strict=True)):
        own = int(np.count_nonzero(given & (away < nearest)))
        if own >= max(LEAST_VOTES, _OWN_SHARE * int(np.count_nonzero(given))):
            chosen.append(place)
            np.minimum(nearest, away, out=nearest)
    return np.array(chosen, np.intp)


def _described(prediction: Prediction, class_ids: Sequence[int], owners: Image) -> Groups:
    """The objects on the network's grid, the largest first."""
    semantic = prediction.content("semantic")
    height, width = owners.shape
    large = cv2.resize(owners, (width * STRIDE, height * STRIDE), interpolation=cv2.INTER_NEAREST)
    owner = prediction.letterbox.content(large[: prediction.semantic.shape[0], : prediction.semantic.shape[1]])
    at = np.flatnonzero(_countable(class_ids)[semantic])
    keys = owner.ravel()[at].astype(np.intp) * 256 + semantic.ravel()[at]
    areas = np.bincount(keys, minlength=256)
    kept = _kept(areas, least_cells(semantic))
    rest = _rest(prediction, class_ids, at[keys < 256], semantic)
    order = sorted(kept, key=lambda key: (-areas[key], key))[: MOST - len(rest.classes)]
    number = np.zeros(len(areas), np.uint8)
    number[order] = np.arange(1, len(order) + 1)
    ids = np.zeros(semantic.size, np.uint8)
    ids[at] = number[keys]
    return _joined(ids.reshape(semantic.shape), np.array(order, np.int64) % 256, rest)


def _kept(areas: NDArray[np.intp], least: float) -> list[int]:
    """Of centre * 256 + class: which are objects. A centre's small part of a second class is left out."""
    keys = np.flatnonzero(areas)
    totals = np.bincount(keys // 256, areas[keys])
    is_object = (keys >= 256) & (areas[keys] >= least) & (areas[keys] >= _MINOR * totals[keys // 256])
    return keys[is_object].tolist()


def _rest(prediction: Prediction, class_ids: Sequence[int], at: NDArray[np.intp], semantic: Image) -> Groups:
    """Connected patches of what no centre is near to."""
    alone = np.full(semantic.size, 255, np.uint8)
    alone[at] = semantic.ravel()[at]
    return components(prediction, class_ids if len(at) else (), alone.reshape(semantic.shape))


def _joined(ids: Image, classes: NDArray[np.int64], rest: Groups) -> Groups:
    """Boxes, areas and centres of the objects in `ids`, 1..n, with the patches of `rest` behind them."""
    count = len(classes)
    rows, columns = np.nonzero(ids)
    numbers = ids[rows, columns].astype(np.intp)
    order = np.argsort(numbers, kind="stable")
    rows, columns, numbers = rows[order], columns[order], numbers[order]
    areas = np.bincount(numbers, minlength=count + 1)[1:]
    starts = np.concatenate([[0], np.cumsum(areas)[:-1]]).astype(np.intp)[:count]
    boxes, centres = np.zeros((count, 4), np.int64), np.zeros((count, 2))
    if count:
        left, top = np.minimum.reduceat(columns, starts), np.minimum.reduceat(rows, starts)
        right, bottom = np.maximum.reduceat(columns, starts), np.maximum.reduceat(rows, starts)
        boxes = np.stack([left, top, right - left + 1, bottom - top + 1], axis=1)
        sums = [np.add.reduceat(part.astype(np.float64), starts) for part in (columns, rows)]
        centres = np.stack(sums, axis=1) / areas[:, None]
    shifted = np.where(rest.ids > 0, rest.ids + np.uint8(count), 0).astype(np.uint8)
    return Groups(
        ids | shifted,
        np.concatenate([classes, rest.classes]),
        np.concatenate([boxes, rest.boxes]),
        np.concatenate([areas, rest.areas]),
        np.concatenate([centres, rest.centres]),
    )
