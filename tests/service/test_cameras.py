"""Several cameras of one service: one engine between them, and no fault of one is another's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the live page needs the serve extra")

from running import RATE_HZ, Run, played, running, soon

from edge.backends.openvino import OpenVinoEngine
from edge.engine import Bundle
from edge.errors import EngineError
from edge.frame import Image
from edge.service import camera as camera_module
from edge.service.load import Load


@pytest.fixture
def run_service(tmp_path: Path, colour_bundle: Bundle) -> Iterator[Run]:
    with running(tmp_path, colour_bundle) as run:
        yield run


@pytest.fixture
def one(tmp_path: Path) -> dict[str, Any]:
    return {**played(tmp_path), "web": {"port": 0}}


@pytest.fixture
def two(tmp_path: Path) -> dict[str, Any]:
    return {**played(tmp_path, RATE_HZ, "front", "rear"), "web": {"port": 0}}


def masks_of(service: Any) -> tuple[int, ...]:
    return tuple(camera.published for camera in service._cameras)


def test_two_cameras_run_on_one_compiled_model(
    run_service: Run, two: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[OpenVinoEngine] = []
    make = OpenVinoEngine.__init__

    def count(engine: OpenVinoEngine, *words: Any, **options: Any) -> None:
        opened.append(engine)
        make(engine, *words, **options)

    monkeypatch.setattr(OpenVinoEngine, "__init__", count)
    service, _ = run_service(two)
    assert soon(lambda: min(masks_of(service)) > 3)
    assert len(opened) == 1
    front, rear = (camera._segmenter.engine._now._now for camera in service._cameras)
    assert front._new_request.__self__ is rear._new_request.__self__
    assert front is not rear


@pytest.mark.slow
def test_a_failed_inference_restarts_its_camera_and_not_the_other_nor_the_engine(
    run_service: Run, two: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_module, "RETRY_S", 1.0)
    service, _ = run_service(two)
    assert soon(lambda: min(masks_of(service)) > 3)
    front, rear = service._cameras
    model, broken, infer = (
        front._segmenter.engine._now._now._new_request.__self__,
        threading.Event(),
        OpenVinoEngine.infer,
    )
    victim = front._segmenter.engine._now._now

    def infer_or_fail(engine: OpenVinoEngine, image: Image) -> Any:
        if engine is victim:
            broken.set()
            raise EngineError("inference failed: a test")
        return infer(engine, image)

    monkeypatch.setattr(OpenVinoEngine, "infer", infer_or_fail)
    assert broken.wait(30)
    assert soon(lambda: front.trouble is not None)
    while_down = rear.published
    assert soon(lambda: rear.published > while_down + 3)
    before = front.published
    assert soon(lambda: front.published > before + 3), "it is back"
    assert front._segmenter.engine._now._now._new_request.__self__ is model
    assert not rear.has_ended
    assert rear.trouble is None


@pytest.mark.parametrize(("cameras", "advice"), [("two", "Give it fewer cameras"), ("one", "Give it a lower rate")])
def test_more_than_the_machine_carries_is_in_log_and_status(
    cameras: str,
    advice: str,
    run_service: Run,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    waits, infer = threading.Event(), OpenVinoEngine.infer

    def infer_slowly(engine: OpenVinoEngine, image: Image) -> Any:
        waits.wait(0.15)
        return infer(engine, image)

    monkeypatch.setattr(OpenVinoEngine, "infer", infer_slowly)
    monkeypatch.setattr("edge.service.service.TOLD_S", 0.0)
    monkeypatch.setattr(camera_module, "Load", lambda: Load(hold_s=0.5))
    _, manager = run_service(request.getfixturevalue(cameras))
    assert soon(lambda: "overload: " in manager.status_text), manager.status_text
    assert "more than this machine carries" in caplog.text
    assert advice in caplog.text
    assert "% of its frames are dropped" in manager.status_text
