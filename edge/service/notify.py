"""Notifications to systemd: sd_notify(3), a datagram to a socket."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """Notifies the service manager of the service's status; does nothing without one.

    `watchdog_s` is how often it wants to hear of progress; None where it does not watch.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address  # "@" stands for an abstract name
        # One for the whole life: where no descriptor is left, a new one could not be had, and the watchdog would bite.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)  # a manager that does not read must not hold up the masks
        watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        period_us = environment.get("WATCHDOG_USEC", "") if watched else ""
        self.watchdog_s = int(period_us) / 1e6 if period_us.isdecimal() and int(period_us) else None

    def close(self) -> None:
        """Nothing is sent from here on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self, status: str) -> None:
        self._send("READY=1", f"STATUS={status}", *self._patience(self.watchdog_s))

    def status(self, status: str) -> None:
        self._send(f"STATUS={status}")

    def starting(self, status: str, within_s: float) -> None:
        """The start, or a reload, goes on: the manager waits so much longer, and so does its watchdog until `ready`."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(within_s * 1e6)}", f"STATUS={status}", *self._patience(within_s))

    def _patience(self, within_s: float | None) -> list[str]:
        return [f"WATCHDOG_USEC={round(within_s * 1e6)}"] if self.watchdog_s and within_s else []

    def progress(self) -> None:
        """The watchdog is content for another period."""
        self._send("WATCHDOG=1")

    def reloading(self, now_ns: int) -> None:
        """`now_ns` is of the monotonic clock."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_ns // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        if self._socket is None:
            return
        text = "\n".join(line.replace("\n", " ") for line in lines)
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError as error:
            log.warning("the service manager cannot be notified of %r: %s", lines[0], error.strerror)
