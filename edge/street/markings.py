"""Where a street's road markings and kerb stones are in a frame: truth for nets that are to find them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.street.canvas import SHIFT
from edge.street.ground import HALF_M, KERB_M, PIECE_M, Ground, Painter
from edge.street.place import PAVEMENT, ROAD
from edge.street.truth import KNOWN_TO_M, SEEN_FROM_M, SEEN_TO_M, StreetLane, TrueBoundary
from edge.street.view import View

NONE, MARKING, CURB = range(3)
_BESIDE_M = 0.3  # of a boundary: what is painted there is its own


class MarkingMap:
    """Markings and kerbs of one street from above, a piece at a time, and what of them a view sees."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._pieces: dict[int, NDArray[np.uint8]] = {}

    def seen(self, view: View, classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 (H, W) of the size of `classes`, which are what the frame shows: 0 none, 1 a marking, where road is
        seen, 2 a kerb, where pavement is.
        """
        found = np.zeros(classes.shape, np.uint8)
        top = max(0, int(np.ceil(view.horizon_v + 1)))
        depth, centre, scale = view.ground_rows(top)
        places = view.s + depth
        numbers = np.floor(places / PIECE_M).astype(int)
        columns = np.arange(classes.shape[1]) + 0.5
        for number in np.unique(numbers[places < view.s + 140.0]).tolist():
            rows = np.flatnonzero(numbers == number)
            piece = self._piece(number)
            across = ((columns - centre[rows, None]) / scale[rows, None] + HALF_M) * (piece.shape[1] / (2 * HALF_M))
            along = np.broadcast_to((places[rows, None] / PIECE_M - number) * piece.shape[0], across.shape)
            maps = (np.clip(value, -1e4, 3e4).astype(np.float32) for value in (across - 0.5, along - 0.5))
            found[top + rows] = cv2.remap(piece, *maps, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
        hidden = ((found == MARKING) & (classes != ROAD)) | ((found == CURB) & (classes != PAVEMENT))
        found[hidden] = NONE
        self._pieces = {n: piece for n, piece in self._pieces.items() if n * PIECE_M > view.s - 2 * PIECE_M}
        return found

    def lane(self, view: View, classes: NDArray[np.uint8]) -> StreetLane:
        """The car's lane, and how much of its sides is seen in a frame of these classes."""
        marks = self.seen(view, classes)
        place = self._ground.place
        right = TrueBoundary("solid" if place.centre_line == "double" else "dashed", *_along(view, marks, 0.0, MARKING))
        side = place.left
        if side.cycle_lane_m or side.bay_m:
            kind, inset, mark = ("solid" if side.cycle_lane_m else "dashed"), side.kerb - side.lane_m, MARKING
        elif place.yellow_lines:
            kind, inset, mark = "solid", 0.5, MARKING
        else:
            kind, inset, mark = "curb", 0.0, CURB
        return StreetLane(TrueBoundary(kind, *_along(view, marks, inset - side.kerb, mark)), right)

    def _piece(self, number: int) -> NDArray[np.uint8]:
        if number not in self._pieces:
            self._pieces[number] = _MarkPainter(self._ground, number, 0).painted()[..., 0]
        return self._pieces[number]


def _along(view: View, marks: NDArray[np.uint8], x: float, mark: int) -> tuple[tuple[float, ...], float]:
    """Where a line along the street at X is, metre by metre, and how many metres of that mark are seen along it."""
    ahead = np.arange(KNOWN_TO_M + 1.0)
    right = x + view.bend(view.s + ahead) - view.x
    top = max(0, int(np.ceil(view.horizon_v + 1)))
    depth, centre, scale = view.ground_rows(top)
    seen_m = 0.0
    for row in np.flatnonzero((depth >= SEEN_FROM_M) & (depth < SEEN_TO_M)).tolist():
        middle, half = centre[row] + scale[row] * x, max(1.0, scale[row] * _BESIDE_M)
        first, last = (int(np.clip(middle + end, 0, marks.shape[1])) for end in (-half, half))
        if (marks[top + row, first:last] == mark).any():
            seen_m += float(depth[row - 1] - depth[row]) if row else 0.0
    return tuple(np.round(right, 3).tolist()), seen_m


class _MarkPainter(Painter):
    """Paints what `Painter` does in paint, and nothing else."""

    def painted(self) -> NDArray[np.uint8]:
        """uint8 (H, W, 3): `MARKING` or `CURB` in each channel."""
        self.image[:] = NONE
        blocks = self.world.blocks_between(self.s0 - 6, self.s0 + PIECE_M + 6)
        for side in (self.place.left, self.place.right):
            kerb = sorted((side.sign * side.kerb, side.sign * (side.kerb + KERB_M)))
            self._fill(kerb[0], kerb[1], self.s0, self.s0 + PIECE_M, CURB)
            for block in blocks:
                if block.junction(side.sign):
                    self._give_way(side, block)
            self._edge_lines(side, blocks)
        self._centre_line(blocks)
        for block in blocks:
            self._crossing(block)
        return self.image

    def box(self, x0: float, x1: float, s0: float, s1: float, colour: tuple[float, float, float]) -> None:
        """A rectangle of paint, whichever colour it has."""
        if s1 > self.s0 and s0 < self.s0 + PIECE_M:
            self._fill(x0, x1, s0, s1, MARKING)

    def _fill(self, x0: float, x1: float, s0: float, s1: float, value: int) -> None:
        outline = np.array([[x0, s0], [x1, s0], [x1, s1], [x0, s1]])
        cv2.fillConvexPoly(self.image, self._points(outline), (value,) * 3, cv2.LINE_8, SHIFT)
