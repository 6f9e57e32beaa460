"""Media servers as processes of their own: started, frozen, killed and started again."""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

from cameras import environment

HERE = Path(__file__).parent
_PROBE = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert all(map(Gst.ElementFactory.find, ["rtph264depay", "h264parse", "filesink"]))
"""


@functools.cache
def why_no_rtsp_server() -> str:
    """Why there can be none here; "" where there can."""
    done = subprocess.run([sys.executable, "-c", _PROBE], env=environment(), capture_output=True, check=False)
    return "no RTSP server here: apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi" if done.returncode else ""


class MediaServer:
    """One of the scripts beside this file. `lines` is what it printed."""

    def __init__(self, script: str, *words: object) -> None:
        self.words = [sys.executable, str(HERE / script), *map(str, words)]
        self.lines: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> MediaServer:
        """Ready to be connected to when this returns."""
        self.process = subprocess.Popen(
            self.words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
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
        """Its connections stay, and it takes nothing from them."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def __enter__(self) -> MediaServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.kill()
