"""Test cameras as processes of their own: started, frozen, killed and started again."""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType

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


class TestCamera:
    """A camera of the network; `kind` is "rtsp" or "http". Killing it is what loss of power is to a real one."""

    __test__ = False

    def __init__(
        self, kind: str, shape: str = "320x240x30", port: int = 0, certificate: tuple[Path, Path] | None = None
    ) -> None:
        """A camera with a `certificate` and its key, PEM files, speaks TLS."""
        self.kind, self.shape, self.port = kind, shape, port or free_port()
        self._certificate = [str(path) for path in certificate or ()]
        self.url = f"{kind}{'s' if certificate else ''}://127.0.0.1:{self.port}/cam"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> TestCamera:
        """Ready to be connected to when this returns."""
        words = [sys.executable, str(HERE / f"{self.kind}_camera.py"), str(self.port), self.shape, *self._certificate]
        self.process = subprocess.Popen(
            words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n", f"{words} does not start"
        return self

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def freeze(self) -> None:
        """Its connections stay, and nothing comes over them."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> TestCamera:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.kill()
