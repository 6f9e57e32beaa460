"""The engine for machines on which the default one is too slow."""

from __future__ import annotations

from edge.classes import CAMVID
from edge.engine import find_bundle


def test_it_is_whole_and_a_third_of_the_default_engines_size() -> None:
    small, road = (find_bundle(name) for name in ("small", "road"))
    bytes_of = [sum(len(b.read(g)) for g in b.card.graphs if g.delta is None) for b in (small, road)]
    assert bytes_of[0] < bytes_of[1] / 3
    assert small.card.table == CAMVID
    assert small.card.table.groups == road.card.table.groups
    assert {g.input_wh for g in small.card.graphs} == {g.input_wh for g in road.card.graphs}
    assert "non-commercial" in small.card.licence
