from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.pipeline import Summary
from edge.report import count_text, summary_text, table
from edge.timing import Durations


def durations(*times_ms: int) -> Durations:
    times = Durations()
    for time_ms in times_ms:
        times.add(time_ms * 1_000_000)
    return times


def test_a_summary_names_what_went_in_and_out_how_old_masks_were_and_the_slowest_stage() -> None:
    stages = {"decode": durations(1, 1), "infer": durations(30, 30), "encode": durations(4)}
    summary = Summary("drive.mp4", "road (f32)", durations(20, 20), stages, 5, 2, 3, elapsed_s=0.5, cpu_s=0.2, cores=2)
    text = summary_text(summary)
    assert "drive.mp4" in text
    assert "road (f32)" in text
    assert "5 in, 2 out, 3 dropped" in text
    assert "4.0 frames/s over 0.5 s" in text
    assert "20.0 ms p50, 20.0 ms p99" in text
    assert "100.0 ms per frame on 2 cores: at best 20.0 frames/s, 20% reached" in text
    bars = {line.split()[0]: line.count("█") for line in text.splitlines() if "█" in line}
    assert bars["infer"] == max(bars.values()) > bars["encode"] > bars["decode"] >= 1
    (bottleneck,) = [line for line in text.splitlines() if "◀ bottleneck" in line]
    assert bottleneck.startswith("infer")


def test_a_run_without_a_frame_says_so() -> None:
    assert "no frame was segmented" in summary_text(Summary("drive.mp4", "road (f32)", frames_in=2, dropped=2))


def test_a_table_has_its_first_column_to_the_left_and_the_others_to_the_right() -> None:
    assert table(("name", "ms"), [("a", "1.25"), ("longer", "10")]).splitlines() == [
        "name      ms",
        "a       1.25",
        "longer    10",
    ]


def test_a_rendered_street_is_rendered_and_frames_side_by_side_are_said_to_be() -> None:
    stages = {"decode": durations(9, 9), "infer": durations(30, 30)}
    summary = Summary("scene:street", "road (int8)", durations(20), stages, 2, 2, elapsed_s=1, cpu_s=1, side_by_side=2)
    lines = summary_text(summary).splitlines()
    assert "engine   road (int8), 2 frames side by side" in lines
    assert any(line.startswith("age") and "read ahead, older than live" in line for line in lines)
    assert [line.split()[0] for line in lines if "█" in line] == ["render", "infer"]
    video = Summary("drive.mp4", "road (int8)", durations(20), stages, 2, 2, elapsed_s=1, cpu_s=1)
    lines = summary_text(video).splitlines()
    assert "engine   road (int8)" in lines
    assert not any("read ahead" in line for line in lines)
    assert [line.split()[0] for line in lines if "█" in line] == ["decode", "infer"]


@given(count=st.integers(0, 10**12 - 1))
def test_a_count_for_people_is_short_and_right_to_three_digits(count: int) -> None:
    number, _, unit = count_text(count).partition(" ")
    assert len(number) <= 5
    assert float(number) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[unit] == pytest.approx(count, rel=0.0051)
