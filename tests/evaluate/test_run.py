"""Drives in shards, interrupted, damaged: what comes of them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from bundles import COLOURS
from drives_made import FRAMES, label_of, make_drive, without_times, write_labels
from stand_in import BrightnessEngine
from videos import cut, noise, picture, write_video

from edge.classes import CAMVID
from edge.engine import Bundle
from edge.errors import DataError, EngineError, SourceDamaged
from edge.evaluate import run, schedule
from edge.evaluate.drives import Drive
from edge.evaluate.figures import report_of
from edge.evaluate.measures import Measures
from edge.evaluate.object_labels import find_labels
from edge.evaluate.run import EvaluationConfig, Execute, Outcome, Shard
from edge.evaluate.schedule import evaluate_drives, one_by_one
from edge.evaluate.spans import open_drive
from edge.evaluate.store import Store
from edge.frame import Frame, Image
from edge.segmenter import Segmenter
from edge.sources.open import open_source


@pytest.fixture
def config(colour_bundle: Bundle) -> EvaluationConfig:
    return EvaluationConfig(str(colour_bundle.folder), other=str(colour_bundle.folder))


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "SHARD_FRAMES", 5)


def figures(drives: Sequence[Drive], execute: Execute, store: Store | None = None, in_shards: bool = False) -> dict:
    return without_times(report_of(evaluate_drives(drives, execute, store, in_shards=in_shards), COLOURS))


def test_sparse_labels_count_for_their_frames_only(tmp_path: Path, config: EvaluationConfig) -> None:
    (result,) = evaluate_drives([make_drive(tmp_path)], one_by_one(config))
    assert result.is_whole
    assert result.measured is not None
    records = result.measured.records
    assert records.index.tolist() == list(range(FRAMES))
    assert np.flatnonzero(records.labelled).tolist() == [0, 3, 4, 11]
    assert len(records.confusion) == 4
    labelled = [np.bincount(label_of(n)[label_of(n) < 3], minlength=3) for n in (0, 3, 4, 11)]
    np.testing.assert_array_equal(records.confusion.sum((1, 3)), labelled)


@pytest.mark.usefixtures("short_parts")
def test_a_drive_in_parts_comes_out_like_the_whole(tmp_path: Path, config: EvaluationConfig) -> None:
    drives = [make_drive(tmp_path, "a"), make_drive(tmp_path, "b", (1, 2, 5))]
    shards: list[Shard] = []

    def backwards(open_shards: Sequence[Shard]) -> Sequence[Outcome]:
        shards.extend(open_shards)
        return list(one_by_one(config)(open_shards[::-1]))

    whole = figures(drives, one_by_one(config))
    assert figures(drives, backwards, in_shards=True) == whole
    assert [(shard.start, shard.stop) for shard in shards] == [(0, 5), (5, 10), (10, 12)] * 2
    assert whole["temporal"]["frames"] > 0


@pytest.mark.usefixtures("short_parts")
def test_what_was_interrupted_goes_on_where_it_stood(tmp_path: Path, config: EvaluationConfig) -> None:
    drives = [make_drive(tmp_path, "a"), make_drive(tmp_path, "b", (1, 2))]
    measured: list[Shard] = []

    def interrupted(shards: Sequence[Shard]) -> object:
        for number, outcome in enumerate(one_by_one(config)(shards)):
            if number == 4:
                raise KeyboardInterrupt
            yield outcome

    def going_on(shards: Sequence[Shard]) -> object:
        measured.extend(shards)
        return one_by_one(config)(shards)

    with pytest.raises(KeyboardInterrupt):
        figures(drives, interrupted, Store(tmp_path / "work", config), in_shards=True)  # type: ignore[arg-type]
    again = figures(drives, going_on, Store(tmp_path / "work", config), in_shards=True)  # type: ignore[arg-type]
    assert len(measured) == 2
    assert again == figures(drives, one_by_one(config))


def test_a_kept_part_is_not_taken_for_another_drive_engine_or_label(tmp_path: Path, config: EvaluationConfig) -> None:
    drive = make_drive(tmp_path)
    store = Store(tmp_path / "work", config)
    evaluate_drives([drive], one_by_one(config), store)
    assert Store(tmp_path / "work", config).load(Shard(drive)) is not None
    assert Store(tmp_path / "work", EvaluationConfig(config.engine)).load(Shard(drive)) is None
    assert Store(tmp_path / "work", config).load(Shard(drive, 0, 5)) is None
    assert drive.labels is not None
    (drive.labels / "drive_000003.png").unlink()
    assert Store(tmp_path / "work", config).load(Shard(drive)) is None


def test_a_kept_part_that_is_torn_is_told_by_its_name(tmp_path: Path, config: EvaluationConfig) -> None:
    drive = make_drive(tmp_path)
    store = Store(tmp_path / "work", config)
    evaluate_drives([drive], one_by_one(config), store)
    (file,) = (tmp_path / "work").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match=rf"{file.name}.*Remove it"):
        store.load(Shard(drive))


def test_a_drive_that_is_not_there_harms_no_other(tmp_path: Path, config: EvaluationConfig) -> None:
    gone, fine = evaluate_drives([Drive("gone", "/nowhere.mp4"), make_drive(tmp_path)], one_by_one(config))
    assert "/nowhere.mp4" in gone.error
    assert not gone.is_whole
    assert fine.is_whole
    report = report_of([gone, fine], COLOURS)
    assert [drive["whole"] for drive in report["drives"]] == [False, True]
    assert report["frame_count"] == FRAMES


@pytest.mark.usefixtures("short_parts")
def test_a_torn_drive_is_scored_by_its_frames_and_said_to_be_torn(tmp_path: Path, config: EvaluationConfig) -> None:
    path = write_video(tmp_path / "whole.mkv", [noise(i) for i in range(FRAMES)], container={})
    torn = cut(path, 0.6)
    whole = figures([Drive("x", str(torn))], one_by_one(config))
    assert figures([Drive("x", str(torn))], one_by_one(config), in_shards=True) == whole
    (drive,) = whole["drives"]
    assert 0 < drive["decoded"] < FRAMES
    assert not drive["whole"]
    assert "is damaged" in drive["fault"]


def test_labels_of_no_frame_fail_their_drive(tmp_path: Path, config: EvaluationConfig) -> None:
    drive = make_drive(tmp_path, labelled=())
    labels = write_labels(tmp_path / "l", [3, 40])
    (result,) = evaluate_drives([Drive("a", drive.frames, labels, sparse=True)], one_by_one(config))
    assert "1 of 2 labels are of no frame" in result.error
    assert result.exit_code == DataError.exit_code


def test_labels_without_leading_zeros_belong_to_the_frames_of_their_numbers(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", [picture(index) for index in range(FRAMES)])
    (tmp_path / "labels").mkdir()
    for number in range(FRAMES):
        cv2.imwrite(str(tmp_path / "labels" / f"label_{number + 1}.png"), np.full((48, 64), number, np.uint8))
    with open_source(str(video)) as source:
        labels = find_labels(source, tmp_path / "labels", False, CAMVID)
        assert labels is not None
        assert [int(labels.find(frame)[0, 0]) for frame in source] == list(range(FRAMES))  # type: ignore[index]


def folder_of_images(tmp_path: Path, frames: Sequence[str], labels: Sequence[str]) -> Drive:
    for folder, names in (("frames", frames), ("labels", labels)):
        (tmp_path / folder).mkdir()
        for name in names:
            image = np.zeros((48, 64) if folder == "labels" else (48, 64, 3), np.uint8)
            (tmp_path / folder / name).write_bytes(cv2.imencode(Path(name).suffix, image)[1].tobytes())
    return Drive("images", str(tmp_path / "frames"), tmp_path / "labels")


@pytest.mark.parametrize(
    ("frames", "labels"), [(["a.png", "a.jpg"], ["a.png"]), (["a.png", "b.png"], ["a.png", "a.PNG", "b.png"])]
)
def test_frames_or_labels_of_one_name_are_refused_instead_of_one_label_scoring_both(
    tmp_path: Path, frames: list[str], labels: list[str]
) -> None:
    drive = folder_of_images(tmp_path, frames, labels)
    with pytest.raises(DataError, match=r"a\.(png|PNG): has the name of"):
        find_labels(open_source(drive.frames), drive.labels, False, CAMVID)


def test_labels_are_found_whatever_the_case_of_their_suffix_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    drive = folder_of_images(tmp_path, ["a.JPG", "b.png"], ["a.PNG", "b.png"])
    for folder in ("frames", "labels"):
        (tmp_path / folder / "._b.png").write_bytes(b"\0\5\x16\7 what macOS leaves")
    source = open_source(drive.frames)
    labels = find_labels(source, drive.labels, False, CAMVID)
    assert labels is not None
    assert [labels.find(frame) is not None for frame in source] == [True, True]
    assert labels.count == 2


def test_two_labels_of_a_frame_or_one_without_number_are_refused(tmp_path: Path, config: EvaluationConfig) -> None:
    drive = make_drive(tmp_path)
    assert drive.labels is not None
    for name, said in (("other_3.png", "second label of frame 3"), ("nothing.png", "frame's number")):
        (drive.labels / name).write_bytes((drive.labels / "drive_000003.png").read_bytes())
        (result,) = evaluate_drives([drive], one_by_one(config))
        assert said in result.error
        (drive.labels / name).unlink()


@pytest.mark.slow
def test_a_rendered_street_knows_its_labels() -> None:
    with open_drive("scene:street?seed=3&frames=2&size=320x180&fps=10") as street:
        truths = find_labels(street, None, False, CAMVID)
        assert truths is not None
        frame = list(street)[1]
        np.testing.assert_array_equal(truths.find(frame), street.truth(1)[0])  # type: ignore[attr-defined]
        assert find_labels(street, None, False, COLOURS) is None


def frames_numbered(indices: Sequence[int]) -> list[Frame]:
    images = [noise(0) for _ in indices]
    return [Frame(index=i, captured_ns=1, source="x", bgr=image) for i, image in zip(indices, images, strict=True)]


class SideBySide(BrightnessEngine):
    """The later a frame is begun, the sooner it is done; the fifth one that is asked for fails if told to."""

    streams = 3

    def __init__(self, make_card: object, fails: bool = False) -> None:
        super().__init__(make_card, input_wh=(64, 48))
        self._fails, self._numbers = fails, itertools.count(1)  # threads may share a count, not len(seen)

    def infer(self, image: Image) -> dict[str, Image]:
        number, classes = next(self._numbers), super().infer(image)
        if self._fails and number == 5:
            raise EngineError("the fifth failed")
        time.sleep(0.004 * (number % 4))
        return classes


def test_records_come_in_the_order_of_frames_and_follow_neighbours_only(make_card: object) -> None:
    indices = [0, 3, 4, 5, 6, 9, 11, 14, 15, 20, 24, 26, 30]  # gaps, as a damaged file has them
    records = run._in_order(frames_numbered(indices), Segmenter(SideBySide(make_card)), Measures(CAMVID))
    kept = list(records)
    assert [record.index for record in kept] == indices
    assert [record.index for record in kept if record.followed.any()] == [5, 15]


@pytest.mark.timeout(30)
def test_a_frame_that_fails_ends_the_drive_and_keeps_none_waiting(make_card: object) -> None:
    engine = SideBySide(make_card, fails=True)
    records = run._in_order(frames_numbered(range(12)), Segmenter(engine), Measures(CAMVID))
    with pytest.raises(EngineError, match="the fifth failed"):
        list(records)
    assert len(engine.seen) < 12


def test_what_ends_the_frames_comes_behind_the_last_record(make_card: object) -> None:
    def torn() -> Iterator[Frame]:
        yield from frames_numbered(range(7))
        raise SourceDamaged("x: is damaged")

    kept = []
    records = run._in_order(torn(), Segmenter(SideBySide(make_card)), Measures(CAMVID))
    with pytest.raises(SourceDamaged):
        kept.extend(record.index for record in records)
    assert kept == list(range(7))
