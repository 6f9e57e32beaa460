"""The page in a real Chromium, on a desk and a phone, dark and light: all that a person is told is seen and legible."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="pip install 'edge-segmentation[serve]'")

from browser import GREEN_XY, TINT, Page, contrasts
from web_client import soon

from edge.card import Card, Fingerprint
from edge.prediction import Prediction
from edge.visits import Event
from edge.web.options import WebOptions
from edge.web.server import WebServer
from edge.web.state import Live

MakeResult = Callable[..., Prediction]
ELSEWHERE = Fingerprint(shares={"blue": 1.0}, drift=0.01, edges=0.0, edges_high=0.01)  # no flag is like that
SCREENS = {"desk": (1400, 900), "phone": (390, 844)}
on_each_screen = pytest.mark.parametrize(
    ("name", "theme"), [(name, theme) for name in SCREENS for theme in ("dark", "light")]
)
HALF_TINTED = (np.array((0, 200, 0)) + TINT) / 2


@pytest.fixture
def on_screen(page: Page, name: str, theme: str) -> Iterator[tuple[int, int]]:
    """Its width and height in pixels."""
    width, height = SCREENS[name]
    page.screen(width, height, mobile=name == "phone")
    page.prefer(theme)
    yield width, height
    page.usual()


def titles(page: Page) -> list[str]:
    rows: Any = page.js("return [...document.querySelectorAll('#events .title')].map((e) => e.textContent)")
    return list(rows)


def box(page: Page, css: str) -> Any:
    """Left, top, right and bottom on the screen."""
    place = "const at = document.querySelector(arguments[0]).getBoundingClientRect();"
    return page.js(f"{place} return [at.left, at.top, at.right, at.bottom]", css)


def all_that_happens(live: Live, make_result: MakeResult) -> None:
    """Events, a scene that becomes unfamiliar and an input that is reduced; both stay so."""
    result = make_result(1)
    for event in ("pedestrian_ahead", "road_gone"):
        live.watch.event(Event(event, True, result.frame.captured_ns, 1, 0.5, None), result)
    live.reduced = "320×200: 3 of 9 masks are older than 50 ms"
    begin_ns = time.monotonic_ns() - 3_000_000_000
    for index in range(15):  # of 3 s: an event of 2 s begins
        result = make_result(2 + index)
        result.frame.captured_ns = begin_ns + index * 200_000_000
        live.publish(result, 0)


@on_each_screen
def test_what_a_person_must_know_is_in_sight(
    page: Page,
    on_screen: tuple[int, int],
    server: WebServer,
    patient: Live,
    make_result: MakeResult,
    name: str,
    theme: str,
    tmp_path: Path,
) -> None:
    width, height = on_screen
    engine: Any = SimpleNamespace(card=dataclasses.replace(patient.card, fingerprint=ELSEWHERE), precision="int8")
    patient.engine = engine
    patient.publish(make_result(ago_s=4), 0)
    page.open(server)
    assert soon(page.is_live)
    all_that_happens(patient, make_result)
    assert soon(lambda: page.text("#camera") != "camera ok" and page.has("#unlike") and page.has("#reduced"))
    assert soon(lambda: {"Pedestrian ahead", "Road gone", "Scene unfamiliar", "Input reduced"} == {*titles(page)})
    wide = "return [...document.querySelectorAll('#events img')].map((image) => image.naturalWidth)"
    assert soon(lambda: page.js(wide) == [64, 64, 64, 64])
    page.shot(f"all that happens, {name}, {theme}")
    for words in ("#unlike", "#reduced", "#camera", "#snapshot"):
        left, top, right, bottom = box(page, words)
        assert 0 <= left < right <= width, words
        assert 0 <= top < bottom <= height, words
    assert box(page, "#events-card")[1] < height, "what happened begins without scrolling"
    assert page.js("return document.documentElement.scrollWidth") <= width
    assert contrasts(page, ".banner, #camera, #events .title, #events .length, #events time, #events .hint") >= 4.5
    assert page.shows(GREEN_XY, HALF_TINTED), "its masks are still shown, in colour"
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.find("#snapshot").click()
    assert soon(lambda: any(tmp_path.glob("edge-*-frame-16.png")))
    assert page.text("#stamp").startswith("frame 16")
    saved = cv2.imread(str(next(tmp_path.glob("*.png"))))
    assert saved is not None
    assert np.abs(saved[GREEN_XY[::-1]][::-1] - HALF_TINTED).max() < 14
    assert page.complaints() == []


@on_each_screen
def test_a_camera_that_is_lost_says_so_over_the_image(
    page: Page, on_screen: tuple[int, int], server: WebServer, live: Live, make_result: MakeResult, name: str
) -> None:
    width, height = on_screen
    live.publish(make_result(ago_s=60), 0)
    live.set_camera_state("lost", "unplugged")
    page.open(server)
    assert soon(lambda: page.text("#old-reason") == "Camera lost: unplugged")
    assert soon(lambda: titles(page) == ["Camera lost"])
    left, top, right, bottom = box(page, "#old-reason")
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    live.set_camera_state("ok", "")
    live.stale_after_s = 1000.0
    live.publish(make_result(1), 0)
    assert soon(page.is_live)
    assert soon(lambda: titles(page) == ["Camera back", "Camera lost"])
    assert page.complaints() == []


@on_each_screen
def test_two_cameras_fill_the_screen_in_both_themes(
    page: Page, on_screen: tuple[int, int], make_card: Callable[..., Card], make_result: MakeResult, name: str
) -> None:
    width, height = on_screen
    engine: Any = SimpleNamespace(card=make_card(b""), precision="int8")
    lives = {camera: Live(engine, camera, dict, stale_after_s=1000) for camera in ("front", "rear")}
    with WebServer(lives, WebOptions(port=0)) as server:
        for live in lives.values():
            live.publish(make_result(), 0)
        page.open(server)
        assert soon(lambda: page.has("[data-camera=rear]"))
        assert soon(lambda: page.find("[data-camera=rear]").get_attribute("data-stale") == "false")
        boxes = [box(page, f"[data-camera={camera}]") for camera in lives]
        assert all(left >= 0 and right <= width and bottom <= height for left, _, right, bottom in boxes)
        covered = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes) / (width * height)
        assert covered > {"desk": 0.6, "phone": 0.45}[name]
        assert contrasts(page, ".tile p, .tile .name, #camera, h2") >= 4.5
        assert page.complaints() == []
