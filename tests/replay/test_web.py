"""The page of a replay in a real browser, and its guard without one."""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from bundles import MakeCard
from recordings import Numbers, seen, soon, track

from edge.classes import CAMVID
from edge.frame import Frame
from edge.replay.compare import Comparer
from edge.replay.feed import obey
from edge.replay.mask_track import MaskTrack
from edge.replay.player import Player
from edge.replay.session import Session
from edge.replay.timeline import DisagreementTimeline
from edge.sources.seek import Playable

pytest.importorskip("starlette", reason="pip install 'edge-segmentation[serve]'")

from edge.replay.web import ReplayServer

COUNT, WORST = 60, {7: 12, 40: 24, 41: 20}  # frames, and in some of them rows of 48 in which the second track differs
ROAD_RGB, MAGENTA = np.array(CAMVID.tints["road"]), (255, 0, 255)


def second_lane() -> MaskTrack:
    def of(source: Playable, frame: Frame) -> Any:
        classes = np.full((48, 64), 3, np.uint8)
        classes[: WORST.get(frame.index, 0)] = 4
        return seen(frame, classes)

    return MaskTrack("second", ["second"], of)


class Session60:
    """A player of 60 frames with two tracks, behind a page."""

    def __init__(self, make_card: MakeCard, source: Numbers, compared: bool) -> None:
        first = track("first", lambda number: np.full((48, 64), 3))
        tracks = (first, second_lane()) if compared else (first,)
        timeline = DisagreementTimeline(source.frame_count, Comparer(CAMVID, CAMVID)) if compared else None
        engine = cast("Any", SimpleNamespace(card=make_card(b"graph", table=CAMVID), precision="int8"))
        self.session = Session(source, engine, tracks, (CAMVID,) * len(tracks), timeline)
        self.player = Player(source, tracks, timeline=timeline)
        frame = source.at(0)
        for index in range(source.frame_count if timeline else 0):
            assert timeline is not None
            there = Frame(index=index, captured_ns=0, source="", bgr=frame.image)
            first_mask, second_mask = (one.of(source, there) for one in tracks)
            assert first_mask is not None
            assert second_mask is not None
            timeline.compare(index, first_mask, second_mask)


@contextmanager
def serving(make_card: MakeCard, source: Numbers | None = None, compared: bool = True) -> Iterator[tuple[str, Player]]:
    made = Session60(make_card, source or Numbers(COUNT, 20.0), compared)
    with made.player as player, ReplayServer(player, made.session, None, 0) as server:
        yield server.url, player


# --------------------------------------------------------------------------------------------------- without a browser


def answer(url: str, path: str, **headers: str) -> tuple[int, str]:
    """The status, and the policy for scripts that came with it."""
    line = http.client.HTTPConnection(url.split("/")[2], timeout=10)
    try:
        line.request("GET", path, headers=headers)
        response = line.getresponse()
        response.read()
        return response.status, response.getheader("Content-Security-Policy") or ""
    finally:
        line.close()


def test_only_this_machines_name_and_its_own_page_may_ask(make_card: MakeCard) -> None:
    with serving(make_card) as (url, _):
        assert url.startswith("http://127.0.0.1:")
        assert answer(url, "/")[0] == 200
        assert answer(url, "/", Host="evil.example")[0] == 421
        assert answer(url, "/", Origin="https://evil.example")[0] == 403
        assert "script-src 'self'" in answer(url, "/")[1]
        from websockets.exceptions import InvalidStatus
        from websockets.sync.client import connect

        feed = url.replace("http", "ws", 1) + "feed"
        with pytest.raises(InvalidStatus), connect(feed, proxy=None, origin=cast("Any", "https://evil.example")):
            pass


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "{}", '{"do": "fly"}', '{"do": "seek", "index": "x"}', '{"do": "seek", "index": 1e99}',
     '{"do": "speed", "speed": 7}', '{"do": "step", "frames": true}', '{"do": ["seek"]}', "\ud800", "[" * 5000],
)  # fmt: skip
def test_what_is_no_command_is_refused_and_does_nothing(text: str) -> None:
    player = Player(Numbers(), [])
    before = player._wanted, player.snapshot()
    with pytest.raises(ValueError, match=r"command|whole number"):
        obey(player, text)
    assert (player._wanted, player.snapshot()) == before


def test_a_viewer_who_talks_nonsense_is_let_go_and_told_why(make_card: MakeCard) -> None:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    with serving(make_card) as (url, _), connect(url.replace("http", "ws", 1) + "feed", proxy=None) as line:
        line.send('{"do": "fly"}')
        with pytest.raises(ConnectionClosed) as end:
            [line.recv(timeout=10) for _ in range(100)]
    assert end.value.rcvd is not None
    assert end.value.rcvd.code == 1008
    assert "there is no such command" in end.value.rcvd.reason


# -------------------------------------------------------------------------------------------------------- in a browser

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
os.environ["SE_AVOID_STATS"] = "true"  # Selenium tells its makers what it starts, where it may


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    if not (CHROMIUM and DRIVER):
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1600,1000",
    ):
        options.add_argument(word)
    options.add_argument("--window-size=1600,1000")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER))) as driver:
        yield driver


class Page:
    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        driver.get(url)
        assert soon(lambda: self.text("#line-text") == "connected")

    def find(self, css: str) -> Any:
        return self.driver.find_element("css selector", css)

    def text(self, css: str) -> str:
        return self.find(css).text

    def click(self, css: str) -> None:
        self.find(css).click()

    def type(self, keys: str) -> None:
        self.find("body").send_keys(keys)

    def frame(self) -> int:
        """The number that the page says, and that the pixels of its first image say."""
        return int(self.driver.execute_script("return document.getElementById('frame').value"))

    def rgb(self, pane: int, y_share: float) -> Any:
        script = """const c = document.getElementById(`pane-${arguments[0]}`);
            return [...c.getContext('2d').getImageData(c.width / 2, c.height * arguments[1], 1, 1).data]"""
        return np.array(self.driver.execute_script(script, pane, y_share)[:3], float)

    def shows(self, pane: int, y_share: float, rgb: Any) -> bool:
        return soon(lambda: np.abs(self.rgb(pane, y_share) - rgb).max() < 10, 5)

    def complaints(self) -> list[str]:
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] == "SEVERE"]


@pytest.fixture
def page(driver: Any, make_card: MakeCard) -> Iterator[tuple[Page, Player]]:
    with serving(make_card) as (url, player):
        yield Page(driver, url), player
        driver.get("about:blank")


def test_both_masks_lie_over_the_frame_that_was_asked_for(page: tuple[Page, Player]) -> None:
    page_, player = page
    player.seek(40)
    assert soon(lambda: page_.frame() == 40)
    grey = np.array((40, 40, 40))
    for pane, y_share, rgb in ((0, 0.1, (grey + ROAD_RGB) / 2), (1, 0.9, (grey + ROAD_RGB) / 2), (1, 0.1, grey)):
        assert page_.shows(pane, y_share, rgb), (pane, y_share)
    page_.click("[data-view=difference]")
    assert page_.shows(0, 0.1, MAGENTA)
    assert page_.shows(0, 0.9, np.array((22, 22, 22)))
    assert page_.text("#share") == "50.0 %"
    assert page_.complaints() == []


@pytest.mark.slow
def test_buttons_keys_and_the_number_field_lead_the_player(page: tuple[Page, Player]) -> None:
    page_, player = page
    from selenium.webdriver.common.keys import Keys

    for act, index in (
        (lambda: page_.click("#next"), 1),
        (lambda: page_.type(Keys.ARROW_RIGHT * 3), 4),
        (lambda: page_.type(Keys.SHIFT + Keys.ARROW_RIGHT), 24),
        (lambda: page_.click("#back-1"), 4),
        (lambda: page_.type(Keys.END), 59),
        (lambda: page_.type("g"), 59),
        (lambda: page_.driver.switch_to.active_element.send_keys("33" + Keys.ENTER), 33),
        (lambda: page_.type("n"), 40),
        (lambda: page_.type("n"), 7),
        (lambda: page_.click("#worst-back"), 40),
        (lambda: page_.click("#worst button[data-frame='7']"), 7),
    ):
        act()
        assert soon(lambda index=index: page_.frame() == index == player.snapshot().shown.index, 8), index
    page_.type(" ")
    assert soon(lambda: player.snapshot().playing)
    assert soon(lambda: page_.find("#play").get_attribute("aria-label") == "Pause")
    page_.click("#play")
    assert soon(lambda: not player.snapshot().playing)
    page_.type("+")
    assert soon(lambda: player.snapshot().speed == 2.0)
    assert page_.complaints() == []


def test_a_click_on_the_strip_goes_there(page: tuple[Page, Player]) -> None:
    page_ = page[0]
    from selenium.webdriver import ActionChains

    timeline = page_.find("#timeline")
    width = timeline.size["width"]
    chains = ActionChains(page_.driver).move_to_element_with_offset(timeline, round(width * (40.5 / 60 - 0.5)), 0)
    chains.click().perform()
    assert soon(lambda: page_.frame() == 40)
    assert page_.text("#tip").startswith("frame 40 · 0:02.000 · 50.0 %")
    ink = page_.driver.execute_script(
        "const c = arguments[0], x = c.width * 41.5 / 60;"
        "return [...c.getContext('2d').getImageData(x, c.height - 2, 1, 1).data]",
        timeline,
    )
    assert ink[:3] == [255, 93, 93], "the worst frames are red"


def test_a_frame_that_cannot_be_decoded_is_told_and_not_shown_as_sound(driver: Any, make_card: MakeCard) -> None:
    with serving(make_card, Numbers(COUNT, 20.0, broken=(3,)), compared=False) as (url, player):
        page = Page(driver, url)
        player.seek(3)
        assert soon(lambda: page.text("#trouble") == "frame 3 is damaged")
        assert "grayscale" in page.find("#pane-0").value_of_css_property("filter")
        assert not page.find(".compares").is_displayed()
        player.seek(4)
        assert soon(lambda: page.text("#trouble") == "")
    assert soon(lambda: "trying again" in page.text("#trouble")), "a page whose replay is gone says so"
    driver.get("about:blank")


def test_every_control_has_a_name(page: tuple[Page, Player]) -> None:
    controls = page[0].driver.find_elements("css selector", "button, input, select, canvas")
    assert len(controls) > 20
    assert [one.get_attribute("outerHTML") for one in controls if one.is_displayed() and not one.accessible_name] == []


SCREENS = {"phone": (844, 390), "phone upright": (390, 844), "laptop": (1366, 768), "desk": (1920, 1080)}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCREENS)
def test_the_page_fits_every_screen(page: tuple[Page, Player], name: str) -> None:
    driver, (width, height) = page[0].driver, SCREENS[name]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": name.startswith("phone")}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page[1].seek(40)
        assert soon(lambda: page[0].frame() == 40)
        wide, high = driver.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
        assert wide <= width, "nothing has to be scrolled sideways"
        bottom = driver.execute_script("return document.getElementById('pane-0').getBoundingClientRect().bottom")
        assert 100 < bottom <= height, "the image is seen whole"
        if not name.startswith("phone"):
            assert high <= height, "all is seen at once"
        if folder := os.environ.get("EDGE_SCREENSHOTS"):
            time.sleep(1)
            Path(folder, f"replay {name}.png").write_bytes(base64.b64decode(driver.get_screenshot_as_base64()))
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
