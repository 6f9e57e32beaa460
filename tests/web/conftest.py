"""A live state without a net, and results whose colours are known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from edge.card import Card
from edge.frame import Frame, Image, Letterbox
from edge.prediction import Prediction
from edge.timing import Durations, Stages
from edge.web.state import Live

if TYPE_CHECKING:
    from browser import Page
    from selenium import webdriver

    from edge.web.server import WebServer

TOKEN = "correct-horse-battery-staple"
MakeResult = Callable[..., Prediction]


@pytest.fixture
def stages() -> Stages:
    return Stages()


@pytest.fixture
def live(make_card: Callable[..., Card], stages: Stages) -> Live:
    engine = cast("Any", SimpleNamespace(card=make_card(b"a graph"), precision="int8"))
    return Live(engine, "/dev/video0", lambda: dict[str, Durations](stages.by_name))


@pytest.fixture
def make_result(flag: Image, flag_classes: Image, make_card: Callable[..., Card]) -> MakeResult:
    """A result of the flag: `make_result(index, age_ms=..., ago_s=...)`; its mask was ready `ago_s` ago."""

    card = make_card(b"a graph")

    def make(index: int = 0, age_ms: float = 20.0, ago_s: float = 0.0) -> Prediction:
        ready_ns = time.monotonic_ns() - round(ago_s * 1e9)
        frame = Frame(index=index, captured_ns=ready_ns - round(age_ms * 1e6), source="flag", bgr=flag)
        return Prediction(
            frame, {"semantic": flag_classes}, Letterbox.fit(card.input_wh, card.input_wh), card.table, ready_ns
        )

    return make


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture
def server(live: Live) -> Iterator[WebServer]:
    from edge.web.options import WebOptions
    from edge.web.server import WebServer

    with WebServer(live, WebOptions(port=0)) as server:
        yield server


@pytest.fixture
def patient(live: Live) -> Live:
    """Takes nothing for old, so that a test may look as long as it likes."""
    live.stale_after_s = 1000.0
    return live


@pytest.fixture
def page(driver: webdriver.Chrome) -> Iterator[Page]:
    from browser import Page

    page = Page(driver)
    page.complaints()
    yield page
    driver.get("about:blank")  # the page of one test does not look for the server of the next
