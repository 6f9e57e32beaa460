"""One compiled model for all cameras that ask for the same: opened once, in memory once.

    engines = SharedEngines()
    with engines.lease("road", cameras=2) as front, engines.lease("road", cameras=2) as rear:
        front.await_turn()               # before the newest frame is taken
        outputs = front.infer(image)     # gives the turn on

Each lease is an engine, for the loop of one camera. Where all want the model at once, it goes to the one whose last
mask is oldest, which then takes its newest frame: a frame that waits in a queue would be old when its turn comes.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge.backends import choose_backend, open_engine
from edge.backends.checks import checked_threads
from edge.backends.current import CurrentEngine
from edge.engine import Engine, find_bundle
from edge.errors import EngineError

if TYPE_CHECKING:
    from edge.frame import Image
    from edge.outputs import Arrays

THREADS_OF_A_FRAME = 4  # nets of this size gain little from more: beyond, frames of several cameras run side by side
BROKEN_AFTER = 2  # failed inferences in a row, of whatever camera: then it is the engine and not one camera's frame

log = logging.getLogger(__name__)


class Turns:
    """Who works next, where fewer may at once than want to: the one who has waited longest since it worked last."""

    def __init__(self, at_once: int) -> None:
        self._lock, self._free = threading.Lock(), at_once
        self._waiting: list[tuple[int, int, threading.Semaphore]] = []
        self._numbers = itertools.count()

    def take(self, last_ns: int, gate: threading.Semaphore) -> None:
        """Wait for a turn; `last_ns` is when the last one began, `gate` the caller's own, at zero."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            heapq.heappush(self._waiting, (last_ns, next(self._numbers), gate))
        gate.acquire()

    def give(self) -> None:
        """The turn is over: it goes to the next one, if any."""
        with self._lock:
            if self._waiting:
                heapq.heappop(self._waiting)[-1].release()
            else:
                self._free += 1


class _Key(NamedTuple):
    """What two cameras must ask for alike to share."""

    folder: Path
    card: str
    precision: str | None
    backend: str
    threads: int | None
    at_once: int
    input_wh: tuple[int, int]
    outputs: frozenset[str]


@dataclass
class _Shared:
    """An open engine, and the cameras that use it. The locks are over opening, and over the figures."""

    opening: threading.Lock = field(default_factory=threading.Lock)
    engine: Engine | None = None
    turns: Turns = field(default_factory=lambda: Turns(1))
    users: int = 0
    failures: int = 0


class SharedEngines:
    """The open engines of a process; its cameras lease them. Any thread may."""

    def __init__(self, open_one: Callable[..., Engine] = open_engine) -> None:
        self._open_one, self._lock = open_one, threading.Lock()
        self._by_key: dict[_Key, _Shared] = {}

    @property
    def models(self) -> int:
        """How many models are open."""
        with self._lock:
            return len(self._by_key)

    def lease(
        self,
        name_or_path: str | Path,
        *,
        cameras: int = 1,
        precision: str | None = None,
        backend: str | None = None,
        threads: int | None = None,
        input_wh: tuple[int, int] | None = None,
        outputs: Collection[str] = (),
        trusted_keys: Collection[str] | None = None,
        warm_up: int = 0,
    ) -> Lease:
        """An engine for one of so many cameras, to be closed by it: the one that another has open, or a new one. The
        further arguments are those of `edge.backends.open_engine`; an engine that is opened for this has `warm_up`
        inferences behind it.

        Raises:
            EngineNotFound, BundleTampered, EngineError: see `open_engine`.
        """
        bundle = find_bundle(name_or_path, trusted_keys)
        size, name = input_wh or bundle.card.input_wh, choose_backend(backend)
        at_once = max(1, min(cameras, checked_threads(threads) // THREADS_OF_A_FRAME))
        content = bundle.card.to_json()
        key = _Key(bundle.folder, content, precision, name, threads, at_once, size, frozenset(outputs))
        wishes: dict[str, Any] = {"precision": precision, "backend": name, "threads": threads}
        wishes |= {"input_wh": size, "outputs": outputs, "side_by_side": at_once if at_once > 1 else False}
        if trusted_keys is not None:
            wishes["trusted_keys"] = trusted_keys
        with self._lock:
            shared = self._by_key.setdefault(key, _Shared())
            shared.users += 1
        try:
            with shared.opening:  # the second camera finds the engine, or the plan, that was made for the first
                if shared.engine is None:
                    shared.engine = self._open_one(bundle.folder, **wishes)
                    shared.turns = Turns(shared.engine.streams)
                    for _ in range(warm_up):
                        shared.engine.infer(np.zeros((size[1], size[0], 3), np.uint8))
                return Lease(self, shared, shared.engine)
        except BaseException:  # whatever it is, this camera does not use it
            self.give_back(shared)
            raise

    def give_back(self, shared: _Shared) -> None:
        """A camera uses it no longer; the last one closes it."""
        with self._lock:
            shared.users -= 1
            if shared.users:
                return
            self._forget(shared)
        if shared.engine is not None:
            shared.engine.close()

    def judge(self, shared: _Shared, has_failed: bool) -> None:
        """What became of an inference. After repeated failures the engine is reopened at the next lease."""
        if not has_failed:
            shared.failures = 0
            return
        with self._lock:
            shared.failures += 1
            if shared.failures == BROKEN_AFTER and self._forget(shared):
                log.warning("%d inferences in a row failed: the engine is opened anew", BROKEN_AFTER)

    def _forget(self, shared: _Shared) -> bool:
        found = next((key for key, one in self._by_key.items() if one is shared), None)
        return found is not None and self._by_key.pop(found) is shared


class Lease(CurrentEngine):
    """A shared engine, as one camera has it. An inference that fails is an error of this camera alone."""

    def __init__(self, owner: SharedEngines, shared: _Shared, engine: Engine) -> None:
        """Where the backend can, with a request of its own on the compiled model, so that cameras share no buffer."""
        share: Callable[[], Engine] | None = getattr(engine, "share", None)
        super().__init__(share() if share else engine)
        self._is_own = share is not None
        self._owner, self._shared = owner, shared
        self._gate, self._last_ns, self._has_turn = threading.Semaphore(0), 0, False
        self._closed = False

    @property
    def streams(self) -> int:
        """A lease is for one loop."""
        return 1

    def await_turn(self) -> None:
        """Wait until it is this camera's turn; until the next `infer` has ended, or it is closed, no other has it."""
        if not self._has_turn:
            self._shared.turns.take(self._last_ns, self._gate)
            self._has_turn, self._last_ns = True, time.monotonic_ns()

    def infer(self, image: Image) -> Arrays:
        """See `edge.engine.Engine.infer`; it takes a turn, where there was none yet, and gives it on."""
        if self._closed:
            raise EngineError(f"engine {self.card.name}: is closed")
        self.await_turn()
        has_failed = True
        try:
            arrays = self._now.infer(image)
            has_failed = False
        finally:
            self._owner.judge(self._shared, has_failed)
            self._give_turn()
        return arrays

    def close(self) -> None:
        """Leave the engine to the others. It may be called twice."""
        if self._closed:
            return
        self._closed = True
        self._give_turn()
        if self._is_own:
            self._now.close()
        self._owner.give_back(self._shared)

    def _give_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._shared.turns.give()
