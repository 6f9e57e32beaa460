"""A source of another package: "counter:5" gives five frames, each as bright as its number."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from edge.errors import ConfigError
from edge.frame import Frame
from edge.sources.kinds import SourceKind
from edge.timing import Durations


class Counter:
    live = False
    rate_hz: float | None = 10.0
    size_wh: tuple[int, int] = (64, 48)
    frame_count: int | None

    def __init__(self, name: str) -> None:
        self.name, self.decode, self._count = name, Durations(), int(name.partition(":")[2])
        self.frame_count = self._count
        self.is_closed = False

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            image = np.full((48, 64, 3), index, np.uint8)
            yield Frame(index=index, captured_ns=time.monotonic_ns(), source=self.name, bgr=image)

    def close(self) -> None:
        self.is_closed = True

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def check(name: str) -> None:
    if not name.partition(":")[2].isdecimal():
        raise ConfigError(f"{name}: expected a number")


COUNTER = SourceKind("counter", "counter:5", lambda name: name.startswith("counter:"), Counter, check=check)
LACKING = SourceKind("lacking", "lacking:", lambda name: True, "no_such_library:Source", extra="their-package")
