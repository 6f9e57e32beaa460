"""The page in a real Chromium: what a person sees and can do."""

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

from browser import BLUE_XY, GREEN_XY, RED_XY, TINT, Page, contrasts
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from web_client import ask, place_of, publishing, soon

from edge.card import Card, Fingerprint
from edge.outputs import CONFIDENCE
from edge.prediction import Prediction
from edge.status import Status
from edge.timing import Stages
from edge.web.options import WebOptions
from edge.web.server import WebServer
from edge.web.state import Live

TOKEN = "correct-horse-battery-staple"
MakeResult = Callable[..., Prediction]
# Of an engine that knows images of one class alone, which the flag is not.
ELSEWHERE = Fingerprint(shares={"blue": 1.0}, drift=0.01, edges=0.0, edges_high=0.01)


def test_the_masks_lie_over_the_frame_in_their_colours(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult
) -> None:
    patient.publish(make_result(3), 0)
    page.open(server)
    assert soon(page.is_live)
    assert page.shows(BLUE_XY, (0, 0, 200))
    assert page.shows(GREEN_XY, (np.array((0, 200, 0)) + TINT) / 2)
    assert page.shows(RED_XY, (np.array((200, 0, 0)) + TINT) / 2)
    assert page.text("#stamp") == "frame 3"
    assert page.complaints() == []


def test_layers_and_opacity_change_the_picture_and_ask_nothing_of_the_server(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult
) -> None:
    patient.publish(make_result(), 0)
    page.open(server)
    assert soon(page.is_live)
    sent = patient.snapshot().sent["page"]
    page.find("[data-layer=warm]").click()
    assert page.shows(GREEN_XY, (0, 200, 0))
    page.find("#all").click()
    page.find("#opacity").send_keys(Keys.END)
    assert page.text("#opacity-value") == "100 %"
    assert page.shows(GREEN_XY, TINT)
    assert page.shows(BLUE_XY, (0, 0, 255))
    page.find("#none").click()
    assert page.shows(GREEN_XY, (0, 200, 0))
    assert patient.snapshot().sent["page"] == sent


def test_a_map_of_the_engine_is_laid_over_the_image_when_it_is_switched_on(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult
) -> None:
    result = make_result()
    white = np.full(result.semantic.shape, 255, np.uint8)
    outputs, specs = {**result.outputs, "confidence": white}, {**result.specs, "confidence": CONFIDENCE}
    patient.publish(dataclasses.replace(result, outputs=outputs, specs=specs), 0)
    page.open(server)
    assert soon(page.is_live)
    page.find("#none").click()
    page.find("#opacity").send_keys(Keys.END)
    assert page.shows(GREEN_XY, (0, 200, 0))
    page.find("[data-map=confidence]").click()
    assert page.shows(GREEN_XY, (255, 255, 255))
    assert page.complaints() == []


def test_keys_switch_layers(page: Page, server: WebServer, patient: Live, make_result: MakeResult) -> None:
    patient.publish(make_result(), 0)
    page.open(server)
    assert soon(page.is_live)
    page.find("body").send_keys("1")
    assert page.shows(GREEN_XY, (0, 200, 0))
    page.find("body").send_keys("1")
    assert not page.shows(GREEN_XY, (0, 200, 0))


def test_an_old_mask_is_never_shown_as_new(page: Page, server: WebServer, live: Live, make_result: MakeResult) -> None:
    page.open(server)
    assert soon(lambda: page.text("#old-title") == "Waiting for the first frame")
    with publishing(live, make_result, rate_hz=30):
        assert soon(page.is_live)
        assert soon(lambda: not page.shows(GREEN_XY, (0, 200, 0)))
        assert not page.find("#old").is_displayed()
    live.set_camera_state("lost", "unplugged")
    assert soon(lambda: not page.is_live())
    assert page.text("#old-title").startswith("No new frame for ")
    assert page.text("#live").startswith("OLD")
    assert page.shows(GREEN_XY, (0, 200, 0)), "the mask is gone from the picture"
    assert "grayscale" in page.find("#view").value_of_css_property("filter")
    assert soon(lambda: page.text("#old-reason") == "Camera lost: unplugged")
    assert page.js("return document.getElementById('news').textContent") == "No new frame, camera lost unplugged"
    with publishing(live, make_result, rate_hz=30):
        assert soon(page.is_live)


def test_a_scene_unlike_the_training_data_has_a_banner_while_its_masks_are_shown(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult
) -> None:
    engine: Any = SimpleNamespace(card=dataclasses.replace(patient.card, fingerprint=ELSEWHERE), precision="int8")
    patient.engine = engine
    patient.publish(make_result(1), 0)
    page.open(server)
    assert soon(page.is_live)
    assert not page.find("#unlike").is_displayed()
    begin_ns = time.monotonic_ns()
    for index in range(15):  # 3 s of captures: an event of 2 s begins
        result = make_result(2 + index)
        result.frame.captured_ns = begin_ns + index * 200_000_000
        patient.publish(result, 0)
    assert soon(page.find("#unlike").is_displayed)
    assert page.text("#unlike") == "Scene unlike the training data: do not trust these masks"
    assert page.complaints() == []


def test_a_frame_that_comes_too_late_is_shown_as_old(
    page: Page, server: WebServer, live: Live, make_result: MakeResult
) -> None:
    live.publish(make_result(7, age_ms=20, ago_s=30), 0)
    page.open(server)
    assert soon(lambda: page.text("#stamp") == "frame 7")
    assert page.text("#old-title").startswith("No new frame for 3")
    assert page.shows(GREEN_XY, (0, 200, 0))


def test_a_server_that_is_gone_is_told_and_found_again(page: Page, live: Live, make_result: MakeResult) -> None:
    with publishing(live, make_result, rate_hz=30):
        with WebServer(live, WebOptions(port=0)) as server:
            page.open(server)
            assert soon(page.is_live)
            port = place_of(server)[1]
        assert soon(lambda: page.text("#live") == "NOT CONNECTED")
        assert page.text("#camera") == "camera unknown"
        assert soon(lambda: "trying again" in page.text("#old-reason"))
        with WebServer(live, WebOptions(port=port)):
            assert soon(page.is_live)
            assert soon(lambda: page.text("#camera") == "camera ok")


def test_figures_charts_and_waterfall_are_filled(
    page: Page, server: WebServer, live: Live, make_result: MakeResult, stages: Stages
) -> None:
    def make(index: int) -> Prediction:
        for name, ms in (("decode", 4), ("resize", 1), ("infer", 10), ("write", 2)):
            stages[name].add(ms * 1_000_000)
        return make_result(index)

    with publishing(live, make, rate_hz=50):
        page.open(server)
        assert soon(lambda: page.text("#rate") not in ("–", "0.0"))
        assert soon(lambda: len(page.driver.find_elements(By.CSS_SELECTOR, "#stages li")) == 5)
        assert soon(lambda: page.text("#stages-total") == "15.0 ms to the mask")
        assert page.text("#stages .slowest").split() == ["infer", "10.0", "ms"]
        lefts = page.js(
            "return [...document.querySelectorAll('#stages .bar')].map((bar) => parseFloat(bar.style.left))"
        )
        assert lefts[0] == 0
        assert lefts[:3] == sorted(lefts[:3])
        assert float(page.text("#age")) >= 20
        assert "p50 20." in page.text("#age-more")
        ink = """return [...document.querySelectorAll("#figures canvas")].map((c) =>
            c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some((v) => v))"""
        assert page.js(ink) == [True, True, True]
        assert soon(lambda: page.text("#layers .share").endswith("%"))
    assert page.complaints() == []


def test_a_snapshot_is_the_picture_as_it_is_seen_with_a_line_that_says_what_it_is(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult, tmp_path: Path
) -> None:
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    patient.publish(make_result(5), 0)
    page.open(server)
    assert soon(page.is_live)
    page.find("#snapshot").click()
    assert soon(lambda: any(tmp_path.glob("edge-*-frame-5.png")))
    image = cv2.imread(str(next(tmp_path.glob("*.png"))))
    assert image is not None
    assert image.shape == (48 + 24, 64, 3)
    assert np.abs(image[24, 20, ::-1] - (np.array((0, 200, 0)) + TINT) / 2).max() < 14
    assert image[50:].max() > 150, "words under the picture"
    assert page.complaints() == []


def test_words_from_outside_are_words(page: Page, server: WebServer, live: Live) -> None:
    live.set_camera_state("lost", "<img src=x onerror=alert(1)><b>bold")
    page.open(server)
    assert soon(lambda: "<img src=x onerror=alert(1)><b>bold" in page.text("#camera"))
    assert page.driver.find_elements(By.CSS_SELECTOR, "#camera img, #camera b, #old img") == []
    assert page.complaints() == []


def test_the_token_is_asked_for_once_and_appears_in_no_address(
    page: Page, live: Live, token_file: Path, make_result: MakeResult
) -> None:
    options = WebOptions(port=0, token_file=str(token_file))
    with publishing(live, make_result, rate_hz=30), WebServer(live, options) as server:
        page.open(server)
        page.find("#token").send_keys("wrong" + Keys.ENTER)
        assert soon(lambda: page.driver.current_url.endswith("/login#wrong"))
        assert page.find("#wrong").is_displayed()
        page.find("#token").send_keys(TOKEN + Keys.ENTER)
        assert soon(lambda: page.driver.current_url == server.url)
        assert soon(page.is_live)
        page.open(server)
        assert soon(page.is_live)
        page.driver.delete_all_cookies()


def test_a_link_with_the_token_behind_the_hash_opens_the_page_and_loses_the_token(
    page: Page, live: Live, token_file: Path, make_result: MakeResult
) -> None:
    options = WebOptions(port=0, token_file=str(token_file))
    with publishing(live, make_result, rate_hz=30), WebServer(live, options) as server:
        page.driver.get(f"{server.url}login#token={TOKEN}")
        assert soon(lambda: page.driver.current_url == server.url)
        assert soon(page.is_live)
        assert not page.complaints()
        page.driver.delete_all_cookies()
        page.driver.back()
        assert TOKEN not in page.driver.current_url


def test_a_page_whose_token_is_no_longer_the_right_one_asks_for_it(
    page: Page, live: Live, token_file: Path, make_result: MakeResult
) -> None:
    with publishing(live, make_result, rate_hz=30):
        with WebServer(live, WebOptions(port=0, token_file=str(token_file))) as server:
            page.open(server)
            page.find("#token").send_keys(TOKEN + Keys.ENTER)
            assert soon(lambda: page.driver.current_url == server.url)
            assert soon(page.is_live)
            port = place_of(server)[1]
        token_file.write_text("another-" + TOKEN)
        with WebServer(live, WebOptions(port=port, token_file=str(token_file))):
            assert soon(lambda: page.driver.current_url.endswith("/login"))
    page.driver.delete_all_cookies()


def test_who_does_not_look_costs_no_pictures(
    page: Page, server: WebServer, live: Live, make_result: MakeResult
) -> None:
    def viewers() -> str:
        return ask(server, "/metrics").body.decode().split("\nedge_page_viewers ")[1].split()[0]

    with publishing(live, make_result, rate_hz=30):
        page.open(server)
        assert soon(page.is_live)
        first = page.driver.current_window_handle
        page.driver.switch_to.new_window("tab")  # the page is hidden behind it
        assert soon(lambda: viewers() == "0.0")
        page.driver.close()
        page.driver.switch_to.window(first)
        assert soon(lambda: viewers() == "1.0")
        assert soon(page.is_live)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_control_has_a_name_and_every_word_is_legible(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult, theme: str
) -> None:
    page.prefer(theme)
    patient.publish(make_result(), 0)
    page.open(server)
    assert soon(page.is_live)
    page.find("#edit-zones").click()
    controls = page.driver.find_elements(By.CSS_SELECTOR, "button, input, canvas, select, textarea")
    controls = [control for control in controls if control.is_displayed()]
    assert len(controls) >= 16
    assert [control.get_attribute("outerHTML") for control in controls if not control.accessible_name] == []
    assert contrasts(page, ".more, h2, .big, .hint, .about, button, label, #camera, #stamp, .share, select") >= 4.5
    page.usual()


@pytest.fixture
def pair(make_card: Callable[..., Card]) -> Iterator[tuple[WebServer, dict[str, Live]]]:
    """A page of two cameras."""
    engine: Any = SimpleNamespace(card=make_card(b""), precision="int8")
    lives = {name: Live(engine, f"camera of {name}", dict) for name in ("front", "rear")}
    with WebServer(lives, WebOptions(port=0)) as server:
        yield server, lives


def test_several_cameras_are_seen_at_once_and_one_that_is_clicked_becomes_large(
    page: Page, pair: tuple[WebServer, dict[str, Live]], make_result: MakeResult
) -> None:
    server, lives = pair

    def tile(name: str) -> WebElement:
        return page.find(f"[data-camera={name}]")

    with publishing(lives["front"], make_result, rate_hz=30), publishing(lives["rear"], make_result, rate_hz=30):
        page.open(server)
        assert soon(lambda: len(page.driver.find_elements(By.CSS_SELECTOR, ".tile")) == 2)
        assert soon(lambda: all(tile(name).get_attribute("data-stale") == "false" for name in lives))
        assert soon(lambda: tile("front").text.startswith("front · LIVE · "))
        assert not page.find("#stage").is_displayed()
        assert soon(lambda: page.js("return document.getElementById('news').textContent") == "All 2 cameras live")
        page.shot("two cameras")
        tile("rear").click()
        assert soon(page.is_live)
        assert "camera of rear" in page.text("#engine")
        assert not tile("front").is_displayed()
        page.find("body").send_keys(Keys.ESCAPE)
        assert soon(lambda: tile("front").is_displayed() and tile("front").get_attribute("data-stale") == "false")
    assert page.complaints() == []


def test_one_camera_that_is_lost_is_old_and_the_other_goes_on(
    page: Page, pair: tuple[WebServer, dict[str, Live]], make_result: MakeResult
) -> None:
    server, lives = pair
    lives["rear"].publish(make_result(ago_s=60), 0)
    lives["rear"].set_camera_state("lost", "<b>unplugged")
    with publishing(lives["front"], make_result, rate_hz=30):
        page.open(server)
        assert soon(lambda: len(page.driver.find_elements(By.CSS_SELECTOR, ".tile")) == 2)
        assert soon(lambda: page.find("[data-camera=front]").get_attribute("data-stale") == "false")
        assert soon(lambda: "camera lost: <b>unplugged" in page.text("[data-camera=rear]"))
        assert page.find("[data-camera=rear]").get_attribute("data-stale") == "true"
        assert soon(lambda: page.js("return document.getElementById('news').textContent").endswith("1 of 2 cameras"))
    assert page.complaints() == []


def test_what_outputs_say_and_count_is_seen(page: Page, make_card: Callable[..., Card]) -> None:
    outputs = {
        "mqtt": Status("lost", "no such host", totals={"frames_sent": 1200}, levels={"events_waiting": 3}),
        "recorder": Status(levels={"size_bytes": 3_100_000_000}),
    }
    engine: Any = SimpleNamespace(card=make_card(b""), precision="int8")
    with WebServer(Live(engine, "0", dict, outputs=lambda: outputs), WebOptions(port=0)) as server:
        page.open(server)
        assert soon(lambda: len(page.driver.find_elements(By.CSS_SELECTOR, "#outputs li")) == 2)
        assert "lost: no such host" in page.text("[data-output=mqtt]")
        assert "3 events waiting, 1,200 frames sent" in page.text("[data-output=mqtt]")
        assert page.text("[data-output=recorder]").split("\n") == ["recorder", "ok", "3.1 GB"]
    assert page.complaints() == []


SCREENS = {
    "phone": (844, 390),
    "phone upright": (390, 844),
    "laptop": (1366, 768),
    "desk": (1920, 1080),
    "4k": (3840, 2160),
}


@pytest.mark.parametrize("name", SCREENS)
def test_the_page_fits_every_screen(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult, name: str
) -> None:
    width, height = SCREENS[name]
    page.screen(width, height, mobile=name.startswith("phone"))
    try:
        patient.publish(make_result(), 0)
        page.open(server)
        assert soon(page.is_live)
        wide, high = page.js("return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        assert wide <= width, "nothing has to be scrolled sideways"
        bottom = page.js("return document.getElementById('view').getBoundingClientRect().bottom")
        assert bottom <= height, "the picture is seen whole"
        if not name.startswith("phone"):
            assert high <= height, "all is seen at once"
        page.shot(name)
    finally:
        page.usual()
