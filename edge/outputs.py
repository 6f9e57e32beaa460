"""Named outputs: what an engine gives for one frame, as its card lists it, and how the rest of edge understands each.

An engine returns a mapping of name to array. A card lists every output with its dtype, its shape relative to the input,
its meaning and its decoder. The decoder is a row of `DECODERS`: all that a carrier (drive, MQTT, JSON lines, socket,
page, evaluation record) needs to know about an array that it has never seen before.

Imports neither NumPy nor OpenCV: cards are read before either is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge.errors import EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]  # by the output's name

OUTPUT_NAME = r"[a-z][a-z0-9_]{0,31}"
DTYPES = ("uint8", "uint16", "int32", "float16", "float32")
DIMENSION = r"[HW](/[1-9][0-9]{0,2})?"


@dataclass(frozen=True)
class Output:
    """One output of an engine.

    Attributes:
        name: the key in `Prediction.outputs`.
        dtype: of its array, a NumPy name.
        shape: of its array; "H" and "W" are the input's height and width, "H/8" is an eighth of it, rounded up.
        decoder: the row of `DECODERS` that says how to understand it.
        meaning: one sentence for people.
        tensor: the graph's name for it.
        default: computed unless `open_engine` is asked for other outputs.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    decoder: str
    meaning: str
    tensor: str
    default: bool = True

    def shape_at(self, input_wh: tuple[int, int]) -> tuple[int, ...]:
        """The array's shape for an input of that size."""
        sides = {"W": input_wh[0], "H": input_wh[1]}
        return tuple(n if isinstance(n, int) else -(-sides[n[0]] // int(n[2:] or 1)) for n in self.shape)


SEMANTIC = Output("semantic", "uint8", ("H", "W"), "class_ids", "class id of each pixel", "semantic")
CONFIDENCE = Output(
    "confidence",
    "uint8",
    ("H", "W"),
    "confidence",
    "255 * tanh(m / 2), m = largest logit - second: the softmax margin between the two likeliest classes of each pixel",
    "confidence",
    default=False,
)
# What heads of our nets give beside the classes (edge/nets/heads.py), for steps that make objects and markings of it.
CENTRES = Output(
    "centres",
    "uint8",
    ("H/4", "W/4"),
    "values",
    "255 * the chance that an object's centre is in the cell, where it is the highest of 3 x 3 cells, else 0",
    "centres",
    default=False,
)
OFFSETS = Output(
    "offsets",
    "float32",
    (2, "H/4", "W/4"),
    "values",
    "from each cell to the centre of the object that it is part of, x and y, in cells",
    "offsets",
    default=False,
)
GRADES = Output(
    "marking_grades",
    "uint8",
    (2, "H/4", "W/4"),
    "values",
    "255 * the chance of a lane marking, and of a curb, in each cell",
    "marking_grades",
    default=False,
)
# What steps give (edge/steps.py), asked for as an engine's outputs are: which of these each needs.
MARKINGS = "markings"
STEP_OUTPUTS: dict[str, tuple[str, ...]] = {"instances": (), "steady": ("confidence",), MARKINGS: (GRADES.name,)}
# What else they take where the engine has it.
STEP_USES: dict[str, tuple[str, ...]] = {"instances": (CENTRES.name, OFFSETS.name)}


@dataclass(frozen=True)
class Decoder:
    """How an output's array is understood.

    Attributes:
        dtypes: those it can have.
        per_pixel: its first two dimensions are rows and columns of the input, so that the letterbox's bars can be cut.
        summarize: from the array, bars cut, to what a text record holds: a JSON object of numbers.
    """

    dtypes: tuple[str, ...]
    per_pixel: bool
    summarize: Callable[[NDArray[Any]], dict[str, float]]


def _summarize_ids(array: NDArray[Any]) -> dict[str, float]:
    """The share of each id that occurs, 0 to 1."""
    import numpy as np

    ids, counts = np.unique(array, return_counts=True)
    return {str(i): round(float(n) / array.size, 5) for i, n in zip(ids.tolist(), counts.tolist(), strict=True)}


def _summarize_values(array: NDArray[Any]) -> dict[str, float]:
    """Mean, least and greatest; an empty object for an empty array."""
    if not array.size:
        return {}
    return {"mean": round(float(array.mean()), 3), "min": float(array.min()), "max": float(array.max())}


def _summarize_confidence(array: NDArray[Any]) -> dict[str, float]:
    """Mean, and the share of pixels below half, 0 to 1 each."""
    return {"mean": round(float(array.mean()) / 255, 4), "low": round(float((array < 128).mean()), 4)}


def _count_instances(array: NDArray[Any]) -> dict[str, float]:
    """How many objects there are: their ids count from 1."""
    return {"count": int(array.max()) if array.size else 0}


DECODERS: dict[str, Decoder] = {
    "class_ids": Decoder(("uint8",), True, _summarize_ids),
    "marking_ids": Decoder(("uint8",), True, _summarize_ids),
    "instance_ids": Decoder(("uint8",), True, _count_instances),
    "confidence": Decoder(("uint8",), True, _summarize_confidence),
    "values": Decoder(DTYPES, False, _summarize_values),
    "value_map": Decoder(DTYPES, True, _summarize_values),
}


def output_problems(outputs: Iterable[Output]) -> list[str]:
    """What is wrong with a card's list of outputs, a line each."""
    listed = list(outputs)
    names = [output.name for output in listed]
    problems = [f"outputs: {name} is listed twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    for output in listed:
        decoder = DECODERS.get(output.decoder)
        if decoder is None:
            known = ", ".join(DECODERS)
            problems.append(f"outputs.{output.name}: expected a decoder of {known}, got {output.decoder!r}")
        elif output.dtype not in decoder.dtypes:
            expected = " or ".join(decoder.dtypes)
            problems.append(f"outputs.{output.name}: {output.decoder} expects {expected}, got {output.dtype}")
    if not any((o.name, o.decoder, o.shape) == (SEMANTIC.name, SEMANTIC.decoder, SEMANTIC.shape) for o in listed):
        problems.append("outputs: expected one called semantic, class_ids of shape [H, W]; every engine has it")
    return problems


def as_shape(value: Any) -> tuple[int | str, ...] | None:
    """A JSON list as a shape, [1-4 dimensions], or None where it is not one."""

    def fits(n: Any) -> bool:
        if isinstance(n, str):
            return re.fullmatch(DIMENSION, n) is not None
        return isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= 65536

    return tuple(value) if isinstance(value, list) and 1 <= len(value) <= 4 and all(map(fits, value)) else None


def select(outputs: Iterable[Output], names: Iterable[str] | None, origin: str) -> tuple[Output, ...]:
    """The outputs to compute, in the card's order: its default ones and those that are asked for by name. What steps
    give, an engine does not have to.

    Raises:
        EngineError: a name that the engine does not have.
    """
    listed, asked = list(outputs), set(names or ())
    asked |= {needed for name in asked for needed in STEP_OUTPUTS.get(name, ())}
    known = {output.name for output in listed}
    asked |= {used for name in asked for used in STEP_USES.get(name, ()) if used in known}
    if missing := asked - STEP_OUTPUTS.keys() - known:
        there = ", ".join(output.name for output in listed)
        hint = f" To add it: edge build engines/{origin}.yaml" if missing == {CONFIDENCE.name} else ""
        why = "".join(f", which {name!r} needs" for name in asked if min(missing) in STEP_OUTPUTS.get(name, ()))
        raise EngineError(f"engine {origin}: expected an output of {there}, got {min(missing)!r}{why}.{hint}")
    return tuple(output for output in listed if output.default or output.name in asked)
