"""What every sink is."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edge.prediction import Prediction

if TYPE_CHECKING:
    from edge.card import Card
    from edge.events import Event
    from edge.status import Status


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


@runtime_checkable
class Reporting(Protocol):
    """A sink that knows how it is."""

    @property
    def health(self) -> Status:
        """At this moment. Any thread may ask."""
        ...


@runtime_checkable
class EventListener(Protocol):
    """A sink that passes on events, too."""

    def event(self, event: Event, result: Prediction) -> None:
        """One began or ended with that result. Any thread may call."""
        ...


@runtime_checkable
class FollowsEngine(Protocol):
    """A sink that says which engine the results are of."""

    def set_engine(self, card: Card, precision: str) -> None:
        """Another engine works, with the same classes. Any thread may call."""
        ...


@runtime_checkable
class FollowsCamera(Protocol):
    """A sink that says how the camera is, between results too."""

    def set_camera_state(self, health: Status) -> None:
        """What is said of it from now on. Any thread may call."""
        ...


@runtime_checkable
class Announcer(Protocol):
    """A sink that passes on what happened, but in no frame."""

    def announce(self, name: str, **facts: object) -> None:
        """`facts` are what JSON takes. Any thread may call."""
        ...


@runtime_checkable
class Triggered(Protocol):
    """A sink that keeps what was seen just now, when that is asked for."""

    def trigger(self, reason: str) -> None:
        """Any thread may call."""
        ...
