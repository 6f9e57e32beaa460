"""A new config, made ready in a background thread while the old one is served."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from edge.backends.shared import SharedEngines
from edge.errors import EdgeError, EngineError
from edge.service.check import check, probe
from edge.service.config import ServeConfig, load_config
from edge.service.engines import EarlyEngine
from edge.service.logs import ANSWER

Size = tuple[int, int]

WARM_UP = 3  # inferences: the first ones allocate, and are slow

log = logging.getLogger(__name__)


class Next(NamedTuple):
    """A config that is in order, with the engine of each camera open."""

    config: ServeConfig
    engines: dict[str, EarlyEngine]

    def close(self) -> None:
        """It will not be served."""
        for engine in self.engines.values():
            engine.close()


class Reload:
    """Makes the config file's new content ready when asked to, once for all who asked meanwhile.

    Belongs to one thread, which is woken when there is an outcome to `take`.
    """

    def __init__(
        self,
        path: Path | None,
        running: ServeConfig,
        sizes: Callable[[], dict[str, Size]],
        wake: Callable[[], object],
        shared: SharedEngines,
    ) -> None:
        """`sizes` gives the frame sizes of the running cameras by their sources; `wake` may come from any thread.
        `shared` are the engines of the process.
        """
        self._path, self._running, self._sizes, self._wake, self._shared = path, running, sizes, wake, shared
        self._is_due = False
        self._wish: ServeConfig | None = None
        self._work: Future[Next] | None = None
        self.refusal: EdgeError | None = None

    def request(self, wish: ServeConfig | None = None) -> None:
        """The file has changed; or `wish` is to be made ready in its place."""
        if self._path is None and wish is None:
            log.info("there is no config file that could be read again")
            return
        self._wish = wish
        self._is_due = True
        self._begin()

    def now_runs(self, config: ServeConfig) -> None:
        """What the next config is compared with."""
        self._running = config

    def take(self) -> Next | None:
        """What is to be served from now on; None while nothing is ready, or where `refusal` says why it will not be."""
        self.refusal = None
        if self._work is None or not self._work.done():
            return None
        work, self._work = self._work, None
        error = work.exception()
        if self._is_due:  # it changed while it was read
            if error is None:
                work.result().close()
            self._begin()
            return None
        if error is None:
            return work.result()
        if not isinstance(error, EdgeError):
            log.error("an error of edge's own", exc_info=error)
        log.error("the new config is refused, the old one stays: %s", error, extra=ANSWER)
        self.refusal = error if isinstance(error, EdgeError) else EngineError(f"an error of edge's own: {error!r}")
        return None

    def close(self) -> None:
        """What is not ready yet is not wanted."""
        if self._work is not None:
            self._work.add_done_callback(lambda work: None if work.exception() else work.result().close())

    def _begin(self) -> None:
        if self._work is None:
            self._is_due, self._work = False, Future()
            args = (self._work, self._sizes(), self._wish)
            threading.Thread(target=self._prepare, args=args, name="reload", daemon=True).start()

    def _prepare(self, work: Future[Next], sizes: dict[str, Size], wish: ServeConfig | None) -> None:
        try:
            work.set_result(self._ready(sizes, wish))
        except BaseException as error:  # noqa: BLE001 logged by the thread that asked
            work.set_exception(error)
        self._wake()

    def _ready(self, sizes: dict[str, Size], wish: ServeConfig | None) -> Next:
        """Raises EdgeError: something that the config needs is not to be had."""
        assert wish is not None or self._path is not None
        config = wish or load_config(self._path, ServeConfig)  # type: ignore[arg-type]
        check(config)
        probe(config, self._running)
        ready = Next(config, {})
        try:
            for name, source in config.sources.items():
                thread = f"reload {name}: engine"
                ready.engines[name] = EarlyEngine(
                    config, name, thread, sizes.get(source), shared=self._shared, warm_up=WARM_UP
                )
            for engine in ready.engines.values():
                engine.wait()
        except BaseException:  # whatever it is, the old config stays and these engines are not wanted
            ready.close()
            raise
        return ready
