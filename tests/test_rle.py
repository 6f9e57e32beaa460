"""COCO's run lengths, against values worked out by hand from maskApi.c and a decoder of its rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edge.rle import coco_rle, compressed, run_lengths


def decode(text: str, shape: tuple[int, int]) -> np.ndarray:
    """maskApi.c, rleFrString and rleDecode."""
    runs: list[int] = []
    place = 0
    while place < len(text):
        value = shift = 0
        more = True
        while more:
            code = ord(text[place]) - 48
            value |= (code & 31) << shift
            more, place, shift = bool(code & 32), place + 1, shift + 5
            if not more and code & 16:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    flat = np.concatenate([np.full(run, i % 2, bool) for i, run in enumerate(runs)])
    return flat.reshape(shape, order="F")


@pytest.mark.parametrize(
    ("rows", "runs", "text"),
    [
        (["01", "11"], [1, 3], "13"),  # down the columns: 0 1 1 1
        (["10", "00"], [0, 1, 3], "013"),  # starts with a run of no zeros
        (["000", "000"], [6], "6"),
        (["111", "111"], [0, 6], "06"),
        (["0101", "0101"], [2, 2, 2, 2], "2220"),  # from the fourth on, differences: 2 - 2
    ],
)
def test_runs_go_down_the_columns(rows: list[str], runs: list[int], text: str) -> None:
    mask = np.array([[letter == "1" for letter in row] for row in rows])
    assert run_lengths(mask) == runs
    assert compressed(runs) == text
    assert coco_rle(mask) == {"size": [len(rows), len(rows[0])], "counts": text}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (15, "?"),
        (16, "`0"),  # bit 4 is the sign, so a group of zeros follows
        (31, "o0"),
        (32, "P1"),
        (100, "T3"),  # 4, and 3 with the continuation bit before
        (1023, "oo0"),
    ],
)
def test_a_number_is_written_in_groups_of_five_bits(value: int, text: str) -> None:
    assert compressed([value]) == text


def test_a_difference_may_be_negative() -> None:
    assert compressed([5, 4, 5, 3]) == "545O"  # -1: all five bits set, no continuation
    assert compressed([5, 20, 5, 3]) == "5d05_O"  # -17: 15 with continuation, then -1


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_every_mask_comes_back(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(decode(str(coco_rle(mask)["counts"]), mask.shape), mask)


@given(st.integers(2, 60), st.integers(2, 60))
def test_long_runs_come_back(height: int, width: int) -> None:
    mask = np.zeros((height * 10, width * 10), bool)
    mask[height : 7 * height, width : 3 * width] = True
    np.testing.assert_array_equal(decode(str(coco_rle(mask)["counts"]), mask.shape), mask)
