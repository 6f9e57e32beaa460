"""A second engine beside the one that works: on some frames, by threads of lowest priority, and how far both disagree.

The loop hands over a result and never waits; while the second engine is busy, it is skipped. Its inferences run in
threads of OpenVINO's own, which inherit the priority of the thread that opened it. A Python thread of low priority
would hold up the loop: it may lose its core while it holds the interpreter. Other backends' run with the usual one.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge.backends import open_engine
from edge.backends.current import CurrentEngine
from edge.card import Card
from edge.domain import describe, ood_score
from edge.engine import Engine
from edge.errors import EdgeError
from edge.prediction import Prediction
from edge.replay.compare import Comparer
from edge.segmenter import Segmenter
from edge.status import Status

if TYPE_CHECKING:
    from edge.frame import Image
    from edge.outputs import Arrays

KEPT = 200  # compared frames that the figures are of
LOWEST, LOW = 19, 10  # nice(2): gets what is left over; is slow, but gets on, where the machine is busy

log = logging.getLogger(__name__)


class Wish(NamedTuple):
    """The second engine: as `edge.backends.open_engine` takes it. Its outputs are the default ones; `nice` is the
    priority of its threads.
    """

    engine: str
    precision: str | None
    backend: str | None
    trusted_keys: Collection[str] | None = None
    nice: int = LOWEST


@dataclass(frozen=True)
class Compared:
    """How far two engines disagree.

    Attributes:
        frames: compared since the start; skipped: left out while the second one was busy.
        share: of pixels with another class, mean over the last `KEPT` frames, 0 to 1.
        by_group: 1 - IoU of each group that either saw, the same.
        unlike, other_unlike: how unlike their training data the scene looks to each (`edge.domain.ood_score`); None
            where a card has no fingerprint.
        failure: what keeps the second engine from running.
    """

    frames: int = 0
    skipped: int = 0
    share: float = 0.0
    by_group: Mapping[str, float] = field(default_factory=dict)
    unlike: float | None = None
    other_unlike: float | None = None
    failure: str = ""

    @property
    def health(self) -> Status:
        """For status, page and metrics."""
        groups = {f"disagreement_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}": v for name, v in self.by_group.items()}
        levels = {name: round(value, 4) for name, value in {"disagreement": self.share, **groups}.items()}
        state = "lost" if self.failure else "ok"
        totals = {"compared": self.frames, "skipped": self.skipped}
        return Status(state, self.failure, totals=totals, levels=levels)


class _Frame(NamedTuple):
    share: float
    by_group: tuple[float | None, ...]
    unlike: tuple[float | None, float | None]


class Shadow:
    """Runs the second engine of one camera, in a thread of its own, until it is closed."""

    def __init__(
        self,
        wish: Wish,
        card: Callable[[], Card],
        every: int,
        name: str,
        on_compared: Callable[[Prediction, float], object] = lambda result, share: None,
    ) -> None:
        """`card` gives that of the engine that works; `on_compared` is called in the shadow's thread with each result
        that was compared and its share of pixels that differ. The engine is opened in the background.
        """
        self._wish, self._card, self._every, self._on_compared = wish, card, every, on_compared
        self._changed = threading.Condition()
        self._next: Prediction | None = None
        self._busy, self._closing = True, False  # busy with opening
        self._offered = self._compared = self._skipped = 0
        self._frames: deque[_Frame] = deque(maxlen=KEPT)
        self._groups: tuple[str, ...] = ()
        self._failure = ""
        self._thread = threading.Thread(target=self._work, name=f"shadow {name}".strip(), daemon=True)
        self._thread.start()

    def offer(self, result: Prediction) -> None:
        """A new result, in the loop's thread; it is compared if it is its turn and the engine is idle."""
        self._offered += 1
        if self._offered % self._every:
            return
        with self._changed:
            if self._busy or self._next is not None:
                self._skipped += 1
                return
            self._next = result
            self._changed.notify_all()

    def close(self) -> None:
        """No more frames are compared; what is under way is not waited for."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    @property
    def compared(self) -> Compared:
        """How far both disagree. Any thread may ask."""
        frames = list(self._frames)
        shares = [frame.share for frame in frames]
        columns = zip(*(frame.by_group for frame in frames), strict=True)
        pairs = zip(self._groups, columns, strict=False)  # without frames, no columns
        by_group = {name: _mean([1 - iou for iou in ious if iou is not None]) for name, ious in pairs}
        return Compared(
            self._compared,
            self._skipped,
            _mean(shares) or 0.0,
            {name: value for name, value in by_group.items() if value is not None},
            _mean([one for frame in frames if (one := frame.unlike[0]) is not None]),
            _mean([one for frame in frames if (one := frame.unlike[1]) is not None]),
            self._failure,
        )

    # -- the thread

    def _work(self) -> None:
        try:
            with open_aside(self._wish) as engine:
                segmenter, comparer = Segmenter(engine), None
                while (result := self._take()) is not None:
                    if comparer is None:
                        comparer = Comparer(result.table, engine.card.table)
                        self._groups = comparer.groups
                    self._compare(result, segmenter.segment(result.frame), comparer, engine)
                    result = None  # its frame's memory is the capture's again
        except EdgeError as error:
            self._failure = str(error)
            log.error("shadow engine %s: %s", self._wish.engine, error)

    def _take(self) -> Prediction | None:
        with self._changed:
            self._busy = False
            self._changed.wait_for(lambda: self._next is not None or self._closing)
            result, self._next, self._busy = self._next, None, True
            return None if self._closing else result

    def _compare(self, result: Prediction, other: Prediction, comparer: Comparer, engine: Engine) -> None:
        found = comparer.compare(result, other)
        known = self._card().fingerprint, engine.card.fingerprint
        unlike = tuple(
            None if fingerprint is None else ood_score(describe(one), fingerprint, one.table)
            for one, fingerprint in zip((result, other), known, strict=True)
        )
        self._frames.append(_Frame(found.share, found.iou, (unlike[0], unlike[1])))
        self._compared += 1
        self._on_compared(result, found.share)


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


class _Aside(CurrentEngine):
    """An engine whose inferences run in threads of its own, where it can."""

    def infer(self, image: Image) -> Arrays:
        return getattr(self._now, "infer_aside", self._now.infer)(image)


def open_aside(wish: Wish) -> _Aside:
    """The engine, with one thread, which has the priority asked for if the backend has threads of its own. OpenVINO
    keeps threads of closed engines: those of one that had one thread, too, are used again as they are.

    Raises:
        EngineError: it cannot run here.
    """
    opened: list[Engine | BaseException] = []

    def work() -> None:
        with suppress(OSError):  # then it runs as all others do
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), wish.nice)
        try:
            options = {"precision": wish.precision, "backend": wish.backend, "trusted_keys": wish.trusted_keys}
            opened.append(open_engine(wish.engine, threads=1, **options))  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 raised where the engine is asked for
            opened.append(error)

    thread = threading.Thread(target=work, name="shadow opens", daemon=True)  # its priority is its threads'
    thread.start()
    thread.join()
    (found,) = opened
    if isinstance(found, BaseException):
        raise found
    return _Aside(found)
