"""The report of an evaluation in a real Chromium, on a desk and a phone, dark and light."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bundles import Edge
from drives_made import FRAMES, make_drive

from edge.engine import Bundle

if TYPE_CHECKING:
    from browser import Page
    from selenium import webdriver

SCREENS = {"desk": (1400, 900), "phone": (390, 844)}


@pytest.fixture
def page(driver: webdriver.Chrome) -> Iterator[Page]:
    from browser import Page

    page = Page(driver)
    page.complaints()
    yield page
    page.usual()
    driver.get("about:blank")


def test_a_report_fits_any_screen_and_its_strips_are_drawn(
    page: Page, edge_here: Edge, colour_bundle: Bundle, tmp_path: Path
) -> None:
    from browser import contrasts

    drive, report = make_drive(tmp_path, "a"), tmp_path / "report.html"
    words = ("--labels", drive.labels, "--sparse", "-e", colour_bundle.folder, "--html", report)
    done = edge_here("evaluate", drive.frames, *words)
    assert done.returncode == 0, done.stderr
    assert f"{FRAMES} of {FRAMES}" in done.stdout
    assert "pixels" in done.stdout, "counted beside their shares"
    for width, height in SCREENS.values():
        for theme in ("dark", "light"):
            page.screen(width, height, mobile=width < 500)
            page.prefer(theme)
            page.driver.get(report.as_uri())
            assert page.js("return document.documentElement.scrollWidth") <= width
            assert contrasts(page, "h1, h2, h3, p, th, td, figcaption") >= 4.5, (width, theme)
            lines: Any = page.js("return [...document.querySelectorAll('.strip path')].map((e) => e.getTotalLength())")
            assert lines, "steadiness and mIoU have a line each"
            assert min(lines) > 20
            assert page.complaints() == []
