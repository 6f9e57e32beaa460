"""The engine of one camera, opened while the camera is and shared with others that ask for the same; and under overload
its smaller input sizes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from typing import NamedTuple

from edge.backends import choose_backend, load_backend
from edge.backends.current import CurrentEngine
from edge.backends.shared import SharedEngines
from edge.errors import EdgeError
from edge.ladder import Heat, Ladder, LadderEngine
from edge.prediction import Prediction
from edge.service.config import ServeConfig

EXPECTED_WH = 1280, 720  # most cameras are 16:9

log = logging.getLogger(__name__)

Size = tuple[int, int]


class Opened(NamedTuple):
    """An engine, and what is to be called with each of its results: why its input is reduced, "" where it is not."""

    engine: CurrentEngine
    climb: Callable[[Prediction], str]


class EarlyEngine:
    """An engine for a camera that has not said yet how large its frames are.

    It takes as long to open one as the other, so both are opened at once: the engine for the size that most cameras
    have. Where that was wrong, it is opened again. A backend that opens slowly waits for the size: TensorRT may have a
    plan to build.
    """

    def __init__(
        self,
        config: ServeConfig,
        camera: str,
        thread_name: str,
        known_wh: Size | None = None,
        *,
        shared: SharedEngines,
        warm_up: int = 0,
    ) -> None:
        """`known_wh` is the frame size where it is known; then a plan for TensorRT is not waited with, either. `shared`
        are the engines of the process. `warm_up`: how many inferences an engine has behind it that is opened for this.
        """
        self._config, self._camera, self._bundle = config, camera, config.bundle()
        self._shared, self._warm_up = shared, warm_up
        self._expected_wh = known_wh or EXPECTED_WH
        self._expected: Future[Opened] | None = None
        with suppress(EdgeError):  # raised when the camera is there
            if known_wh is not None or load_backend(choose_backend(config.backend)).OPENS_QUICKLY:
                self._expected = Future()
                # A compiler cannot be interrupted: whoever leaves does not wait for it.
                threading.Thread(
                    target=self._open_expected, args=(self._expected,), name=thread_name, daemon=True
                ).start()

    def wait(self) -> None:
        """Until it is open, where it is being opened.

        Raises:
            EngineError: it cannot run here.
        """
        if self._expected is not None:
            self._expected.result()

    def for_frames(self, source_wh: Size) -> Opened:
        """The engine for frames of that size, which is the caller's to close; asked once.

        Raises:
            EngineError: it cannot run here.
        """
        expected, self._expected = self._expected, None
        if expected is not None:
            if self._input_sizes(source_wh) == self._input_sizes(self._expected_wh):
                return expected.result()
            _close_when_open(expected)
        return self._open(source_wh)

    def close(self) -> None:
        """It is not needed; a second call does nothing."""
        expected, self._expected = self._expected, None
        if expected is not None:
            _close_when_open(expected)

    def _open_expected(self, expected: Future[Opened]) -> None:
        try:
            expected.set_result(self._open(self._expected_wh))
        except BaseException as error:  # noqa: BLE001 raised where the engine is asked for
            expected.set_exception(error)

    def _open(self, source_wh: Size) -> Opened:
        """Raises:
        EngineError: it cannot run here.
        """
        config = self._config
        with ExitStack() as opened:
            engines = []
            for input_wh in self._input_sizes(source_wh):
                engine = self._shared.lease(
                    config.engine,
                    cameras=len(config.sources),
                    precision=config.precision,
                    backend=config.backend,
                    threads=config.threads,
                    input_wh=input_wh,
                    outputs=config.asked(self._bundle.card),
                    trusted_keys=config.trusted_keys,
                    warm_up=self._warm_up,
                )
                opened.callback(engine.close)
                engines.append(engine)
            opened.pop_all()  # they are closed where a later one does not open
        if config.ladder is None:
            return Opened(engines[0], lambda result: "")
        ladder = LadderEngine(engines)
        return Opened(ladder, _Climber(self._camera, ladder, config.ladder.deadline_ms))

    def _input_sizes(self, source_wh: Size) -> list[Size]:
        """(width, height) of the engine's input for frames of that size; with a ladder, of each of its steps."""
        steps = self._bundle.steps(source_wh)
        return [step.card.input_wh for step in (steps if self._config.ladder else steps[:1])]


class Seat(CurrentEngine):
    """The engine of one camera's loop, which changes between two frames."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened.engine)
        self._climb = opened.climb

    def climb(self, result: Prediction) -> str:
        """To be called with each result; why the input is smaller than it could be, "" if it is not."""
        return self._climb(result)

    def replace(self, opened: Opened) -> Opened:
        """Frames from here on are that engine's; the former one is the caller's to close."""
        former = Opened(self._now, self._climb)
        self._now, self._climb = opened
        return former


def _close_when_open(expected: Future[Opened]) -> None:
    def close(done: Future[Opened]) -> None:
        if done.exception() is None:
            done.result().engine.close()

    expected.add_done_callback(close)


class _Climber:
    """Changes the input size when the results say so."""

    def __init__(self, camera: str, engine: LadderEngine, deadline_ms: float) -> None:
        self._camera, self._engine = camera, engine
        self._ladder, self._heat = Ladder(engine.steps, deadline_ms), Heat()
        self._reduced = ""

    def __call__(self, result: Prediction) -> str:
        if self._ladder.update(result.age_ms, result.ready_ns, self._heat.is_hot()):
            self._engine.use(self._ladder.step)
            of, input_wh = f"camera {self._camera}: " if self._camera else "", self._engine.card.input_wh
            log.warning("%sinput is now %dx%d: %s", of, *input_wh, self._ladder.reason)
            reason = "{}×{}: {}".format(*input_wh, self._ladder.reason)
            self._reduced = reason if self._ladder.step else ""
        return self._reduced
