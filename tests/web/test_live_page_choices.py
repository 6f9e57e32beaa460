"""The page in a real Chromium: what happened, themes and choices, snapshots, and zones."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("uvicorn", reason="pip install 'edge-segmentation[serve]'")

from browser import BLUE_XY, GREEN_XY, TINT, Page, contrasts
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from web_client import publishing, soon

from edge.card import Card
from edge.config import parse_tree
from edge.events import CameraZones, EventOptions
from edge.prediction import Prediction
from edge.visits import Event, Visit
from edge.web.options import WebOptions
from edge.web.server import WebServer
from edge.web.state import Live
from edge.web.zones import ZoneView

TOKEN = "correct-horse-battery-staple"
SCREENS = {"desk": (1400, 900), "phone": (390, 844)}
MakeResult = Callable[..., Prediction]
GATE = ((0.25, 0.5), (0.75, 0.5), (0.75, 0.9))
in_each_theme = pytest.mark.parametrize("theme", ["dark", "light"])
on_each_screen = pytest.mark.parametrize("name", SCREENS)


@pytest.fixture(autouse=True)
def as_usual(page: Page) -> Iterator[None]:
    yield
    page.usual()


def look_on(page: Page, name: str, theme: str) -> None:
    """On that screen, of a system that prefers that theme."""
    width, height = SCREENS[name]
    page.screen(width, height, mobile=name == "phone")
    page.prefer(theme)


def happens(live: Live, name: str, result: Prediction, active: bool = True, visit: Visit | None = None) -> None:
    frame = result.frame
    live.watch.event(Event(name, active, frame.captured_ns, frame.index, 0.5, visit), result)


def titles(page: Page) -> list[str]:
    rows: Any = page.js("return [...document.querySelectorAll('#events .title')].map((e) => e.textContent)")
    return list(rows)


def test_what_happens_is_seen_with_an_image_and_for_how_long(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult
) -> None:
    result = make_result()
    patient.publish(result, 0)
    page.open(server)
    assert soon(page.is_live)
    assert page.text("#no-events") == "Nothing yet."
    happens(patient, "pedestrian_ahead", result)
    happens(patient, "in_zone", result, visit=Visit(7, "pedestrian", "<b>gate", None, 1, 17))
    assert soon(lambda: titles(page) == ["Pedestrian in <b>gate", "Pedestrian ahead"])
    lengths = "return [...document.querySelectorAll('#events .length')].map((e) => e.textContent)"
    assert page.js(lengths) == ["now", "now"]
    result.frame.captured_ns += 2_500_000_000
    happens(patient, "pedestrian_ahead", result, active=False)
    assert soon(lambda: page.js(lengths) == ["now", "2.5 s"])
    wide = "return [...document.querySelectorAll('#events img')].map((image) => image.naturalWidth)"
    assert soon(lambda: page.js(wide) == [64, 64])
    page.find("#events button").click()
    assert page.find("#moment img").is_displayed()
    page.find("body").send_keys(Keys.ESCAPE)
    assert not page.find("#moment").is_displayed()
    assert page.complaints() == []


def test_a_reduced_input_has_a_banner_and_the_camera_is_not_just_ok(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult
) -> None:
    patient.publish(make_result(), 0)
    page.open(server)
    assert soon(lambda: page.text("#camera") == "camera ok")
    assert not page.find("#reduced").is_displayed()
    patient.reduced = "320×200: 3 of 9 masks are older than 50 ms"
    patient.publish(make_result(1), 0)
    assert soon(page.find("#reduced").is_displayed)
    assert page.text("#reduced") == "Input reduced to 320×200: 3 of 9 masks are older than 50 ms"
    assert page.text("#camera") == "input reduced"
    assert soon(lambda: titles(page) == ["Input reduced"])
    patient.reduced = ""
    patient.publish(make_result(2), 0)
    assert soon(lambda: page.text("#camera") == "camera ok")
    assert soon(lambda: not page.find("#reduced").is_displayed())


def light(page: Page) -> float:
    """Of the page's ground, 0 to 255."""
    ground: Any = page.js("return getComputedStyle(document.body).backgroundColor")
    return float(np.mean([float(number) for number in re.findall(r"[\d.]+", ground)[:3]]))


def is_in(page: Page, theme: str) -> bool:
    return light(page) > 200 if theme == "light" else light(page) < 50


@in_each_theme
@on_each_screen
def test_the_theme_is_the_systems_until_another_is_chosen_which_is_remembered(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult, name: str, theme: str
) -> None:
    other = {"light": "dark", "dark": "light"}[theme]
    patient.publish(make_result(), 0)
    look_on(page, name, theme)
    page.open(server)
    assert soon(page.is_live)
    assert is_in(page, theme)
    page.prefer(other)
    assert soon(lambda: is_in(page, other))
    page.prefer(theme)
    page.find("#theme").send_keys(other.title())
    assert soon(lambda: is_in(page, other))
    page.open(server)
    assert soon(page.is_live)
    assert is_in(page, other)
    assert contrasts(page, "#theme, #camera, #layers label, #events .hint, h2, #reset") >= 4.5
    page.find("#theme").send_keys("Auto")
    assert soon(lambda: is_in(page, theme))
    assert page.complaints() == []


@in_each_theme
@on_each_screen
def test_layers_and_opacity_are_as_they_were_left(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult, name: str, theme: str
) -> None:
    patient.publish(make_result(), 0)
    look_on(page, name, theme)
    page.open(server)
    assert soon(page.is_live)
    page.find("#all").click()
    page.find("[data-layer=warm]").click()
    page.find("#opacity").send_keys(Keys.END)
    page.open(server)
    assert soon(page.is_live)
    assert page.text("#opacity-value") == "100 %"
    assert page.shows(BLUE_XY, (0, 0, 255))
    assert page.shows(GREEN_XY, (0, 200, 0))


@in_each_theme
@on_each_screen
def test_layers_are_within_reach_on_any_screen(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult, name: str, theme: str
) -> None:
    width, height = SCREENS[name]
    page.screen(width, height, mobile=name == "phone")
    page.prefer(theme)
    patient.publish(make_result(), 0)
    happens(patient, "road_gone", make_result())
    page.open(server)
    assert soon(page.is_live)
    assert soon(lambda: titles(page) == ["Road gone"])
    page.shot(f"one camera, {name}, {theme}")
    assert page.js("return document.documentElement.scrollWidth") <= width
    place = "const box = document.querySelector(arguments[0]).getBoundingClientRect(); return [box.top, box.bottom]"
    top, bottom = page.js(place, "#layers")
    assert 0 <= top < bottom <= height, "no one has to scroll to the layers"
    page.find("[data-layer=warm]").click()
    assert page.shows(GREEN_XY, (0, 200, 0))
    page.js("window.scrollTo(0, 300)")
    assert page.js(place, "#stage")[0] >= 0, "the image stays in sight"


@pytest.fixture
def pair(make_card: Callable[..., Card]) -> Iterator[tuple[WebServer, dict[str, Live]]]:
    """A page of two cameras."""
    engine: Any = SimpleNamespace(card=make_card(b""), precision="int8")
    lives = {name: Live(engine, f"camera of {name}", dict, stale_after_s=1000) for name in ("front", "rear")}
    with WebServer(lives, WebOptions(port=0)) as server:
        yield server, lives


@on_each_screen
def test_two_cameras_fill_the_screen_with_what_happened_at_both_beside_or_below(
    page: Page, pair: tuple[WebServer, dict[str, Live]], make_result: MakeResult, name: str
) -> None:
    width, height = SCREENS[name]
    page.screen(width, height, mobile=name == "phone")
    server, lives = pair
    for live in lives.values():
        live.publish(make_result(), 0)
        happens(live, "road_gone", make_result())
    page.open(server)
    assert soon(lambda: titles(page) == ["Road gone", "Road gone"])
    page.shot(f"two cameras, {name}")
    boxes: Any = page.js(
        "return [...document.querySelectorAll('.tile')].map((e) => e.getBoundingClientRect().toJSON())"
    )
    assert len(boxes) == 2
    assert all(box["left"] >= 0 and box["right"] <= width and box["bottom"] <= height for box in boxes)
    covered = sum(box["width"] * box["height"] for box in boxes) / (width * height)
    assert covered > {"desk": 0.6, "phone": 0.45}[name]
    below = page.js("return document.getElementById('events-card').getBoundingClientRect().top")
    assert below < height
    assert page.js("return document.documentElement.scrollWidth") <= width
    assert page.complaints() == []


@in_each_theme
@on_each_screen
def test_the_camera_that_was_large_is_large_again_until_all_are_chosen(
    page: Page, pair: tuple[WebServer, dict[str, Live]], make_result: MakeResult, name: str, theme: str
) -> None:
    look_on(page, name, theme)
    server, lives = pair
    for live in lives.values():
        live.publish(make_result(), 0)
    happens(lives["front"], "road_gone", make_result())
    page.open(server)
    assert soon(lambda: page.has("[data-camera=rear]"))
    page.find("[data-camera=rear]").click()
    assert soon(page.is_live)
    assert titles(page) == [], "what happened at the other camera"
    page.open(server)
    assert soon(page.is_live)
    assert "camera of rear" in page.text("#engine")
    page.find("#back").click()
    page.open(server)
    assert soon(lambda: page.has("[data-camera=rear]"))


def test_a_snapshot_of_an_old_frame_has_its_masks_and_its_colours_and_says_how_old_it_is(
    page: Page, server: WebServer, live: Live, make_result: MakeResult, tmp_path: Path
) -> None:
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    captured_s = time.time() - 30
    live.publish(make_result(7, age_ms=20, ago_s=30), 0)
    page.open(server)
    assert soon(lambda: page.text("#stamp") == "frame 7")
    assert not page.is_live()
    page.find("#snapshot").click()
    assert soon(lambda: any(tmp_path.glob("edge-*-frame-7.png")))
    path = next(tmp_path.glob("*.png"))
    named = time.mktime(time.strptime(path.name, "edge-%Y-%m-%dT%H-%M-%S-frame-7.png"))
    assert abs(named - captured_s) < 5, "the file is named after when the frame was captured"
    image = cv2.imread(str(path))
    assert image is not None
    assert np.abs(image[24, 20, ::-1] - (np.array((0, 200, 0)) + TINT) / 2).max() < 14


@pytest.fixture
def zoned(
    make_card: Callable[..., Card], token_file: Path, make_result: MakeResult
) -> Iterator[tuple[WebServer, list[tuple[str, CameraZones]]]]:
    """A page whose zones can be saved, and those that were."""
    saved: list[tuple[str, CameraZones]] = []
    engine: Any = SimpleNamespace(card=make_card(b""), precision="int8")
    options = EventOptions.model_validate({"tracks": {"zones": {"gate": GATE}}})
    live = Live(engine, "0", dict, stale_after_s=1000, zones=ZoneView.of(options, ""))
    live.publish(make_result(), 0)
    web = WebOptions(port=0, token_file=str(token_file))
    with WebServer(live, web, save_zones=lambda *what: saved.append(what)) as server:
        yield server, saved


def log_in(page: Page, server: WebServer) -> None:
    page.open(server)
    page.driver.delete_all_cookies()  # a test that failed may have left one
    page.open(server)
    page.find("#token").send_keys(TOKEN + Keys.ENTER)
    assert soon(lambda: page.driver.current_url == server.url)
    assert soon(page.is_live)


def at(page: Page, x: float, y: float) -> ActionChains:
    """The pointer over that share of the image."""
    box: Any = page.js(
        """const svg = document.getElementById("zones"), {width, height} = svg.viewBox.baseVal;
        const corner = new DOMPoint(arguments[0] * width, arguments[1] * height).matrixTransform(svg.getScreenCTM());
        const box = svg.getBoundingClientRect();
        return [corner.x - box.x - box.width / 2, corner.y - box.y - box.height / 2];""",
        x,
        y,
    )
    return ActionChains(page.driver, duration=50).move_to_element_with_offset(
        page.find("#zones"), round(box[0]), round(box[1])
    )


@on_each_screen
def test_a_zone_is_drawn_named_copied_as_config_and_saved(
    page: Page, zoned: tuple[WebServer, list[tuple[str, CameraZones]]], name: str
) -> None:
    server, saved = zoned
    width, height = SCREENS[name]
    page.screen(width, height)
    log_in(page, server)
    assert [e.get_attribute("textContent") for e in page.driver.find_elements(By.CSS_SELECTOR, "#zones text")] == [
        "way ahead",
        "gate",
    ]
    page.find("#edit-zones").click()
    assert soon(page.find("#add-zone").is_displayed)
    page.find("#add-zone").click()
    page.js("window.scrollTo(0, 0)")
    for x, y in ((0.2, 0.2), (0.5, 0.2), (0.5, 0.4), (0.2, 0.4), (0.2, 0.2)):
        at(page, x, y).click().perform()
    at(page, 0.5, 0.4).click_and_hold().perform()
    at(page, 0.8, 0.45).release().perform()
    box = page.driver.find_elements(By.CSS_SELECTOR, "#zone-list input:not([type=radio])")[-1]
    box.clear()
    box.send_keys("kerb")
    page.shot(f"zones, {name}")
    text = page.js("return document.getElementById('zone-yaml').value")
    options = parse_tree(yaml.safe_load(text)["events"], EventOptions, "the page")
    assert options.tracks is not None
    assert options.tracks.zones["gate"] == GATE
    drawn = np.array(options.tracks.zones["kerb"])
    assert np.abs(drawn - [(0.2, 0.2), (0.5, 0.2), (0.8, 0.45), (0.2, 0.4)]).max() < 0.01
    assert soon(page.find("#save-zones").is_displayed)
    page.find("#save-zones").click()
    assert soon(lambda: bool(saved))
    assert saved[0] == ("", CameraZones(zone=options.zone, zones=options.tracks.zones))
    assert soon(lambda: page.text("#zones-note").startswith("Saved"))
    page.driver.delete_all_cookies()
    assert page.complaints() == []


def test_words_that_are_typed_switch_nothing(
    page: Page, zoned: tuple[WebServer, list[tuple[str, CameraZones]]]
) -> None:
    server, _ = zoned
    log_in(page, server)
    page.find("#edit-zones").click()
    name = page.driver.find_elements(By.CSS_SELECTOR, "#zone-list input:not([type=radio])")[-1]
    assert soon(name.is_displayed)
    name.send_keys("1")
    assert page.find("[data-layer=warm]").is_selected()
    page.driver.delete_all_cookies()


def test_a_page_of_one_camera_tells_when_it_is_lost_and_back(
    page: Page, server: WebServer, live: Live, make_result: MakeResult
) -> None:
    with publishing(live, make_result, rate_hz=10):
        page.open(server)
        assert soon(page.is_live)
    live.set_camera_state("lost", "unplugged")
    assert soon(lambda: titles(page) == ["Camera lost"])
    with publishing(live, make_result, rate_hz=10):
        assert soon(lambda: titles(page) == ["Camera back", "Camera lost"])
