"""Overlays as images, and the names of what is made of image files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from edge.appearance import Appearance
from edge.errors import OutputError
from edge.frame import Frame
from edge.prediction import Prediction
from edge.shortage import check_shortage
from edge.sinks.files import IMAGES, STDOUT, prepare_folder, refuse_terminal, write_bytes, writing

if TYPE_CHECKING:
    from edge.sinks.table import SinkContext

_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95]


def image_names(paths: Sequence[Path]) -> dict[str, str]:
    """The name of what is made of each image, without an ending, by the image's path: its own, below the folder that
    all are in.

    Those that differ in their endings only keep them: a.jpg and a.png make `a.jpg` and `a.png`, of which any ending can
    follow.
    """
    home = os.path.commonpath([path.absolute().parent for path in paths])
    inside = {str(path): Path(os.path.relpath(path.absolute(), home)) for path in paths}
    count = Counter(path.with_suffix("") for path in inside.values())
    return {
        name: str(path if count[path.with_suffix("")] > 1 else path.with_suffix("")) for name, path in inside.items()
    }


def name_of(frame: Frame, names: Mapping[str, str]) -> str:
    """The name of what is made of a frame, without an ending: its file's, or its number."""
    return names.get(frame.source) or f"{frame.index:06d}"


class OverlayImages:
    """Writes each frame with its tints: into a folder, as images of the sources' names and kinds; or the one frame of a
    source into a file, or to standard output as an image of its kind.
    """

    def __init__(self, path: Path, context: SinkContext, look: Appearance | None = None) -> None:
        """Raises:
        OutputError: it cannot be written; the folder holds images; or a file is named for many frames.
        """
        self.path, self._stages, self._names = path, context.stages, context.image_names
        self._look = look or Appearance()
        self._is_file = path == STDOUT or (path.suffix.lower() in IMAGES and not path.is_dir())
        refuse_terminal(path)
        if not self._is_file:
            prepare_folder(path)
        elif context.frame_count != 1:
            count = "many" if context.frame_count is None else context.frame_count
            raise OutputError(f"{path}: is one image, the source has {count} frames. Name a folder, or a video (.mp4)")

    def __enter__(self) -> OverlayImages:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def write(self, result: Prediction, dropped: int) -> None:
        """Write one image, whole or not at all; see `edge.sinks.sink.Sink.write`."""
        path = self.path if self._is_file else self._path_of(result.frame)
        with self._stages["overlay"].span():
            image = result.painted(self._look)
        with self._stages["encode"].span(), writing(path):
            try:
                kind = (path.suffix or Path(result.frame.source).suffix).lower()
                _, data = cv2.imencode(kind, image, _JPEG if kind in (".jpg", ".jpeg") else [])
            except cv2.error as error:  # such as a side of more than 65535 pixels
                check_shortage(error)
                raise OutputError(f"{path}: OpenCV cannot encode it: {error.err}") from error
        with self._stages["write"].span():
            write_bytes(path, data.tobytes())

    def _path_of(self, frame: Frame) -> Path:
        suffix = Path(frame.source).suffix if frame.source in self._names else ".jpg"
        name = name_of(frame, self._names)
        keeps_ending = Path(name).name == Path(frame.source).name
        return self.path / (name if keeps_ending else name + suffix)
