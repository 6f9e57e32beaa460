"""Where the lines of a road meet: the vanishing point of road edges and markings, voted for by pairs of segments.

Two lines along the road, seen at the same depth, meet on the horizon, also where the road bends: there they are
parallel. So pairs vote for the row alone, and many frames of one camera agree on it. Points are normalised: (x, y) of a
ray that is 1 ahead, roll undone; the row of the horizon is then minus the tangent of the pitch.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Image
from edge.geometry.ground import Floats, GroundPlane, rotation_of

_LEAST_SHARE = 1 / 30  # of the image's height: shorter segments say little
_FLATTEST = 0.12  # a segment whose rise is a smaller part of its run crosses the road
_SEGMENT_PX = 0.5  # how far a segment's ends are from the line that it stands for
_LEAST_APART = 0.5  # lines of a pair, in heights of the camera
_LEAST_OVERLAP = 0.5  # of the shorter segment's rows
PITCH_DEG = (-12.0, 25.0)  # where the horizon is looked for
_GRID = np.arange(-np.tan(np.radians(PITCH_DEG[1])), -np.tan(np.radians(PITCH_DEG[0])), 0.0005)
_NODDING = 0.003  # of the horizon's row about its usual place, in the sum over frames
_NEAR = 0.02  # pairs so near to the mode count as inliers


def road_segments(grey: Image, road: Image, others: Image) -> Floats:
    """float64 (N, 4): straight segments of edges on the road and along its border, x and y of the upper end and of the
    lower one in pixels of `grey`, uint8 (H, W). `road` and `others` are masks of its size, 1 where there is road, and
    where there are people and vehicles, whose edges are left out.
    """
    height = len(grey)
    spread = np.ones((max(3, height // 120) | 1,) * 2, np.uint8)
    there = cv2.dilate(road, spread) & (1 - cv2.dilate(others, spread))
    x, y, wide, high = cv2.boundingRect(there)
    if wide < 8 or high < 8:
        return np.zeros((0, 4))
    found = cv2.createLineSegmentDetector().detect(np.ascontiguousarray(grey[y : y + high, x : x + wide]))[0]
    if found is None:
        return np.zeros((0, 4))
    ends = found.reshape(-1, 2, 2).astype(np.float64) + np.array((x + 0.5, y + 0.5))
    order = np.argsort(ends[:, :, 1], axis=1)
    ends = np.take_along_axis(ends, order[:, :, None], axis=1)
    run, rise = np.abs(ends[:, 1] - ends[:, 0]).T
    kept = (np.hypot(run, rise) >= _LEAST_SHARE * height) & (rise > _FLATTEST * run)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = np.floor(ends[:, 0] + (ends[:, 1] - ends[:, 0]) * share).astype(int)
        kept &= there[at[:, 1].clip(0, height - 1), at[:, 0].clip(0, grey.shape[1] - 1)] > 0
    return ends[kept].reshape(-1, 4)


@dataclass(frozen=True)
class Lines:
    """Segments as lines x = slope * y + offset in normalised coordinates, each (N,); between the rows `top` and
    `bottom`; `sd` is how well x is known at the segment's ends.
    """

    slope: Floats
    offset: Floats
    top: Floats
    bottom: Floats
    sd: Floats

    @classmethod
    def of(cls, segments: Floats, plane: GroundPlane) -> Lines:
        """Of segments in pixels; the plane's focal length, centre, distortion and roll are used, its pitch is not."""
        roll = rotation_of(0, plane.model.roll_deg, 0)
        rays = plane.rays(segments.reshape(-1, 2)) @ roll.T
        points = (rays[:, :2] / rays[:, 2:]).reshape(-1, 2, 2)
        top, bottom = points[:, 0, 1], points[:, 1, 1]
        good = bottom - top > 1e-6
        points, top, bottom = points[good], top[good], bottom[good]
        slope = (points[:, 1, 0] - points[:, 0, 0]) / (bottom - top)
        sd = _SEGMENT_PX / plane.matrix[0, 0] * np.sqrt(1 + np.square(slope))
        return cls(slope, points[:, 0, 0] - slope * top, top, bottom, sd)


@dataclass(frozen=True)
class Pairs:
    """Where pairs of lines meet, (P,) each: row, its standard error, column; `first`, `second` are the lines."""

    row: Floats
    sd: Floats
    column: Floats
    first: NDArray[np.intp]
    second: NDArray[np.intp]

    @classmethod
    def of(cls, lines: Lines) -> Pairs:
        """Of all lines that are far enough apart and seen at the same depth."""
        i, j = np.triu_indices(len(lines.slope), 1)
        overlap = np.minimum(lines.bottom[i], lines.bottom[j]) - np.maximum(lines.top[i], lines.top[j])
        rises = lines.bottom - lines.top
        apart = lines.slope[i] - lines.slope[j]
        good = (np.abs(apart) > _LEAST_APART) & (overlap > _LEAST_OVERLAP * np.minimum(rises[i], rises[j]))
        i, j, apart = i[good], j[good], apart[good]
        row = -(lines.offset[i] - lines.offset[j]) / apart
        variance = sum(
            np.square(lines.sd[k]) * (1 + 12 * np.square(((lines.top + lines.bottom)[k] / 2 - row) / rises[k]))
            for k in (i, j)
        )
        return cls(row, np.sqrt(variance) / np.abs(apart), lines.slope[i] * row + lines.offset[i], i, j)

    def kept(self, good: NDArray[np.bool_]) -> Pairs:
        """Those pairs alone."""
        return Pairs(self.row[good], self.sd[good], self.column[good], self.first[good], self.second[good])

    def votes(self) -> Floats:
        """How much the pairs of a frame are for each row of the grid; at most 1 in all, however many they are."""
        inside = (self.row > _GRID[0] - 0.1) & (self.row < _GRID[-1] + 0.1)
        row, spread = self.row[inside, None], np.hypot(self.sd[inside], _NODDING)[:, None]
        if not len(row):
            return np.zeros(len(_GRID))
        each = np.exp(-0.5 * np.square((_GRID - row) / spread)) / spread
        total = each.sum(axis=0)
        return total / max(1.0, float(np.sqrt(len(row)))) * _NODDING


def mode_row(votes: Floats) -> float:
    """The row with the most votes."""
    return float(_GRID[int(np.argmax(votes))])


def meeting_point(pairs: Pairs, near: float) -> tuple[float, float, float, Pairs] | None:
    """Row, column and the row's standard error of where a frame's lines meet, near a row; and the pairs that say so.
    None where fewer than three do.
    """
    row = near
    inliers = pairs
    for reach in (_NEAR, _NEAR / 2, _NEAR / 2):
        inliers = pairs.kept(np.abs(pairs.row - row) < reach + 2 * np.minimum(pairs.sd, _NEAR))
        if len(inliers.row) < 3:
            return None
        weights = 1 / (np.square(inliers.sd) + _NODDING**2)
        row = weighted_median(inliers.row, weights)
    weights = 1 / (np.square(inliers.sd) + _NODDING**2)
    spread = 1.4826 * weighted_median(np.abs(inliers.row - row), weights)
    lines = len(np.union1d(inliers.first, inliers.second))
    return row, weighted_median(inliers.column, weights), spread / np.sqrt(max(1, lines - 1)), inliers


def weighted_median(values: Floats, weights: Floats) -> float:
    """The value with half of the weight on either side."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
