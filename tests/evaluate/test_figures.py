"""Figures from records: sums, blocks, intervals."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from bundles import COLOURS
from hypothesis import given
from hypothesis import strategies as st

from edge.evaluate.figures import _by_speed, blocks_of, difference, intervals, iou_of, report_of, triples_of
from edge.evaluate.metres import NO_METRES
from edge.evaluate.overlaps import FRAME, NOTHING
from edge.evaluate.records import Records, from_bytes, to_bytes
from edge.metrics import Confusion

COUNTS = np.array([[30, 2, 0], [5, 40, 1], [0, 3, 20]])


def records_of(confusions: np.ndarray, rate_hz: float | None = 10.0, every: int = 1) -> Records:
    """Records of as many labelled frames, every so many frames."""
    count = len(confusions)
    index = np.arange(count) * every
    times = np.full(count, -1) if rate_hz is None else np.round(index * 1e9 / rate_hz).astype(np.int64)
    by_band = np.zeros((count, 4, 3, 3), np.int64)
    by_band[:, 1] = confusions
    zeros = {"followed": (2,), "steady": (3, 3), "agreement": (2,), "mirrored": (2,), "unlike": (2,), "seen": (3,)}
    return Records(
        index=index,
        media_ns=times,
        age_ns=np.zeros(count, np.int64),
        labelled=np.ones(count, np.int64),
        confusion=by_band,
        other=np.zeros((count, 3, 3), np.int64),
        outlines=np.zeros((count, 3, 4), np.int64),
        people=np.zeros((count, 4, 4), np.int64),
        objects=np.zeros(count, np.int64),
        truths=NOTHING.truths,
        found=NOTHING.found,
        overlaps=NOTHING.overlaps,
        outputs=np.full(count, "{}"),
        speed_mm_s=np.full(count, -1),
        in_metres=np.zeros(count, np.int64),
        placed=NO_METRES.placed,
        lane=np.stack([NO_METRES.lane] * count),
        free=np.stack([NO_METRES.free] * count),
        **{name: np.zeros((count, *shape), np.int64) for name, shape in zeros.items()},
    )


def test_triples_give_the_iou_of_classes_and_groups() -> None:
    confusion = Confusion(3)
    confusion.counts = COUNTS.astype(np.int64)
    iou = iou_of(triples_of(COUNTS, COLOURS))
    np.testing.assert_allclose(iou[:3], confusion.iou())
    np.testing.assert_allclose(iou[3:], [confusion.group_iou(COLOURS.ids(group)) for group in COLOURS.groups])


def test_labelled_frames_of_a_second_are_one_block() -> None:
    blocks = blocks_of("a", records_of(np.stack([COUNTS] * 25), rate_hz=10.0), COLOURS)
    assert [block.first for block in blocks] == [0, 10, 20]
    assert [int(block.triples[0, 0]) for block in blocks] == [300, 300, 150]


def test_frames_without_times_are_blocks_of_ten() -> None:
    blocks = blocks_of("a", records_of(np.stack([COUNTS] * 6), rate_hz=None, every=5), COLOURS)
    assert [block.first for block in blocks] == [0, 10, 20]


def test_equal_seconds_leave_chance_nothing() -> None:
    blocks = np.stack([triples_of(COUNTS, COLOURS)] * 12)
    found = intervals(blocks, COLOURS)
    assert found["blocks"] == 12
    assert found["iou"]["Blue"] == [pytest.approx(30 / 37, abs=1e-5)] * 2


def test_an_interval_narrows_with_more_seconds_and_holds_the_figure() -> None:
    chance = np.random.default_rng(1)
    widths = []
    for count in (10, 160):
        hits = chance.binomial(1000, 0.7, count)[:, None, None]
        confusions = hits * np.eye(3, dtype=np.int64) + (1000 - hits) * np.roll(np.eye(3, dtype=np.int64), 1, 1)
        blocks = triples_of(confusions * chance.integers(1, 5, count)[:, None, None], COLOURS)
        low, high = intervals(blocks, COLOURS)["miou"]
        figure = float(iou_of(blocks.sum(0))[:3].mean())
        assert low < figure < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_a_class_that_never_occurs_has_no_interval() -> None:
    counts = COUNTS.copy()
    counts[2], counts[:, 2] = 0, 0
    found = intervals(np.stack([triples_of(counts, COLOURS)] * 4), COLOURS)
    assert found["iou"]["Red"] == [None, None]


def test_labels_of_one_second_have_no_interval_in_place_of_one_without_width() -> None:
    blocks = triples_of(np.array([[8, 2, 0], [1, 9, 0], [0, 0, 5]]), COLOURS)[None]
    found = intervals(blocks, COLOURS)
    assert (found["blocks"], found["miou"], found["iou"]["Red"]) == (1, [None, None], [None, None])


def test_the_same_masks_are_never_ahead_of_themselves() -> None:
    chance = np.random.default_rng(2)
    blocks = triples_of(chance.integers(0, 99, (15, 3, 3)), COLOURS)
    ahead = difference(blocks, blocks, COLOURS)
    assert ahead["miou"] == 0
    assert ahead["intervals"]["miou"] == [0, 0]


def test_a_small_but_constant_lead_is_seen_though_seconds_differ_widely() -> None:
    chance = np.random.default_rng(3)
    base = chance.integers(100, 9000, (40, 3, 3))
    worse = base.copy()
    worse[:, 0, 0] -= base[:, 0, 0] // 20
    worse[:, 0, 1] += base[:, 0, 0] // 20
    ahead = difference(triples_of(base, COLOURS), triples_of(worse, COLOURS), COLOURS)
    low, high = ahead["intervals"]["iou"]["Blue"]
    alone_low, alone_high = intervals(triples_of(base, COLOURS), COLOURS)["iou"]["Blue"]
    assert 0 < low < ahead["iou"]["Blue"] < high
    assert high - low < alone_high - alone_low


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 99))
def test_records_cut_anywhere_join_to_what_they_were(cuts: list[int], seed: int) -> None:
    confusions = np.random.default_rng(seed).integers(0, 9, (sum(cuts), 3, 3))
    whole = records_of(confusions)
    edges = np.cumsum([0, *cuts])
    parts = [
        Records(**{name: column[low:high] for name, column in vars(whole).items()}) for low, high in pairwise(edges)
    ]
    for name, column in vars(Records.joined(parts)).items():
        np.testing.assert_array_equal(column, getattr(whole, name))


def test_kept_records_come_back_as_they_were() -> None:
    whole = records_of(np.stack([COUNTS] * 3))
    back, facts = from_bytes(to_bytes(whole, '{"a": 1}'), "x")
    assert facts == '{"a": 1}'
    for name, column in vars(whole).items():
        np.testing.assert_array_equal(getattr(back, name), column)


def test_a_report_without_any_drive_has_no_figures_and_no_error() -> None:
    report = report_of([], COLOURS)
    assert report["miou"] is None
    assert report["intervals"] is None


def test_frames_are_sliced_by_the_cars_speed_each_once() -> None:
    """Every second frame has a label; those of one band alone are wrong."""
    speeds = np.array([-1, 0, 999, 1000, 13_999, 14_000, 40_000, -1])
    records = dataclasses.replace(records_of(np.stack([COUNTS] * 8)), speed_mm_s=speeds, labelled=np.arange(8) % 2)
    labels = {name: getattr(records, name)[1::2] for name in ("confusion", "other", "outlines", "people")}
    records = dataclasses.replace(records, **labels)
    bands = _by_speed([records])
    assert {name: [part.index.tolist() for part in parts] for name, parts in bands.items()} == {
        "not known": [[0, 7]],
        "standing (under 1 m/s)": [[1, 2]],
        "slow (1 to 8 m/s)": [[3]],
        "town (8 to 14 m/s)": [[4]],
        "country (14 to 25 m/s)": [[5]],
        "motorway (25 m/s and more)": [[6]],
    }
    assert [len(part.confusion) for parts in bands.values() for part in parts] == [1, 1, 1, 0, 1, 0]
    assert _by_speed([records_of(np.stack([COUNTS]))]) == {}


def test_objects_of_other_frames_are_no_part_of_a_slice() -> None:
    rows = {name: np.zeros((4, getattr(NOTHING, name).shape[1]), np.int64) for name in ("truths", "found", "overlaps")}
    for table in rows.values():
        table[:, FRAME] = [0, 1, 1, 2]
    chosen = dataclasses.replace(records_of(np.stack([COUNTS] * 3)), **rows).chosen(np.array([False, True, False]))
    assert [getattr(chosen, name)[:, FRAME].tolist() for name in rows] == [[1, 1]] * 3
