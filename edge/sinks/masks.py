"""Masks as one-channel PNG files of class ids, at source resolution: 000000.png is frame 0."""

from __future__ import annotations

from pathlib import Path

import cv2

from edge.prediction import Prediction
from edge.sinks.files import prepare_folder, writing
from edge.timing import Stages

# A class map's rows mostly equal the row above: what is left of them then is runs of zeros. At 720p that is quicker
# than OpenCV's default and less than half as large (docs/results.md).
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # before OpenCV 5 the filter cannot be chosen; files are larger then
    _PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]


class MaskFiles:
    """Writes each class map as a whole or not at all."""

    def __init__(self, folder: Path, stages: Stages) -> None:
        """Raises:
        OutputError: the folder cannot be written, or holds images of an earlier run, which these would mix with.
        """
        self.folder, self._stages = folder, stages
        prepare_folder(folder)

    def __enter__(self) -> MaskFiles:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def write(self, result: Prediction, dropped: int) -> None:
        """Write the PNG of that frame's index; see `edge.sinks.sink.Sink.write`."""
        path = self.folder / f"{result.frame.index:06d}.png"
        with self._stages["encode"].span():
            _, encoded = cv2.imencode(".png", result.class_map(), _PNG)
        with self._stages["write"].span(), writing(path):
            partial = path.with_suffix(".part")
            try:
                partial.write_bytes(encoded)
                partial.replace(path)
            except OSError:
                partial.unlink(missing_ok=True)
                raise
