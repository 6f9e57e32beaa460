"""The bird's-eye view on the page in a real Chromium."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="pip install 'edge-segmentation[serve]'")

from browser import Page, contrasts
from selenium.webdriver.common.by import By
from web_client import soon

from edge.card import Card
from edge.classes import CAMVID
from edge.frame import Frame, Letterbox
from edge.geometry.free_space import FreeSpace
from edge.geometry.lane import Boundary, EgoLane
from edge.instances import Instance
from edge.prediction import Prediction
from edge.web.birds_eye import seen_in_metres
from edge.web.options import WebOptions
from edge.web.server import WebServer
from edge.web.state import Live

AHEAD_M, BEHIND_M = 50, 3  # as the page draws
FREE = FreeSpace(((-6.0, 8.0), (-5.0, 30.0), (0.0, 45.0), (5.0, 30.0), (6.0, 8.0)), 45.0, 60.0)
LANE = EgoLane(Boundary(-1.8, 0.0, 0.0, 30.0, "dashed", 0.9), Boundary(1.7, 0.0, 0.0, 34.0, "curb", 1.0))
BOX = (0.0, 0.0, 1.0, 1.0)


def person(group_id: int, name: str, right: float, ahead: float, **known: Any) -> Instance:
    where = {"distance_m": ahead, "lateral_m": right, "distance_sd_m": 0.6}
    return Instance(1, group_id, name, BOX, 100.0, (0.0, 0.0), **{**where, **known})


PEOPLE = (
    person(9, "Pedestrian", 4.0, 14.0, track_id=3, in_lane=False),
    person(8, "Car", 0.0, 25.0, in_lane=True),
    person(10, "Bicyclist", -3.0, 38.0),
)


def result_in_metres(**known: Any) -> Prediction:
    """A street of which nothing is seen but what is known in metres."""
    now = time.monotonic_ns()
    frame = Frame(index=7, captured_ns=now - 20_000_000, source="test", bgr=np.full((360, 640, 3), 90, np.uint8))
    classes = np.full((180, 320), 3, np.uint8)
    box = Letterbox.fit(frame.size_wh, (320, 180))
    seen = {"free_space": FREE, "lane": LANE, "instances": PEOPLE, **known}
    return Prediction(frame, {"semantic": classes}, box, CAMVID, now, **seen)


@pytest.fixture
def street(make_card: Callable[..., Card]) -> Iterator[tuple[Live, WebServer]]:
    engine: Any = SimpleNamespace(card=make_card(b"a graph", table=CAMVID), precision="int8")
    live = Live(engine, "a street", dict, stale_after_s=1000.0)
    with WebServer(live, WebOptions(port=0)) as server:
        yield live, server


@pytest.fixture(autouse=True)
def as_usual(page: Page) -> Iterator[None]:
    yield
    page.js("try { localStorage.clear() } catch { }")
    page.usual()


def colour_at(page: Page, right: float, ahead: float) -> Any:
    """The colour, float (4,), that is drawn at a place in metres."""
    script = """
    const canvas = document.getElementById("birds-eye"), scale = canvas.height / arguments[2];
    const at = [canvas.width / 2 + arguments[0] * scale, canvas.height - (arguments[1] + arguments[3]) * scale];
    return [...canvas.getContext("2d").getImageData(...at.map(Math.round), 1, 1).data];
    """
    return np.array(page.js(script, right, ahead, AHEAD_M + BEHIND_M, BEHIND_M), float)


def test_who_is_where_is_drawn_in_the_colours_of_the_layers(page: Page, street: tuple[Live, WebServer]) -> None:
    live, server = street
    live.publish(result_in_metres(), 0)
    page.open(server)
    assert soon(lambda: page.has("#birds-eye"))
    assert soon(lambda: page.text("#birds-eye-words").startswith("Free for 45 m"))
    assert colour_at(page, 4.0, 14.0)[:3] == pytest.approx(CAMVID.tints["pedestrian"], abs=3)
    assert colour_at(page, 0.0, 27.0)[:3] == pytest.approx(CAMVID.tints["vehicle"], abs=3)
    assert colour_at(page, 0.3, 12.5)[3] == pytest.approx(0.3 * 255, abs=6), "the free road is tinted"
    assert colour_at(page, 9.0, 22.5)[3] == 0, "beside it nothing is known"
    assert colour_at(page, 1.7, 17.5)[3] > 150, "the curb is a line"
    words = page.text("#birds-eye-words")
    assert "lane: left dashed line, right curb" in words
    assert "nearest: pedestrian 14 m, cyclist 38 m, vehicle 25 m" in words
    assert page.complaints() == []


def test_without_a_camera_model_nothing_is_offered(page: Page, street: tuple[Live, WebServer]) -> None:
    live, server = street
    live.publish(result_in_metres(free_space=None, lane=None), 0)
    page.open(server)
    assert soon(page.is_live)
    assert not page.has("#birds-eye-row")
    assert not page.has("#birds-eye-card")


def test_it_is_switched_off_among_the_layers_and_stays_off(page: Page, street: tuple[Live, WebServer]) -> None:
    live, server = street
    live.publish(result_in_metres(), 0)
    page.open(server)
    assert soon(lambda: page.has("#birds-eye"))
    page.find("#show-birds-eye").click()
    assert not page.has("#birds-eye-card")
    page.open(server)
    assert soon(lambda: page.has("#birds-eye-row"))
    assert not page.has("#birds-eye-card")
    page.find("#show-birds-eye").click()
    assert page.has("#birds-eye")


def test_an_old_frame_is_not_drawn(page: Page, street: tuple[Live, WebServer]) -> None:
    live, server = street
    live.stale_after_s = 1.5
    live.publish(result_in_metres(), 0)
    page.open(server)
    assert soon(lambda: page.text("#birds-eye-words") == "No new frame.")
    assert colour_at(page, 4.0, 14.0)[3] == 0
    assert page.has("#birds-eye-row")


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize(("name", "wh"), [("desk", (1400, 900)), ("phone", (390, 844))])
def test_it_fits_on_any_screen_and_is_legible(
    page: Page, street: tuple[Live, WebServer], name: str, wh: tuple[int, int], theme: str
) -> None:
    live, server = street
    page.screen(*wh, mobile=name == "phone")
    page.prefer(theme)
    live.publish(result_in_metres(), 0)
    page.open(server)
    assert soon(lambda: page.has("#birds-eye"))
    page.shot(f"birds-eye, {name}, {theme}")
    box: Any = page.js("return document.getElementById('birds-eye').getBoundingClientRect().toJSON()")
    assert 0 <= box["left"] < box["right"] <= wh[0]
    assert box["height"] >= 180
    assert page.js("return document.documentElement.scrollWidth") <= wh[0]
    if name == "desk":
        assert box["bottom"] <= wh[1], "it is seen without scrolling"
    assert contrasts(page, "#birds-eye-words, #birds-eye-title") >= 4.5
    label = page.driver.find_element(By.ID, "birds-eye").get_attribute("aria-label")
    assert label is not None
    assert label.startswith("From above. Free for 45 m")


def test_a_heads_metres_are_what_records_have() -> None:
    found = seen_in_metres(result_in_metres())
    assert found is not None
    assert found["free_space"] == FREE.as_json()
    assert found["lane"] == LANE.as_json()
    assert [(one["group"], one["distance_m"]) for one in found["objects"]] == [
        ("pedestrian", 14.0),
        ("vehicle", 25.0),
        ("cyclist", 38.0),
    ]
    unknown = dataclasses.replace(PEOPLE[0], distance_m=None)
    hidden = seen_in_metres(result_in_metres(instances=(unknown,)))
    assert hidden is not None
    assert hidden["objects"] == []
    assert seen_in_metres(result_in_metres(free_space=None, lane=None)) is None
