"""The log of a service: to standard error, from where systemd takes it, and bounded whoever provokes it."""

from __future__ import annotations

import logging
import threading
import time

PER_MESSAGE = 5  # of one kind, in PERIOD_S
ANSWER = {"per_period": 50}  # `extra` of a record that answers what a person has asked for
PERIOD_S = 10.0
KINDS_MAX = 1000


def start_logging() -> None:
    """Log to standard error from INFO on."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(FloodFilter())


class FloodFilter(logging.Filter):
    """Lets at most `PER_MESSAGE` records of one kind pass in `PERIOD_S`, or as many as the record's `per_period` says;
    the next one says how many did not.

    A kind is a logger with a text before its figures are put in.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written."""
        key = record.name, str(record.msg)[:200]
        with self._lock:
            if key not in self._kinds and len(self._kinds) >= KINDS_MAX:
                self._kinds.clear()
            return self._kinds.setdefault(key, _Kind()).may_pass(record, time.monotonic())


class _Kind:
    def __init__(self) -> None:
        self._since_s, self._passed, self._held_back = float("-inf"), 0, 0

    def may_pass(self, record: logging.LogRecord, now_s: float) -> bool:
        """Whether the record is logged at this time; one that follows some that were not says how many."""
        if now_s - self._since_s >= PERIOD_S:
            self._since_s, self._passed = now_s, 0
        if self._passed >= getattr(record, "per_period", PER_MESSAGE):
            self._held_back += 1
            return False
        self._passed += 1
        if self._held_back:
            record.msg = f"{record.getMessage()} ({self._held_back} more like this were not logged)"
            record.args, self._held_back = None, 0
        return True
