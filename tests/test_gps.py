"""A car's place and speed: gpsd's protocol by gpsd itself, fed with a log, and followed to all that carries results."""

from __future__ import annotations

import dataclasses
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bundles import MakeCard
from drives import seen, write_drive
from hypothesis import given
from hypothesis import strategies as st
from test_further_outputs import received, sent_over_the_socket

from edge.classes import CAMVID
from edge.config import parse_tree
from edge.drive.file import DriveFile
from edge.drive.schema import message_class
from edge.engine import Bundle
from edge.errors import ConfigError, DataError, SourceError
from edge.evaluate.drives import Drive as Evaluated
from edge.evaluate.figures import report_of
from edge.evaluate.run import EvaluationConfig
from edge.evaluate.schedule import evaluate_drives, one_by_one
from edge.frame import Frame
from edge.gps import Gps, GpsOptions, gps_options
from edge.location import STALE_NS, Fix, fix_from_json
from edge.pipeline import buffered
from edge.prediction import Prediction
from edge.recording import record
from edge.service.camera import CameraLoop
from edge.service.config import ServeConfig
from edge.sinks.drive import DriveOptions, DriveSink, without_result
from edge.sinks.jsonl import as_record
from edge.sources.drive import Drive
from edge.sources.open import open_source
from edge.timing import Stages

# 4 s without a fix, 8 s standing, then faster each second, up to 20 m/s east; gpsd is given ten sentences a second.
LOG = Path(__file__).parent / "gps" / "drive.nmea"
FIX = Fix(52.5, 13.4, 34.0, 19.0, 12.5, 90.0, "2026-11-29T10:15:05.000Z")
TPV = {"class": "TPV", "mode": 3, "lat": 52.5, "lon": 13.4, "altMSL": 34.0, "eph": 19.0, "speed": 12.5, "track": 90.0}
VERSION = {"class": "VERSION", "release": "3.22", "proto_major": 3}
LONG_S = 90.0


def wait_until(condition: Callable[[], object]) -> None:
    give_up_s = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def gpsd_of_the_log(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """gpsd itself, fed with the log; it ends with the log."""
    fake = shutil.which("gpsfake")
    if fake is None or shutil.which("gpsd", path="/usr/sbin:/usr/local/sbin:/usr/bin") is None:
        pytest.skip("gpsfake is not installed: apt-get install gpsd gpsd-clients")
    command = [fake, "-1", "-q", "-n", "-c", "0.03", "-P", str(port), str(LOG)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:  # its own gpsd has ended by then; at times it waits for it without end
            process.kill()
            process.wait()


@contextmanager
def spoken(*lines: dict[str, object] | bytes) -> Iterator[int]:
    """The port of a server that says these lines to who connects, and the last one again and again."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                line, _ = server.accept()
                with line:
                    texts = [one if isinstance(one, bytes) else json.dumps(one).encode() + b"\r\n" for one in lines]
                    line.sendall(b"".join(texts))
                    while not over.wait(0.2):
                        line.sendall(texts[-1])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        over.set()
        server.shutdown(socket.SHUT_RDWR)
    thread.join(LONG_S)


def now() -> int:
    return time.monotonic_ns()


@pytest.mark.slow
def test_gpsd_gives_no_fix_then_a_standing_car_then_a_moving_one() -> None:
    port = free_port()
    fixes: list[Fix] = []
    states: list[str] = []
    with gpsd_of_the_log(port), Gps(GpsOptions(port=port)) as gps:
        give_up_s = time.monotonic() + LONG_S
        while not fixes or (fixes[-1].speed_m_s or 0) < 19.9:
            assert time.monotonic() < give_up_s, (gps.health, fixes[-1:])
            if (fix := gps.fix_at(now())) is not None and fix not in fixes:
                fixes.append(fix)
            if (state := gps.health.state) not in states:
                states.append(state)
            time.sleep(0.002)
    assert states == ["lost", "degraded", "ok"]
    assert {fix.latitude_deg for fix in fixes} == {52.5}
    longitudes = [fix.longitude_deg for fix in fixes]
    assert longitudes == sorted(longitudes)
    moving = [fix for fix in fixes if (fix.speed_m_s or 0) > 1 and fix.heading_deg is not None]
    assert moving
    assert {fix.heading_deg for fix in moving} == {90.0}
    assert moving[-1].altitude_m == 34.0
    assert (moving[-1].time or "").startswith("2026-11-29T10:15:")


@pytest.mark.slow
def test_a_gpsd_that_comes_later_and_goes_again_is_found_and_missed() -> None:
    port = free_port()
    with Gps(GpsOptions(port=port)) as gps:
        wait_until(lambda: "refused" in gps.health.reason)
        assert gps.fix_at(now()) is None
        with gpsd_of_the_log(port):
            wait_until(lambda: gps.fix_at(now()))
            assert gps.health.totals["connections"] == 1
        wait_until(lambda: gps.health.state == "lost")


def test_a_fix_counts_for_frames_of_three_seconds() -> None:
    with spoken(VERSION, TPV) as port, Gps(GpsOptions(port=port)) as gps:
        wait_until(lambda: gps.fix_at(now()))
        fix = gps.fix_at(now())
        assert fix == Fix(52.5, 13.4, 34.0, 19.0, 12.5, 90.0)
        assert gps.health.state == "ok"
        assert gps.fix_at(now() + STALE_NS) is None


def test_satellites_lost_from_sight_are_no_fix_at_once() -> None:
    lost = [{"class": "SKY", "uSat": 2}, {"class": "TPV", "mode": 1}]
    with spoken(VERSION, TPV, {"class": "SKY", "uSat": 8}, *lost) as port, Gps(GpsOptions(port=port)) as gps:
        wait_until(lambda: gps.health.levels["satellites"] == 2)
        wait_until(lambda: gps.fix_at(now()) is None)
        assert (gps.health.state, gps.health.reason) == ("degraded", "no fix")
        assert gps.health.totals["fixes"] == 1


def test_of_several_receivers_the_chosen_one_counts() -> None:
    other = {**TPV, "device": "/dev/ttyS1", "lat": 1.0}
    own = {**TPV, "device": "/dev/ttyS0"}
    with spoken(VERSION, own, other) as port, Gps(GpsOptions(port=port, device="/dev/ttyS0")) as gps:
        wait_until(lambda: gps.fix_at(now()))
        time.sleep(0.05)
        fix = gps.fix_at(now())
        assert fix is not None
        assert fix.latitude_deg == 52.5


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "expected gpsd's JSON"),
        (b"[" * 60_000 + b"\n", "expected gpsd's JSON"),
        (b"x" * 70_000, "a line of more than"),
        (b"[1, 2]\n", "expected gpsd's JSON"),
        (json.dumps({**TPV, "lat": 123}).encode() + b"\n", "latitude_deg: expected a number from -90 to 90"),
        (json.dumps({**TPV, "speed": "fast"}).encode() + b"\n", "speed_m_s"),
    ],
)
def test_whoever_speaks_otherwise_is_left_and_the_state_says_why(line: bytes, why: str) -> None:
    with spoken(VERSION, line) as port, Gps(GpsOptions(port=port)) as gps:
        wait_until(lambda: why in gps.health.reason)
        assert gps.health.state == "lost"


def test_leaving_does_not_wait_for_gpsd() -> None:
    with spoken(VERSION) as port:
        with Gps(GpsOptions(port=port)) as gps:
            wait_until(lambda: gps.health.state == "degraded")
        assert "gps" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost", "localhost", 2947),
        ("10.0.0.7:1234", "10.0.0.7", 1234),
        ("[::1]:99", "::1", 99),
        ("[::1]", "::1", 2947),
        ("::1", "::1", 2947),
        ("[fe80::5%25eth0]:99", "fe80::5%eth0", 99),
    ],
)
def test_an_address_names_a_host_and_perhaps_a_port(text: str, host: str, port: int) -> None:
    options = gps_options(text)
    assert (options.host, options.port) == (host, port)


@pytest.mark.parametrize("text", ["", ":2947", "host:", "host:0", "host:70000", "host:x", "a b", "[a b]", "x" * 300])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected HOST:PORT of a gpsd"):
        gps_options(text)


numbers = st.floats(0, 300, allow_nan=False)


@given(
    st.builds(
        Fix,
        st.floats(-90, 90),
        st.floats(-180, 180),
        st.none() | numbers,
        st.none() | numbers,
        st.none() | numbers,
        st.none() | numbers,
        st.none() | st.text(max_size=30),
    )
)
def test_json_gives_back_the_same_fix(fix: Fix) -> None:
    assert fix_from_json(json.loads(json.dumps(fix.as_json()))) == fix


@pytest.mark.parametrize(
    "change",
    [{"latitude_deg": None}, {"longitude_deg": float("nan")}, {"speed_m_s": True}, {"speed_m_s": -1}, {"time": 3}],
)
def test_a_fix_that_is_none_is_refused(change: dict[str, object]) -> None:
    for bad in (FIX.as_json() | change, [FIX.as_json()]):
        with pytest.raises(DataError, match="fix: "):
            fix_from_json(bad)


def test_frames_of_a_camera_have_the_place_of_their_capture(tmp_path: Path) -> None:
    asked: list[int] = []

    def fix_at(captured_ns: int) -> Fix:
        asked.append(captured_ns)
        return FIX

    with buffered(open_source(str(write_drive(tmp_path / "a.mcap", 3, "jpeg"))), True, fix_at) as frames:
        for frame in frames:
            assert frame.fix is FIX
            assert frame.captured_ns in asked


def test_frames_of_a_recording_were_not_taken_where_the_car_is_now(tmp_path: Path) -> None:
    source = open_source(str(write_drive(tmp_path / "a.mcap", 3, "jpeg")))
    with source, pytest.raises(ConfigError, match="--gps goes with a camera"):
        buffered(source, False, lambda captured_ns: FIX)


# ------------------------------------------------------------------------------------------------------------ carriers


def located(index: int, fix: Fix | None) -> Prediction:
    result = seen(index)
    result.frame.fix = fix
    return result


def test_json_lines_and_mqtt_have_the_fix_and_nothing_without_one() -> None:
    assert fix_from_json(as_record(located(0, FIX), 0)["fix"]) == FIX
    assert "fix" not in as_record(located(0, None), 0)


def test_the_split_service_hands_the_fix_over(make_card: MakeCard) -> None:
    engine = SimpleNamespace(card=make_card(b"", CAMVID))
    assert received(*sent_over_the_socket(located(3, FIX)), engine).frame.fix == FIX  # type: ignore[arg-type]
    assert received(*sent_over_the_socket(located(3, None)), engine).frame.fix is None  # type: ignore[arg-type]


def test_a_drive_gives_each_frame_its_fix_and_has_each_once(tmp_path: Path) -> None:
    faster = dataclasses.replace(FIX, speed_m_s=13.0, altitude_m=None, error_m=None)
    path, given = tmp_path / "a.mcap", [None, FIX, FIX, faster, None, faster]
    with DriveSink(path, DriveOptions("edge 0", "test", 10, codec="jpeg"), Stages()) as sink:
        for index, fix in enumerate(given):
            sink.write(without_result(located(index, fix).frame), 0)
    with Drive(str(path)) as drive:
        # What is younger than three seconds holds.
        assert [frame.fix for frame in drive] == [None, FIX, FIX, faster, faster, faster]
        assert drive.at(1).fix == FIX
    file = DriveFile(path)
    assert file.schemas["/gps/position"].name == "foxglove.LocationFix"
    positions = [
        message_class("foxglove.LocationFix").FromString(file.read("/gps/position", place))
        for place in file.places["/gps/position"]
    ]
    assert [(one.latitude, one.longitude, one.altitude) for one in positions] == [(52.5, 13.4, 34), (52.5, 13.4, 0)]
    assert positions[0].position_covariance[0] == pytest.approx((19 / 2.45) ** 2)
    assert positions[0].position_covariance_type == 1  # approximated
    assert (len(positions[1].position_covariance), positions[1].position_covariance_type) == (0, 0)


def test_a_fix_of_more_than_three_seconds_ago_is_none_of_a_frame_in_a_drive(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with DriveSink(path, DriveOptions("edge 0", "test", 10, codec="jpeg"), Stages()) as sink:
        for index, at_s in enumerate((0, 2.9, 3.1)):
            image = np.zeros((48, 64, 3), np.uint8)
            fix = FIX if index == 0 else None
            frame = Frame(index=index, captured_ns=int((9 + at_s) * 1e9), source="test", bgr=image, fix=fix)
            sink.write(without_result(frame), 0)
    with Drive(str(path)) as drive:
        assert [frame.fix for frame in drive] == [FIX, FIX, None]


def test_a_recorded_fix_that_is_damaged_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with DriveSink(path, DriveOptions("edge 0", "test", 10, codec="jpeg"), Stages()) as sink:
        sink.write(without_result(located(0, dataclasses.replace(FIX, speed_m_s=-3.0)).frame), 0)
    with pytest.raises(SourceError, match=r"GPS fix is damaged: fix: speed_m_s"):
        Drive(str(path))


@pytest.mark.slow
def test_edge_record_takes_the_cars_place_from_a_gpsd(tmp_path: Path) -> None:
    path, source = tmp_path / "a.mcap", write_drive(tmp_path / "camera.mcap", 25, "jpeg")
    with spoken(VERSION, TPV) as port:
        record(str(source), path, None, live=True, gps=GpsOptions(port=port), codec="jpeg")
    with Drive(str(path)) as drive:
        last = [frame.fix for frame in drive][-1]
        assert last is not None
        assert last.speed_m_s == 12.5


@pytest.mark.slow
def test_the_service_reports_the_gps_among_its_outputs_and_its_masks_wait_for_none(tmp_path: Path) -> None:
    camera = str(write_drive(tmp_path / "camera.mcap", 40, "jpeg"))
    with spoken(VERSION, TPV) as port:
        tree = {"camera": camera, "gps": {"port": port}, "sinks": {"results": str(tmp_path / "results.jsonl")}}
        gps = Gps(GpsOptions(port=port))
        loop = CameraLoop("", parse_tree(tree, ServeConfig, "test"), lambda: None, gps=gps)
        with gps:
            loop.start()
            wait_until(lambda: loop.published)
            assert loop.live.snapshot().outputs["gps"].state in ("ok", "lost", "degraded")
            assert "gps " in loop.words()
            assert loop.join(LONG_S)
    (results,) = tmp_path.glob("results-*.jsonl")  # a service's files have the time of its start in their names
    records = [json.loads(line) for line in results.read_text().splitlines()]
    assert records[-1]["fix"]["speed_m_s"] == 12.5


def test_an_evaluation_of_a_drive_is_sliced_by_its_speed(colour_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with DriveSink(path, DriveOptions("edge 0", "test", 10, codec="jpeg"), Stages()) as sink:
        for index in range(6):
            fix = dataclasses.replace(FIX, speed_m_s=0.2 if index < 2 else 10.0)
            sink.write(without_result(located(index, fix).frame), 0)
    results = evaluate_drives([Evaluated("a", str(path))], one_by_one(EvaluationConfig(str(colour_bundle.folder))))
    slices = report_of(results, colour_bundle.card.table)["slices"]
    found = {name: part["frame_count"] for name, part in slices["gps_speed"].items()}
    assert found == {"standing (under 1 m/s)": 2, "town (8 to 14 m/s)": 4}
