"""What may be lost against a report of before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bundles import COLOURS

from edge.errors import ConfigError
from edge.evaluate.figures import confusion_figures, triples_of
from edge.evaluate.gate import drops_text, judge_drops, load_baseline, parse_drops
from edge.metrics import Confusion

COUNTS = np.array([[900, 20, 0], [50, 800, 10], [0, 30, 700]])


def report(counts: np.ndarray, name: str = "a") -> dict:
    confusion = Confusion(3)
    confusion.counts = counts.astype(np.int64)
    blocks = [{"drive": name, "first": 10 * n, "triples": triples_of(counts, COLOURS).tolist()} for n in range(5)]
    return {**confusion_figures(confusion, COLOURS), "blocks": blocks}


def worse(pixels: int) -> np.ndarray:
    counts = COUNTS.copy()
    counts[0] += (-pixels, pixels, 0)
    return counts


def test_a_loss_within_its_limit_holds_and_one_beyond_it_does_not() -> None:
    limits = parse_drops("miou:1,Blue:1.5,warm:0.1", COLOURS)
    drops = {drop.name: drop for drop in judge_drops(report(worse(20)), report(COUNTS), limits, COLOURS)}
    assert list(drops) == ["miou", "Blue", "warm"]
    assert drops["Blue"].lost == pytest.approx(100 * (900 / 970 - 880 / 970), abs=1e-3)
    assert [drop.holds for drop in drops.values()] == [False, False, False]
    assert all(drop.holds for drop in judge_drops(report(worse(3)), report(COUNTS), {"miou": 1.0, "Blue": 1}, COLOURS))


def test_a_gain_holds_with_a_limit_of_nothing() -> None:
    (drop,) = judge_drops(report(COUNTS), report(worse(20)), {"miou": 0.0}, COLOURS)
    assert drop.holds
    assert drop.lost < 0


def test_the_same_frames_are_compared_second_by_second() -> None:
    (drop,) = judge_drops(report(worse(20)), report(COUNTS), {"Blue": 1.0}, COLOURS)
    assert drop.interval == pytest.approx((drop.lost, drop.lost), abs=1e-3)  # every second lost the same


def test_other_frames_have_no_interval() -> None:
    (drop,) = judge_drops(report(worse(20), "b"), report(COUNTS, "a"), {"Blue": 1.0}, COLOURS)
    assert drop.interval is None
    assert "other frames" in drops_text([drop], Path("x/before.json"))
    assert "BROKEN" in drops_text([drop], Path("x/before.json"))


@pytest.mark.parametrize(
    ("text", "said"),
    [("iou:1", "names are miou"), ("miou", "points"), ("miou:1,miou:2", "twice"), ("miou:-1", "points")],
)
def test_limits_that_make_no_sense_are_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_drops(text, COLOURS)


@pytest.mark.parametrize("content", [None, "nonsense", "[]", '{"miou": 1}'])
def test_a_baseline_that_is_no_report_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "before.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"before\.json"):
        load_baseline(path)


def test_what_the_old_command_wrote_is_a_baseline_without_intervals(tmp_path: Path) -> None:
    old = report(COUNTS)
    del old["blocks"]
    path = tmp_path / "before.json"
    path.write_text(json.dumps(old))
    (drop,) = judge_drops(report(worse(3)), load_baseline(path), {"miou": 1.0}, COLOURS)
    assert drop.interval is None


def test_a_figure_that_one_report_lacks_is_not_passed_over() -> None:
    empty = report(np.zeros((3, 3), np.int64))
    with pytest.raises(ConfigError, match=r"--max-drop miou: this evaluation"):
        judge_drops(empty, report(COUNTS), {"miou": 1.0}, COLOURS)
