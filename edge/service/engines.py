"""The engine of one camera, and under overload its smaller input sizes."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from edge.engine import Engine, find_bundle, open_engine
from edge.ladder import Heat, Ladder, LadderEngine
from edge.segmentation import Segmentation
from edge.service.config import ServeConfig

_OPENING = threading.Lock()  # one engine at a time: the second camera finds the plan that was built for the first

log = logging.getLogger(__name__)


def open_for(
    config: ServeConfig, camera: str, source_wh: tuple[int, int]
) -> tuple[Engine, Callable[[Segmentation], object]]:
    """An engine for frames of that size, and what is to be called with each of its results.

    Each of several cameras has an engine of its own, with an even part of the cores: none waits for another's frame.

    Raises:
        EngineError: it cannot run here.
    """
    threads = config.threads
    if threads is None and len(config.sources) > 1:
        threads = max(1, len(os.sched_getaffinity(0)) // len(config.sources))

    def at(input_wh: tuple[int, int] | None) -> Engine:
        return open_engine(
            config.engine,
            precision=config.precision,
            backend=config.backend,
            threads=threads,
            source_wh=source_wh,
            input_wh=input_wh,
        )

    with _OPENING:
        if config.ladder is None:
            return at(None), lambda result: None
        engine = LadderEngine([at(step.card.input_wh) for step in find_bundle(config.engine).steps(source_wh)])
    return engine, _Climber(camera, engine, config.ladder.deadline_ms)


class _Climber:
    """Changes the input size when the results say so."""

    def __init__(self, camera: str, engine: LadderEngine, deadline_ms: float) -> None:
        self._camera, self._engine = camera, engine
        self._ladder, self._heat = Ladder(engine.steps, deadline_ms), Heat()

    def __call__(self, result: Segmentation) -> None:
        if not self._ladder.update(result.age_ms, result.ready_ns, self._heat.is_hot()):
            return
        self._engine.use(self._ladder.step)
        of = f"camera {self._camera}: " if self._camera else ""
        log.warning("%sinput is now %dx%d: %s", of, *self._engine.card.input_wh, self._ladder.reason)
