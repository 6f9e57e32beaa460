"""Another engine for a running service: opened and warmed up beside the first, changed between two frames, on trial."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from edge.errors import ConfigError, EdgeError
from edge.outputs import select
from edge.service.changes import EngineChanges, TrialFigures
from edge.service.config import ServeConfig
from edge.service.reload import Next, Reload

COMPARED_MIN = 10  # frames, before anything is said of masks
LONGEST = 5  # times its length a trial lasts where so many could not be compared
AGE_SLACK_MS = 5.0  # and no p99 is called worse for less
PARTS = {"engine", "precision"}  # of a config, that can be changed between two frames

log = logging.getLogger(__name__)

Outcome = Literal["", "kept", "back"]


class OnTrial(Protocol):
    """What a swap asks of a camera."""

    @property
    def name(self) -> str: ...
    @property
    def changes(self) -> EngineChanges: ...
    def announce_engine(self, step: str, facts: Mapping[str, Any]) -> None: ...


@dataclass(eq=False)
class SwapRequest:
    """Another engine is asked for. `answer` gets what became of that, for people."""

    engine: str
    precision: str | None
    answer: Future[str] = field(default_factory=Future)


def is_swap(running: ServeConfig, new: ServeConfig) -> bool:
    """Whether the new config differs in its engine alone, and this can be changed between two frames."""
    if running == new or running.model_dump(exclude=PARTS) != new.model_dump(exclude=PARTS):
        return False
    return swap_obstacle(running, new) == ""


def swap_obstacle(running: ServeConfig, new: ServeConfig) -> str:
    """Why one engine cannot follow the other between two frames; "" if it can."""
    before, after = (config.bundle().card for config in (running, new))
    if before.table != after.table:
        return (
            f"{after.name} has other classes than {before.name}: write it into the config and reload, with a short gap"
        )
    asked = [
        [o.name for o in select(card.outputs, config.asked(card), card.name)]
        for card, config in ((before, running), (after, new))
    ]
    return (
        ""
        if asked[0] == asked[1]
        else f"{after.name} gives {', '.join(asked[1])}; {before.name}: {', '.join(asked[0])}"
    )


def engine_words(config: ServeConfig) -> str:
    """As `edge swap` takes it."""
    return f"{config.engine}:{config.precision}" if config.precision else config.engine


class Swap:
    """One change of the engine, of all cameras, from its beginning to the end of its trial."""

    def __init__(
        self,
        cameras: Sequence[OnTrial],
        before: ServeConfig,
        now: ServeConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The cameras have the order to change."""
        self.before, self.now, self._cameras, self._clock = before, now, cameras, clock
        self._limits = now.swap
        self._until_s = clock() + self._limits.trial_s
        self._say("trial", f"on trial for {self._limits.trial_s:g} s")

    def words(self) -> str:
        """For the status line."""
        return f"engine {engine_words(self.now)} on trial for {max(0.0, self._until_s - self._clock()):.0f} s"

    def look(self) -> Outcome:
        """Once in a while: what became of it."""
        figures = [camera.changes.trial_figures() for camera in self._cameras]
        for camera, seen in zip(self._cameras, figures, strict=True):
            if reason := self._worse(seen):
                return self._go_back(f"camera {camera.name}: {reason}" if camera.name else reason)
        late_s = self._clock() - self._until_s
        if late_s < 0:
            return ""
        if not any(map(_are_compared, figures)):
            if late_s < (LONGEST - 1) * self._limits.trial_s:
                return ""
            failures = [seen.compared.failure for seen in figures if seen.compared and seen.compared.failure]
            why = next(iter(failures), "too few frames in the time")
            return self._go_back(f"masks of both engines could not be compared: {why}")
        for camera in self._cameras:
            camera.changes.keep()
        self._say("kept", "no limit was passed")
        return "kept"

    def _go_back(self, reason: str) -> Outcome:
        for camera in self._cameras:
            camera.changes.take_back()
        self._say("back", reason)
        return "back"

    def _worse(self, seen: TrialFigures) -> str:
        limits, masks = self._limits, seen.compared
        if seen.age_ms is not None and seen.age_before_ms is not None:
            limit_ms = max(limits.age * seen.age_before_ms, seen.age_before_ms + AGE_SLACK_MS)
            if seen.age_ms > limit_ms:
                return f"p99 of the age is {seen.age_ms:.0f} ms, was {seen.age_before_ms:.0f} (limit {limit_ms:.0f})"
        if masks is None or not _are_compared(seen):
            return ""
        if masks.share > limits.disagreement:
            return f"{masks.share:.1%} of the pixels have another class (limit {limits.disagreement:.1%})"
        if masks.unlike is not None and masks.other_unlike is not None:
            rise = masks.unlike - masks.other_unlike
            if rise > limits.unlike:
                return f"the scene looks unlike its training data: {masks.unlike:.2f}, was {masks.other_unlike:.2f}"
        return ""

    def _say(self, step: str, reason: str) -> None:
        before, now = engine_words(self.before), engine_words(self.now)
        level = logging.ERROR if step == "back" else logging.WARNING
        words = {"trial": "engine %s follows %s: %s", "kept": "engine %s stays, %s is closed: %s"}
        log.log(level, words.get(step, "engine %s gave way to %s again: %s"), now, before, reason)
        facts = {"engine": now, "before": before, "reason": reason}
        for camera in self._cameras:
            camera.announce_engine(step, facts)


def _are_compared(seen: TrialFigures) -> bool:
    return seen.compared is not None and seen.compared.frames >= COMPARED_MIN


class Swaps:
    """All changes of the engine of a running service. Belongs to the service's thread."""

    def __init__(self, cameras: Sequence[OnTrial], config: ServeConfig, reload: Reload) -> None:
        self._cameras, self._config, self._reload = cameras, config, reload
        self._swap: Swap | None = None
        self._request: SwapRequest | None = None

    def words(self) -> str:
        """For the status line; "" while no engine is on trial."""
        return self._swap.words() if self._swap else ""

    def reload(self) -> None:
        """The config file is to be read again, which may name another engine."""
        self._mark()
        self._reload.request()

    def request(self, request: SwapRequest) -> None:
        """Another engine is to be opened; refused at once where it cannot follow."""
        new = self._config.model_copy(update={"engine": request.engine, "precision": request.precision})
        try:
            if self._swap is not None or self._request is not None:
                raise ConfigError(f"one change at a time: {self.words() or 'another engine is being opened'}")
            if new == self._config:
                raise ConfigError(f"engine {engine_words(new)} works already")
            if obstacle := swap_obstacle(self._config, new):
                raise ConfigError(obstacle)
        except EdgeError as error:
            request.answer.set_exception(error)
            return
        self._request = request
        self._mark()
        self._reload.request(new)

    def take(self, ready: Next | None) -> Next | None:
        """What is left to be served anew of what the reload made ready: nothing, where its engine follows in place."""
        refusal, request = self._reload.refusal, self._request
        if request is not None and (ready is not None or refusal is not None):
            self._request = None
            if refusal is not None:
                request.answer.set_exception(refusal)
            elif ready is not None and not is_swap(self._config, ready.config):
                request.answer.set_exception(ConfigError("the config was reloaded meanwhile. Ask again"))
        if ready is None or self._swap is not None or not is_swap(self._config, ready.config):
            return ready
        for camera in self._cameras:
            camera.changes.swap(ready.config, ready.engines[camera.name])
        self._swap = Swap(self._cameras, self._config, ready.config)
        self._now_runs(ready.config)
        if request is not None and not request.answer.done():
            before, now = engine_words(self._swap.before), engine_words(ready.config)
            request.answer.set_result(
                f"engine {now} follows {before}, on trial for {ready.config.swap.trial_s:g} s. It lasts until the"
                " service ends: to keep it, write it into the config"
            )
        return None

    def look(self) -> None:
        """Once in a while: a trial may be over."""
        if self._swap is None or not (outcome := self._swap.look()):
            return
        if outcome == "back":
            self._now_runs(self._swap.before)
        self._swap = None

    def _now_runs(self, config: ServeConfig) -> None:
        self._config = config
        self._reload.now_runs(config)

    def _mark(self) -> None:
        for camera in self._cameras:
            camera.changes.mark_ages()
