"""What every sink is."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from edge.prediction import Prediction


class Sink(Protocol):
    """Takes results, one after another, in frame order. A context manager: leaving it completes what was written.

    A file appears under its final name when it is complete. A sink left by an error of its own removes what it had
    begun; one left by another's error keeps what it has.
    """

    def write(self, result: Prediction, dropped: int) -> None:
        """Take one result; `dropped` frames were dropped before it since the run began.

        Raises:
            OutputError: it cannot be written.
        """
        ...

    def __enter__(self) -> Sink: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
