"""Chromium without a window, for images of pages: the live page of a service that is started for it, or a file.

You need: apt-get install chromium chromium-driver; pip install selenium.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from selenium import webdriver

from edge.frame import Image

_STALE = "return document.getElementById('stage')?.dataset.stale === 'true'"


@contextmanager
def served(source: str) -> Iterator[str]:
    """The address of the live page of `edge serve --loop`, which ends with this context."""
    folder, name = os.path.split(source)  # the page shows the name, and not whose disk it is on
    with serving(["serve", name, "--loop", "--port", "0"], folder or ".") as url:
        yield url


@contextmanager
def serving(words: list[str], folder: str) -> Iterator[str]:
    """The address of the page of an `edge` command, which ends with this context."""
    command = [sys.executable, "-m", "edge.cli", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    server = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert server.stdout is not None
        yield next(found[0] for line in server.stdout if (found := re.search(r"http://127[^ ]*/", line)))
    finally:
        server.terminate()
        server.wait()


def screenshots(
    url: str, size_wh: tuple[int, int], seconds: float, schemes: tuple[str, ...] = ("dark",)
) -> list[Image]:
    """uint8 (H, W, 3) BGR in each scheme, light or dark, after the page was open for so long.

    A live page whose masks are stale, as a busy machine's are, is waited for.
    """
    os.environ["SE_AVOID_STATS"] = "true"  # Selenium reports what it starts to its makers, where it may
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(word)
    options.binary_location = shutil.which("chromium") or ""
    images = []
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as driver:
        size = {"width": size_wh[0], "height": size_wh[1], "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(url)
        time.sleep(seconds)
        for scheme in schemes:
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            time.sleep(1)  # for what is drawn by a script, such as charts
            while driver.execute_script(_STALE):
                time.sleep(0.1)
            image = cv2.imdecode(np.frombuffer(driver.get_screenshot_as_png(), np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            images.append(np.asarray(image, np.uint8))
    return images
