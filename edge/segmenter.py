"""Frame in, segmentation out: the image is brought to network size and the engine asked."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np

from edge.engine import Engine
from edge.errors import EdgeError, EngineError
from edge.frame import Frame, Image, Letterbox, Yuv420, shrink, yuv_to_bgr_coefficients
from edge.prediction import Prediction
from edge.steps import Steps
from edge.timing import Stages

if TYPE_CHECKING:
    from edge.geometry.model import CameraModel

T = TypeVar("T")


class Segmenter:
    """Asks one engine. It may be used from several threads; each has an input buffer of its own.

    Attributes:
        steps: what `segment_all` takes its results through.
        stages: the times of "resize", "infer" and, where there are any, "steps".
    """

    def __init__(self, engine: Engine, outputs: Collection[str] = (), camera_model: CameraModel | None = None) -> None:
        """Of `outputs`, those that steps give are computed; the engine computes its own as it was opened. With a camera
        model, results are in metres too.

        Raises:
            ConfigError: the engine's classes cannot give one.
        """
        self.engine = engine
        self._specs = {output.name: output for output in engine.outputs}
        self.steps = Steps.of(engine, outputs, camera_model)
        self.stages = Stages()
        self._local = threading.local()

    def segment(self, frame: Frame) -> Prediction:
        """What the engine sees in the frame, at network size; no step takes part."""
        with self.stages["resize"].span():
            canvas = self._canvas(frame)
            canvas.draw(frame)
        with self.stages["infer"].span():
            outputs = self.engine.infer(canvas.image)
        return Prediction(frame, outputs, canvas.box, self.engine.card.table, time.monotonic_ns(), self._specs)

    def segment_all(self, frames: Iterable[Frame]) -> Generator[Prediction, None, None]:
        """The segmentations of the frames of one source, in order and through all steps; as many are worked on side by
        side as the engine has streams.

        What `frames` raises comes out behind the last segmentation.
        """
        results = self._in_order(frames)
        return self._stepped(results) if self.steps else results

    def _stepped(self, results: Generator[Prediction, None, None]) -> Generator[Prediction, None, None]:
        self.steps.reset()
        with closing(results):
            for result in results:
                with self.stages["steps"].span():
                    stepped = self.steps.update(result)
                yield stepped

    def _in_order(self, frames: Iterable[Frame]) -> Generator[Prediction, None, None]:
        if self.engine.streams == 1:
            yield from map(self.segment, frames)
            return
        pool = ThreadPoolExecutor(self.engine.streams, "segment")
        try:
            yield from in_order(frames, partial(pool.submit, self.segment), self.engine.streams)
        finally:
            pool.shutdown(cancel_futures=True)

    def _canvas(self, frame: Frame) -> Canvas:
        """This thread's input buffer, laid out for frames of this shape; another shape gets a new one."""
        canvas: Canvas | None = getattr(self._local, "canvas", None)
        card = self.engine.card
        shape = (frame.size_wh, frame.pixel_aspect, card.input_wh)
        if canvas is None or self._local.shape != shape:
            box = Letterbox.fit(frame.size_wh, card.input_wh, card.resize, frame.pixel_aspect)
            canvas, self._local.shape = Canvas(box), shape
            self._local.canvas = canvas
        return canvas


def in_order(frames: Iterable[Frame], begin: Callable[[Frame], Future[T]], at_once: int) -> Generator[T, None, None]:
    """What comes of each frame, in order; `begin` has a pool of `at_once` threads begin with it. What `frames` raises
    comes behind the last.
    """
    waiting: deque[Future[T]] = deque()
    feed = iter(frames)
    while True:
        try:
            frame = next(feed, None)
        except EdgeError:
            yield from (waiting.popleft().result() for _ in range(len(waiting)))
            raise
        if frame is None:
            break
        waiting.append(begin(frame))
        if len(waiting) > at_once:  # one more than are worked on, so that none waits for us
            yield waiting.popleft().result()
    yield from (waiting.popleft().result() for _ in range(len(waiting)))


def frames_of(images: Iterable[Image], origin: str = "array") -> Iterator[Frame]:
    """Each image, uint8 (H, W, 3) BGR, as a frame, captured when it comes.

    Raises:
        EngineError: one is something else.
    """
    for index, image in enumerate(images):
        captured_ns = time.monotonic_ns()
        yield Frame(index=index, captured_ns=captured_ns, source=origin, bgr=_checked_image(image, index))


def predict_images(engine: Engine, images: Iterable[Image]) -> list[Prediction]:
    """What an engine sees in each of some images of any sizes, which follow no other: no step takes part."""
    return list(Segmenter(engine)._in_order(frames_of(images)))


def _checked_image(image: Image, index: int) -> Image:
    if not isinstance(image, np.ndarray):
        raise EngineError(f"image {index}: expected a NumPy array, uint8 (H, W, 3) BGR, got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise EngineError(f"image {index}: expected uint8 (H, W, 3) BGR, got {image.dtype} {image.shape}")
    return image


class Canvas:
    """uint8 (h, w, 3) BGR, the network's input, and where in it the image lies; the bars around it are black."""

    def __init__(self, box: Letterbox) -> None:
        self.box = box
        self.image: Image = np.zeros((*box.input_wh[::-1], 3), np.uint8)

    def draw(self, frame: Frame) -> None:
        """Bring a frame of the box's source size to network size."""
        content = self.box.content(self.image)
        if frame.yuv is not None:
            small_bgr_from_yuv(frame.yuv, content)
        else:
            shrink(frame.image, content)


def small_bgr_from_yuv(yuv: Yuv420, target: Image) -> None:
    """The planes, shrunk one by one and then converted: uint8 BGR into `target` (h, w, 3), in place."""
    planes = [np.empty(target.shape[:2], np.uint8) for _ in range(3)]
    for plane, out in zip((yuv.y, yuv.u, yuv.v), planes, strict=True):
        shrink(plane, out)
    cv2.transform(cv2.merge(planes), yuv_to_bgr_coefficients(yuv.matrix, yuv.full_range), dst=target)
