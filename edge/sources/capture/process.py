"""The supervisor's side of a capture process: started, heard, killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from edge.sources.capture.wire import LONGEST_MESSAGE, CaptureRequest, Message, unpacked

_KILLED_S = 0.3  # a process that takes longer waits for its driver
# Without `site`, whose work the parent has done: its paths are handed on. -I: nothing is taken from where we stand.
_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[3]); from edge.sources.capture.child import main; main()"


class _Started(NamedTuple):
    process: subprocess.Popen[bytes]
    link: socket.socket


_prespawned: list[_Started] = []


@contextmanager
def prespawned() -> Iterator[None]:
    """Start a process that waits for its request: the first capture process then has Python's start behind it."""
    with suppress(OSError):  # the attempt that needs one reports it
        _prespawned.append(_started())
    try:
        yield
    finally:
        end_prespawned()


def end_prespawned() -> None:
    """End the processes that wait for a request: no capture starts soon."""
    while _prespawned:
        process, link = _prespawned.pop()
        link.close()
        process.kill()
        process.wait()


def _started() -> _Started:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    paths = json.dumps([str(Path(__file__).parents[3]), *sys.path])
    words = [sys.executable, "-I", "-S", "-c", _CODE, str(theirs.fileno()), str(os.getpid()), paths]
    with theirs:
        try:
            null = subprocess.DEVNULL
            return _Started(
                subprocess.Popen(words, stdin=null, stdout=null, stderr=null, pass_fds=[theirs.fileno()]), ours
            )
        except BaseException:  # Ctrl-C too: no other owner could close the link
            ours.close()
            raise


class CaptureProcess:
    """A running capture process and the socket to it.

    The kernel kills the process when the thread that made this object ends (PR_SET_PDEATHSIG, prctl(2)).

    Raises:
        OSError: there is no memory or no process left.
    """

    def __init__(self, request: CaptureRequest) -> None:
        self._process, self._link = _prespawned.pop() if _prespawned else _started()
        try:  # not among the arguments, which every user may read: it may hold a password
            self._link.send(request.pack())
        except BaseException:  # the one that was started ahead may have died
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def fileno(self) -> int:
        """To wait for messages by."""
        return self._link.fileno()

    def receive(self) -> tuple[Message | None, list[int]]:
        """The next message and the file descriptors that came with it, the caller's to close; None at the end.

        Raises:
            WireError: it sent something else.
        """
        try:
            data, fds, _, _ = socket.recv_fds(self._link, LONGEST_MESSAGE, 4)
        except ConnectionError:
            return None, []
        try:
            return (unpacked(data) if data else None), fds
        except BaseException:  # Ctrl-C too: descriptors that came with a message are ours
            for fd in fds:
                os.close(fd)
            raise

    def give_back(self, ring: int, slots: list[int]) -> None:
        """These slots may be written again. A process that hangs or is gone need not hear it."""
        for slot in slots:
            with suppress(BlockingIOError, ConnectionError):
                self._link.send(bytes([ring, slot]), socket.MSG_DONTWAIT)

    def end(self) -> str:
        """How it ended by itself, in words; it is killed if it did not."""
        self.close()
        code = self._process.returncode
        if code is None:
            return "cannot be killed: its driver hangs"
        if code >= 0 or code == -signal.SIGKILL:
            return f"ended with code {code}" if code >= 0 else "was killed"
        return f"died of {signal.Signals(-code).name}"

    def is_gone(self) -> bool:
        """Whether the kernel is through with it: one that waits for a driver cannot be killed."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Kill it, and wait a moment until it is gone."""
        self._process.kill()
        self._link.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILLED_S)
