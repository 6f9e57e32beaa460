from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EPERM
from pathlib import Path
from typing import Any

import pytest
from drives import RATE_HZ, WH, mask_of
from stand_in import result_of
from videos import picture

from edge.drive.file import DriveFile
from edge.drive.schema import EVENTS, TRIGGER
from edge.errors import ConfigError, EngineError, OutputError
from edge.events import Event
from edge.prediction import Prediction
from edge.sinks import flight as flight_module
from edge.sinks import size_changes
from edge.sinks.drive import DriveOptions
from edge.sinks.flight import FlightOptions, FlightRecorder, ring_folder
from edge.sources.drive import Drive
from edge.timing import Stages


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The rings of a test, which are all gone after it."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flight_module, "AFTER_S", 0.0)


def recorder(folder: Path, **options: Any) -> FlightRecorder:
    return FlightRecorder(FlightOptions(str(folder), **options), DriveOptions("edge 0", "test", RATE_HZ), Stages())


def seen(index: int, age_ms: float = 20) -> Prediction:
    """Ten a second: every tenth is a key picture."""
    captured_ns = 5_000_000_000 + index * 10**9 // RATE_HZ
    result = result_of(index, mask_of(index), image=picture(index, WH), captured_ns=captured_ns)
    object.__setattr__(result, "ready_ns", captured_ns + round(age_ms * 1e6))
    return result


def keep(sink: FlightRecorder, begin: int, end: int) -> None:
    for index in range(begin, end):
        sink.write(seen(index), 0)


def fill(disk: Path) -> None:
    with suppress(OSError), (disk / "fill").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


def drives(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.mcap"))


def numbers(path: Path) -> list[int]:
    """Which frames are in a drive, by the masks that go with them."""
    with Drive(str(path)) as source:
        recorded = [source.recorded(frame.index) for frame in source]
    assert None not in recorded
    return [item.frame for item in recorded if item is not None]


def reason(path: Path) -> str:
    return DriveFile(path).metadata[TRIGGER]["reason"]


def test_nothing_is_written_where_nothing_happens(tmp_path: Path) -> None:
    with recorder(tmp_path / "out") as sink:
        keep(sink, 0, 30)
        assert sink.health.state == "ok"
        assert sink.health.levels["ring_bytes"] > 0
    assert drives(tmp_path / "out") == []
    assert str(sink.health) == "stopped"


@pytest.mark.slow
def test_a_trigger_has_the_seconds_before_it_and_some_after_it_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight_module, "AFTER_S", 1.0)
    with recorder(tmp_path, seconds=2.0) as sink:
        keep(sink, 0, 60)
        sink.trigger("asked for")
        keep(sink, 60, 65)
        time.sleep(1.1)
        keep(sink, 65, 80)
    (path,) = drives(tmp_path)
    frames = numbers(path)
    assert frames == list(range(frames[0], 70))  # up to the key picture behind "after"
    assert 20 <= frames[0] <= 40
    assert frames[0] % 10 == 0
    assert reason(path) == "asked for"
    assert (sink.health.totals["drives"], sink.health.totals["triggers"]) == (1, 1)


def test_a_drive_begins_anew_after_one_was_written(tmp_path: Path, at_once: None) -> None:
    with recorder(tmp_path, cooldown_s=0.0) as sink:
        keep(sink, 0, 15)
        sink.trigger("one")
        keep(sink, 15, 35)
        sink._await_writer()
        sink.trigger("two")
        keep(sink, 35, 45)
    assert [(reason(path), numbers(path)) for path in drives(tmp_path)] == [
        ("one", list(range(20))),
        ("two", list(range(20, 40))),
    ]


def test_an_event_is_kept_and_is_a_trigger_when_it_begins(tmp_path: Path, at_once: None) -> None:
    with recorder(tmp_path) as sink:
        keep(sink, 0, 12)
        sink.event(Event("road_gone", False, 5, 11, 0.1), seen(11))
        keep(sink, 12, 22)
        assert sink.health.totals["triggers"] == 0
        sink.event(Event("pedestrian_ahead", True, 6, 21, 0.2), seen(21))
        keep(sink, 22, 32)
    (path,) = drives(tmp_path)
    file = DriveFile(path)
    events = [json.loads(file.read(EVENTS, place)) for place in file.places[EVENTS]]
    assert [(event["event"], event["active"]) for event in events] == [("road_gone", False), ("pedestrian_ahead", True)]
    assert reason(path) == "pedestrian_ahead began at frame 21"


def test_a_mask_that_is_too_old_is_a_trigger(tmp_path: Path, at_once: None) -> None:
    with recorder(tmp_path, deadline_ms=50.0) as sink:
        keep(sink, 0, 12)
        sink.write(seen(12, age_ms=51), 0)
        keep(sink, 13, 22)
    assert [reason(path) for path in drives(tmp_path)] == ["the mask of frame 12 was 51 ms old"]


def test_a_second_trigger_within_the_cooldown_is_counted_and_no_more(tmp_path: Path, at_once: None) -> None:
    with recorder(tmp_path) as sink:
        for _ in range(3):
            sink.trigger("again")
            keep(sink, 0, 12)
    assert len(drives(tmp_path)) == 1
    assert sink.health.totals == {"drives": 1, "drives_lost": 0, "triggers": 3, "suppressed": 2, "frames_lost": 0}


def test_the_ring_is_bounded_in_seconds_and_in_bytes(tmp_path: Path, memory: Path) -> None:
    with recorder(tmp_path, seconds=3.0) as sink:
        keep(sink, 0, 200)
        by_time = sink.health.levels["ring_bytes"]
        assert by_time == sum(path.stat().st_size for path in memory.glob("*/*.mcap"))
        assert len(list(memory.glob("*/*.mcap"))) <= 3 + 2 + 2
    with recorder(tmp_path, seconds=3.0, memory_mb=by_time / 2e6) as sink:
        keep(sink, 0, 200)
        assert sink.health.levels["ring_bytes"] <= by_time / 2


def test_a_camera_that_alternates_its_size_does_not_begin_a_piece_for_each_frame(
    tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(size_changes, "SIZE_CHANGES", 3)
    with recorder(tmp_path / "out") as sink:
        for index in range(60):
            size_wh = (128, 96) if index % 2 else WH
            sink.write(result_of(index, mask_of(index), image=picture(index, size_wh), captured_ns=index * 10**8), 0)
        pieces = list(memory.glob("*/*.mcap"))
        assert len(pieces) <= 1 + 3 + 6  # at the changes of size that may be, and one each second
        assert 20 <= sink.health.totals["frames_lost"] <= 30
        assert str(sink.health).startswith("ok (the camera alternates between 64x48 and 128x96")
        sink.trigger("asked for")
    assert len(drives(tmp_path / "out")) == 1
    assert caplog.text.count("the camera alternates") == 1


def test_an_error_that_ends_the_run_has_its_last_seconds_written_and_a_ctrl_c_has_not(tmp_path: Path) -> None:
    for error in (KeyboardInterrupt(), EngineError("the graph is gone")):
        sink = recorder(tmp_path).__enter__()
        keep(sink, 0, 13)
        sink.__exit__(type(error), error, None)
    (path,) = drives(tmp_path)
    assert reason(path) == "the run ended: the graph is gone"
    assert numbers(path) == list(range(13))


def test_a_trigger_that_waits_is_served_when_the_run_ends(tmp_path: Path) -> None:
    with recorder(tmp_path) as sink:
        keep(sink, 0, 5)
        sink.trigger("just now")
    assert [reason(path) for path in drives(tmp_path)] == ["just now"]


KILLED = """
import os, sys
sys.path[:0] = [{tests!r}, {sinks!r}]
from pathlib import Path
from test_flight import keep, recorder
with recorder(Path(sys.argv[1])) as sink:
    keep(sink, 0, 37)
    print("kept", flush=True)
    input()
"""


@pytest.mark.slow
def test_what_a_killed_process_had_seen_is_written_by_the_next_one(tmp_path: Path) -> None:
    here = Path(__file__).parent
    code = KILLED.format(tests=str(here.parent), sinks=str(here))
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "kept\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert drives(tmp_path / "out") == []
    with recorder(tmp_path / "out") as sink:
        keep(sink, 0, 3)
    (path,) = drives(tmp_path / "out")
    assert numbers(path) == list(range(37))
    assert "it was killed, or crashed" in reason(path)


def test_memory_that_is_full_costs_frames_and_never_the_loop(
    tmp_path: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = small_disk(100)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(disk))
    monkeypatch.setattr(flight_module, "RETRY_S", 0.0)
    with recorder(tmp_path / "out") as sink:
        keep(sink, 0, 300)
        assert sink.health.state == "lost"
        assert "No space left" in sink.health.reason
        assert 0 < sink.health.totals["frames_lost"] < 300
    assert list(disk.iterdir()) == []


def test_a_ring_that_was_deleted_from_memory_begins_anew_and_the_drive_holds_what_came_since(
    tmp_path: Path, memory: Path, at_once: None
) -> None:
    with recorder(tmp_path) as sink:
        keep(sink, 0, 35)
        shutil.rmtree(ring_folder(tmp_path))
        keep(sink, 35, 65)
        sink.trigger("asked for")
        keep(sink, 65, 75)
    (path,) = drives(tmp_path)
    assert numbers(path) == list(range(40, 70))


def test_a_drive_that_cannot_be_written_is_told_until_one_is_and_the_ring_goes_on(
    small_disk: Callable[[int], Path],
    at_once: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(flight_module, "RESERVE_BYTES", 0)
    disk = small_disk(4096)
    fill(disk)
    with recorder(disk / "out", cooldown_s=0.0) as sink:
        keep(sink, 0, 12)
        sink.trigger("one")
        keep(sink, 12, 21)
        sink._await_writer()
        keep(sink, 21, 30)
        assert (sink.health.state, sink.health.totals["drives_lost"]) == ("degraded", 1)
        assert "a drive is lost" in sink.health.reason
        assert "the disk is full" in sink.health.reason
        assert drives(disk / "out") == []
        (disk / "fill").unlink()
        sink.trigger("two")
        keep(sink, 30, 41)
        sink._await_writer()
        keep(sink, 41, 42)
        assert sink.health.state == "ok"
    assert len(drives(disk / "out")) == 1
    assert "Traceback" not in caplog.text


def test_drives_that_cannot_be_deleted_are_named_where_the_disk_is_full(
    small_disk: Callable[[int], Path], at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight_module, "RESERVE_BYTES", 0)
    disk = small_disk(4096)
    with recorder(disk / "out", cooldown_s=0.0) as sink:
        keep(sink, 0, 12)
        sink.trigger("one")
        keep(sink, 12, 21)
        sink._await_writer()
        unlink = Path.unlink

        def fail(path: Path, missing_ok: bool = False) -> None:
            if path.parent.name == "out" and not path.name.startswith("."):
                raise OSError(EPERM, "Operation not permitted")
            unlink(path, missing_ok=missing_ok)

        monkeypatch.setattr(Path, "unlink", fail)
        fill(disk)
        sink.trigger("two")
        keep(sink, 21, 41)
        sink._await_writer()
        assert (sink.health.state, sink.health.totals["drives_lost"]) == ("degraded", 1)
        assert "cannot be deleted: Operation not permitted" in sink.health.reason
    assert len(drives(disk / "out")) == 1


def test_two_flight_recorders_do_not_share_a_folder(tmp_path: Path) -> None:
    with recorder(tmp_path), pytest.raises(OutputError, match="another recorder writes here"), recorder(tmp_path):
        pass


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected more than 0"):
        recorder(tmp_path, seconds=0.0)


def test_the_ring_of_a_folder_is_where_the_next_process_looks(tmp_path: Path, memory: Path) -> None:
    assert ring_folder(tmp_path) == ring_folder(tmp_path)
    assert ring_folder(tmp_path).parent == memory
    assert ring_folder(tmp_path / "other") != ring_folder(tmp_path)
