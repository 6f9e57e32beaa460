"""Pairs of the greatest total worth: the linear assignment problem, solved exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints, Floats = NDArray[np.int64], NDArray[np.float64]


def assign(worth: NDArray[Any]) -> tuple[Ints, Ints]:
    """The rows and columns of the pairs whose sum is greatest, each row and column at most once; pairs of worth 0 are
    left out. `worth` is (N, M), none below 0.
    """
    rows, columns = np.flatnonzero(worth.any(axis=1)), np.flatnonzero(worth.any(axis=0))
    inside = np.asarray(worth, np.float64)[np.ix_(rows, columns)]
    if len(rows) > len(columns):
        across = _column_of_rows(-inside.T)
        pairs = np.stack([across, np.arange(len(across))])
    else:
        down = _column_of_rows(-inside)
        pairs = np.stack([np.arange(len(down)), down])
    pairs = pairs[:, inside[pairs[0], pairs[1]] > 0]
    pairs = pairs[:, np.argsort(pairs[0])]
    return rows[pairs[0]], columns[pairs[1]]


def _column_of_rows(cost: Floats) -> Ints:
    """(N,) each row's column at the least total cost; `cost` is (N, M), N at most M. One shortest augmenting path per
    row: Crouse, "On implementing 2D rectangular assignment algorithms", IEEE TAES 2016.
    """
    count, width = cost.shape
    row_price, column_price = np.zeros(count), np.zeros(width)
    row_of, column_of = np.full(width, -1, np.int64), np.full(count, -1, np.int64)
    for start in range(count):
        length, before = np.full(width, np.inf), np.full(width, -1, np.int64)
        done = np.zeros(width, np.bool_)
        row, column, least = start, -1, 0.0
        while row >= 0:  # grow the tree of shortest paths until it meets a free column
            reach = least + cost[row] - row_price[row] - column_price
            shorter = ~done & (reach < length)
            length[shorter], before[shorter] = reach[shorter], row
            column = int(np.argmin(np.where(done, np.inf, length)))
            least, done[column] = float(length[column]), True
            row = int(row_of[column])
        settled = row_of[done]
        settled = settled[settled >= 0]
        row_price[start] += least
        row_price[settled] += least - length[column_of[settled]]
        column_price[done] -= least - length[done]
        while row != start:  # back along the path, each row takes the column that it led to
            row = int(before[column])
            row_of[column] = row
            column_of[row], column = column, int(column_of[row])
    return column_of
