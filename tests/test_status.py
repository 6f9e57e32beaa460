"""How a camera or an output is: one form, and its keeper."""

from __future__ import annotations

from edge.status import Status, StatusKeeper


def test_a_status_is_one_line() -> None:
    assert str(Status()) == "ok"
    assert str(Status("lost", "no such host")) == "lost (no such host)"


def test_a_state_has_lasted_since_it_began_whatever_its_reasons() -> None:
    keeper = StatusKeeper("lost", "1 MB is free")
    began_ns = keeper.now.since_ns
    assert keeper.become("lost", "0 MB are free")
    assert not keeper.become("lost", "0 MB are free")
    assert keeper.now == Status("lost", "0 MB are free", began_ns)
    assert keeper.become("ok")
    assert keeper.now.since_ns > began_ns


def test_what_is_stopped_stays_so() -> None:
    keeper = StatusKeeper()
    assert keeper.become("stopped")
    assert not keeper.become("lost", "too late")
    assert str(keeper.now) == "stopped"


def test_totals_grow_and_levels_are_replaced() -> None:
    keeper = StatusKeeper(totals=["frames", "lost"], levels=["size_bytes"])
    before = keeper.now
    keeper.count(frames=2)
    keeper.count(frames=1, lost=1)
    keeper.measure(size_bytes=7)
    keeper.measure(size_bytes=5)
    assert (keeper.now.totals, keeper.now.levels) == ({"frames": 3, "lost": 1}, {"size_bytes": 5})
    assert before.totals == {"frames": 0, "lost": 0}  # what was given out stays as it is
