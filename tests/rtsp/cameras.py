"""Test cameras as processes of their own: started, frozen, killed and started again."""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
DEBIAN_GI = "/usr/lib/python3/dist-packages"
APT = "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base"
APT += " gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
_PROBE = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert all(map(Gst.ElementFactory.find, ["appsrc", "videoconvert", "x264enc", "rtph264pay"]))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@functools.cache
def why_no_rtsp() -> str:
    """Why there can be no RTSP camera here; "" where there can."""
    done = subprocess.run([sys.executable, "-c", _PROBE], env=environment(), capture_output=True, check=False)
    return f"no RTSP server here: apt-get install --no-install-recommends {APT}" if done.returncode else ""


def environment() -> dict[str, str]:
    # Last, so that Debian's own numpy is not found before ours.
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), *filter(None, sys.path), DEBIAN_GI])}


class Peer:
    """A script as a process of its own: killing it is what loss of power is. `lines` is what it printed."""

    def __init__(self, words: list[str]) -> None:
        self.words = [sys.executable, *words]
        self.lines: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        """Ready to be connected to when this returns."""
        self.process = subprocess.Popen(
            self.words,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", f"{self.words} does not start"
        self._reader = threading.Thread(target=self.lines.extend, args=[self.process.stdout], daemon=True)
        self._reader.start()
        return self

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def freeze(self) -> None:
        """Its connections stay, and nothing comes or goes over them."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.kill()


class TestCamera(Peer):
    """A camera of the network; `kind` is "rtsp" or "http"."""

    __test__ = False

    def __init__(
        self, kind: str, shape: str = "320x240x30", port: int = 0, certificate: tuple[Path, Path] | None = None
    ) -> None:
        """A camera with a `certificate` and its key, PEM files, speaks TLS."""
        self.kind, self.port = kind, port or free_port()
        self.url = f"{kind}{'s' if certificate else ''}://127.0.0.1:{self.port}/cam"
        script = str(HERE / f"{kind}_camera.py")
        super().__init__([script, str(self.port), shape, *(str(path) for path in certificate or ())])

    @property
    def shape(self) -> str:
        """Width, height and rate; another one holds from the next start on."""
        return self.words[3]

    @shape.setter
    def shape(self, shape: str) -> None:
        self.words[3] = shape
