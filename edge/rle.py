"""Masks as COCO's run lengths, which pycocotools, CVAT, Label Studio and FiftyOne read.

Runs go down the columns and start with one of zeros. The compressed form writes each run from the fourth on as its
difference from the one two before, in groups of five bits with a continuation bit and a sign, as printable characters
(cocoapi, common/maskApi.c, `rleToString`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """The lengths of the runs in a bool (H, W) mask: of False, of True, of False, ...; the first may be 0."""
    flat = mask.ravel(order="F")
    if not flat.size:
        return [0]
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs


def compressed(runs: list[int]) -> str:
    """COCO's string of run lengths."""
    return "".join(_characters(run - runs[i - 2] if i > 2 else run) for i, run in enumerate(runs))


def read_runs(text: str) -> list[int]:
    """The run lengths in COCO's string; one that no writer makes may give negative ones.

    Raises:
        ValueError: it holds another character, breaks off within a number, or has one of more than 64 bits.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise ValueError(f"expected COCO's string of run lengths, got {character!r} in it")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (code & 16) << (shift - 4)  # the sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("COCO's string of run lengths breaks off within a number")
    return runs


def coco_rle(mask: NDArray[np.bool_]) -> dict[str, object]:
    """A bool (H, W) mask as JSON takes it: {"size": [H, W], "counts": string}."""
    return {"size": list(mask.shape), "counts": compressed(run_lengths(mask))}


def _characters(value: int) -> str:
    text = ""
    while True:
        bits, value = value & 31, value >> 5
        if value == (-1 if bits & 16 else 0):  # the sign bit says what all further bits are
            return text + chr(48 + bits)
        text += chr(48 + bits + 32)
