"""The service as systemd sees it: a real process, a real notification socket, signals."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the live page needs the serve extra")

from edge.config import load_yaml
from edge.errors import ConfigError
from edge.service.config import ServeConfig
from edge.sinks.mqtt.options import MqttOptions, mqtt_of_camera
from edge.sinks.recorder import RecorderOptions, recorder_of_camera

CONFIG = """
camera: "{camera}"
engine: {engine}
web: {{port: 0}}
"""
STREET = "scene:street?seed=3&frames=100000&size=160x120&fps=20"


class Manager:
    """Listens as systemd does, and runs the service."""

    def __init__(self, folder: Path, config: str, descriptors: int = 1024) -> None:
        """`descriptors`: that the service may have open, as systemd's unit limits them."""
        self.config = folder / "edge.yaml"
        self.config.write_text(config)
        self.log = folder / "log.txt"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "600000"}
        with self.log.open("w") as log:
            command = [sys.executable, "-m", "edge.cli", "serve", "-c", str(self.config)]
            limited = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
            self.process = subprocess.Popen(limited, env=environment, stdout=log, stderr=log)

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self._socket.close()

    def heard(self, word: str, within_s: float = 30) -> str:
        """The first message that holds the word."""
        end_s, message = time.monotonic() + within_s, "nothing"
        while (left_s := end_s - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            with contextlib.suppress(TimeoutError):
                message = self._socket.recv(4096).decode()
                if word in message:
                    return message
        raise AssertionError(
            f"{word} was not said within {within_s} s, but at last: {message}; log: {self.log.read_text()}"
        )

    def forget(self) -> None:
        """What was said so far."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(4096)

    def logs(self, words: str, within_s: float = 10) -> None:
        """Wait until the log has the words."""
        end_s = time.monotonic() + within_s
        while words not in self.log.read_text():
            assert time.monotonic() < end_s, f"{words!r} was not logged within {within_s} s: {self.log.read_text()}"
            time.sleep(0.05)

    def open_files(self) -> list[Path]:
        """Its descriptors now."""
        return list(Path(f"/proc/{self.process.pid}/fd").iterdir())

    def engines(self) -> int:
        """How many it has open now: each maps its compiled model."""
        return Path(f"/proc/{self.process.pid}/maps").read_text().count(".blob\n")

    def ends(self, within_s: float = 10) -> int:
        return self.process.wait(within_s)


Start = Callable[..., Manager]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:
        yield lambda config, **options: stack.enter_context(Manager(tmp_path, config, **options))


def config(camera: str = STREET, engine: str = "road") -> str:
    return CONFIG.format(camera=camera, engine=engine)


def test_it_is_ready_with_its_first_mask_and_feeds_the_watchdog_while_masks_come(start: Start) -> None:
    service = start(config())
    assert "masks of scene:street" in service.heard("READY=1")
    for _ in range(3):
        service.heard("WATCHDOG=1", within_s=5)


def test_sigterm_ends_it_in_good_order(start: Start) -> None:
    service = start(config())
    service.heard("READY=1")
    service.process.send_signal(signal.SIGTERM)
    service.heard("STOPPING=1", within_s=5)
    assert service.ends() == 0
    assert "Traceback" not in service.log.read_text()


def test_sigterm_ends_it_while_it_waits_for_a_camera(start: Start) -> None:
    with socket.socket() as silent:  # accepts and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        service = start(config(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x"))
        service.heard("waiting for rtsp://")
        service.process.send_signal(signal.SIGTERM)
        assert service.ends() == 0


def test_a_camera_that_is_not_there_is_waited_for_and_the_manager_is_asked_for_time(start: Start) -> None:
    service = start(config("rtsp://user:secret@127.0.0.1:9/x"))
    assert "EXTEND_TIMEOUT_USEC=10000000" in service.heard("waiting for rtsp://")
    service.heard("waiting for rtsp://", within_s=15)  # and again
    assert "secret" not in service.log.read_text()


def test_sighup_takes_a_new_config(start: Start) -> None:
    service = start(config())
    service.heard("READY=1")
    service.config.write_text(config(STREET.replace("seed=3", "seed=4")))
    service.process.send_signal(signal.SIGHUP)
    service.heard("RELOADING=1", within_s=10)
    service.heard("READY=1")


def test_sighup_with_a_config_that_is_not_in_order_changes_nothing(start: Start) -> None:
    service = start(config())
    service.heard("READY=1")
    service.config.write_text(config().replace("engine: road", "engine: raod"))
    service.process.send_signal(signal.SIGHUP)
    service.logs("the new config is refused, the old one stays: no engine is called 'raod'")
    service.forget()
    service.heard("WATCHDOG=1", within_s=5)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("camera: ''\n", 78, "camera"),
        ("camera: '0'\nwebb: {}\n", 78, "webb: no such key; did you mean 'web'?"),
        (f"camera: '{STREET}'\n", 78, "the config names no output"),
        (f"camera: '{STREET}'\nweb: {{address: 0.0.0.0}}\n", 78, "can be reached from the network"),
        (f"camera: '{STREET}'\nengine: raod\nweb: {{}}\n", 70, "no engine is called 'raod'"),
    ],
)
def test_a_config_that_is_not_in_order_ends_it_with_one_line(start: Start, text: str, code: int, said: str) -> None:
    service = start(text)
    assert service.ends(30) == code
    log = service.log.read_text()
    assert said in log
    assert "Traceback" not in log


def test_a_recorder_alone_is_an_output_and_leaves_a_video_that_plays(start: Start, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    folder = tmp_path / "recordings"
    service = start(f"camera: '{STREET}'\nrecorder: {{folder: {folder}}}\n")
    service.heard("READY=1")
    for _ in range(5):  # a second
        service.heard("WATCHDOG=1", within_s=5)
    service.process.send_signal(signal.SIGTERM)
    assert service.ends() == 0
    (video,) = folder.glob("*.mp4")
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 2


def cameras(*names: str) -> str:
    """A config's part with cameras of those names."""
    sources = {name: STREET.replace("seed=3", f"seed={place}") for place, name in enumerate(names)}
    return "cameras:\n" + "".join(f"  {name}: '{source}'\n" for name, source in sources.items())


def test_several_cameras_are_served_at_once_each_with_its_own_recordings(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    service = start(cameras("front", "rear") + f"recorder: {{folder: {folder}}}\n")
    service.heard("READY=1")
    assert "rear: masks of " in service.heard("; rear: masks of", within_s=20)
    service.heard("WATCHDOG=1", within_s=5)
    service.process.send_signal(signal.SIGTERM)
    assert service.ends() == 0
    assert sorted(video.parent.name for video in folder.glob("*/*.mp4")) == ["front", "rear"]


def test_slow_cameras_whose_masks_never_come_together_feed_the_watchdog(start: Start) -> None:
    rates = {"front": "1", "left": "1.3", "right": "1.7"}
    sources = "".join(f"  {name}: '{STREET.replace('fps=20', f'fps={rate}')}'\n" for name, rate in rates.items())
    service = start(f"cameras:\n{sources}web: {{port: 0}}\n")
    assert "right: masks of" in service.heard("; right: masks of")
    service.forget()
    for _ in range(4):
        service.heard("WATCHDOG=1", within_s=2.5)


def test_a_camera_that_fails_begins_anew_and_the_other_goes_on(start: Start) -> None:
    config = cameras("front") + "  rear: /dev/video987\nweb: {port: 0}\n"
    service = start(config)
    assert "front: masks of" in service.heard("READY=1")
    assert "rear: /dev/video987" in service.heard("tried again each 5 s", within_s=10)
    service.forget()
    for _ in range(3):
        service.heard("WATCHDOG=1", within_s=5)
    service.process.send_signal(signal.SIGTERM)
    assert service.ends() == 0


def test_an_only_device_that_is_not_there_is_waited_for_and_said_in_the_status(start: Start) -> None:
    service = start(config("/dev/video987"))
    assert "EXTEND_TIMEOUT_USEC" in service.heard("/dev/video987: there is no such camera")
    assert service.process.poll() is None
    service.process.send_signal(signal.SIGTERM)
    assert service.ends() == 0


def test_a_port_that_another_program_has_is_in_the_status_and_no_reason_to_end(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        service = start(config().replace("port: 0", f"port: {port}"))
        assert "page lost (127.0.0.1, port" in service.heard("READY=1")
    service.logs(f"live page: http://127.0.0.1:{port}/", within_s=30)


def test_reloads_in_a_row_do_not_delay_sigterm(start: Start) -> None:
    service = start(config())
    service.heard("READY=1")
    for seed in range(20):
        service.config.write_text(config(STREET.replace("seed=3", f"seed={seed}")))
        service.process.send_signal(signal.SIGHUP)
    service.process.send_signal(signal.SIGTERM)
    service.heard("STOPPING=1")
    assert service.ends(30) == 0
    assert service.log.read_text().count("live page:") == 1


@pytest.mark.system
@pytest.mark.slow
def test_silent_connections_take_nothing_from_masks_recordings_and_the_page(start: Start, tmp_path: Path) -> None:
    recorder = f"recorder: {{folder: {tmp_path / 'drive'}, segment_s: 0.5}}\n"
    service = start(config() + recorder, descriptors=256)
    service.heard("READY=1", within_s=120)
    service.logs("live page: ")
    (port,) = re.findall(r"live page: http://127\.0\.0\.1:(\d+)/", service.log.read_text())
    with contextlib.ExitStack() as stack:
        for _ in range(400):  # more than the descriptors that it may have
            stack.enter_context(socket.create_connection(("127.0.0.1", int(port)), timeout=10))
        service.forget()
        segments = len(list((tmp_path / "drive").glob("*.mp4")))
        for _ in range(10):
            service.heard("WATCHDOG=1", within_s=5)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
                assert answer.status == 200
        assert len(service.open_files()) < 256 * 3 // 4
        until_s = time.monotonic() + 30
        while len(list((tmp_path / "drive").glob("*.mp4"))) < segments + 3:  # a new file needs a descriptor
            assert time.monotonic() < until_s, service.log.read_text()
            time.sleep(0.1)
    assert len(service.log.read_text().splitlines()) < 20, service.log.read_text()


@pytest.mark.system
@pytest.mark.slow
def test_reloads_to_and_from_a_camera_that_refuses_leave_no_engine_and_no_file_behind(start: Start) -> None:
    service = start(config())
    service.heard("READY=1", within_s=120)
    for turn in range(30):
        service.config.write_text(config("rtsp://127.0.0.1:9/x" if turn % 2 == 0 else STREET))
        service.process.send_signal(signal.SIGHUP)
        service.heard("RELOADING=1", within_s=60)
        assert service.engines() <= 8  # the one in use, and those that were being opened for a config that is gone
    until_s = time.monotonic() + 60
    while service.engines() > 1 or len(service.open_files()) > 20:
        assert time.monotonic() < until_s, (service.engines(), service.open_files())
        time.sleep(0.1)
    service.process.send_signal(signal.SIGTERM)
    assert service.ends(30) == 0


def test_a_camera_that_is_lost_does_not_keep_the_other_from_being_ready(start: Start) -> None:
    service = start(cameras("front") + "  rear: rtsp://127.0.0.1:9/x\nweb: {port: 0}\n")
    status = service.heard("READY=1")
    assert "front: masks of" in status
    assert "rear: waiting for rtsp://127.0.0.1:9/x: lost (" in status


def test_a_broker_that_is_away_is_in_the_status_and_no_reason_to_stop(start: Start) -> None:
    pytest.importorskip("paho", reason="pip install 'edge-segmentation[mqtt]'")
    service = start(f"camera: '{STREET}'\nmqtt: {{url: 'mqtt://127.0.0.1:9', topic: edge/test}}\n")
    service.heard("READY=1")
    assert "mqtt lost (127.0.0.1:9: cannot be reached" in service.heard("STATUS=masks of", within_s=10)
    service.forget()
    for _ in range(3):
        service.heard("WATCHDOG=1", within_s=5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web: {}\n", "expected `camera: SOURCE`, or `cameras:"),
        ("camera: '0'\ncameras: {front: '1'}\nweb: {}\n", "one of them"),
        ("cameras: {front: 'rtsp://u:secret@h', rear: 'rtsp://u:secret@h'}\nweb: {}\n", "two of them are the same one"),
        ("cameras: {'../x': '0'}\nweb: {}\n", "cameras.../x"),
    ],
)
def test_cameras_that_cannot_be_are_refused_without_their_passwords(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        _ = load_yaml(path, ServeConfig).sources
    assert "secret" not in str(caught.value)


def test_recordings_of_several_cameras_share_the_quota() -> None:
    options = recorder_of_camera(RecorderOptions("/recordings", quota_gb=10.0), "rear", 4)
    assert (options.folder, options.quota_gb) == ("/recordings/rear", 2.5)
    assert mqtt_of_camera(MqttOptions("mqtt://localhost", "edge/car"), "rear", 4).topic == "edge/car/rear"
