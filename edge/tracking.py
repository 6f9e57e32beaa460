"""Ids that last: follows the objects of one stream of frames, by time and never by frame count.

Each object's box moves at a constant velocity (a Kalman filter over its centre). Objects of a frame meet the tracks in
two rounds, as in ByteTrack (Zhang et al., "ByteTrack: multi-object tracking by associating every detection box", ECCV
2022): the sure ones first, all tracks being free; then the unsure ones, for tracks that were seen in the frame before.
A track lives on for a second without being seen. Nothing is random: the same frames give the same ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge.instances import Instance
from edge.prediction import Prediction

LOST_NS = 1_000_000_000  # a track that was not seen for longer is over
SURE = 0.5  # confidence from which an object can begin a track
# In sizes of the object, the mean of its width and height: what a person does in an image, near or far.
_MEASURED, _CELLS = 0.05, 0.7  # standard deviation of a box's centre: in sizes, and for small ones in the mask's cells
_TURNS = 1.0  # of the velocity after one second
_FIRST_VELOCITY = 2.0  # of an object that was seen once, per second
_REACH, _SIGMAS = 0.3, 3.0  # a track reaches so far, and so many standard deviations of where it may be
_TALLER = 2.5  # an object's height is at most so many times the track's, and at least the inverse
_OVERLAP = 0.3  # intersection over union that makes them one whatever else is said
_COVERED, _LARGER = 0.6, 1.2  # two tracks in one patch: so much of the second, in a box so much larger than the first's

_ID, _CLASS, _BORN, _SEEN, _ALONE, _COUNT = range(6)  # columns of _Tracks.numbers; times in ns
_XY, _WH, _VELOCITY = slice(0, 2), slice(2, 4), slice(4, 6)  # columns of _Tracks.motion, in pixels and seconds
_VAR_XY, _COVAR, _VAR_VELOCITY = 6, 7, 8  # of x and of y alike

Ints, Floats = NDArray[np.int64], NDArray[np.float64]


@dataclass(slots=True)
class _Tracks:
    """A row for each: `numbers` int64 (N, 6) and `motion` float64 (N, 9), whose columns are named above."""

    numbers: Ints
    motion: Floats

    @classmethod
    def none(cls) -> _Tracks:
        return cls(np.zeros((0, 6), np.int64), np.zeros((0, 9)))

    @classmethod
    def new(cls, first_id: int, seen: _Seen, now_ns: int) -> _Tracks:
        """Of objects that were just seen for the first time."""
        count = len(seen.classes)
        ids, ones = np.arange(first_id, first_id + count), np.ones(count, np.int64)
        numbers = np.stack([ids, seen.classes, *[ones * now_ns] * 3, ones], axis=1)
        motion = np.zeros((count, 9))
        motion[:, :4], motion[:, _VAR_XY] = seen.boxes, seen.noise
        motion[:, _VAR_VELOCITY] = (_FIRST_VELOCITY * seen.boxes[:, 2:].mean(axis=1)) ** 2
        return cls(numbers, motion)

    def kept(self, rows: NDArray[np.bool_]) -> _Tracks:
        return _Tracks(self.numbers[rows], self.motion[rows])

    def and_also(self, others: _Tracks) -> _Tracks:
        return _Tracks(np.concatenate([self.numbers, others.numbers]), np.concatenate([self.motion, others.motion]))

    def predict(self, passed_s: float) -> None:
        """Where they are after so long, and how well that is known."""
        m = self.motion
        spread = (_TURNS * m[:, _WH].mean(axis=1)) ** 2
        m[:, _XY] += m[:, _VELOCITY] * passed_s
        m[:, _VAR_XY] += (2 * m[:, _COVAR] + (m[:, _VAR_VELOCITY] + spread * passed_s / 3) * passed_s) * passed_s
        m[:, _COVAR] += (m[:, _VAR_VELOCITY] + spread * passed_s / 2) * passed_s
        m[:, _VAR_VELOCITY] += spread * passed_s

    def correct(self, rows: Ints, seen: _Seen) -> None:
        """What is known of these tracks now that they were seen there."""
        m = self.motion[rows]
        gain, turn = (m[:, column] / (m[:, _VAR_XY] + seen.noise) for column in (_VAR_XY, _COVAR))
        off = seen.boxes[:, :2] - m[:, _XY]
        m[:, _XY] += gain[:, None] * off
        m[:, _VELOCITY] += turn[:, None] * off
        m[:, _WH] += (seen.boxes[:, 2:] - m[:, _WH]) / 2
        m[:, _VAR_VELOCITY] -= turn * m[:, _COVAR]
        m[:, _VAR_XY] *= 1 - gain
        m[:, _COVAR] *= 1 - gain
        self.motion[rows] = m


class Tracks:
    """The step: gives objects a `track_id`, how long each is known and how fast it moves.

    An id is never given twice by the same step, not even after a reset: what follows a gap or a seek is new.
    """

    def __init__(self) -> None:
        self._next_id = 1
        self.reset()

    def reset(self) -> None:
        """All tracks are over."""
        self._tracks, self._now_ns = _Tracks.none(), 0

    def update(self, prediction: Prediction) -> Prediction:
        """The prediction, its objects with ids that last; see `edge.steps.Step.update`."""
        if prediction.instances is None:
            return prediction
        frame, found = prediction.frame, prediction.instances
        now_ns = frame.taken_ns
        before_ns, self._now_ns = self._now_ns, now_ns
        self._tracks = self._tracks.kept(now_ns - self._tracks.numbers[:, _SEEN] <= LOST_NS)
        self._tracks.predict(max(0, now_ns - before_ns) / 1e9)
        seen = _Seen.of(prediction)
        rows = self._associate(seen, before_ns)
        begins = np.flatnonzero((rows < 0) & seen.sure)
        rows[begins] = len(self._tracks.numbers) + np.arange(len(begins))
        started = _Tracks.new(self._next_id, seen.of_rows(begins), now_ns)
        self._next_id += len(begins)
        self._tracks = self._tracks.and_also(started)
        return replace(prediction, instances=self._named(found, rows, now_ns))

    def _associate(self, seen: _Seen, before_ns: int) -> Ints:
        """The row of each object's track, int (N,), -1 where it has none; the tracks are corrected by them."""
        rows = np.full(len(seen.classes), -1, np.int64)
        tracks = self._tracks
        if not len(rows) or not len(tracks.numbers):
            return rows
        pairs = _Pairs.of(tracks, seen)
        possible = pairs.is_one_class & (pairs.is_near | (pairs.overlap >= _OVERLAP))
        free = np.ones(len(tracks.numbers), np.bool_)
        _match(np.where(possible & seen.sure, pairs.cost, np.inf), rows, free)
        if not seen.sure.all():
            was_seen = np.equal(tracks.numbers[:, _SEEN], before_ns) & free
            unsure = pairs.is_one_class & (pairs.overlap >= _OVERLAP) & ~seen.sure & was_seen[:, None]
            _match(np.where(unsure, pairs.cost, np.inf), rows, free)
        self._correct(pairs, seen, rows, free)
        return rows

    def _correct(self, pairs: _Pairs, seen: _Seen, rows: Ints, free: NDArray[np.bool_]) -> None:
        """Objects correct their tracks; but a patch that holds two tracks says where neither is, so that for a second
        both go on as they went. People who cross then come out of it with the ids that they had.
        """
        numbers, motion = self._tracks.numbers, self._tracks.motion
        objects = np.flatnonzero(rows >= 0)
        its = rows[objects]
        numbers[its, _SEEN], numbers[its, _COUNT] = self._now_ns, numbers[its, _COUNT] + 1
        inside = pairs.is_one_class & (pairs.covered >= _COVERED) & free[:, None]
        another = np.any(inside, axis=0)[objects]
        larger = np.greater(seen.boxes[objects, 2:].prod(axis=1), _LARGER * motion[its, _WH].prod(axis=1))
        recent = np.less_equal(self._now_ns - numbers[its, _ALONE], LOST_NS)
        alone = ~(another & larger & recent)
        numbers[its[alone], _ALONE] = self._now_ns
        self._tracks.correct(its[alone], seen.of_rows(objects[alone]))

    def _named(self, found: Sequence[Instance], rows: Ints, now_ns: int) -> tuple[Instance, ...]:
        objects = np.flatnonzero(rows >= 0)
        numbers, velocities = self._tracks.numbers[rows[objects]], self._tracks.motion[rows[objects], _VELOCITY]
        ids, counts = numbers[:, _ID].tolist(), numbers[:, _COUNT].tolist()
        ages = np.round((now_ns - numbers[:, _BORN]) / 1e9, 3).tolist()
        speeds = np.round(np.hypot(velocities[:, 0], velocities[:, 1]), 1).tolist()
        named = list(found)
        for i, track, count, age_s, speed in zip(objects.tolist(), ids, counts, ages, speeds, strict=True):
            named[i] = found[i].followed(track, age_s, speed if count > 1 else None)
        return tuple(named)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The objects of a frame: class ids (N,); boxes (N, 4) of centre, width and height; the variance of their centres
    (N,); whether each is sure, (N,).
    """

    classes: Ints
    boxes: Floats
    noise: Floats
    sure: NDArray[np.bool_]

    @classmethod
    def of(cls, prediction: Prediction) -> _Seen:
        found, grid = prediction.instances or (), prediction.letterbox
        cell = max(grid.source_wh[0] / grid.content_xywh[2], grid.source_wh[1] / grid.content_xywh[3])  # in pixels
        corners = np.array([one.box for one in found], np.float64).reshape(-1, 4)
        boxes = np.hstack([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]])
        noise = (_MEASURED * boxes[:, 2:].mean(axis=1)) ** 2 + (_CELLS * cell) ** 2
        sure = np.array([one.confidence is None or one.confidence >= SURE for one in found], np.bool_)
        return cls(np.array([one.class_id for one in found], np.int64), boxes, noise, sure)

    def of_rows(self, rows: Ints) -> _Seen:
        return _Seen(self.classes[rows], self.boxes[rows], self.noise[rows], self.sure[rows])


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Each track with each object, arrays of (tracks, objects).

    `overlap` is intersection over union, `covered` the part of the track's box that the object's covers; `cost`, 0 to
    2, is least for the best pair.
    """

    is_one_class: NDArray[np.bool_]
    is_near: NDArray[np.bool_]
    overlap: Floats
    covered: Floats
    cost: Floats

    @classmethod
    def of(cls, tracks: _Tracks, seen: _Seen) -> _Pairs:
        """Every track with every object, as far as they can be the same."""
        x, y, width, height = tracks.motion[:, :4].T[..., None]  # of tracks, down; those of objects go across
        to_x, to_y, to_width, to_height = seen.boxes.T
        off_x, off_y = np.abs(to_x - x), np.abs(to_y - y)
        wide = np.minimum(np.minimum(width, to_width), (width + to_width) / 2 - off_x)
        high = np.minimum(np.minimum(height, to_height), (height + to_height) / 2 - off_y)
        shared = np.maximum(wide, 0) * np.maximum(high, 0)
        area = width * height
        overlap = shared / (area + to_width * to_height - shared)
        reach = _REACH * (width + height) / 2 + _SIGMAS * np.sqrt(tracks.motion[:, _VAR_XY, None] + seen.noise)
        distance = np.hypot(off_x, off_y) / reach
        taller = to_height / height
        is_near = (distance <= 1) & (taller <= _TALLER) & (taller >= 1 / _TALLER)
        is_one_class = tracks.numbers[:, _CLASS, None] == seen.classes
        return cls(is_one_class, is_near, overlap, shared / area, 1 - overlap + np.minimum(distance, 1))


def _match(cost: Floats, rows: Ints, free: NDArray[np.bool_]) -> None:
    """Best pairs first, each track and object once: into `rows` and `free`. Infinite costs are no pairs; of equal ones
    the older track comes first.
    """
    tracks, objects = np.nonzero(np.isfinite(cost))
    order = np.argsort(cost[tracks, objects], kind="stable")
    for track, one in zip(tracks[order].tolist(), objects[order].tolist(), strict=True):
        if free[track] and rows[one] < 0:
            rows[one], free[track] = track, False
