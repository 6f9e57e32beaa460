"""A browser with the page open, in the tests that look at it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="pip install 'edge-segmentation[serve]'")
pytest.importorskip("selenium", reason="pip install selenium")

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

if TYPE_CHECKING:
    from edge.web.server import WebServer

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    pytest.skip("no browser: apt-get install chromium chromium-driver", allow_module_level=True)
os.environ["SE_AVOID_STATS"] = "true"  # Selenium tells its makers what it starts, where it may
GREEN_XY, RED_XY, BLUE_XY = (20, 24), (52, 24), (3, 24)  # in the stripes of the flag
TINT = np.array((255, 60, 60))  # of the group "warm", which is green and red


class Page:
    """A browser with the page open."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, server: WebServer) -> None:
        self.driver.get(server.url)

    def find(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def has(self, css: str) -> bool:
        """Whether there is such an element, and it is seen."""
        return any(element.is_displayed() for element in self.driver.find_elements(By.CSS_SELECTOR, css))

    def text(self, css: str) -> str:
        """What is seen of it; lists are made anew twice a second, perhaps between finding and reading."""
        while True:
            with suppress(StaleElementReferenceException):
                return self.find(css).text

    def js(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def is_live(self) -> bool:
        return self.find("#stage").get_attribute("data-stale") == "false"

    def rgb(self, xy: tuple[int, int]) -> Any:
        """The colour of the image there, float (3,)."""
        script = "return [...document.getElementById('view').getContext('2d').getImageData(...arguments, 1, 1).data]"
        return np.array(self.js(script, *xy)[:3], float)

    def shows(self, xy: tuple[int, int], rgb: Any) -> bool:
        return bool(np.abs(self.rgb(xy) - rgb).max() < 14)  # a JPEG between

    def complaints(self) -> list[str]:
        """Errors in the browser's console, emptied by looking: refusals of the policy, failures of the script."""
        log: Any = self.driver.get_log("browser")
        return [line["message"] for line in log if line["level"] == "SEVERE"]

    def screen(self, width: int, height: int, mobile: bool = False) -> None:
        """Look at it on a screen of that size, until `usual`."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, theme: str) -> None:
        """What the system is said to prefer: light or dark; "" for nothing."""
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def usual(self) -> None:
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.prefer("")

    def shot(self, name: str) -> None:
        """A screenshot, where EDGE_SCREENSHOTS names a folder."""
        if folder := os.environ.get("EDGE_SCREENSHOTS"):
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """A Chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1600,1000",
        "--host-resolver-rules=MAP car.test 127.0.0.1",  # a name that is not localhost
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(str(DRIVER))
    with webdriver.Chrome(options, service) as driver:
        yield driver


def contrasts(page: Page, css: str) -> float:
    """The least contrast (WCAG 2.2, 1.4.3) of a text with what lies behind it."""
    script = """
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const behind = (element) => {
      const layers = [];
      for (let e = element; e && (layers.at(-1)?.[3] ?? 0) < 1; e = e.parentElement) {
        const [r, g, b, opacity = 1] = numbers(getComputedStyle(e).backgroundColor);
        layers.push([r, g, b, opacity]);
      }
      const over = (below, [r, g, b, a]) => [r, g, b].map((v, place) => a * v + (1 - a) * below[place]);
      return layers.reverse().reduce(over, [255, 255, 255]);
    };
    const contrast = (element) => {
      const pair = [light(numbers(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
      return (pair[0] + 0.05) / (pair[1] + 0.05);
    };
    return Math.min(...[...document.querySelectorAll(arguments[0])].filter((e) => e.textContent.trim()).map(contrast));
    """
    return float(page.js(script, css))
