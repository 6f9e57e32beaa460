"""Where two engines disagree, over a whole recording: a value for each frame, kept between replays."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.cache import cache_folder, key_of, replacing
from edge.prediction import Prediction
from edge.replay.compare import Comparer, Disagreement

log = logging.getLogger(__name__)


class DisagreementTimeline:
    """The disagreement of each frame, as far as it is known. Any thread may write and read.

    Attributes:
        comparer: compares; its groups are what the IoU of a frame are of.
        version: grows with each change.
    """

    def __init__(self, frame_count: int, comparer: Comparer) -> None:
        self.frame_count, self.comparer, self.version = frame_count, comparer, 0
        self._share = np.full(frame_count, np.nan, np.float32)
        self._iou = np.full((frame_count, len(comparer.groups)), np.nan, np.float32)
        self._lock = threading.Lock()

    def compare(self, index: int, first: Prediction, second: Prediction) -> Disagreement:
        """What the two disagree on in a frame, which is known from then on."""
        found = self.at(index)
        if found is None:
            found = self.comparer.compare(first, second)
            self._put(index, found)
        return found

    def _put(self, index: int, found: Disagreement) -> None:
        with self._lock:
            self._share[index] = found.share
            self._iou[index] = [np.nan if iou is None else iou for iou in found.iou]
            self.version += 1

    def knows(self, index: int) -> bool:
        """Whether that frame was compared."""
        return not np.isnan(self._share[index])

    @property
    def known(self) -> int:
        """How many frames were compared."""
        return int(np.count_nonzero(~np.isnan(self._share)))

    def at(self, index: int) -> Disagreement | None:
        """None where the frame was not compared yet."""
        with self._lock:
            share, iou = float(self._share[index]), self._iou[index].tolist()
        return None if np.isnan(share) else Disagreement(share, _without_nan(iou))

    def mean(self) -> Disagreement | None:
        """Over the frames that were compared; None if none was. A group that no frame shows has None."""
        with self._lock:
            known = ~np.isnan(self._share)
            shares, iou = self._share[known], self._iou[known]
        if not len(shares):
            return None
        seen = np.count_nonzero(~np.isnan(iou), axis=0)
        means = np.divide(np.nansum(iou, axis=0), seen, out=np.full(len(seen), np.nan), where=seen > 0)
        return Disagreement(float(shares.mean()), _without_nan(means.tolist()))

    def columns(self, width: int) -> NDArray[np.float32]:
        """float32 (n,), n at most `width`: the greatest share among the frames of each column; NaN where none is known.

        A column holds frames `column * frame_count // n` up to the next column's.
        """
        count = min(width, self.frame_count)
        starts = np.arange(count) * self.frame_count // count
        with self._lock:
            # fmax takes the number where the other is NaN.
            return np.fmax.reduceat(self._share, starts)

    def worst(self, apart: int, limit: int = 50) -> list[int]:
        """Frames by how much is disagreed on in them, the worst first; of those less than `apart` apart, the worst one.

        A frame without any disagreement is not among them.
        """
        with self._lock:
            share = np.nan_to_num(self._share)
        taken = np.zeros(self.frame_count, np.bool_)
        found: list[int] = []
        for index in np.argsort(-share, kind="stable"):
            if len(found) == limit or share[index] <= 0:
                break
            if not taken[index]:
                found.append(int(index))
                taken[max(0, index - apart + 1) : index + apart] = True
        return found

    def save(self, path: Path) -> None:
        """Keep what is known, as a whole or not at all; where that cannot be, the next replay computes it again."""
        with self._lock:
            arrays = {"share": self._share.copy(), "iou": self._iou.copy()}
        try:
            with replacing(path) as file:
                np.savez_compressed(file, **arrays)
        except OSError as error:
            log.info("%s: cannot be written, the next replay compares again: %s", path, error)

    def load(self, path: Path) -> None:
        """Take what an earlier replay kept; what is not in order is not taken."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                share, iou = kept["share"], kept["iou"]
        except FileNotFoundError:
            return
        except Exception as error:  # noqa: BLE001 numpy, zipfile and zlib each have their own for a damaged file
            log.info("%s: is damaged, comparing again: %s", path, error)
            return
        if (share.shape, iou.shape) != (self._share.shape, self._iou.shape) or share.dtype != np.float32:
            log.info("%s: is of another recording, comparing again", path)
            return
        with self._lock:
            fresh = np.isnan(self._share)
            self._share[fresh], self._iou[fresh] = share[fresh], iou[fresh]
            self.version += 1


def _without_nan(values: list[float]) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else value for value in values)


def kept_at(*parts: object) -> Path:
    """Where the timeline that depends on `parts` is kept, in the user's cache."""
    return cache_folder("replay") / f"{key_of(*parts)}.npz"
