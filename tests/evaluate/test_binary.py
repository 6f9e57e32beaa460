"""Labels of 0 and 255, as many tools write masks of one thing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.engine import Bundle
from edge.errors import ConfigError, DataError
from edge.evaluate.drives import Drive
from edge.evaluate.figures import report_of
from edge.evaluate.run import DriveResult, EvaluationConfig, Shard, Worker, table_of
from edge.evaluate.text import report_text
from edge.frame import Image


@pytest.fixture
def drive(tmp_path: Path, flag: Image, flag_classes: Image) -> Drive:
    """Two images whose labels are masks of Red, one of them without the class."""
    for folder in ("frames", "labels"):
        (tmp_path / folder).mkdir()
    for name, classes in (("a.png", flag_classes), ("b.png", np.zeros_like(flag_classes))):
        cv2.imwrite(str(tmp_path / "frames" / name), flag)
        cv2.imwrite(str(tmp_path / "labels" / name), np.where(classes == 2, 255, 0).astype(np.uint8))
    return Drive("flags", str(tmp_path / "frames"), tmp_path / "labels")


def test_masks_that_would_count_as_class_0_are_refused_with_what_to_type(colour_bundle: Bundle, drive: Drive) -> None:
    with (
        Worker(EvaluationConfig(str(colour_bundle.folder))) as worker,
        pytest.raises(DataError, match="--labels-of road"),
    ):
        worker.measure(Shard(drive))


def test_labels_without_a_labelled_pixel_are_refused(colour_bundle: Bundle, drive: Drive) -> None:
    assert drive.labels is not None
    for path in drive.labels.iterdir():
        cv2.imwrite(str(path), np.full_like(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), 255))
    with (
        Worker(EvaluationConfig(str(colour_bundle.folder))) as worker,
        pytest.raises(DataError, match="hold 255 alone"),
    ):
        worker.measure(Shard(drive))


@pytest.mark.parametrize(("ids", "said"), [((0, 1), True), ((0, 1, 255), True), ((0, 1, 2), False), ((0, 2), False)])
def test_labels_of_0_and_1_alone_are_scored_and_told(
    ids: tuple[int, ...], said: bool, colour_bundle: Bundle, drive: Drive
) -> None:
    assert drive.labels is not None
    for path in drive.labels.iterdir():
        rows = np.resize(np.array(ids, np.uint8), cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape)
        cv2.imwrite(str(path), rows)
    config = EvaluationConfig(str(colour_bundle.folder))
    with Worker(config) as worker:
        report = report_of([DriveResult(drive, worker.measure(Shard(drive)))], table_of(config))
    told = "hold the ids 0 and 1 alone, and were scored as Blue and Green; if they are masks of one thing"
    assert (told in report_text(report)) is said


def test_class_ids_among_which_some_pixels_are_unlabelled_are_taken(
    colour_bundle: Bundle, drive: Drive, flag_classes: Image
) -> None:
    assert drive.labels is not None
    cv2.imwrite(str(drive.labels / "b.png"), np.where(flag_classes == 2, 255, flag_classes))
    with Worker(EvaluationConfig(str(colour_bundle.folder))) as worker:
        assert len(worker.measure(Shard(drive)).records) == 2


@pytest.mark.parametrize("name", ["Red", "warm"])
def test_masks_of_a_group_or_class_are_scored_against_all_others(
    name: str, colour_bundle: Bundle, drive: Drive, flag_classes: Image
) -> None:
    config = EvaluationConfig(str(colour_bundle.folder), labels_of=name)
    assert table_of(config).names == (f"not {name}", name)
    members = colour_bundle.card.table.membership(name)[flag_classes]
    with Worker(config) as worker:
        confusion = worker.measure(Shard(drive)).records.confusion.sum((0, 1))
    truth = (flag_classes == 2).astype(np.uint8)
    expected = [[((t == i) & (members == j)).sum() for j in (0, 1)] for i in (0, 1) for t in (truth,)]
    beside = [[(members == 0).sum(), (members == 1).sum()], [0, 0]]  # of the label without the class
    np.testing.assert_array_equal(confusion, np.add(expected, beside))


def test_a_group_that_the_engine_does_not_have_is_named(colour_bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="no group or class 'road'"):
        table_of(EvaluationConfig(str(colour_bundle.folder), labels_of="road"))
