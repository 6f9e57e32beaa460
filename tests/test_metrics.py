from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge.errors import DataError
from edge.metrics import Confusion

# Truth and prediction of three classes, 255 is unlabelled:
#   class 0: 3 true, 2 found, 2 right -> IoU 2 / (3 + 2 - 2) = 2/3
#   class 1: 4 true, 4 found, 3 right -> IoU 3 / (4 + 4 - 3) = 3/5
#   class 2: 1 true, 2 found, 1 right -> IoU 1 / (1 + 2 - 1) = 1/2
TRUTH = np.array([[0, 0, 0, 1, 1], [1, 1, 2, 255, 255]], np.uint8)
FOUND = np.array([[0, 0, 1, 1, 1], [1, 2, 2, 0, 1]], np.uint8)
COUNTS = [[2, 1, 0], [0, 3, 1], [0, 0, 1]]


@pytest.fixture
def confusion() -> Confusion:
    made = Confusion(3)
    made.add(TRUTH, FOUND)
    return made


def test_pixels_are_counted_by_truth_and_prediction(confusion: Confusion) -> None:
    assert confusion.counts.tolist() == COUNTS


def test_iou_is_hits_over_union(confusion: Confusion) -> None:
    np.testing.assert_allclose(confusion.iou(), [2 / 3, 3 / 5, 1 / 2])
    assert confusion.miou() == pytest.approx((2 / 3 + 3 / 5 + 1 / 2) / 3)


def test_pixel_accuracy_is_the_part_of_labelled_pixels_that_is_right(confusion: Confusion) -> None:
    assert confusion.pixel_accuracy() == pytest.approx(6 / 8)


def test_a_group_counts_its_classes_as_one(confusion: Confusion) -> None:
    # {1, 2}: 5 true, 6 found, 5 right whichever of the two was said.
    assert confusion.group_iou([1, 2]) == pytest.approx(5 / 6)
    assert confusion.group_iou([1]) == pytest.approx(3 / 5)
    assert confusion.group_iou([0, 1, 2]) == 1.0


def test_frames_add_up(confusion: Confusion) -> None:
    confusion.add(np.array([[2, 2]], np.uint8), np.array([[2, 0]], np.uint8))
    assert confusion.counts.tolist() == [[2, 1, 0], [0, 3, 1], [1, 0, 2]]


def test_a_class_that_never_occurs_has_no_iou_and_leaves_the_mean_alone() -> None:
    confusion = Confusion(4)
    confusion.add(TRUTH, FOUND)
    assert math.isnan(confusion.iou()[3])
    assert confusion.miou() == pytest.approx((2 / 3 + 3 / 5 + 1 / 2) / 3)
    assert math.isnan(confusion.group_iou([3]))


def test_a_class_that_was_only_imagined_has_iou_zero() -> None:
    confusion = Confusion(2)
    confusion.add(np.zeros((1, 4), np.uint8), np.array([[0, 0, 0, 1]], np.uint8))
    assert confusion.iou().tolist() == [3 / 4, 0.0]


def test_without_a_labelled_pixel_nothing_is_known() -> None:
    confusion = Confusion(2)
    confusion.add(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8))
    confusion.add(np.zeros((0, 5), np.uint8), np.zeros((0, 5), np.uint8))
    assert confusion.counts.sum() == 0
    assert math.isnan(confusion.miou())
    assert math.isnan(confusion.pixel_accuracy())


def test_an_ignored_id_may_be_one_of_the_classes() -> None:
    confusion = Confusion(3, ignore_ids=(1, 255))
    confusion.add(TRUTH, FOUND)
    assert confusion.counts.tolist() == [[2, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_what_is_said_of_an_ignored_pixel_does_not_matter() -> None:
    confusion = Confusion(2)
    confusion.add(np.array([[0, 255]], np.uint8), np.array([[0, 200]], np.uint8))
    assert confusion.counts.tolist() == [[1, 0], [0, 0]]


def test_labels_outside_the_table_are_refused_by_id() -> None:
    with pytest.raises(DataError, match=r"the labels hold id 7; known are 0 to 2, ignored \[11, 255\]"):
        Confusion(3, (11, 255)).add(np.array([[0, 7, 11]], np.uint8), np.zeros((1, 3), np.uint8))


def test_predictions_outside_the_table_are_refused() -> None:
    with pytest.raises(DataError, match="the prediction holds ids above 2"):
        Confusion(3).add(np.zeros((1, 2), np.uint8), np.array([[0, 3]], np.uint8))


def test_a_refused_frame_is_not_counted(confusion: Confusion) -> None:
    with pytest.raises(DataError):
        confusion.add(np.array([[0, 7]], np.uint8), np.array([[0, 0]], np.uint8))
    assert confusion.counts.tolist() == COUNTS


@pytest.mark.parametrize("shape", [(5, 2), (10,), (1, 2, 5)])
def test_maps_of_different_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"truth has shape \(2, 5\), prediction"):
        Confusion(3).add(TRUTH, FOUND.reshape(shape))


maps = arrays(np.uint8, (6, 7), elements=st.integers(0, 3))


@given(maps, maps)
def test_iou_agrees_with_counting_sets_of_pixels(truth: np.ndarray, found: np.ndarray) -> None:
    confusion = Confusion(4)
    confusion.add(truth, found)
    for index, iou in enumerate(confusion.iou()):
        union = np.logical_or(truth == index, found == index).sum()
        hits = np.logical_and(truth == index, found == index).sum()
        assert (math.isnan(iou) and union == 0) or iou == hits / union
        np.testing.assert_equal(confusion.group_iou([index]), iou)
    assert confusion.pixel_accuracy() == np.mean(truth == found)


@given(maps, maps, st.permutations(range(4)))
def test_renaming_the_classes_renames_the_scores(truth: np.ndarray, found: np.ndarray, order: list[int]) -> None:
    names = np.array(order, np.uint8)
    one, other = Confusion(4), Confusion(4)
    one.add(truth, found)
    other.add(names[truth], names[found])
    np.testing.assert_array_equal(other.iou()[names], one.iou())


@given(maps)
def test_a_perfect_prediction_scores_one(truth: np.ndarray) -> None:
    confusion = Confusion(4)
    confusion.add(truth, truth)
    assert confusion.miou() == confusion.pixel_accuracy() == 1.0
