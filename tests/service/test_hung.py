"""A sink that hangs holds up no frame; the service sees it all the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Manager, Run, played, running, soon

from edge.backends.openvino import OpenVinoEngine
from edge.engine import Bundle
from edge.frame import Image
from edge.prediction import Prediction
from edge.service import outputs as outputs_module
from edge.sinks.recorder import Recorder


class Disk:
    """Of a recorder; it hangs between `hang` and `release`."""

    def __init__(self) -> None:
        self.works = threading.Event()
        self.works.set()

    def hang(self) -> None:
        self.works.clear()

    def release(self) -> None:
        self.works.set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk, write = Disk(), Recorder.write

    def write_to_disk(recorder: Recorder, result: Prediction, dropped: int) -> None:
        disk.works.wait(60)
        write(recorder, result, dropped)

    monkeypatch.setattr(Recorder, "write", write_to_disk)
    yield disk
    disk.release()


@pytest.fixture
def run_service(tmp_path: Path, colour_bundle: Bundle) -> Iterator[Run]:
    with running(tmp_path, colour_bundle) as run:
        yield run


def test_it_is_ready_at_its_first_mask_and_not_at_the_next_look(
    run_service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.service.service.TICK_S", 3600.0)
    monkeypatch.setattr(Manager, "watchdog_s", None)
    _, manager = run_service({**played(tmp_path), "web": {"port": 0}})
    assert soon(lambda: "masks of" in manager.status_text)


def test_a_disk_that_hangs_is_told_by_name_and_no_longer_feeds_the_watchdog(
    tmp_path: Path, disk: Disk, run_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs_module, "HUNG_S", 2.0)
    monkeypatch.setattr("edge.service.service.TOLD_S", 0.0)
    service, manager = run_service({**played(tmp_path), "recorder": {"folder": str(tmp_path)}})
    try:
        assert soon(lambda: manager.fed > 2 and "recorder ok" in manager.status_text)
        disk.hang()
        assert soon(lambda: "stuck: recorder at one result for" in manager.status_text)
        assert soon(lambda: "recorder hung (at one result for" in manager.status_text)
        fed, published = manager.fed, service._cameras[0].published
        assert soon(lambda: service._cameras[0].published > published + 10), "the masks go on"
        assert manager.fed == fed
    finally:
        disk.release()


def test_an_engine_that_hangs_is_not_fed_for_what_it_did_before(
    run_service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works, infer = threading.Event(), OpenVinoEngine.infer
    works.set()

    def infer_or_hang(engine: OpenVinoEngine, image: Image) -> Any:
        works.wait(60)
        return infer(engine, image)

    monkeypatch.setattr(OpenVinoEngine, "infer", infer_or_hang)
    monkeypatch.setattr(Manager, "watchdog_s", 4.0)  # a meal a second
    _, manager = run_service({**played(tmp_path), "web": {"port": 0}})
    try:
        assert soon(lambda: "masks of" in manager.status_text)
        before = manager.fed
        assert soon(lambda: manager.fed > before)
        works.clear()
        before = manager.fed  # taken behind the last mask: how long the steps until here took decides nothing
        assert not soon(lambda: manager.fed > before + 1, within_s=3)
    finally:
        works.set()
