"""The picture of the live page in docs/web.md: a rendered street at 720p and 30 Hz for some seconds, in Chromium.

python -m benchmarks.page_picture [--to docs/web.jpg] [--seconds 20]

Its figures are this machine's, so let nothing else run. Wants: apt-get install chromium chromium-driver; pip install
selenium.
"""

from __future__ import annotations

import argparse
import os
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
        driver.get(url)
        time.sleep(seconds)
        return driver.get_screenshot_as_png()


def main() -> None:
    """Take it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("docs/web.jpg"))
    parser.add_argument("--seconds", type=float, default=20)
    wish = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.live_page", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().rpartition(" ")[2].strip()
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
