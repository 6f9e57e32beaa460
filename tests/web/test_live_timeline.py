"""What happened, kept for the page: bounded, in order, each moment once."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.card import Card
from edge.frame import Frame, Image, Letterbox
from edge.prediction import Prediction
from edge.status import Status
from edge.visits import Event, Visit
from edge.web.state import Live
from edge.web.timeline import MOMENTS_MAX, THUMBNAIL_BYTES_MAX, THUMBNAIL_PX, Kind, Timeline, thumbnail_of

if TYPE_CHECKING:
    from edge.web.server import WebServer

MakeResult = Callable[..., Prediction]
S = 1_000_000_000


def kinds(live: Live) -> list[str]:
    """The oldest first."""
    return [moment.kind for moment in reversed(live.watch.timeline.moments())]


def event(name: str, active: bool, result: Prediction, visit: Visit | None = None, after_s: float = 0.0) -> Event:
    frame = result.frame
    return Event(name, active, frame.captured_ns + round(after_s * S), frame.index, 0.5, visit)


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=400))
def test_however_much_happens_the_timeline_keeps_the_newest_moments_only(steps: list[tuple[bool, int]]) -> None:
    timeline = Timeline()
    for begins, number in steps:
        if begins:
            timeline.add("on_road", number, None, of=str(number), shown=Kind("Someone", "info"))
        else:
            timeline.end(str(number), 9)
    moments = timeline.moments()
    begun = sum(begins for begins, _ in steps)
    assert [moment.number for moment in moments] == list(range(begun, max(0, begun - MOMENTS_MAX), -1))
    assert len(timeline._lasting) <= MOMENTS_MAX


def test_a_thumbnail_is_small_and_shows_the_masks(make_result: MakeResult) -> None:
    image = cv2.imdecode(np.frombuffer(thumbnail_of(make_result()), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    tinted = cast("Image", image)[24, 20, ::-1]
    assert tinted[0] > 60, "green with the red of its group over it"


@pytest.mark.parametrize("size_wh", [(4000, 100), (100, 4000), (1920, 1080), (3, 3)])
def test_a_thumbnail_of_any_frame_is_bounded(size_wh: tuple[int, int], make_card: Callable[..., Card]) -> None:
    card, (width, height) = make_card(b""), size_wh
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    box = Letterbox.fit(size_wh, card.input_wh)
    frame = Frame(index=0, captured_ns=0, source="noise", bgr=noise)
    classes = np.zeros(card.input_wh[::-1], np.uint8)
    jpeg = thumbnail_of(Prediction(frame, {"semantic": classes}, box, card.table, 0))
    assert len(jpeg) <= THUMBNAIL_BYTES_MAX
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert max(image.shape) <= THUMBNAIL_PX


def test_an_event_that_begins_and_ends_is_one_moment_with_its_length(live: Live, make_result: MakeResult) -> None:
    result = make_result(3)
    live.watch.event(event("pedestrian_ahead", True, result), result)
    (moment,) = live.watch.timeline.moments()
    assert (moment.title, moment.lasted_s) == ("Pedestrian ahead", None)
    assert abs(moment.began_s - time.time()) < 60
    version = live.watch.timeline.version
    live.watch.event(event("pedestrian_ahead", False, result, after_s=2.5), result)
    (moment,) = live.watch.timeline.moments()
    assert moment.lasted_s == 2.5
    assert live.watch.timeline.version > version


def test_two_people_in_one_zone_are_two_moments(live: Live, make_result: MakeResult) -> None:
    result = make_result()
    for track in (7, 9):
        visit = Visit(track, "pedestrian", "crossing", None, 1, 17)
        live.watch.event(event("in_zone", True, result, visit), result)
    left = Visit(7, "pedestrian", "crossing", 3.0, 1, 18)
    live.watch.event(event("in_zone", False, result, left, after_s=3.0), result)
    newer, older = live.watch.timeline.moments()
    assert (older.title, older.detail, older.lasted_s) == ("Pedestrian in crossing", "track 7 · 18 so far", 3.0)
    assert newer.lasted_s is None


def test_a_camera_that_is_lost_and_back_is_in_the_timeline_once_however_often_it_is_asked(
    make_card: Callable[..., Card], make_result: MakeResult
) -> None:
    health = [Status("ok", "", 0)]
    engine: Any = SimpleNamespace(card=make_card(b""), precision="int8")
    live = Live(engine, "0", dict, health=lambda: health[0])
    live.publish(make_result(), 0)
    lost_ns = time.monotonic_ns()
    health[0] = Status("lost", "unplugged", lost_ns)
    for _ in range(3):
        live.look()
        live.snapshot()
    late = make_result(1)
    late.frame.captured_ns = lost_ns - S  # was on its way when the camera went
    live.publish(late, 0)
    assert kinds(live) == ["camera_lost"]
    back = make_result(2)
    back.frame.captured_ns = lost_ns + 3 * S
    health[0] = Status("ok", "", lost_ns + 3 * S)
    live.publish(back, 0)
    newer, older = live.watch.timeline.moments()
    assert (older.kind, older.detail, older.lasted_s) == ("camera_lost", "unplugged", 3.0)
    assert (newer.kind, newer.detail) == ("camera_back", "after 3.0 s")


def test_a_camera_that_was_never_there_is_not_lost(live: Live) -> None:
    live.set_camera_state("lost", "no such device")
    live.look()
    assert kinds(live) == []


def test_an_input_that_is_reduced_is_a_moment_until_it_is_whole_again(live: Live, make_result: MakeResult) -> None:
    for reduced in ("", "320x200: hot", "320x200: hot", "", ""):
        live.reduced = reduced
        live.publish(make_result(), 0)
    (moment,) = live.watch.timeline.moments()
    assert (moment.kind, moment.detail) == ("input_reduced", "320x200: hot")
    assert moment.lasted_s is not None


def test_events_and_thumbnails_are_served_for_each_camera(
    server: WebServer, live: Live, make_result: MakeResult
) -> None:
    from web_client import ask

    result = make_result()
    assert ask(server, "/events").json == []
    live.watch.event(event("road_gone", True, result), result)
    (moment,) = ask(server, "/events").json
    assert {
        "camera": "",
        "kind": "road_gone",
        "level": "warn",
        "lasted_s": None,
        "thumbnail": True,
    }.items() <= moment.items()
    image = ask(server, f"/events/{moment['number']}.jpg")
    assert (image.status, image.body[:2]) == (200, b"\xff\xd8")
    for path in ("/events/99.jpg", "/events/1.jpg?camera=none", "/events/x.jpg", "/events/-1.jpg"):
        assert ask(server, path).status == 404


def test_someone_near_is_a_moment_of_each_with_how_near(live: Live, make_result: MakeResult) -> None:
    result, facts = make_result(), {"track_id": 7, "group": "pedestrian", "distance_m": 9.04, "time_s": 1.8}
    other = {"track_id": 9, "distance_m": 5.0}
    for number, about in enumerate((facts, other)):
        live.watch.event(Event("person_near", True, result.frame.captured_ns + number * S, 0, 9.0, facts=about), result)
    live.watch.event(Event("person_near", False, result.frame.captured_ns + 3 * S, 0, 9.0, facts=facts), result)
    shown = [(moment.title, moment.detail, moment.lasted_s) for moment in live.watch.timeline.moments()]
    assert shown == [
        ("Someone near", "track 9 · 5.0 m", None),
        ("Someone near", "track 7 · 9.0 m · 1.8 s", 3.0),
    ]
