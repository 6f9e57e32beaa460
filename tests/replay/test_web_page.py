"""The page of a replay in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browser import Page
from bundles import MakeCard
from recordings import Numbers, soon
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys
from served import COUNT, serving

from edge.classes import CAMVID
from edge.replay.player import Player

if TYPE_CHECKING:
    from selenium import webdriver

ROAD_RGB, MAGENTA = np.array(CAMVID.tints["road"]), (255, 0, 255)


class ReplayPage(Page):
    """The page of a replay, connected."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        super().__init__(driver)
        self.complaints()
        driver.get(url)
        assert soon(lambda: self.text("#line-text") == "connected")

    def click(self, css: str) -> None:
        self.find(css).click()

    def type(self, keys: str) -> None:
        self.find("body").send_keys(keys)

    def frame(self) -> int:
        """The number that the page says, and that the pixels of its first image say."""
        return int(self.js("return document.getElementById('frame').value"))

    def colour(self, pane: int, y_share: float) -> Any:
        script = """const c = document.getElementById(`pane-${arguments[0]}`);
            return [...c.getContext('2d').getImageData(c.width / 2, c.height * arguments[1], 1, 1).data]"""
        return np.array(self.js(script, pane, y_share)[:3], float)

    def paints(self, pane: int, y_share: float, rgb: Any) -> bool:
        return soon(lambda: np.abs(self.colour(pane, y_share) - rgb).max() < 10, 5)


@pytest.fixture
def page(driver: webdriver.Chrome, make_card: MakeCard) -> Iterator[tuple[ReplayPage, Player]]:
    with serving(make_card) as (url, player):
        yield ReplayPage(driver, url), player
        driver.get("about:blank")


def test_both_masks_lie_over_the_frame_that_was_asked_for(page: tuple[ReplayPage, Player]) -> None:
    page_, player = page
    player.seek(40)
    assert soon(lambda: page_.frame() == 40)
    grey = np.array((40, 40, 40))
    for pane, y_share, rgb in ((0, 0.1, (grey + ROAD_RGB) / 2), (1, 0.9, (grey + ROAD_RGB) / 2), (1, 0.1, grey)):
        assert page_.paints(pane, y_share, rgb), (pane, y_share)
    page_.click("[data-view=difference]")
    assert page_.paints(0, 0.1, MAGENTA)
    assert page_.paints(0, 0.9, np.array((22, 22, 22)))
    assert page_.text("#share") == "50.0 %"
    assert page_.complaints() == []


def test_a_view_shows_how_sure_an_engine_is(page: tuple[ReplayPage, Player]) -> None:
    shown, player = page
    player.seek(40)
    assert soon(lambda: shown.frame() == 40)
    shown.click("[data-view='first confidence']")
    assert shown.paints(0, 0.1, np.full(3, (40 + 255) / 2)), "white over the image, at half strength"
    assert shown.paints(0, 0.9, np.full(3, 40 / 2))
    assert shown.text("#caption-0") == "first confidence"
    assert shown.complaints() == []


@pytest.mark.slow
def test_buttons_keys_and_the_number_field_lead_the_player(page: tuple[ReplayPage, Player]) -> None:
    page_, player = page
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


def test_a_click_on_the_strip_goes_there(page: tuple[ReplayPage, Player]) -> None:
    page_ = page[0]
    timeline = page_.find("#timeline")
    width = timeline.size["width"]
    chains = ActionChains(page_.driver).move_to_element_with_offset(timeline, round(width * (40.5 / 60 - 0.5)), 0)
    chains.click().perform()
    assert soon(lambda: page_.frame() == 40)
    assert page_.text("#tip").startswith("frame 40 · 0:02.000 · 50.0 %")
    ink = page_.js(
        "const c = arguments[0], x = c.width * 41.5 / 60;"
        "return [...c.getContext('2d').getImageData(x, c.height - 2, 1, 1).data]",
        timeline,
    )
    assert ink[:3] == [255, 93, 93], "the worst frames are red"


def test_a_frame_that_cannot_be_decoded_is_told_and_not_shown_as_sound(
    driver: webdriver.Chrome, make_card: MakeCard
) -> None:
    with serving(make_card, Numbers(COUNT, 20.0, broken=(3,)), compared=False) as (url, player):
        page = ReplayPage(driver, url)
        player.seek(3)
        assert soon(lambda: page.text("#trouble") == "frame 3 is damaged")
        assert "grayscale" in page.find("#pane-0").value_of_css_property("filter")
        assert not page.find(".compares").is_displayed()
        player.seek(4)
        assert soon(lambda: page.text("#trouble") == "")
    assert soon(lambda: "trying again" in page.text("#trouble")), "a page whose replay is gone says so"
    driver.get("about:blank")


def test_a_layers_box_has_its_colour_and_its_name_beside_it(page: tuple[ReplayPage, Player]) -> None:
    box, name = page[0].find("#layers input"), page[0].find("#layers .name")
    rgb = ", ".join(str(part) for part in ROAD_RGB)
    assert (name.text, box.value_of_css_property("background-color")) == ("road", f"rgba({rgb}, 1)")
    assert 0 < name.location["x"] - box.location["x"] - box.size["width"] < 20


def test_every_control_has_a_name(page: tuple[ReplayPage, Player]) -> None:
    controls = page[0].driver.find_elements("css selector", "button, input, select, canvas")
    assert len(controls) > 20
    assert [one.get_attribute("outerHTML") for one in controls if one.is_displayed() and not one.accessible_name] == []


SCREENS = {"phone": (844, 390), "phone upright": (390, 844), "laptop": (1366, 768), "desk": (1920, 1080)}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCREENS)
def test_the_page_fits_every_screen(page: tuple[ReplayPage, Player], name: str) -> None:
    (shown, player), (width, height) = page, SCREENS[name]
    shown.screen(width, height, mobile=name.startswith("phone"))
    try:
        player.seek(40)
        assert soon(lambda: shown.frame() == 40)
        wide, high = shown.js("return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        assert wide <= width, "nothing has to be scrolled sideways"
        bottom = shown.js("return document.getElementById('pane-0').getBoundingClientRect().bottom")
        assert 100 < bottom <= height, "the image is seen whole"
        if not name.startswith("phone"):
            assert high <= height, "all is seen at once"
        shown.shot(f"replay {name}")
    finally:
        shown.usual()
