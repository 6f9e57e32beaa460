"""The name of a replay: one hash over all of its masks."""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from edge.prediction import Prediction

_HEAD = struct.Struct("<QHH")


class MaskDigest:
    """A sink that hashes masks. Two replays of equal `hexdigest` gave the same classes for the same frames in order.

    SHA-256 over each frame's index (uint64), mask width and height (uint16, little endian) and class ids, row by row at
    network size.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def __enter__(self) -> MaskDigest:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def write(self, result: Prediction, dropped: int) -> None:
        """Take in one mask; drops are not hashed, the index tells of them."""
        height, width = result.semantic.shape
        self._hash.update(_HEAD.pack(result.frame.index, width, height))
        self._hash.update(np.ascontiguousarray(result.semantic).data)

    def hexdigest(self) -> str:
        """64 hex digits, over all masks so far."""
        return self._hash.hexdigest()
