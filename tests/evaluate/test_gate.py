"""What may be lost against a report of before."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import COLOURS
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ConfigError
from edge.evaluate.figures import triples_of
from edge.evaluate.gate import drops_text, judge_drops, load_baseline, parse_drops
from edge.score import Score

COUNTS = np.array([[900, 20, 0], [50, 800, 10], [0, 30, 700]])


def report(counts: np.ndarray, name: str = "a") -> dict:
    blocks = [{"drive": name, "first": 10 * n, "triples": triples_of(counts, COLOURS).tolist()} for n in range(5)]
    return {**Score.of(COLOURS, counts.astype(np.int64)).figures(), "blocks": blocks}


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


WRONG = ["null", "true", '"text"', "[]", "[[]]", "{}", '{"a": {}}', "NaN", "Infinity", "-1", "2", "1e400", "9" * 5000]
FIGURES = ("miou", "pixel_accuracy", "iou", "group_iou", "blocks")
OF_BLOCK = ("drive", "first", "triples")
MEANT = {("miou", "null"), ("pixel_accuracy", "null"), ("iou", "{}"), ("group_iou", "{}"), ("blocks", "[]")}
MEANT |= {("drive", '"text"'), ("first", "2")}


def spoilt(key: str, value: str) -> str:
    """A report in which one value is another JSON text."""
    tree = report(COUNTS)
    (tree["blocks"][1] if key in OF_BLOCK else tree)[key] = "@"
    return json.dumps(tree).replace('"@"', value)


@pytest.mark.parametrize("key", [*FIGURES, *OF_BLOCK])
def test_a_value_of_a_baseline_that_does_not_fit_is_one_line_that_names_it(tmp_path: Path, key: str) -> None:
    path = tmp_path / "before.json"
    for value in WRONG:
        path.write_text(spoilt(key, value))
        if (key, value) in MEANT:
            judge_drops(
                report(worse(3)), load_baseline(path), {"pixel_accuracy": 1.0} if key == "miou" else {}, COLOURS
            )
            continue
        with pytest.raises(ConfigError, match=r"^--baseline .*before\.json: is not (JSON|a report): ") as caught:
            load_baseline(path)
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 400
        assert "is not JSON" in message or key in message


@pytest.mark.parametrize("key", [*FIGURES[:4], *OF_BLOCK])
def test_a_key_that_a_baseline_lacks_is_named(tmp_path: Path, key: str) -> None:
    tree = report(COUNTS)
    del (tree["blocks"][1] if key in OF_BLOCK else tree)[key]
    path = tmp_path / "before.json"
    path.write_text(json.dumps(tree))
    with pytest.raises(ConfigError, match=rf"before\.json: is not a report: .*\b{key}\b"):
        load_baseline(path)


JSON_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*FIGURES, *OF_BLOCK]), inner),
    max_leaves=12,
)


def in_a_line_or_judged(path: Path, limits: dict[str, float]) -> bool:
    try:
        drops = judge_drops(report(worse(3)), load_baseline(path), limits, COLOURS)
    except ConfigError as error:
        return "\n" not in str(error)
    return [drop.name for drop in drops] == list(limits)


@pytest.mark.slow
@given(tree=JSON_TREES, part=st.fixed_dictionaries({}, optional=dict.fromkeys(FIGURES, JSON_TREES)))
def test_any_json_is_refused_as_a_baseline_in_a_line_or_can_be_compared_with(tree: Any, part: dict[str, Any]) -> None:
    limits = {"miou": 1.0, "Blue": 1.0, "warm": 1.0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "before.json"
        for spoilt_tree in (tree, {**report(COUNTS), **part}):
            path.write_text(json.dumps(spoilt_tree))
            assert in_a_line_or_judged(path, limits)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"", b"{"])
def test_what_is_no_json_is_no_baseline(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "before.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"before\.json: is not JSON"):
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
