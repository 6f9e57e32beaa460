"""A sink that hangs holds up no frame; the service sees it all the same."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from edge.backends.openvino import OpenVinoEngine
from edge.config import parse_tree
from edge.frame import Image
from edge.prediction import Prediction
from edge.service import outputs as outputs_module
from edge.service.config import ServeConfig
from edge.service.reload import Next
from edge.service.service import Inbox, Service
from edge.sinks.recorder import Recorder

STREET = "scene:street?seed=3&frames=100000&size=160x120&fps=20"


class Manager:
    """Hears what systemd would."""

    watchdog_s: float | None = 0.3

    def __init__(self) -> None:
        self.fed, self.status_text = 0, ""

    def progress(self) -> None:
        self.fed += 1

    def ready(self, status: str) -> None:
        self.status_text = status

    status = ready

    def starting(self, status: str, within_s: float) -> None:
        self.status_text = status


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
def run_service(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], tuple[Any, Manager]]]:
    """Serves a config in a thread until the test's end."""
    with ExitStack() as stack:

        def run(settings: dict[str, Any]) -> tuple[Any, Manager]:
            config = parse_tree(settings, ServeConfig, "a test")
            manager, inbox = Manager(), Inbox()
            service: Any = Service(Next(config, {}), manager, inbox, tmp_path)  # type: ignore[arg-type]
            thread = threading.Thread(target=service.run)

            def end() -> None:
                inbox.put(signal.SIGTERM)
                thread.join(10)
                assert not thread.is_alive()

            thread.start()
            stack.callback(end)
            return service, manager

        yield run


def test_it_is_ready_at_its_first_mask_and_not_at_the_next_look(
    run_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.service.service.TICK_S", 3600.0)
    monkeypatch.setattr(Manager, "watchdog_s", None)
    _, manager = run_service({"camera": STREET, "web": {"port": 0}})
    assert _soon(lambda: "masks of" in manager.status_text)


def test_a_disk_that_hangs_is_told_by_name_and_no_longer_feeds_the_watchdog(
    tmp_path: Path, disk: Disk, run_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs_module, "HUNG_S", 2.0)
    monkeypatch.setattr("edge.service.service.TOLD_S", 0.0)
    service, manager = run_service({"camera": STREET, "recorder": {"folder": str(tmp_path)}})
    try:
        assert _soon(lambda: manager.fed > 2 and "recorder ok" in manager.status_text)
        disk.hang()
        assert _soon(lambda: "stuck: recorder at one result for" in manager.status_text)
        assert _soon(lambda: "recorder hung (at one result for" in manager.status_text)
        fed, published = manager.fed, service._cameras[0].published
        assert _soon(lambda: service._cameras[0].published > published + 10), "the masks go on"
        assert manager.fed == fed
    finally:
        disk.release()


def test_an_engine_that_hangs_is_not_fed_for_what_it_did_before(
    run_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    works, infer = threading.Event(), OpenVinoEngine.infer
    works.set()

    def infer_or_hang(engine: OpenVinoEngine, image: Image) -> Any:
        works.wait(60)
        return infer(engine, image)

    monkeypatch.setattr(OpenVinoEngine, "infer", infer_or_hang)
    monkeypatch.setattr(Manager, "watchdog_s", 4.0)  # a meal a second
    _, manager = run_service({"camera": STREET, "web": {"port": 0}})
    try:
        assert _soon(lambda: "masks of" in manager.status_text)
        before = manager.fed
        assert _soon(lambda: manager.fed > before)
        time.sleep(0.4)  # masks come
        works.clear()
        assert not _soon(lambda: manager.fed > before + 1, within_s=1.5)
    finally:
        works.set()


def _soon(holds: Any, within_s: float = 30.0) -> bool:
    waits = threading.Event()
    return any(holds() or waits.wait(0.02) for _ in range(round(within_s / 0.02)))
