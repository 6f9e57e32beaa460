from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from edge.errors import SourceDamaged
from edge.status import Status
from edge.timing import Durations
from edge.web.sink import WebSink
from edge.web.state import AGE_BOUNDS_S, STEP_S, STEPS, History, Live, Step, rate_hz

STEP_NS = round(STEP_S * 1e9)


def test_the_newest_result_is_the_last_one_published(live: Live, make_result: Any) -> None:
    assert live.snapshot().newest is None
    for index in range(3):
        live.publish(make_result(index), 0)
    newest = live.snapshot().newest
    assert newest is not None
    assert (newest.number, newest.result.frame.index) == (3, 2)


def test_drops_add_up_over_runs_that_each_count_from_zero(live: Live, make_result: Any) -> None:
    for dropped in (0, 2, 5, 0, 1, 4):  # a camera that came back counts anew
        live.publish(make_result(), dropped)
    assert (live.snapshot().frames, live.snapshot().dropped) == (6, 9)


def test_the_first_frame_shows_that_the_camera_is_there(live: Live, make_result: Any) -> None:
    assert live.snapshot().camera.state == "stopped"
    live.publish(make_result(), 0)
    assert live.snapshot().camera.state == "ok"


def test_a_late_frame_does_not_hide_that_the_camera_is_lost(live: Live, make_result: Any) -> None:
    live.set_camera_state("lost", "unplugged")
    live.publish(make_result(), 0)
    assert live.snapshot().camera.state == "lost"


def test_saying_the_same_state_again_keeps_its_beginning(live: Live) -> None:
    live.set_camera_state("lost", "unplugged")
    began_ns = live.snapshot().camera.since_ns
    live.set_camera_state("lost", "unplugged")
    assert live.snapshot().camera.since_ns == began_ns
    live.set_camera_state("lost", "no frames for 2 s")
    assert live.snapshot().camera.since_ns > began_ns


def test_a_source_that_watches_its_camera_is_asked_for_its_health(make_card: Any, make_result: Any) -> None:
    engine = cast("Any", SimpleNamespace(card=make_card(b""), precision="int8"))
    health = Status("degraded", "fps", 7, totals={"restarts": 3})
    live = Live(engine, "0", dict[str, Durations], health=lambda: health)
    live.publish(make_result(), 0)
    assert live.snapshot().camera == health


def test_a_run_that_ends_leaves_a_stopped_camera_and_the_reason(live: Live, make_result: Any) -> None:
    with WebSink(live) as sink:
        sink.write(make_result(), 0)
    assert (live.snapshot().camera.state, live.snapshot().camera.reason) == ("stopped", "")
    error = SourceDamaged("drive.mp4 broke off")
    WebSink(live).__exit__(SourceDamaged, error, None)
    assert live.snapshot().camera.reason == "drive.mp4 broke off"


def test_ready_means_a_mask_within_the_time_and_else_says_why(live: Live, make_result: Any) -> None:
    assert live.snapshot().unready_reason(2.0) == "no mask yet; the camera is stopped: not started"
    live.publish(make_result(ago_s=1.0), 0)
    assert live.snapshot().unready_reason(2.0) is None
    live.set_camera_state("lost", "unplugged")
    reason = live.snapshot().unready_reason(0.5)
    assert reason is not None
    assert reason.startswith("no mask for 1.")
    assert reason.endswith("the camera is lost: unplugged")


def test_the_history_keeps_empty_steps_and_leaves_out_the_one_that_runs() -> None:
    history = History(began_ns=0)
    history.add(0, age_ns=10, dropped=1)
    history.add(STEP_NS - 1, age_ns=30, dropped=0)
    history.add(3 * STEP_NS, age_ns=7, dropped=0)
    assert history.last(3 * STEP_NS + 1) == [Step(2, 40, 30, 1), Step(), Step()]
    assert history.last(4 * STEP_NS)[3] == Step(1, 7, 7, 0)


@given(gaps=st.lists(st.floats(0, 5), max_size=400))
def test_the_history_is_a_minute_long_at_most_and_counts_every_frame_in_it(gaps: list[float]) -> None:
    history, now_ns, times_ns = History(began_ns=0), 0, []
    for gap_s in gaps:
        now_ns += round(gap_s * 1e9)
        history.add(now_ns, age_ns=1, dropped=0)
        times_ns.append(now_ns)
    end = now_ns // STEP_NS
    steps = history.last(now_ns)
    assert len(steps) == min(STEPS, end)
    assert sum(step.frames for step in steps) == sum(end - STEPS <= t // STEP_NS < end for t in times_ns)


def test_a_rate_is_counted_over_two_seconds_or_what_there_is() -> None:
    assert rate_hz([]) == 0
    assert rate_hz([Step(frames=5)]) == 10
    assert rate_hz([Step(frames=99), *[Step(frames=15)] * 4]) == 30


@given(ages_s=st.lists(st.floats(1e-6, 20), max_size=50))
def test_every_age_is_in_the_bucket_whose_end_it_does_not_exceed(ages_s: list[float], make_card: Any) -> None:
    engine = cast("Any", SimpleNamespace(card=make_card(b""), precision="int8"))
    live = Live(engine, "0", dict[str, Durations])
    for age_s in ages_s:
        captured = SimpleNamespace(captured_ns=0)
        live.publish(cast("Any", SimpleNamespace(frame=captured, ready_ns=round(age_s * 1e9))), 0)
    counts = live.snapshot().age_counts
    for place, end_s in enumerate(AGE_BOUNDS_S):
        assert sum(counts[: place + 1]) == sum(round(age_s * 1e9) / 1e9 <= end_s for age_s in ages_s)
    assert sum(counts) == len(ages_s)
