"""What is asked of a running service: a Unix socket, for its own user and root; one request, one answer.

A request is a line of JSON, {"swap": {"engine": "road", "precision": "f32"}}; so is the answer, with "ok" and "text".
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any

from edge.errors import ConfigError, EdgeError, OutputError
from edge.paths import check_unheard, socket_path
from edge.service.swap import SwapRequest

REQUEST_BYTES = 4096
REQUEST_S, ANSWER_S = 2.0, 600.0  # TensorRT may have plans to build

log = logging.getLogger(__name__)


class Control:
    """Listens while it is entered, and hands on what it hears."""

    def __init__(self, path: str, on_request: Callable[[SwapRequest], object]) -> None:
        """Raises:
        ConfigError: the socket cannot be made there.
        OutputError: another program listens there.
        """
        self._path, self._on_request = socket_path("control", path), on_request
        self._listener = _listen(self._path)
        self._thread = threading.Thread(target=self._work, name="control", daemon=True)

    def __enter__(self) -> Control:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _work(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:  # closed
                return
            with line:
                self._serve(line)

    def _serve(self, line: socket.socket) -> None:
        line.settimeout(REQUEST_S)
        try:
            request = _request(line.recv(REQUEST_BYTES))
            self._on_request(request)
            answer = {"ok": True, "text": request.answer.result(ANSWER_S)}
        except EdgeError as error:
            answer = {"ok": False, "text": str(error)}
        except (OSError, FutureTimeout):  # who asked is gone, or says nothing
            return
        with contextlib.suppress(OSError):
            line.sendall(json.dumps(answer).encode() + b"\n")


def _request(data: bytes) -> SwapRequest:
    try:
        asked: Any = json.loads(data)["swap"]
        return SwapRequest(str(asked["engine"]), asked.get("precision"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError('control: expected {"swap": {"engine": NAME}}') from error


def check_control(path: str) -> None:
    """Raises ConfigError: no socket can be made there."""
    place = socket_path("control", path)
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"control: {place.parent}: no such folder, or one that this user may not write")


def _listen(path: Path) -> socket.socket:
    """For this user and root alone. What a service that was killed left there is replaced."""
    check_unheard("control", path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(4)
    except OSError as error:
        listener.close()
        raise ConfigError(f"control: {path}: cannot be listened on: {error.strerror or error}") from error
    finally:
        os.umask(mask)
    return listener


def ask_swap(path: str, engine: str, precision: str | None) -> str:
    """Ask the service that listens there for another engine; what it answers.

    Raises:
        ConfigError: the service refuses.
        OutputError: no service listens there.
    """
    place = socket_path("control", path)
    request = json.dumps({"swap": {"engine": engine, "precision": precision}}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line, contextlib.closing(line):
            line.connect(str(place))
            line.sendall(request)
            answer = json.loads(line.makefile("rb").readline() or b"{}")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{place}: no service listens there ({reason}). Is it running with this `control:` in its config, and are"
            " you its user or root?"
        ) from error
    if not answer.get("ok"):
        raise ConfigError(str(answer.get("text", "the service ended before it answered")))
    return str(answer["text"])
