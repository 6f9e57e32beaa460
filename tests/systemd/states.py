"""The service in each of the states in which it can be asked to end. No systemd takes part: a process and a socket."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "rtsp"))

from cameras import CHECKOUT, TestCamera

WAIT_S = 60.0


class Serving:
    """`edge serve` with a config; listens to what it tells the service manager. `log` is what it wrote."""

    def __init__(self, folder: Path, config: str) -> None:
        self._config, self._log = folder / "edge.yaml", folder / "log.txt"
        self._config.write_text(config)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        mine = {"NOTIFY_SOCKET": str(folder / "notify"), "XDG_CACHE_HOME": str(folder / "cache")}
        mine |= {"PYTHONPATH": str(CHECKOUT)}
        command = [sys.executable, "-m", "edge.cli", "serve", "-c", str(self._config)]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, env={**os.environ, **mine}, stdout=log, stderr=log)

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._socket.close()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def says(self, word: str) -> None:
        """Wait for a message to the service manager that holds the word."""
        until_s = time.monotonic() + WAIT_S
        while (left_s := until_s - time.monotonic()) > 0 and self._process.poll() is None:
            self._socket.settimeout(left_s)
            with contextlib.suppress(TimeoutError):
                if word in self._socket.recv(4096).decode():
                    return
        raise AssertionError(f"{word!r} was not said: {self.log}")

    def logs(self, text: str) -> None:
        """Wait for a text in its log."""
        until_s = time.monotonic() + WAIT_S
        while text not in self.log:
            assert time.monotonic() < until_s, f"{text!r} was not logged: {self.log}"
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, float]:
        """SIGTERM; exit code and seconds until it had ended."""
        start_s = time.monotonic()
        self._process.terminate()
        return self._process.wait(WAIT_S), time.monotonic() - start_s


State = Callable[[Path], contextlib.AbstractContextManager[Serving]]


def page_of(camera: TestCamera) -> str:
    return f"camera: {camera.url}\nweb: {{port: 0}}\n"


@contextlib.contextmanager
def opening_its_engine(folder: Path) -> Iterator[Serving]:
    with TestCamera("http") as camera, Serving(folder, page_of(camera)) as serving:
        serving.says("opening engine")
        yield serving


@contextlib.contextmanager
def waiting_for_its_camera(folder: Path) -> Iterator[Serving]:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = f"camera: http://127.0.0.1:{silent.getsockname()[1]}/cam\nweb: {{port: 0}}\n"
        with Serving(folder, config) as serving:
            serving.says("waiting for")
            time.sleep(0.5)  # it is connected by now, and hears nothing
            yield serving


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Serving]:
    with TestCamera("http") as camera, Serving(folder, page_of(camera)) as serving:
        serving.says("READY=1")
        yield serving


@contextlib.contextmanager
def camera_lost(folder: Path) -> Iterator[Serving]:
    with TestCamera("http") as camera, Serving(folder, page_of(camera)) as serving:
        serving.says("READY=1")
        camera.kill()
        serving.logs("lost (")
        yield serving


@contextlib.contextmanager
def connecting_again(folder: Path) -> Iterator[Serving]:
    with TestCamera("http") as camera, Serving(folder, page_of(camera)) as serving:
        serving.says("READY=1")
        camera.freeze()  # new connections are taken by the kernel, and nobody answers
        serving.logs("lost (")
        time.sleep(0.5)
        yield serving


@contextlib.contextmanager
def reloading(folder: Path) -> Iterator[Serving]:
    with running(folder) as serving:
        serving.signal(signal.SIGHUP)
        serving.says("RELOADING=1")
        yield serving


@contextlib.contextmanager
def watched_by_viewers_who_never_read(folder: Path) -> Iterator[Serving]:
    with contextlib.ExitStack() as stack, running(folder) as serving:
        port = int(serving.log.partition("live page: http://127.0.0.1:")[2].split("/")[0])
        for _ in range(8):
            stack.enter_context(_viewer(port))
        time.sleep(1.0)
        yield serving


def _viewer(port: int) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port))
    head = f"GET /feed HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"
    head += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    line.sendall(f"{head}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())
    assert line.recv(12) == b"HTTP/1.1 101", "the feed takes no viewer"
    return line


@contextlib.contextmanager
def recording_while_its_broker_is_silent(folder: Path) -> Iterator[Serving]:
    with socket.create_server(("127.0.0.1", 0)) as broker, TestCamera("http") as camera:
        outputs = f"mqtt: {{url: 'mqtt://127.0.0.1:{broker.getsockname()[1]}', topic: edge/test}}\n"
        outputs += f"recorder: {{folder: '{folder / 'recordings'}'}}\n"
        with Serving(folder, page_of(camera) + outputs) as serving:
            serving.says("READY=1")
            time.sleep(1.0)
            yield serving


@contextlib.contextmanager
def opening_a_recording_that_gives_nothing(folder: Path) -> Iterator[Serving]:
    os.mkfifo(folder / "drive.mp4")
    with Serving(folder, f"camera: {folder / 'drive.mp4'}\nweb: {{port: 0}}\n") as serving:
        serving.says("opening its source")
        yield serving


STATES: tuple[State, ...] = (
    opening_its_engine,
    opening_a_recording_that_gives_nothing,
    waiting_for_its_camera,
    running,
    camera_lost,
    connecting_again,
    reloading,
    watched_by_viewers_who_never_read,
    recording_while_its_broker_is_silent,
)
