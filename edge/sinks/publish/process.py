"""The parent's side of a publishing process: started, fed, heard, killed."""

from __future__ import annotations

import json
import mmap
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from edge.frame import Yuv420
from edge.sinks.publish.child import FAILED, FRAME, LONGEST_MESSAGE, TAKEN

_KILLED_S = 0.3
# Without `site`, whose work the parent has done: its paths are handed on. -I: nothing is taken from where we stand.
_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[3]); from edge.sinks.publish.child import main; main()"


class PublishProcess:
    """A publishing process, and one image in memory that both share: `planes`, to be drawn into while it is not `busy`.

    The kernel kills the process when the thread that made this object ends (PR_SET_PDEATHSIG, prctl(2)).
    """

    def __init__(self, width: int, height: int) -> None:
        """Width and height are even.

        Raises:
            OSError: there is no memory or no process left.
        """
        self._memory_fd = os.memfd_create("edge-publish", os.MFD_CLOEXEC)
        os.ftruncate(self._memory_fd, width * height * 3 // 2)
        memory = np.frombuffer(mmap.mmap(self._memory_fd, 0), np.uint8)
        luma, quarter = width * height, width * height // 4
        half = (height // 2, width // 2)
        self.planes = Yuv420(
            memory[:luma].reshape(height, width),
            memory[luma : luma + quarter].reshape(half),
            memory[luma + quarter :].reshape(half),
        )
        self.busy = False
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        paths = json.dumps([str(Path(__file__).parents[3]), *sys.path])
        words = [sys.executable, "-I", "-S", "-c", _CODE, str(theirs.fileno()), str(os.getpid()), paths]
        null = subprocess.DEVNULL
        with theirs:
            try:
                self._process = subprocess.Popen(
                    words, stdin=null, stdout=null, stderr=null, pass_fds=[theirs.fileno()]
                )
            except BaseException:  # Ctrl-C too: no other owner could close them
                self._link.close()
                os.close(self._memory_fd)
                raise

    def begin(self, request: dict[str, Any]) -> None:
        """What to publish, and where. Not among the arguments, which every user may read: it may hold a password."""
        with suppress(ConnectionError):  # that it is gone is heard
            socket.send_fds(self._link, [json.dumps(request).encode()], [self._memory_fd])

    def send(self, tick: int) -> None:
        """The image is drawn, and the process's until it is not `busy` any more."""
        self.busy = True
        with suppress(ConnectionError):
            self._link.send(FRAME.pack(tick))

    def hear(self) -> tuple[int, str | None]:
        """How many frames the server took since the last call, and why the stream is lost; None where it is not."""
        taken = 0
        while True:
            try:
                message = self._link.recv(LONGEST_MESSAGE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return taken, None
            except ConnectionError:
                message = b""
            if message != TAKEN:
                reason = message[len(FAILED) :].decode(errors="replace") if message else "the publishing process ended"
                return taken, "".join(sign if sign.isprintable() else " " for sign in reason)
            taken, self.busy = taken + 1, False

    def close(self) -> None:
        """End the process: the server sees a connection that is closed."""
        self._link.close()
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILLED_S)
        if self._memory_fd >= 0:
            os.close(self._memory_fd)
            self._memory_fd = -1
