"""Figures of tracks: worked out by hand where that can be done, else as TrackEval 1.3.0 gives them."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from edge.evaluate.assignment import assign
from edge.evaluate.tracks import Moment, Switch, count_tracks, follow


def moment(frame: int, pairs: dict[tuple[int, int], float], truths: list[int], found: list[int]) -> Moment:
    overlap = np.array([[pairs.get((t, f), 0.0) for f in found] for t in truths]).reshape(len(truths), len(found))
    return Moment(frame, np.array(truths, np.int64), np.array(found, np.int64), overlap)


def drive(*found: list[int]) -> list[Moment]:
    """Two people, 1 and 2, in every frame; they are found exactly, with these ids, 0 for one who is missed."""
    return [
        moment(i, dict.fromkeys(zip((1, 2), ids, strict=True), 1.0), [1, 2], [f for f in ids if f])
        for i, ids in enumerate(found)
    ]


@pytest.mark.parametrize(
    ("found", "hota", "idf1", "mota", "switches"),
    [
        ([[7, 8]] * 4, 1, 1, 1, 0),
        ([[7, 8]] * 2 + [[8, 7]] * 2, (1 / 3) ** 0.5, 0.5, 6 / 8, 2),  # each id is right for 2 frames of 2 + 2 + 2
        ([[7, 8], [7, 0], [7, 9], [7, 9]], (7 / 8 * (4 + 4 / 4 + 1 / 4) / 7) ** 0.5, 12 / 15, 6 / 8, 1),
        ([[0, 0]] * 3, 0, 0, 0, 0),
    ],
    ids=["right", "two swap ids", "one is lost and gets a new id", "none is found"],
)
def test_figures_are_those_worked_out_by_hand(
    found: list[list[int]], hota: float, idf1: float, mota: float, switches: int
) -> None:
    counts = count_tracks(drive(*found))
    figures = counts.figures()
    assert (figures["hota"], figures["idf1"], figures["mota"]) == pytest.approx((hota, idf1, mota))
    assert counts.switches == switches


def test_without_objects_no_figure_is_known() -> None:
    assert all(np.isnan(value) for value in count_tracks([moment(0, {}, [], [])]).figures().values())
    assert count_tracks([moment(0, {}, [], [5])]).figures()["hota"] == 0


def test_a_switch_says_when_and_between_whom() -> None:
    _, switches = follow(drive([7, 8], [7, 0], [7, 9]))
    assert switches == [Switch(2, 2, 8, 9)]


def test_two_drives_are_not_one_longer_drive() -> None:
    one = drive([7, 8], [7, 8])
    both = count_tracks(one) + count_tracks(drive([8, 7], [8, 7]))
    assert both.figures()["hota"] == pytest.approx(1)
    assert both.switches == 0


def busy(seed: int) -> list[Moment]:
    """Eight people, of whom some are missed, badly found, lose their ids or pass them on: by remainders, no chance."""
    moments = []
    for t in range(60):
        truths = [i for i in range(8) if (t + 5 * i) // 9 % 4]
        found = [10 + i for i in range(9) if (3 * t + 7 * i + seed) % 11]
        pairs = {}
        for i in truths:
            follower = 10 + (i + (t + i * seed) // 25) % 9
            for f in found:
                far = (t * 7 + i * 13 + f * 3 + seed) % 97
                pairs[i, f] = 0.35 + far / 151 if f == follower else (far % 29) / 100 if far % 3 == 0 else 0.0
        moments.append(moment(t, pairs, truths, found))
    return moments


@pytest.mark.parametrize(
    ("seed", "expected"),  # trackeval.metrics: HOTA, Identity and CLEAR
    [
        (1, (0.221701, 0.393675, 0.125714, 0.259434, -0.019608, 16)),
        (4, (0.208634, 0.384467, 0.114154, 0.240566, -0.030812, 18)),
    ],
)
def test_figures_are_those_of_trackeval(seed: int, expected: tuple[float, ...]) -> None:
    counts = count_tracks(busy(seed))
    figures = counts.figures()
    found = *(figures[key] for key in ("hota", "det_a", "ass_a", "idf1", "mota")), counts.switches
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (1, 1), (3, 5), (5, 3), (5, 5)])
def test_pairs_have_the_greatest_worth_of_all_that_can_be_made(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        worth = np.round(rng.random(shape) * 5) * (rng.random(shape) < 0.7)
        rows, columns = assign(worth)
        assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(rows)
        assert (worth[rows, columns] > 0).all()
        assert worth[rows, columns].sum() == best(worth)


def best(worth: np.ndarray) -> float:
    """By trying all."""
    worth = worth if worth.shape[0] <= worth.shape[1] else worth.T
    return max(
        sum(worth[i, j] for i, j in enumerate(order)) for order in permutations(range(worth.shape[1]), len(worth))
    )
