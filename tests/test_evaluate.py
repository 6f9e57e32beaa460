"""Scores against labels, on an engine whose answers are known: it sees the colours of a flag."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.backends import open_engine
from edge.engine import Bundle, Engine
from edge.errors import DataError, SourceDamaged
from edge.evaluate import evaluate
from edge.frame import Image


@pytest.fixture
def engine(colour_bundle: Bundle) -> Iterator[Engine]:
    with open_engine(colour_bundle.folder) as engine:
        yield engine


@pytest.fixture
def frames(tmp_path: Path, flag: Image, lying_flag: Image) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), flag)
    cv2.imwrite(str(folder / "b.png"), lying_flag)
    return folder


@pytest.fixture
def labels(tmp_path: Path, flag_classes: Image, lying_flag_classes: Image) -> Path:
    folder = tmp_path / "labels"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), flag_classes)
    cv2.imwrite(str(folder / "b.png"), lying_flag_classes)
    return folder


def test_right_masks_score_one(frames: Path, labels: Path, engine: Engine) -> None:
    score = evaluate(str(frames), labels, engine)
    assert score.frames == 2
    assert score.figures()["miou"] == 1.0
    assert score.figures()["iou"] == {"Blue": 1.0, "Green": 1.0, "Red": 1.0}


def test_wrong_pixels_lower_the_classes_they_touch_by_the_expected_amount(
    frames: Path, labels: Path, engine: Engine, flag_classes: Image
) -> None:
    flag_classes[:24, :8] = 1  # half of the blue stripe, 192 pixels, is labelled green
    cv2.imwrite(str(labels / "a.png"), flag_classes)
    score = evaluate(str(frames), labels, engine)
    blue, green = 8 * 48 + 8 * 64, 32 * 48 + 32 * 64  # pixels seen as each
    assert score.figures()["iou"]["Blue"] == pytest.approx((blue - 192) / blue, abs=1e-5)
    assert score.figures()["iou"]["Green"] == pytest.approx(green / (green + 192), abs=1e-5)
    assert score.figures()["iou"]["Red"] == 1.0
    assert score.figures()["pixel_accuracy"] == pytest.approx(1 - 192 / (2 * 64 * 48), abs=1e-5)
    assert score.figures()["group_iou"]["warm"] < 1.0


def test_pixels_without_label_do_not_count(frames: Path, labels: Path, engine: Engine, flag_classes: Image) -> None:
    flag_classes[:24, :8] = 255
    cv2.imwrite(str(labels / "a.png"), flag_classes)
    score = evaluate(str(frames), labels, engine)
    assert score.figures()["miou"] == 1.0
    assert score.confusion.counts.sum() == 2 * 64 * 48 - 24 * 8


def test_labels_of_a_larger_frame_are_compared_at_the_frame_s_size(
    tmp_path: Path, engine: Engine, flag: Image, flag_classes: Image
) -> None:
    for folder, image in (("big", flag), ("big-labels", flag_classes)):
        (tmp_path / folder).mkdir()
        big = cv2.resize(image, (256, 192), interpolation=cv2.INTER_NEAREST_EXACT)
        cv2.imwrite(str(tmp_path / folder / "0.png"), big)
    score = evaluate(str(tmp_path / "big"), tmp_path / "big-labels", engine)
    assert score.figures()["miou"] == 1.0
    assert score.confusion.counts.sum() == 256 * 192


def test_a_class_that_does_not_occur_is_null_and_not_zero(tmp_path: Path, engine: Engine) -> None:
    for folder in ("f", "l"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "f" / "0.png"), np.full((48, 64, 3), (200, 0, 0), np.uint8))
    cv2.imwrite(str(tmp_path / "l" / "0.png"), np.zeros((48, 64), np.uint8))
    score = evaluate(str(tmp_path / "f"), tmp_path / "l", engine)
    assert json.loads(json.dumps(score.figures()))["iou"] == {"Blue": 1.0, "Green": None, "Red": None}


def test_a_frame_without_label_is_an_error_that_names_it(frames: Path, labels: Path, engine: Engine) -> None:
    (labels / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png: has no label .*labels/b\.png"):
        evaluate(str(frames), labels, engine)


def test_a_label_without_frame_is_an_error(frames: Path, labels: Path, engine: Engine) -> None:
    (frames / "b.png").unlink()
    with pytest.raises(DataError, match=r"1 frames.*2 labels"):
        evaluate(str(frames), labels, engine)


def test_a_label_of_another_size_or_with_strange_ids_is_an_error_that_names_it(
    frames: Path, labels: Path, engine: Engine, flag_classes: Image
) -> None:
    cv2.imwrite(str(labels / "a.png"), flag_classes[:40])
    with pytest.raises(DataError, match=r"a\.png: .*\(40, 64\)"):
        evaluate(str(frames), labels, engine)
    flag_classes[5, 5] = 77
    cv2.imwrite(str(labels / "a.png"), flag_classes)
    with pytest.raises(DataError, match=r"a\.png: .*id 77"):
        evaluate(str(frames), labels, engine)


def test_a_coloured_label_is_refused_and_not_taken_for_ids(
    frames: Path, labels: Path, engine: Engine, flag: Image
) -> None:
    cv2.imwrite(str(labels / "a.png"), flag)
    with pytest.raises(DataError, match="expected an indexed or 8-bit grey PNG"):
        evaluate(str(frames), labels, engine)


def test_missing_or_empty_label_folders_are_errors(frames: Path, tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(DataError, match="no such folder"):
        evaluate(str(frames), tmp_path / "nowhere", engine)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no labels"):
        evaluate(str(frames), tmp_path / "empty", engine)


def test_an_unreadable_frame_ends_in_an_error_and_never_in_a_score(frames: Path, labels: Path, engine: Engine) -> None:
    (frames / "b.png").write_bytes(b"no image")
    with pytest.raises(SourceDamaged, match="1 of 2"):
        evaluate(str(frames), labels, engine)
