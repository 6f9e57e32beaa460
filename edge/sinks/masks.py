"""Masks as PNG files at source resolution, named after the image file that each is of: or 000000.png for frame 0."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np

from edge.errors import ConfigError
from edge.indexed_png import encode_indexed
from edge.prediction import Prediction
from edge.sinks.files import STDOUT, prepare_folder, refuse_terminal, write_bytes, writing
from edge.sinks.images import name_of
from edge.timing import Stages

# A class map's rows mostly equal the row above: what is left of them then is runs of zeros. At 720p that is quicker
# than OpenCV's default and less than half as large (docs/results.md).
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # before OpenCV 5 the filter cannot be chosen; files are larger then
    _PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]


Form = Literal["ids", "palette", "colour"]
FORMS: tuple[Form, ...] = get_args(Form)


class MaskFiles:
    """Writes each class map as a whole or not at all.

    `form` is what a file holds: "ids", one channel of class ids; "palette", ids as indices of a palette of the classes'
    colours, which viewers show in colour; "colour", those colours in three channels.
    """

    def __init__(
        self,
        folder: Path,
        stages: Stages,
        form: str = "ids",
        image_names: Mapping[str, str] | None = None,
        frame_count: int | None = None,
    ) -> None:
        """`image_names` are those of `edge.sinks.images.image_names`. The mask of a source of one frame may go to
        standard output, for which `folder` is `-`.

        Raises:
            ConfigError: there is no such form.
            OutputError: the folder cannot be written, or holds images of an earlier run, which these would mix with.
        """
        if form not in FORMS:
            raise ConfigError(f"masks: expected one of {', '.join(FORMS)}, got {form!r}")
        self.folder, self._stages, self._form, self._names = folder, stages, form, image_names or {}
        refuse_terminal(folder)
        self._is_stdout = folder == STDOUT and frame_count == 1
        if not self._is_stdout:
            prepare_folder(folder)

    def __enter__(self) -> MaskFiles:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def write(self, result: Prediction, dropped: int) -> None:
        """Write that frame's PNG; see `edge.sinks.sink.Sink.write`."""
        path = self.folder / f"{name_of(result.frame, self._names)}.png"
        with self._stages["encode"].span():
            encoded = self._encoded(result)
        if self._is_stdout:
            write_bytes(STDOUT, encoded)
            return
        with self._stages["write"].span(), writing(path):
            partial = path.with_suffix(".part")
            if path.parent != self.folder:
                path.parent.mkdir(parents=True, exist_ok=True)
            try:
                partial.write_bytes(encoded)
                partial.replace(path)
            except OSError:
                partial.unlink(missing_ok=True)
                raise

    def _encoded(self, result: Prediction) -> bytes:
        ids, table = result.class_map(), result.table
        if self._form == "palette":
            return encode_indexed(ids, table.colours_rgb)
        if self._form == "colour":
            ids = np.ascontiguousarray(table.palette_rgb[ids][..., ::-1])  # OpenCV takes BGR
        return cv2.imencode(".png", ids, _PNG)[1].tobytes()
