from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import Heard, Numbers, all_road, road_but_rows, soon, track

from edge.classes import CAMVID
from edge.errors import EngineError
from edge.replay.clock import RecordedClock
from edge.replay.compare import Comparer
from edge.replay.player import Player, Shown
from edge.replay.timeline import DisagreementTimeline

ROAD = track("road", all_road)


def shown(player: Player) -> Shown:
    return player.snapshot().shown


def is_at(player: Player, index: int) -> bool:
    return soon(lambda: shown(player).index == index and shown(player).number > 0)


def test_it_shows_the_first_frame_and_waits() -> None:
    source = Numbers()
    with Player(source, [ROAD]) as player:
        assert soon(lambda: shown(player).number == 1)
        assert not player.snapshot().playing
        time.sleep(0.1)
    assert source.taken == [0]


def test_what_is_shown_are_a_frame_and_its_own_masks_whatever_was_commanded() -> None:
    seen: list[Shown] = []
    with Player(Numbers(60, 200.0), [track("numbered", lambda number: all_road(0) * 0 + number)]) as player:
        player.listen(lambda: seen.append(player.snapshot().shown))
        player.play()
        for index in (40, 3, 59, 20):
            player.seek(index)
            time.sleep(0.03)
        player.step(-5)
        assert soon(lambda: shown(player).index == player._place())
    assert len({one.index for one in seen}) > 4
    for one in seen:
        if one.frame is not None:
            assert one.frame.index == one.index
            assert int(one.frame.image[0, 0, 0]) == one.index
            assert int(one.results["numbered"].semantic[0, 0]) == one.index


def test_steps_in_quick_succession_add_up_and_stop_at_the_ends() -> None:
    with Player(Numbers(30), [ROAD]) as player:
        for _ in range(5):
            player.step(1)
        player.step(-2)
        assert is_at(player, 3)
        player.step(-10)
        assert is_at(player, 0)
        player.step(1000)
        assert is_at(player, 29)


def test_a_step_pauses_and_a_seek_does_not() -> None:
    with Player(Numbers(2000, 50.0), [ROAD]) as player:
        player.play()
        player.seek(100)
        assert soon(lambda: shown(player).index > 101)
        assert player.snapshot().playing
        player.step(1)
        assert not player.snapshot().playing


def test_it_plays_to_the_end_pauses_there_and_plays_again_from_the_beginning() -> None:
    seen: list[int] = []
    with Player(Numbers(6, 20.0), [ROAD]) as player:
        player.listen(lambda: seen.append(player.snapshot().shown.index))
        player.play()
        assert soon(lambda: not player.snapshot().playing and shown(player).index == 5)
        player.play()
        assert soon(lambda: player.snapshot().playing and shown(player).index < 5)
    assert {0, 5} <= set(seen)


def test_frames_come_in_the_time_that_they_were_recorded_in() -> None:
    with Player(Numbers(8, 20.0), [ROAD]) as player:
        assert is_at(player, 0)
        start_s = time.monotonic()
        player.play()
        assert is_at(player, 7)
        assert time.monotonic() - start_s > 0.9 * 6 / 20


def test_a_player_that_is_too_slow_skips_frames_keeps_the_pace_and_says_so() -> None:
    def slowly(number: int):
        time.sleep(0.05)
        return all_road(number)

    with Player(Numbers(200, 100.0), [track("slow", slowly)]) as player:
        player.play()
        assert soon(lambda: player.snapshot().skipped > 5 and shown(player).number > 1)


def test_a_damaged_frame_is_told_and_shows_no_mask_and_playing_goes_on_behind_it() -> None:
    with Player(Numbers(10, 50.0, broken=(3,)), [ROAD]) as player:
        player.seek(3)
        assert is_at(player, 3)
        assert (shown(player).frame, dict(shown(player).results)) == (None, {})
        assert shown(player).reason == "frame 3 is damaged"
        player.play()
        assert is_at(player, 9)


def test_an_engine_that_fails_is_told_to_who_looks() -> None:
    def fail(number: int):
        raise EngineError("the engine is gone")

    heard = Heard()
    with Player(Numbers(), [track("bad", fail)]) as player:
        player.listen(heard)
        with pytest.raises(EngineError, match="is gone"):
            soon(lambda: not player.snapshot())


def test_worst_frames_are_gone_to_in_their_order_and_back() -> None:
    rows = {5: 10, 17: 30, 28: 20}
    timeline = DisagreementTimeline(30, Comparer(CAMVID, CAMVID))
    tracks = [ROAD, track("other", road_but_rows(lambda number: rows.get(number, 0)))]
    with Player(Numbers(30, 2.0), tracks, timeline=timeline) as player:
        player.seek_worst(1)
        assert "no frame differs" in player.snapshot().note
        for index in range(30):
            player.seek(index)
            assert is_at(player, index)
        for index, ranks in ((17, 1), (28, 1), (5, 1), (5, 1), (28, -1)):
            player.seek_worst(ranks)
            assert is_at(player, index), index
        assert player.snapshot().note == "worst 2 of 3"
        found = shown(player).disagreement
        assert found is not None
        assert found.share == pytest.approx(20 / 48)


def test_the_clock_gives_each_frame_its_time_after_the_first() -> None:
    clock = RecordedClock(2.0)
    assert clock.due_ns(5_000_000_000, 100) == 100
    assert clock.due_ns(5_100_000_000, 200) == 100 + 50_000_000
    clock.restart()
    assert clock.due_ns(5_200_000_000, 300) == 300


@given(
    speed=st.sampled_from((0.1, 1.0, 8.0)),
    steps=st.lists(st.tuples(st.integers(-(10**12), 10**12), st.integers(0, 10**11)), min_size=1, max_size=20),
)
@settings(max_examples=60)
def test_whatever_the_times_no_frame_is_waited_for_long(speed: float, steps: list[tuple[int, int]]) -> None:
    clock, now_ns, media_ns = RecordedClock(speed), 0, 0
    for media_step, now_step in steps:
        media_ns, now_ns = media_ns + media_step, now_ns + now_step
        assert -1_000_000_000 <= clock.due_ns(media_ns, now_ns) - now_ns <= 3_000_000_000 / min(speed, 1)
