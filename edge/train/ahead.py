"""Batches made while the net works on the ones before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any


def ahead(source: Iterator[Any], depth: int = 3) -> Generator[Any, None, None]:
    """`source`, computed by a thread of its own up to `depth` items ahead; its error comes out here."""
    slots: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def offer(item: Any) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                slots.put(item, timeout=0.2)
                return

    def fill() -> None:
        try:
            for item in source:
                offer(item)
                if stop.is_set():
                    return
        except Exception as error:  # noqa: BLE001 handed to the consumer, whose iteration it ends
            offer(error)

    worker = threading.Thread(target=fill, name="batches", daemon=True)
    worker.start()
    try:
        while True:
            item = slots.get()
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stop.set()
        worker.join(5)
