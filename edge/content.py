"""Frames chosen by what they show: a vector for each, and the ones that cover the rest best."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Image

CELL_WH = (192, 144)  # of the small image that a vector is made of
_GRID_WH = (8, 6)  # a frame's content is summed up in so many cells


def describe(thumbnail: Image) -> NDArray[np.float32]:
    """What a small image, uint8 (h, w, 3) BGR, shows, as one vector: where which colours are, how light and dark are
    spread, and how much fine detail there is; each of the three with equal weight, all roughly in 0..1.
    """
    lab = cv2.cvtColor(thumbnail, cv2.COLOR_BGR2LAB)
    layout = cv2.resize(lab, _GRID_WH, interpolation=cv2.INTER_AREA).reshape(-1).astype(np.float32) / 255
    light = np.percentile(lab[..., 0], (2, 10, 25, 50, 75, 90, 98)).astype(np.float32) / 255
    edges = cv2.absdiff(lab[1:, 1:, 0], lab[:-1, :-1, 0]).astype(np.float32) / 255
    detail = cv2.resize(edges, _GRID_WH, interpolation=cv2.INTER_AREA).reshape(-1) * 4
    return np.concatenate([part / np.sqrt(part.size, dtype=np.float32) for part in (layout, light, detail)])


def most_different(points: NDArray[np.float32], count: int) -> tuple[list[int], float]:
    """The `count` rows of `points`, (N, D), that cover the rest best, in order of their places, and how far the
    farthest row is from the nearest chosen one. The first is the most usual, each next one the farthest from all that
    are chosen.

    Greedy k-center: at most twice as far from the farthest row as the best choice would be (Gonzalez, "Clustering to
    minimize the maximum intercluster distance", 1985). The same rows give the same choice. `count` is at most N.
    """
    start = int(distances(points, points.mean(0)).argmin())
    picked, nearest = [start], distances(points, points[start])
    while len(picked) < count:
        nearest[picked] = -1  # chosen once, even where all others look alike
        picked.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distances(points, points[picked[-1]]))
    return sorted(picked), float(nearest.max())


def distances(points: NDArray[np.float32], point: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,): of each row from a point."""
    return np.linalg.norm(points - point, axis=1)


def radius(points: NDArray[np.float32], places: Sequence[int] | range | NDArray[np.int_]) -> float:
    """How far the farthest row is from the nearest of those at `places`."""
    return float(np.min([distances(points, points[place]) for place in places], axis=0).max())
