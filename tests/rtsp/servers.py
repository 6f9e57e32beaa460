"""Media servers as processes of their own: started, frozen, killed and started again."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

from cameras import Peer, environment

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


class MediaServer(Peer):
    """One of the scripts beside this file."""

    def __init__(self, script: str, *words: object) -> None:
        super().__init__([str(HERE / script), *map(str, words)])
