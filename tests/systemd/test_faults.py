"""What befalls the service, under a real systemd: killed, hung, out of memory, misconfigured."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from container import Container
from unit import WATCHDOG_S, Unit, install

pytest.importorskip("uvicorn", reason="the live page needs the serve extra")
sys.path.insert(0, str(Path(__file__).parents[1] / "rtsp"))

from cameras import TestCamera


@pytest.fixture(scope="module")
def camera() -> Iterator[TestCamera]:
    with TestCamera("http", "320x240x20") as camera:
        yield camera


@pytest.fixture
def config(camera: TestCamera) -> str:
    return f"camera: {camera.url}\nweb: {{port: 0}}\n"


@pytest.fixture(scope="module")
def installed(container: Container) -> Unit:
    install(container)
    return Unit(container)


@pytest.fixture
def unit(installed: Unit) -> Iterator[Unit]:
    """What it says in these tests is no traceback of Python's."""
    yield installed
    assert "Traceback" not in installed.journal()


def test_it_is_ready_with_its_first_mask_and_waits_for_its_camera_until_then(unit: Unit) -> None:
    with TestCamera("http", "320x240x20") as late:
        late.kill()
        config = f"camera: {late.url}\nweb: {{port: 0}}\n"
        unit.begin(config, "TimeoutStartSec=4", wait=False)
        unit.await_line("no frame came in 5 s")  # longer than systemd would wait by itself
        state = unit.show()
        assert (state["ActiveState"], state["NRestarts"]) == ("activating", "0")
        assert "waiting for" in state["StatusText"]
        late.start()
        assert "masks of" in unit.await_state(lambda state: state["ActiveState"] == "active")["StatusText"]


def test_killed_it_is_back(unit: Unit, config: str) -> None:
    unit.begin(config)
    unit.befall("kill -9 $PID")
    assert "code=killed, status=9/KILL" in unit.journal()


@pytest.mark.parametrize("stage", ["capture", "infer", "publish"])
def test_a_stage_that_hangs_is_ended_by_the_watchdog_and_the_journal_names_the_place(
    unit: Unit, config: str, stage: str
) -> None:
    unit.begin(config)
    unit.befall(f"touch /run/edge/hang-{stage}")
    assert "Watchdog timeout" in unit.journal()
    assert "in faulty" in unit.journal()  # the stacks of all threads; that is the function that hung


def test_frozen_whole_it_is_ended_by_the_watchdog(unit: Unit, config: str) -> None:
    unit.begin(config)
    unit.befall("kill -STOP $PID")
    assert "Watchdog timeout" in unit.journal()


def test_a_capture_process_that_hangs_is_replaced_while_the_service_goes_on(unit: Unit, config: str) -> None:
    before = unit.begin(config)
    unit.container.sh(f"pkill -STOP -P {before['MainPID']}")
    unit.await_line("lost (frozen: no frames come)")
    unit.await_line("cam: ok", after="lost")
    after = unit.show()
    assert (after["MainPID"], after["NRestarts"]) == (before["MainPID"], before["NRestarts"])


def test_out_of_memory_it_is_ended_and_back(unit: Unit, config: str) -> None:
    state = unit.begin(config, "MemoryMax=400M\nMemorySwapMax=0")
    if not state["MemoryCurrent"].isdecimal():
        pytest.skip("this container may not limit memory (no memory controller)")
    unit.befall("touch /run/edge/hog")
    assert "status=9/KILL" in unit.journal()


def test_a_start_that_fails_every_time_is_never_given_up(unit: Unit, config: str) -> None:
    unit.begin(config, "ExecStartPre=/usr/bin/test -e /run/mended", wait=False)
    unit.await_state(lambda state: int(state["NRestarts"]) > 5)  # where systemd's default limit gives up
    unit.container.run("touch", "/run/mended")
    unit.await_state(lambda state: state["ActiveState"] == "active")


def test_a_crash_is_tried_again_until_its_cause_is_gone(unit: Unit, config: str) -> None:
    unit.begin(config.replace("web:", "engine: raod\nweb:"), wait=False)
    unit.await_state(lambda state: int(state["NRestarts"]) > 0)
    assert "no engine is called 'raod'" in unit.journal()
    unit.write_config(config)
    unit.await_state(lambda state: state["ActiveState"] == "active")


def test_a_config_that_is_not_in_order_is_not_tried_again(unit: Unit, config: str) -> None:
    unit.begin(config.replace("web:", "webb:"), wait=False)
    state = unit.await_state(lambda state: state["ActiveState"] == "failed")
    assert (state["ExecMainStatus"], state["NRestarts"]) == ("78", "0")
    assert "webb: no such key; did you mean 'web'?" in unit.journal()


def test_a_reload_takes_the_new_config_in_the_same_process(unit: Unit, config: str) -> None:
    before = unit.begin(config)
    unit.write_config('camera: "scene:street?seed=3&frames=100000&size=160x120&fps=20"\nweb: {port: 0}\n')
    unit.container.run("systemctl", "reload", "edge")
    after = unit.await_state(
        lambda state: state["SubState"] == "running" and "masks of scene:street" in state["StatusText"]
    )
    assert after["MainPID"] == before["MainPID"]


def test_a_reload_of_a_bad_config_changes_nothing_and_says_why(unit: Unit, config: str) -> None:
    before = unit.begin(config)
    unit.write_config(config + "ladder: {deadline: 3}\n")
    unit.container.run("systemctl", "reload", "edge")
    unit.await_line("the new config is refused, the old one stays")
    assert "ladder.deadline: no such key; did you mean 'deadline_ms'?" in unit.journal()
    time.sleep(WATCHDOG_S + 0.5)  # it still feeds its watchdog
    after = unit.show()
    assert (after["ActiveState"], after["MainPID"]) == ("active", before["MainPID"])
