from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from stand_in import ROAD, SKY, BrightnessEngine
from videos import Image, cut, decoded_bgr, noise, open_files, picture, write_video

from edge.errors import EngineError, NotAVideo, OutputError, SourceDamaged, SourceNotFound
from edge.pipeline import Summary, buffered, run, segment
from edge.prediction import Prediction
from edge.segmenter import Segmenter
from edge.sinks.jsonl import JsonLines
from edge.sinks.masks import MaskFiles
from edge.sinks.sink import Sink
from edge.sinks.video import OverlayVideo
from edge.sources.flow import Ahead, Latest
from edge.sources.open import open_source
from edge.sources.recording import Recording
from edge.timing import Stages

FRAMES = 20


class Refusing:
    """A sink that fails at one result."""

    def __init__(self, at: int) -> None:
        self._at = at

    def write(self, result: Prediction, dropped: int) -> None:
        if result.frame.index == self._at:
            raise OutputError(f"refused frame {self._at}")

    def __enter__(self) -> Refusing:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


class Closed(Refusing):
    """A sink that cannot even be begun."""

    def __enter__(self) -> Refusing:
        raise OutputError("cannot be begun")


@pytest.fixture(autouse=True)
def no_thread_and_no_file_is_left(tmp_path: Path) -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
    assert open_files(tmp_path) == []


@pytest.fixture
def engine(make_card: Any) -> BrightnessEngine:
    return BrightnessEngine(make_card)


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Dark on the left, bright on the right, and the border moves by two pixels a frame."""
    return write_video(tmp_path / "drive.mp4", [dark_left(16 + 2 * index) for index in range(FRAMES)])


def dark_left(columns: int) -> Image:
    image = np.full((48, 64, 3), 220, np.uint8)
    image[:, :columns] = 20
    return image


def sinks_in(folder: Path, stages: Stages) -> list[Sink]:
    return [
        OverlayVideo(folder / "overlay.mp4", 30, stages),
        MaskFiles(folder / "masks", stages),
        JsonLines(folder / "results.jsonl", stages),
    ]


def run_into(
    folder: Path,
    source: Ahead | Latest,
    engine: BrightnessEngine,
    *extra: Sink,
    max_frames: int | None = None,
    on_result: Callable[[Prediction], None] = lambda result: None,
) -> Summary:
    stages = Stages()
    sinks = [*sinks_in(folder, stages), *extra]
    return run(source, Segmenter(engine), sinks, stages, max_frames=max_frames, on_result=on_result)


def frame_numbers(folder: Path) -> list[int]:
    """What all three outputs agree to hold, in the order of the lines."""
    lines = [json.loads(line)["frame"] for line in (folder / "results.jsonl").read_text().splitlines()]
    masks = [int(path.stem) for path in sorted((folder / "masks").iterdir())]
    assert masks == lines
    assert len(decoded_bgr(folder / "overlay.mp4")) == len(lines)
    return lines


def every(path: Path) -> Ahead | Latest:
    return buffered(open_source(str(path)), live=False)


# ----------------------------------------------------------------------------------------------------------- sound runs


def test_every_frame_reaches_every_sink_in_order(drive: Path, engine: BrightnessEngine, tmp_path: Path) -> None:
    seen: list[int] = []
    summary = run_into(tmp_path, every(drive), engine, on_result=lambda result: seen.append(result.frame.index))
    assert seen == list(range(FRAMES))
    assert frame_numbers(tmp_path) == list(range(FRAMES))
    assert (summary.frames_in, summary.frames_out, summary.dropped) == (FRAMES, FRAMES, 0)
    assert summary.failure is None
    assert not summary.interrupted


def test_each_mask_belongs_to_its_frame(drive: Path, engine: BrightnessEngine, tmp_path: Path) -> None:
    run_into(tmp_path, every(drive), engine)
    for index in range(FRAMES):
        mask = cv2.imread(str(tmp_path / "masks" / f"{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        border = 16 + 2 * index
        assert np.all(mask[:, : border - 4] == ROAD)
        assert np.all(mask[:, border + 4 :] == SKY)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["shares"]["Road"] for line in lines] == [
        pytest.approx((16 + 2 * i) / 64, abs=0.05) for i in range(FRAMES)
    ]
    assert [line["media_s"] for line in lines] == [pytest.approx(i / 30, abs=1e-4) for i in range(FRAMES)]


def test_the_summary_says_where_the_time_went(drive: Path, engine: BrightnessEngine, tmp_path: Path) -> None:
    summary = run_into(tmp_path, every(drive), engine)
    assert (summary.source, summary.engine) == (str(drive), "brightness (f32)")
    assert list(summary.stages) == ["decode", "resize", "infer", "overlay", "encode", "write"]
    assert [summary.stages[name].count for name in ("decode", "resize", "infer", "overlay")] == [FRAMES] * 4
    assert summary.stages["encode"].count == 2 * FRAMES
    assert summary.stages["write"].count == 3 * FRAMES
    assert summary.age.count == FRAMES
    assert summary.bottleneck in summary.stages
    assert summary.elapsed_s > 0
    assert summary.rate_hz == pytest.approx(FRAMES / summary.elapsed_s)
    assert summary.bound_hz == pytest.approx(summary.cores * FRAMES / summary.cpu_s)


def test_a_run_without_a_frame_has_a_summary_too() -> None:
    empty = Summary("nothing", "none")
    assert (empty.rate_hz, empty.bound_hz, empty.bottleneck) == (0, 0, "")


def test_a_run_ends_after_as_many_frames_as_wanted(drive: Path, engine: BrightnessEngine, tmp_path: Path) -> None:
    summary = run_into(tmp_path, every(drive), engine, max_frames=7)
    assert summary.frames_out == summary.frames_in == 7
    assert frame_numbers(tmp_path) == list(range(7))
    assert len(engine.seen) == 7


def test_a_run_without_sinks_is_a_run(drive: Path, engine: BrightnessEngine) -> None:
    summary = run(every(drive), Segmenter(engine), [], Stages())
    assert summary.frames_out == FRAMES
    assert list(summary.stages) == ["decode", "resize", "infer"]


@pytest.mark.slow
def test_a_live_run_counts_every_frame_as_segmented_or_dropped(
    drive: Path, engine: BrightnessEngine, tmp_path: Path
) -> None:
    source = buffered(open_source(str(drive)), live=True)
    summary = run_into(tmp_path, source, engine, on_result=lambda result: time.sleep(0.06))
    assert summary.frames_in == FRAMES
    assert summary.frames_out + source.dropped == FRAMES
    assert summary.dropped >= source.dropped > 0
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert all(line["dropped"] == line["frame"] - place for place, line in enumerate(lines))


def test_pictures_run_like_a_video(engine: BrightnessEngine, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index in range(4):
        cv2.imwrite(str(tmp_path / "in" / f"{index}.png"), dark_left(20))
    summary = run_into(tmp_path, every(tmp_path / "in"), engine)
    assert summary.failure is None
    assert frame_numbers(tmp_path) == [0, 1, 2, 3]


def test_how_frames_are_taken_follows_the_source_unless_told_otherwise(drive: Path) -> None:
    with open_source(str(drive)) as recording:
        assert type(buffered(recording, None)) is Ahead
        assert type(buffered(recording, False)) is Ahead
        assert type(buffered(recording, True)) is Latest


# ---------------------------------------------------------------------------------------------------------- early ends


@pytest.mark.parametrize("at", [0, 5, FRAMES - 1])
def test_a_failing_sink_ends_the_run_and_the_others_keep_what_they_have(
    at: int, drive: Path, engine: BrightnessEngine, tmp_path: Path
) -> None:
    summary = run_into(tmp_path, every(drive), engine, Refusing(at))
    assert isinstance(summary.failure, OutputError)
    assert str(summary.failure) == f"refused frame {at}"
    written = frame_numbers(tmp_path)
    assert written == list(range(len(written)))
    assert at < len(written) <= min(FRAMES, at + 7)  # a few are on their way when it fails


@pytest.mark.parametrize("place", [0, 3])
def test_a_sink_that_cannot_be_begun_ends_the_run_and_closes_the_source(
    place: int, drive: Path, engine: BrightnessEngine, tmp_path: Path
) -> None:
    stages = Stages()
    sinks = sinks_in(tmp_path, stages)
    sinks.insert(place, Closed(0))
    summary = run(every(drive), Segmenter(engine), sinks, stages)
    assert str(summary.failure) == "cannot be begun"
    assert summary.frames_out == 0
    assert not (tmp_path / "overlay.mp4").exists()
    assert [path.name for path in tmp_path.glob(".*.part")] == []


def test_a_damaged_source_keeps_the_results_of_its_sound_part(engine: BrightnessEngine, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "drive.mkv", [noise(index) for index in range(40)], options={"g": "10"})
    summary = run_into(tmp_path, every(cut(whole, 0.5)), engine)
    assert isinstance(summary.failure, SourceDamaged)
    assert f"{summary.frames_out} frames were decoded" in str(summary.failure)
    assert summary.frames_out > 10
    assert frame_numbers(tmp_path) == list(range(summary.frames_out))


def test_an_engine_that_fails_ends_the_run_and_keeps_what_there_is(
    drive: Path, engine: BrightnessEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    infer = engine.infer

    def infer_six_times(image: Image) -> dict[str, Image]:
        if len(engine.seen) == 6:
            raise EngineError("no more")
        return infer(image)

    monkeypatch.setattr(engine, "infer", infer_six_times)
    summary = run_into(tmp_path, every(drive), engine)
    assert str(summary.failure) == "no more"
    assert frame_numbers(tmp_path) == list(range(6))


def test_ctrl_c_ends_the_run_and_the_outputs_are_complete(
    drive: Path, engine: BrightnessEngine, tmp_path: Path
) -> None:
    def interrupt(result: Prediction) -> None:
        if result.frame.index == 8:
            raise KeyboardInterrupt

    summary = run_into(tmp_path, every(drive), engine, on_result=interrupt)
    assert summary.interrupted
    assert summary.failure is None
    assert summary.frames_out == 9
    assert frame_numbers(tmp_path) == list(range(9))
    assert list(tmp_path.glob(".*.part")) == []


def test_a_bug_is_not_hidden_in_the_summary_and_the_outputs_are_complete(
    drive: Path, engine: BrightnessEngine, tmp_path: Path
) -> None:
    def fail(result: Prediction) -> None:
        if result.frame.index == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_into(tmp_path, every(drive), engine, on_result=fail)
    assert frame_numbers(tmp_path) == [0, 1, 2, 3]


def test_frames_that_change_their_size_end_nothing(engine: BrightnessEngine, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index, size_wh in enumerate([(64, 48), (64, 48), (80, 60), (64, 48)]):
        cv2.imwrite(str(tmp_path / "in" / f"{index}.png"), picture(index, size_wh))
    summary = run_into(tmp_path, every(tmp_path / "in"), engine)
    assert summary.failure is None
    with Recording(str(tmp_path / "overlay.mp4")) as overlay:
        assert [frame.size_wh for frame in overlay] == [(64, 48)] * 4
    assert len(list((tmp_path / "masks").iterdir())) == 4


def test_a_run_that_is_over_ends_behind_its_result_with_its_outputs_complete(
    drive: Path, engine: BrightnessEngine, tmp_path: Path
) -> None:
    summary = run(
        every(drive), Segmenter(engine), [MaskFiles(tmp_path / "m", Stages())], Stages(), is_over=lambda: True
    )
    assert (summary.frames_out, summary.interrupted) == (1, True)
    assert len(list((tmp_path / "m").iterdir())) == 1


# ------------------------------------------------------------------------------------------------------- edge.segment


def test_segment_gives_the_result_of_every_frame(drive: Path, engine: BrightnessEngine) -> None:
    results = list(segment(drive, engine))
    assert [result.frame.index for result in results] == list(range(FRAMES))
    assert [result.mask("road").mean() for result in results] == [
        pytest.approx((16 + 2 * index) / 64, abs=0.06) for index in range(FRAMES)
    ]


def test_segment_takes_an_open_source_and_closes_it(drive: Path, engine: BrightnessEngine, tmp_path: Path) -> None:
    assert len(list(segment(open_source(str(drive)), engine))) == FRAMES
    assert open_files(tmp_path) == []


def test_leaving_segment_early_closes_everything(drive: Path, engine: BrightnessEngine, tmp_path: Path) -> None:
    results = segment(str(drive), engine)
    assert next(results).frame.index == 0
    results.close()  # type: ignore[attr-defined]
    assert open_files(tmp_path) == []


def test_segment_raises_what_the_source_raises(drive: Path, engine: BrightnessEngine, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound):
        next(segment(str(tmp_path / "none.mp4"), engine))
    with pytest.raises(NotAVideo):
        next(segment(str(cut(drive, 0.5)), engine))
    with pytest.raises(LookupError):  # the engine's name is wrong: the source is closed, see the fixture
        next(segment(str(drive), "no-such-engine"))
