"""A real Mosquitto on this machine, to be killed, frozen and denied; and who listens to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

PROGRAM = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
PATIENCE_S = 20.0


def soon(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> bool:
    """Whether it comes true before long."""
    until_s = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > until_s:
            return False
        time.sleep(0.01)
    return True


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as line:
        return line.getsockname()[1]


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """PEM files of a certificate that vouches for itself, for localhost, and its key."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2"]
    try:
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed; see: apt-get install openssl")
    return certificate, key


class Broker:
    """Mosquitto with the given lines of configuration, on the same port over any number of starts."""

    def __init__(self, folder: Path, lines: Sequence[str]) -> None:
        if PROGRAM is None:
            pytest.skip("mosquitto is not installed; see: apt-get install mosquitto")
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        start = [f"listener {self.port} 127.0.0.1", "persistence false", "log_dest none"]
        start += ["user root"] if os.geteuid() == 0 else []  # which is for reading the test's files
        self._config.write_text("\n".join([*start, *lines]) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert PROGRAM is not None
        self._process = subprocess.Popen([PROGRAM, "-c", self._config], stdout=subprocess.DEVNULL)
        assert soon(self._answers)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Listener:
    """Keeps all that comes on some topics, in order; subscribes anew where the broker was away."""

    def __init__(self, port: int, topics: str = "edge/car-7/#", user: str | None = None, password: str = "") -> None:
        from paho.mqtt.client import Client, MQTTMessage
        from paho.mqtt.enums import CallbackAPIVersion

        self.messages: list[MQTTMessage] = []
        self.subscriptions = 0
        self._client = Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=True)
        self._client.reconnect_delay_set(0.05, 0.05)  # type: ignore[arg-type]
        if user is not None:
            self._client.username_pw_set(user, password)
        self._client.on_connect = lambda client, *rest: client.subscribe(topics, 1)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = lambda client, data, message: self.messages.append(message)
        self._client.connect_async("127.0.0.1", port, 60)
        self._client.loop_start()
        assert soon(lambda: self.subscriptions)

    def _on_subscribe(self, *rest: Any) -> None:
        self.subscriptions += 1

    def payloads(self, kind: str) -> list[bytes]:
        return [message.payload for message in list(self.messages) if message.topic.endswith(f"/{kind}")]

    def said(self, kind: str) -> list[dict[str, Any]]:
        """The JSON of these messages; of masks, their first lines."""
        return [json.loads(payload.split(b"\n")[0]) for payload in self.payloads(kind)]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
