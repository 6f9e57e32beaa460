"""Events to whoever wants to know, each as it begins and as it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from edge.events import Event, Watcher
from edge.prediction import Prediction
from edge.status import Status

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)


class EventSink:
    """Looks at every result and tells `listeners` of each event, with its result; all are in the log."""

    def __init__(self, watcher: Watcher, listeners: Sequence[Callable[[Event, Prediction], object]] = ()) -> None:
        self._watcher, self._listeners = watcher, listeners

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @property
    def health(self) -> Status:
        """How many are and were where. Any thread may ask."""
        return self._watcher.counts

    def write(self, result: Prediction, dropped: int) -> None:
        """Tell of what begins or ends with this result, in the thread of the caller."""
        for event in self._watcher.look(result):
            _report(event)
            for listener in self._listeners:
                listener(event, result)


def _report(event: Event) -> None:
    visit = event.visit
    if visit is None:
        state = "began" if event.active else "ended"
        facts = "".join(f", {name} {value}" for name, value in event.facts.items())
        log.warning("%s %s at frame %d (%.4f)%s", event.name, state, event.frame, event.value, facts)
        return
    state = "entered" if visit.dwell_s is None else f"left after {visit.dwell_s:.1f} s:"
    who, counts = f"{visit.group} {visit.track_id}", f"{visit.now} there now, {visit.passed} so far"
    log.info("%s %s %s at frame %d: %s", who, state, visit.place, event.frame, counts)
