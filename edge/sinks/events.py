"""Events to whoever wants to know, each as it begins and as it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from edge.events import Event, Watcher
from edge.prediction import Prediction

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)


class EventSink:
    """Looks at every result and tells `listeners` of each event; all are in the log."""

    def __init__(self, watcher: Watcher, listeners: Sequence[Callable[[Event], object]] = ()) -> None:
        self._watcher, self._listeners = watcher, listeners

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def write(self, result: Prediction, dropped: int) -> None:
        """Tell of what begins or ends with this result, in the thread of the caller."""
        for event in self._watcher.look(result):
            log.warning(
                "%s %s at frame %d (%.4f)", event.name, "began" if event.active else "ended", event.frame, event.value
            )
            for listener in self._listeners:
                listener(event)
