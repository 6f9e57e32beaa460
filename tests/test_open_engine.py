"""The engine for products: trained on what may be shipped in one."""

from __future__ import annotations

from edge.engine import find_bundle


def test_nothing_that_it_learned_from_forbids_a_product() -> None:
    card = find_bundle("open").card
    said = " ".join([card.licence, card.training_data])
    assert "Apache-2.0" in said
    assert not any(word in said.lower() for word in ("non-commercial", "camvid", "coco", "flickr"))


def test_it_has_the_groups_that_events_and_overlays_ask_for() -> None:
    card, road = find_bundle("open").card, find_bundle("road").card
    assert {"road", "pavement", "pedestrian", "vehicle"} <= set(card.table.groups)
    assert {one.input_wh for one in card.graphs} <= {one.input_wh for one in road.graphs}
    assert "marking_grades" in {output.name for output in card.outputs}
