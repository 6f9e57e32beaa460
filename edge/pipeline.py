"""The one loop: source -> segmenter -> sinks. Live or replayed, the code is the same."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from edge.backends import open_engine
from edge.domain import UnlikeShare
from edge.engine import Engine
from edge.errors import ConfigError, EdgeError
from edge.frame import Image
from edge.instances import INSTANCES
from edge.prediction import Prediction
from edge.segmenter import Segmenter, frames_of
from edge.sinks.background import Background
from edge.sinks.sink import Sink
from edge.sources.flow import Ahead, FixAt, Latest, Paced
from edge.sources.open import open_source
from edge.sources.source import Source, display_wh_of
from edge.timing import Durations, Stages

if TYPE_CHECKING:
    from edge.geometry.model import CameraModel

STAGES = (
    "decode",
    "resize",
    "infer",
    "steps",
    "overlay",
    "encode",
    "write",
)  # in the order in which a frame passes them


@dataclass
class Summary:
    """What one run came to.

    Attributes:
        frames_in: frames that the source produced; frames_out: that were segmented; dropped: the difference.
        unwritten: results that a sink too slow for a live source lost.
        elapsed_s: from the first frame wanted to the last output closed.
        cpu_s: processor time of the whole process over that time, all threads.
        cores: processors this process may use.
        age: from capture to mask.
        stages: time per stage, in the order of the pipeline.
        unlike: share of the frames that are unlike the training data, 0 to 1; None where the engine cannot tell.
        failure: what ended the run early, or was found wrong with its input; None for a sound run.
        interrupted: the user ended it.
        side_by_side: frames that were worked on at once.
    """

    source: str
    engine: str
    age: Durations = field(default_factory=Durations)
    stages: dict[str, Durations] = field(default_factory=dict)
    frames_in: int = 0
    frames_out: int = 0
    dropped: int = 0
    unwritten: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    cores: int = 1
    unlike: float | None = None
    failure: EdgeError | None = None
    interrupted: bool = False
    side_by_side: int = 1

    @property
    def rate_hz(self) -> float:
        """Frames per second, closing of the outputs included; 0 when no time passed."""
        return self.frames_out / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def bound_hz(self) -> float:
        """Frames per second if every core were busy all the time with just this work."""
        return self.cores * self.frames_out / self.cpu_s if self.cpu_s else 0.0

    @property
    def bottleneck(self) -> str:
        """The stage that took the most time; "" when nothing ran."""
        return max(self.stages, key=lambda name: self.stages[name].total_ns, default="")


def buffered(
    source: Source,
    live: bool | None,
    fix_at: FixAt | None = None,
    before_take: Callable[[], object] = lambda: None,
) -> Ahead | Latest:
    """How frames are taken: the newest only (live), or every one; None lets the kind of source decide. With `fix_at`,
    such as `edge.gps.Gps.fix_at`, live frames have the car's place. `before_take`: see `Latest`.

    Raises:
        ConfigError: frames that are not taken live were not taken where the car is now.
    """
    if not (source.live if live is None else live):
        if fix_at is not None:
            raise ConfigError(
                f"--gps goes with a camera: the frames of {source.name} were not taken now. To play it as if they"
                " were: --live"
            )
        return Ahead(source)
    return Latest(source if source.live else Paced(source), fix_at, before_take)


def segment(
    source: str | Path | Source | Image | Iterable[Image],
    engine: str | Path | Engine = "road",
    *,
    live: bool | None = None,
    outputs: Collection[str] = (),
    camera_model: str | Path | CameraModel | None = None,
) -> Iterator[Prediction]:
    """Yield the segmentation of each frame of `source`: by name, opened, one image, or any iterable of images, such as
    a generator around your own `cv2.VideoCapture`. Images are uint8 (H, W, 3) BGR, each an array of its own.

    A source is closed at the end; an engine only if it was given by name. See `open_source` for names of sources
    and `open_engine` for names of engines. An engine by name is opened for the source: at the input size that suits its
    frames and, for a recording, side by side. One of yours is used as you opened it; `open_engine(name,
    source_wh=source.size_wh, side_by_side=True)` is the same as by name.

    With `live` only the newest frame is taken, at the pace of the recording or camera; by default a camera is live and
    a file is not. Of images every one is taken, in your thread: with `live=True` one at a time by all threads, so that
    its mask is young; otherwise several side by side, and results come a few images late.

    `outputs`, such as "confidence", are computed besides the default ones, of an engine by name; "instances", people
    and vehicles one by one, of any engine. With a camera model, by its file's name or loaded, these have distances in
    metres, and each result its `free_space` and `ground` (docs/metres.md).

        for result in edge.segment("drive.mp4"):
            print(result.frame.index, result.age_ms, result.mask("road").mean())
    """
    if isinstance(camera_model, (str, Path)):
        from edge.geometry.model import load_camera_model

        camera_model = load_camera_model(Path(camera_model))
    if camera_model is not None:
        outputs = (*outputs, INSTANCES)
    if not isinstance(source, (str, Path)) and not hasattr(source, "live"):
        yield from _segment_images(cast("Image | Iterable[Image]", source), engine, live, outputs, camera_model)
        return
    source = cast("str | Path | Source", source)
    with ExitStack() as stack:
        if isinstance(source, (str, Path)):
            source = open_source(str(source))
        frames = stack.enter_context(buffered(source, live))
        if isinstance(engine, (str, Path)):
            engine = stack.enter_context(
                closing(
                    open_engine(engine, side_by_side=not frames.live, source_wh=display_wh_of(source), outputs=outputs)
                )
            )
        yield from Segmenter(engine, outputs, camera_model).segment_all(frames)


def _segment_images(
    images: Image | Iterable[Image],
    engine: str | Path | Engine,
    live: bool | None,
    outputs: Collection[str],
    camera_model: CameraModel | None,
) -> Iterator[Prediction]:
    """`images` in their order; an engine by name is opened for the size of the first."""
    is_one = isinstance(images, np.ndarray) and images.ndim != 4
    frames = frames_of(cast("Iterable[Image]", [images] if is_one else images))
    first = next(frames, None)
    if first is None:
        return
    with ExitStack() as stack:
        if isinstance(engine, (str, Path)):
            opened = open_engine(engine, side_by_side=not live, source_wh=first.size_wh, outputs=outputs)
            engine = stack.enter_context(closing(opened))
        yield from Segmenter(engine, outputs, camera_model).segment_all(chain([first], frames))


def run(
    source: Ahead | Latest,
    segmenter: Segmenter,
    sinks: Sequence[Sink | Background],
    stages: Stages,
    *,
    max_frames: int | None = None,
    on_result: Callable[[Prediction], object] = lambda result: None,
    is_over: Callable[[], bool] = lambda: False,
) -> Summary:
    """Take every frame the source gives through the segmenter into all sinks, each sink in a thread of its own.

    What goes wrong on the way ends the run, but not its outputs: they are closed with what they have, and the error is
    in the summary. Ctrl-C ends the run likewise, and so does `is_over`, which is asked behind each result. `stages` is
    what the sinks write their times to. A sink may come in a Background of the caller's, who wants to watch it.
    """
    card = segmenter.engine.card
    summary = Summary(source.name, f"{card.name} ({segmenter.engine.precision})", cores=len(os.sched_getaffinity(0)))
    summary.side_by_side = segmenter.engine.streams
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    backgrounds: list[Background] = []
    unlike = UnlikeShare(card.fingerprint)
    try:
        with ExitStack() as outputs, source:  # the source is left first: what comes after the last result is not used
            backgrounds.extend(outputs.enter_context(_in_background(sink, source.live)) for sink in sinks)
            _loop(source, segmenter, backgrounds, summary, unlike, max_frames, on_result, is_over)
    except KeyboardInterrupt:
        summary.interrupted = True
    except EdgeError as error:
        summary.failure = error
    summary.elapsed_s, summary.cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    summary.dropped, summary.unlike = source.dropped, unlike.share
    summary.unwritten = sum(background.dropped for background in backgrounds)
    summary.frames_in = summary.frames_out + source.dropped
    summary.stages = _in_order({"decode": source.decode, **segmenter.stages.by_name, **stages.by_name})
    return summary


def _in_background(sink: Sink | Background, drop: bool) -> Background:
    return sink if isinstance(sink, Background) else Background(sink, drop=drop)


def _in_order(by_name: dict[str, Durations]) -> dict[str, Durations]:
    """The stages that ran, as a frame passes them; whose thread came to a stage first says nothing."""
    names = [*(name for name in STAGES if name in by_name), *(name for name in by_name if name not in STAGES)]
    return {name: by_name[name] for name in names if by_name[name].count}


def _loop(
    source: Ahead | Latest,
    segmenter: Segmenter,
    sinks: Sequence[Background],
    summary: Summary,
    unlike: UnlikeShare,
    max_frames: int | None,
    on_result: Callable[[Prediction], object],
    is_over: Callable[[], bool],
) -> None:
    with closing(segmenter.segment_all(islice(source, max_frames))) as results:
        for result in results:
            summary.frames_out += 1
            summary.age.add(result.ready_ns - result.frame.captured_ns)
            for sink in sinks:
                sink.write(result, source.dropped)
            unlike.add(result)
            on_result(result)
            if is_over():
                summary.interrupted = True
                return
