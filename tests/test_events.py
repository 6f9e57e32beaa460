from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in import PEDESTRIAN, ROAD, SKY, result_of

from edge.card import Fingerprint
from edge.classes import CAMVID, ClassTable
from edge.domain import describe, divergence, fingerprint_of, ood_score
from edge.errors import ConfigError
from edge.events import Event, EventOptions, Limits, Watcher, words
from edge.frame import Image
from edge.hysteresis import Hysteresis
from edge.prediction import Prediction
from edge.sinks.events import EventSink

ZONE = ((0.25, 0.5), (0.75, 0.5), (0.75, 1.0), (0.25, 1.0))
FRAME_NS = 50_000_000


def street(pedestrian: slice | None = None, road: bool = True) -> Image:
    """uint8 (60, 80): sky above, road below, perhaps a pedestrian on the columns given."""
    classes = np.full((60, 80), SKY, np.uint8)
    if road:
        classes[30:] = ROAD
    if pedestrian is not None:
        classes[40:50, pedestrian] = PEDESTRIAN
    return classes


def seen(index: int, classes: Image) -> Prediction:
    image = np.zeros((120, 160, 3), np.uint8)
    return result_of(index, classes, image=image, captured_ns=1_000_000_000 + index * FRAME_NS)


def watch(options: EventOptions, pictures: Sequence[Image], fingerprint: Fingerprint | None = None) -> list[Event]:
    watcher = Watcher(options, CAMVID, fingerprint)
    return [event for index, classes in enumerate(pictures) for event in watcher.look(seen(index, classes))]


AHEAD = EventOptions(zone=ZONE, pedestrian_ahead=Limits(begin=0.01, end=0.005, hold_s=0.2), road_gone=None)


def test_a_pedestrian_in_the_zone_begins_an_event_that_ends_when_they_are_gone() -> None:
    clear, blocked = street(), street(slice(36, 42))
    events = watch(AHEAD, [clear] * 5 + [blocked] * 10 + [clear] * 10)
    assert [(event.name, event.active, event.frame) for event in events] == [
        ("pedestrian_ahead", True, 9),  # 0.2 s after the fifth frame
        ("pedestrian_ahead", False, 19),
    ]
    assert events[0].value == pytest.approx(60 / 1200, rel=0.1)
    assert events[0].as_json()["captured_ns"] == 1_000_000_000 + 9 * FRAME_NS


def test_a_pedestrian_beside_the_zone_is_no_event() -> None:
    assert watch(AHEAD, [street(slice(2, 12))] * 20) == []


def test_one_odd_mask_neither_begins_nor_ends_an_event() -> None:
    clear, blocked = street(), street(slice(36, 42))
    assert watch(AHEAD, [clear, clear, blocked, clear, clear] * 4) == []
    assert len(watch(AHEAD, [blocked] * 10 + [clear, blocked, blocked] * 5)) == 1


def test_a_road_that_goes_away_begins_an_event_until_it_is_back() -> None:
    options = EventOptions(zone=ZONE, pedestrian_ahead=None, road_gone=Limits(begin=0.6, end=0.4, hold_s=0.2))
    events = watch(options, [street()] * 20 + [street(road=False)] * 20 + [street()] * 20)
    assert [(event.name, event.active) for event in events] == [("road_gone", True), ("road_gone", False)]


def test_a_place_without_road_from_the_start_is_no_event() -> None:
    options = EventOptions(pedestrian_ahead=None)
    assert watch(options, [street(road=False)] * 50) == []


def test_a_camera_that_sees_other_things_than_the_calibration_frames_is_out_of_domain() -> None:
    usual = [street(slice(10, 12 + 10 * i)) for i in range(6)]
    known = fingerprint_of([seen(i, classes) for i, classes in enumerate(usual)], CAMVID)
    options = EventOptions(pedestrian_ahead=None, road_gone=None, out_of_domain=Limits(begin=1.5, end=1.2, hold_s=0.5))
    noise = np.random.default_rng(0).integers(0, 11, (60, 80)).astype(np.uint8)
    assert watch(options, usual * 20, known) == []
    assert [event.active for event in watch(options, usual * 5 + [noise] * 100 + usual * 60, known)] == [True, False]


def test_without_a_fingerprint_nothing_is_out_of_domain() -> None:
    watcher = Watcher(EventOptions(), CAMVID, None)
    assert set(watcher.active) == {"pedestrian_ahead", "road_gone"}
    assert words({"pedestrian_ahead": True, "road_gone": False}) == "pedestrian ahead"


def test_classes_that_cannot_tell_an_event_are_refused() -> None:
    table = ClassTable(("Sky",), ((0, 0, 0),), {}, {})
    with pytest.raises(ConfigError, match="no group or class 'pedestrian'"):
        Watcher(EventOptions(), table, None)


def test_an_event_that_would_end_where_it_begins_is_refused() -> None:
    with pytest.raises(ConfigError, match="must not be above begin"):
        Hysteresis(Limits(begin=0.1, end=0.2))


@given(
    values=st.lists(st.floats(0, 1), max_size=60),
    begin=st.floats(0.3, 1),
    gap=st.floats(0, 0.3),
    hold_s=st.floats(0, 0.3),
)
def test_an_event_changes_only_after_its_figure_held_for_the_time(
    values: list[float], begin: float, gap: float, hold_s: float
) -> None:
    state = Hysteresis(Limits(begin=begin, end=begin - gap, hold_s=hold_s))
    for place, value in enumerate(values):
        was = state.active
        if not state.update(value, place * FRAME_NS):
            assert state.active == was
            continue
        needed = round(hold_s * 1e9) // FRAME_NS
        recent = values[place - needed : place + 1]
        assert len(recent) == needed + 1
        assert all(v >= begin for v in recent) if state.active else all(v <= begin - gap for v in recent)


def test_divergence_is_0_for_equals_and_1_for_strangers() -> None:
    assert divergence(np.array([1.0, 3.0]), np.array([0.25, 0.75])) == pytest.approx(0)
    assert divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1)


def test_a_mask_is_described_by_its_classes_and_its_fragments() -> None:
    found = describe(seen(0, street()))
    assert (found.shares[SKY], found.shares[ROAD]) == pytest.approx((0.5, 0.5))
    assert found.layout[:, SKY].tolist() == [1, 1, 1, 0.75, 0, 0, 0, 0]
    assert found.edges == 0
    striped = np.tile(np.array([SKY, ROAD], np.uint8), (60, 40))
    assert describe(seen(0, striped)).edges == 1


def test_the_same_classes_in_other_places_are_strange_and_a_fingerprint_without_layout_does_not_see_it() -> None:
    usual = [seen(i, street(slice(10, 12 + i))) for i in range(4)]
    known = fingerprint_of(usual, CAMVID)
    upside_down = describe(seen(0, np.flipud(street(slice(10, 12)))))
    assert ood_score(describe(usual[0]), known, CAMVID) <= 1
    assert ood_score(upside_down, known, CAMVID) > 2
    assert ood_score(upside_down, replace(known, layout={}), CAMVID) < 2


def test_the_sink_tells_every_listener_of_each_event(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Event] = []
    with EventSink(Watcher(AHEAD, CAMVID, None), [lambda event, _: heard.append(event)] * 2) as sink:
        for index in range(10):
            sink.write(seen(index, street(slice(36, 42))), 0)
    assert [event.name for event in heard] == ["pedestrian_ahead"] * 2
    assert "pedestrian_ahead began at frame 4" in caplog.text
