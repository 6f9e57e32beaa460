"""The image of the live page in docs/web.md: a drive, again and again, for the minute of its charts, in Chromium.

python -m benchmarks.page_picture [--source $EDGE_DATA/drives/motorway-540p.mp4] [--to docs/web.jpg] [--seconds 70]

Its figures are this machine's, so let nothing else run. Wants: apt-get install chromium chromium-driver; pip install
selenium.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from selenium import webdriver

SIZE_WH = (1600, 1000)


def picture(url: str, seconds: float) -> bytes:
    """The page as PNG, after it was looked at for so long."""
    os.environ["SE_AVOID_STATS"] = "true"  # Selenium tells its makers what it starts, where it may
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(word)
    options.binary_location = shutil.which("chromium") or ""
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as driver:
        size = {"width": SIZE_WH[0], "height": SIZE_WH[1], "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
        driver.get(url)
        time.sleep(seconds)
        while driver.execute_script("return document.getElementById('stage').dataset.stale") == "true":
            time.sleep(0.1)  # a busy machine has old masks, which are not what the page is for
        return driver.get_screenshot_as_png()


def main() -> None:
    """Take it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default=os.path.expandvars("$EDGE_DATA/drives/motorway-540p.mp4"))
    parser.add_argument("--to", type=Path, default=Path("docs/web.jpg"))
    parser.add_argument("--seconds", type=float, default=70)
    wish = parser.parse_args()
    folder, name = os.path.split(wish.source)  # the page shows the name, and not whose disk it is on
    command = [sys.executable, "-m", "edge.cli", "serve", name, "--loop", "--port", "0"]
    server = subprocess.Popen(command, cwd=folder or ".", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert server.stdout is not None
        url = next(found[0] for line in server.stdout if (found := re.search(r"http://127[^ ]*/", line)))
        png = picture(url, wish.seconds)
    finally:
        server.terminate()
        server.wait()
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    cv2.imwrite(str(wish.to), image, (cv2.IMWRITE_JPEG_QUALITY, 88))
    print(f"{wish.to}: {image.shape[1]}x{image.shape[0]}")


if __name__ == "__main__":
    main()
