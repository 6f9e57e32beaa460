"""One camera's engine, and the orders to change it, which are followed between two frames."""

from __future__ import annotations

import queue
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from edge.backends.shared import SharedEngines
from edge.prediction import Prediction
from edge.service.config import ServeConfig
from edge.service.engines import EarlyEngine, Opened, Seat
from edge.service.load import Ages

if TYPE_CHECKING:
    from edge.service.shadow import Compared, Shadow


class TrialFigures(NamedTuple):
    """Of an engine on trial; ages are the p99 in ms before and since, `compared` is with the former engine; None while
    unknown.
    """

    age_before_ms: float | None
    age_ms: float | None
    compared: Compared | None


class EngineChanges:
    """Orders come from any thread; all else is the loop's.

    Attributes:
        config: of the engine that works, or will.
    """

    def __init__(self, name: str, config: ServeConfig, shared: SharedEngines, early: EarlyEngine | None) -> None:
        """`early` is the first engine, where one was opened for the camera."""
        self.config = config
        self._name, self._shared, self._early = name, shared, early
        self._orders: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._seat: Seat | None = None
        self._size_wh = (0, 0)
        self._former: Opened | None = None
        self._former_config: ServeConfig | None = None
        self._trial: Shadow | None = None
        self._ages, self._age_before_ms = Ages(), None
        self._on_change: Callable[[Seat], object] = lambda seat: None

    # -- orders, from any thread

    def mark_ages(self) -> None:
        """Another engine is about to be opened: this is how old masks are without it."""
        self._age_before_ms = self._ages.p99()

    def swap(self, config: ServeConfig, early: EarlyEngine) -> None:
        """Another engine follows, which is open; the former one is kept."""
        self._orders.put(partial(self._adopt, config, early))

    def keep(self) -> None:
        """The trial is over: the former engine is closed."""
        self._orders.put(self._settle)

    def take_back(self) -> None:
        """The former engine follows."""
        self._orders.put(self._go_back)

    def trial_figures(self) -> TrialFigures:
        """How the engine on trial does."""
        trial = self._trial
        return TrialFigures(self._age_before_ms, self._ages.p99(), trial.compared if trial else None)

    # -- the loop

    def early(self, thread_name: str) -> EarlyEngine:
        """The engine for the next run, being opened; the caller's to close."""
        self._obey()
        early, self._early = self._early, None
        return early or EarlyEngine(self.config, self._name, thread_name, shared=self._shared)

    def begin(self, early: EarlyEngine, size_wh: tuple[int, int], on_change: Callable[[Seat], object]) -> Seat:
        """The engine for frames of that size, which `end` closes; `on_change` is called when it is another one.

        Raises:
            EngineError: it cannot run here.
        """
        self._size_wh, self._on_change = size_wh, on_change
        seat = self._seat = Seat(early.for_frames(size_wh))
        if self._former_config is not None:  # on trial
            self._trial = self._compare_with(self._former_config, seat)
        return seat

    def add(self, result: Prediction) -> str:
        """Behind each frame: what was ordered is done. What is given is of `Seat.climb`."""
        self._ages.add(result.age_ms)
        reduced = self._seat.climb(result) if self._seat is not None else ""
        if self._trial is not None:
            self._trial.offer(result)
        self._obey()
        return reduced

    def end(self) -> None:
        """The run is over; a trial goes on with the next one, without the former engine."""
        self._close_former()
        seat, self._seat = self._seat, None
        if seat is not None:
            seat.close()

    def close(self) -> None:
        """There will be no run."""
        if self._early is not None:
            self._early.close()

    def _obey(self) -> None:
        while not self._orders.empty():
            self._orders.get()()

    def _adopt(self, config: ServeConfig, early: EarlyEngine) -> None:
        self._former_config, self.config = self.config, config
        self._ages = Ages()
        if self._seat is None:
            self.close()
            self._early = early
            return
        self._former = self._seat.replace(early.for_frames(self._size_wh))
        self._trial = self._compare_with(self._former_config, self._seat)
        self._on_change(self._seat)

    def _compare_with(self, config: ServeConfig, seat: Seat) -> Shadow:
        """The former engine is opened once more: what compares it may not delay the loop."""
        from edge.service.shadow import LOW, Shadow, Wish

        wish = Wish(config.engine, config.precision, config.backend, config.trusted_keys, LOW)
        return Shadow(wish, lambda: seat.card, config.swap.every, f"{self._name} trial".strip())

    def _settle(self) -> None:
        self._former_config = None
        self._close_former()

    def _go_back(self) -> None:
        if self._former_config is None:
            return
        self.config, self._former_config = self._former_config, None
        self._ages = Ages()
        if self._seat is not None:
            former, self._former = self._former, None
            if former is None:  # the camera began anew meanwhile
                name = f"{self._name}: engine"
                former = EarlyEngine(self.config, self._name, name, shared=self._shared).for_frames(self._size_wh)
            self._seat.replace(former).engine.close()
            self._on_change(self._seat)
        self._close_former()

    def _close_former(self) -> None:
        trial, self._trial = self._trial, None
        former, self._former = self._former, None
        if trial is not None:
            trial.close()
        if former is not None:
            former.engine.close()
