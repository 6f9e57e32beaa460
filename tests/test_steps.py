from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from bundles import MakeCard
from stand_in import BrightnessEngine

import edge
from edge.frame import Frame
from edge.outputs import Output
from edge.prediction import Prediction
from edge.segmenter import Segmenter
from edge.steps import MAX_GAP_NS, MAX_MISSED, STEPS, StepKind, Steps, step_names

AGE = Output("age_frames", "int32", (1,), "values", "frames since the state was reset", "")


class Counter:
    """Counts the frames of one stream, and adds that as an output."""

    def __init__(self, card: object) -> None:
        self.count = self.resets = 0

    def update(self, prediction: Prediction) -> Prediction:
        self.count += 1
        outputs = {**prediction.outputs, AGE.name: np.array([self.count], np.int32)}
        return dataclasses.replace(prediction, outputs=outputs, specs={**prediction.specs, AGE.name: AGE})

    def reset(self) -> None:
        self.count, self.resets = 0, self.resets + 1


@pytest.fixture(autouse=True)
def counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STEPS, "counter", StepKind(Counter))


@pytest.fixture
def engine(make_card: MakeCard) -> BrightnessEngine:
    return BrightnessEngine(make_card)


def frame(index: int, media_ns: int | None = None, wh: tuple[int, int] = (32, 24)) -> Frame:
    media_ns = index * 33_000_000 if media_ns is None else media_ns
    image = np.zeros((wh[1], wh[0], 3), np.uint8)
    return Frame(index=index, captured_ns=media_ns, source=f"{index}.png", bgr=image, media_ns=media_ns)


def counts(results: Iterator[Prediction] | Sequence[Prediction]) -> list[int]:
    return [int(result.outputs[AGE.name][0]) for result in results]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([frame(0), frame(1), frame(2)], [1, 2, 3]),
        ([frame(0), frame(1), frame(2 + MAX_MISSED)], [1, 2, 3]),
        ([frame(0), frame(1), frame(3 + MAX_MISSED)], [1, 2, 1]),  # a gap
        ([frame(0), frame(1, MAX_GAP_NS), frame(2, 2 * MAX_GAP_NS + 1)], [1, 2, 1]),  # a gap in time
        ([frame(5), frame(6), frame(5)], [1, 2, 1]),  # a seek
        ([frame(5), frame(5)], [1, 1]),
        ([frame(5, 10**9), frame(6, 0)], [1, 1]),  # joined recordings
        ([frame(0), frame(1, wh=(64, 24)), frame(2, wh=(64, 24))], [1, 1, 2]),  # another shape
    ],
)
def test_state_is_reset_where_a_frame_does_not_follow_the_last(
    engine: BrightnessEngine, frames: list[Frame], expected: list[int]
) -> None:
    assert counts(list(Segmenter(engine).segment_all(frames))) == expected


def test_another_source_begins_anew(engine: BrightnessEngine) -> None:
    segmenter = Segmenter(engine)
    assert counts(list(segmenter.segment_all([frame(0), frame(1)]))) == [1, 2]
    assert counts(list(segmenter.segment_all([frame(2), frame(3)]))) == [1, 2]


class SideBySide(BrightnessEngine):
    streams = 3


def test_frames_that_are_worked_on_side_by_side_pass_the_steps_in_order(make_card: MakeCard) -> None:
    results = list(Segmenter(SideBySide(make_card)).segment_all(map(frame, range(12))))
    assert counts(results) == list(range(1, 13))
    assert all(result.ready_ns >= result.frame.captured_ns for result in results)
    assert results[0].summaries() == {"age_frames": {"mean": 1.0, "min": 1.0, "max": 1.0}}


class Frames:
    """A recording."""

    name, size_wh, rate_hz, frame_count, live = "frames", (32, 24), 30.0, 8, False

    def at(self, index: int) -> Frame:
        return frame(index)

    def __iter__(self) -> Iterator[Frame]:
        return map(frame, range(self.frame_count))

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def __init__(self) -> None:
        from edge.timing import Durations

        self.decode = Durations()


def test_a_replay_gives_what_one_run_gives_and_each_reader_has_its_own_state(engine: BrightnessEngine) -> None:
    from edge.replay.mask_track import engine_track

    run = counts(list(edge.segment(Frames(), engine)))  # type: ignore[arg-type]
    track, player, background = engine_track(engine, "x"), Frames(), Frames()
    shown = []
    for index in range(8):
        shown.append(track.of(player, player.at(index)))  # type: ignore[arg-type]
        track.of(background, background.at(index // 2))  # type: ignore[arg-type]
    assert run == counts([result for result in shown if result is not None]) == list(range(1, 9))
    after_a_seek = track.of(player, player.at(2))  # type: ignore[arg-type]
    assert after_a_seek is not None
    assert counts([after_a_seek]) == [1]


def test_an_evaluation_takes_frames_through_the_steps_in_order(make_card: MakeCard) -> None:
    from edge.classes import CAMVID
    from edge.evaluate.measures import Measures
    from edge.evaluate.run import _in_order

    segmenter, seen = Segmenter(SideBySide(make_card)), []

    class Watching(Measures):
        def __call__(self, result: Prediction, pair: object) -> object:  # type: ignore[override]
            seen.append((result.frame.index, counts([result])[0]))
            return super().__call__(result, pair)  # type: ignore[arg-type]

    assert len(list(_in_order(map(frame, range(12)), segmenter, Watching(CAMVID)))) == 12
    assert sorted(seen) == [(index, index + 1) for index in range(12)]


def test_a_step_runs_only_where_what_it_needs_is_computed(
    engine: BrightnessEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STEPS, "distances", StepKind(Counter, needs=("depth",)))
    assert step_names(["semantic"]) == ["counter"]
    assert step_names(["semantic", "depth"]) == ["counter", "distances"]
    assert step_names(["semantic"], ["instances"]) == ["instances", "tracks", "counter"]
    assert len(Steps.of(engine)) == 1  # type: ignore[arg-type]


def test_a_replays_identity_names_outputs_and_steps(engine: BrightnessEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge.replay.identity import engine_identity

    before = engine_identity(engine)  # type: ignore[arg-type]
    assert "outputs semantic" in before
    monkeypatch.delitem(STEPS, "counter")
    assert engine_identity(engine) != before  # type: ignore[arg-type]
