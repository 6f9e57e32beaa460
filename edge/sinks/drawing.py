"""Frames with their tints, or plain, in one image that an encoder takes again and again."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from edge.appearance import Appearance
from edge.caption import write_caption
from edge.contours import draw_yuv
from edge.errors import OutputError
from edge.frame import Frame, Image, Letterbox, Matrix, Yuv420
from edge.overlay import YuvPainter, halves
from edge.prediction import Prediction


class Drawing:
    """One image in planes. Size and colours are those of the first frame; a frame of another size is scaled into that,
    with black around it.

    Attributes:
        planes: of the image; size_wh: even, and twice as wide for a look that shows two images.
        matrix, full_range: how its Y, U and V mean colours.
    """

    def __init__(
        self, first: Prediction, look: Appearance, planes_of: Callable[[int, int], Yuv420] | None = None
    ) -> None:
        """`planes_of` gives the planes for a width and height, writable; by default, memory of our own.

        Raises:
            ConfigError: the class table has not the classes that are to be painted.
            OutputError: the frame is smaller than a video can be.
        """
        source = first.frame.yuv
        self._table, self._look = first.table, look
        self.matrix: Matrix = source.matrix if source else "bt601"
        self.full_range = bool(source and source.full_range)
        self.size_wh = self._canvas_wh(first.frame)
        self.planes = (planes_of or _own_planes)(*self.size_wh)
        self._canvas = self._usual = self._canvas_of(first.frame, self.planes)

    def draw(self, result: Prediction, dropped: int) -> None:
        """The frame, its tints and the line of figures into the image."""
        canvas = self._canvas_for(result.frame)
        canvas.paint(result)
        if marks := result.marks(result.frame.size_wh, self._look):
            draw_yuv(canvas.painted, marks, self.matrix, self.full_range)
        self._take(canvas)
        draw_figures(self.planes, f"age {result.age_ms:.0f} ms   frame {result.frame.index}   dropped {dropped}")

    def copy(self, frame: Frame) -> None:
        """The frame as it is into the image."""
        canvas = self._canvas_for(frame)
        canvas.copy(frame)
        self._take(canvas)

    def _canvas_of(self, frame: Frame, planes: Yuv420) -> _Canvas:
        painter = YuvPainter(_even_wh(frame), self._table, self.matrix, self.full_range, self._look)
        return _Canvas(frame.size_wh, planes, painter, self._look.is_doubled)

    def _canvas_wh(self, frame: Frame) -> tuple[int, int]:
        width, height = _even_wh(frame)
        return (2 * width, height) if self._look.is_doubled else (width, height)

    def _canvas_for(self, frame: Frame) -> _Canvas:
        """The image itself, or room for frames of another size, kept while they come."""
        if frame.size_wh == self._usual.frame_wh:
            return self._usual
        if frame.size_wh != self._canvas.frame_wh:
            self._canvas = self._canvas_of(frame, _own_planes(*self._canvas_wh(frame)))
        return self._canvas

    def _take(self, canvas: _Canvas) -> None:
        """A canvas of another size into the image, as large as it fits, black around it."""
        if canvas is self._usual:
            return
        box = Letterbox.fit(_wh(canvas.planes), _wh(self.planes))
        x, y, width, height = (length // 2 * 2 for length in box.content_xywh)
        black = 0 if self.full_range else 16
        targets, planes = _planes(self.planes), _planes(canvas.planes)
        for target, plane, empty, part in zip(targets, planes, (black, 128, 128), (1, 2, 2), strict=True):
            target[:] = empty
            size_wh = (max(1, width // part), max(1, height // part))
            at = target[y // part : y // part + size_wh[1], x // part : x // part + size_wh[0]]
            at[:] = cv2.resize(plane, size_wh, interpolation=cv2.INTER_AREA)[: at.shape[0], : at.shape[1]]


class _Canvas:
    """Planes that frames of one size are painted on: as large, or twice as wide. A length is even there: 4:2:0 halves
    both. `painted` is the part that shows the masks.
    """

    def __init__(self, frame_wh: tuple[int, int], planes: Yuv420, painter: YuvPainter, is_doubled: bool) -> None:
        self.frame_wh, self.planes, self._painter = frame_wh, planes, painter
        self.painted = halves(planes)[1] if is_doubled else planes
        self._even_wh = width, height = _wh(self.painted)
        self._i420: Image = np.empty((height * 3 // 2, width), np.uint8)

    def paint(self, result: Prediction) -> None:
        self._painter.paint(self._of(result.frame), self.planes, result.semantic, result.letterbox)

    def copy(self, frame: Frame) -> None:
        for target, plane in zip(_planes(self.painted), _planes(self._of(frame)), strict=True):
            np.copyto(target, plane)

    def _of(self, frame: Frame) -> Yuv420:
        width, height = self._even_wh
        if frame.yuv is not None:
            y, u, v = _planes(frame.yuv)
            return Yuv420(y[:height, :width], u[: height // 2, : width // 2], v[: height // 2, : width // 2])
        even = np.ascontiguousarray(frame.image[:height, :width])
        cv2.cvtColor(even, cv2.COLOR_BGR2YUV_I420, dst=self._i420)
        chroma = self._i420[height:].reshape(2, height // 2, width // 2)
        return Yuv420(self._i420[:height], chroma[0], chroma[1])


def draw_figures(image: Yuv420, text: str) -> None:
    """White words on a dim bar in the lower left corner, written into the planes."""
    top, right = write_caption(image.y, text)
    image.u[top // 2 :, : right // 2] = 128
    image.v[top // 2 :, : right // 2] = 128


def _wh(yuv: Yuv420) -> tuple[int, int]:
    return yuv.y.shape[1], yuv.y.shape[0]


def _planes(yuv: Yuv420) -> tuple[Image, Image, Image]:
    return yuv.y, yuv.u, yuv.v


def _own_planes(width: int, height: int) -> Yuv420:
    half = (height // 2, width // 2)
    return Yuv420(np.empty((height, width), np.uint8), np.empty(half, np.uint8), np.empty(half, np.uint8))


def _even_wh(frame: Frame) -> tuple[int, int]:
    """Raises OutputError: the frame is smaller than a video can be."""
    width, height = (length // 2 * 2 for length in frame.size_wh)
    if min(width, height) == 0:
        raise OutputError(f"frame {frame.index} is {_text(frame.size_wh)}, a video needs 2x2 pixels")
    return width, height


def _text(size_wh: tuple[int, int]) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"
