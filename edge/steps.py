"""Stateful steps behind the engine, such as tracking and smoothing: after results are in order, before sinks.

They run wherever results are taken in order: `edge.segment`, `pipeline.run`, the service, replay and evaluation alike.
A step is a row of `STEPS`. It runs where all that it needs is computed, by the engine or a step before it; one that
gives an output which is asked for runs only then. Without one, nothing is paid.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from edge.card import Card
from edge.engine import Engine
from edge.instances import INSTANCES, thing_ids
from edge.outputs import CENTRES, GRADES, MARKINGS, STEP_OUTPUTS, STEP_USES
from edge.prediction import Prediction

if TYPE_CHECKING:
    from edge.geometry.model import CameraModel

MAX_MISSED = 10  # frames: under load, a live loop drops some, and what moves is still found again
MAX_GAP_NS = 1_000_000_000


class Step(Protocol):
    """Makes more of a prediction by those before it, such as an output of its own with its spec."""

    def update(self, prediction: Prediction) -> Prediction:
        """The prediction, with what the step adds or changes. It is called for one frame after another."""
        ...

    def reset(self) -> None:
        """Forget all frames: the next one does not follow them."""
        ...


@dataclass(frozen=True)
class StepKind:
    """A row of `STEPS`: makes a step for an engine of that card, where the outputs `needs` are computed. A row with the
    name of one of `edge.outputs.STEP_OUTPUTS` gives that output, and runs where it is asked for.
    """

    make: Callable[[Card], Step]
    needs: tuple[str, ...] = ("semantic",)


# The steps are imported where they are made: most runs are without.


def _steady(card: Card) -> Step:
    from edge.steady import Steady

    return Steady()


def _instances(card: Card) -> Step:
    from edge.grouping import Instances, components

    if any(output.name == CENTRES.name for output in card.outputs):
        from edge.centres import grouped

        return Instances(card.table, grouped)
    return Instances(card.table, components)


def _markings(card: Card) -> Step:
    from edge.markings import Markings

    return Markings(card.table)


def _tracks(card: Card) -> Step:
    from edge.tracking import Tracks

    return Tracks()


# By name, in the order in which they run.
STEPS: dict[str, StepKind] = {
    "steady": StepKind(_steady, needs=("semantic", "confidence")),
    INSTANCES: StepKind(_instances),
    MARKINGS: StepKind(_markings, needs=("semantic", GRADES.name)),
    "tracks": StepKind(_tracks, needs=(INSTANCES,)),
}


class Steps:
    """All steps of one stream of predictions, in their order. The one owner of when they are reset.

    They are, where a prediction does not follow the last one: its index goes back, more than `MAX_MISSED` frames or
    more than `MAX_GAP_NS` of the recording are missing between them, or its frame has another shape. For a source
    without times of its own, the capture clock counts. Another source is begun with `reset`.
    """

    def __init__(self, steps: Sequence[Step], hidden: Collection[str] = ()) -> None:
        """`hidden` outputs are for the steps alone and not given on."""
        self._steps, self._hidden = list(steps), frozenset(hidden)
        self._last: Prediction | None = None

    @classmethod
    def of(cls, engine: Engine, asked: Collection[str] = (), camera_model: CameraModel | None = None) -> Steps:
        """Those for what the engine computes, and for what else is asked for. A camera model asks for instances, where
        the engine has classes of such, and for metres.

        Raises:
            ConfigError: the engine's classes cannot give it.
        """
        table = engine.card.table
        if camera_model is not None and thing_ids(table):
            asked = {*asked, INSTANCES}
        names = step_names([output.name for output in engine.outputs], asked)
        needed = {output for name in asked for output in (*STEP_OUTPUTS.get(name, ()), *STEP_USES.get(name, ()))}
        hidden = needed - {*asked, *(output.name for output in engine.outputs if output.default)}
        steps: list[Step] = [STEPS[name].make(engine.card) for name in names]
        if camera_model is not None:
            from edge.metres import Metres

            steps.append(Metres(camera_model, table))
        return cls(steps, hidden)

    def __len__(self) -> int:
        return len(self._steps)

    def update(self, prediction: Prediction) -> Prediction:
        """The prediction after all steps. One thread at a time, in the order of frames."""
        if self._last is not None and not follows(prediction, self._last):
            self.reset()
        self._last = prediction
        for step in self._steps:
            prediction = step.update(prediction)
        outputs = {name: array for name, array in prediction.outputs.items() if name not in self._hidden}
        return replace(prediction, outputs=outputs, ready_ns=max(prediction.ready_ns, time.monotonic_ns()))

    def reset(self) -> None:
        """What comes next follows nothing."""
        self._last = None
        for step in self._steps:
            step.reset()


def step_names(outputs: Sequence[str], asked: Collection[str] = ()) -> list[str]:
    """The steps that run where these outputs are computed and those asked for, in their order."""
    there, names = set(outputs), list[str]()
    for name, kind in STEPS.items():
        if set(kind.needs) <= there and (name in asked or name not in STEP_OUTPUTS):
            names.append(name)
            there.add(name)
    return names


def follows(prediction: Prediction, last: Prediction) -> bool:
    """Whether state made of `last` still says something of the frame."""
    now, before = prediction.frame, last.frame
    timed = now.media_ns is not None and before.media_ns is not None
    gap_ns = now.media_ns - before.media_ns if timed else now.captured_ns - before.captured_ns  # type: ignore[operator]
    return (
        prediction.letterbox == last.letterbox
        and 1 <= now.index - before.index <= 1 + MAX_MISSED
        and 0 <= gap_ns <= MAX_GAP_NS
    )
