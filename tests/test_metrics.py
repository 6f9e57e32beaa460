from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge.errors import DataError
from edge.metrics import BoundaryScore, Confusion, count_bands, count_outlines

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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_dice_is_twice_the_hits_over_both_sizes(confusion: Confusion) -> None:
    np.testing.assert_allclose(confusion.dice(), [4 / 5, 6 / 8, 2 / 3])


@pytest.mark.slow
@given(maps, maps)
def test_dice_follows_from_iou(truth: np.ndarray, found: np.ndarray) -> None:
    confusion = Confusion(4)
    confusion.add(truth, found)
    iou = confusion.iou()
    np.testing.assert_allclose(confusion.dice(), 2 * iou / (1 + iou))


def counted_one_by_one(truth: np.ndarray, found: np.ndarray, classes: int, ignored: list[int]) -> list[list[int]]:
    counts = [[0] * classes for _ in range(classes)]
    for true, drawn in zip(truth.flat, found.flat, strict=True):
        if true not in ignored:
            counts[true][drawn] += 1
    return counts


@pytest.mark.slow
@given(st.data(), st.sampled_from([1, 3, 14, 15, 40]), st.sampled_from([[255], [2, 255], [9, 17], [], [14, 15, 200]]))
def test_bands_are_counted_as_one_by_one(data: st.DataObject, classes: int, ignored: list[int]) -> None:
    shape = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 9)))
    ids = st.sampled_from(range(classes))
    truth = data.draw(arrays(np.uint8, shape, elements=st.sampled_from([*range(classes), *ignored])))
    found = data.draw(arrays(np.uint8, shape, elements=ids))
    found[np.isin(truth, ignored)] = data.draw(st.integers(0, 255))
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, shape[0]), max_size=4))), shape[0]]
    counts, seen = count_bands(truth, found, edges, classes, ignored)
    assert counts.dtype == seen.dtype == np.int64
    expected = [counted_one_by_one(truth[a:b], found[a:b], classes, ignored) for a, b in pairwise(edges)]
    assert counts.tolist() == expected
    assert seen.tolist() == [int((found == index).sum()) for index in range(classes)]


# ------------------------------------------------------------------------------------------------------------ outlines


def column_from(x: int, height: int = 6, width: int = 8) -> np.ndarray:
    """uint8 (6, 8), diagonal 10: class 0 left of column x, class 1 from there on."""
    made = np.zeros((height, width), np.uint8)
    made[:, x:] = 1
    return made


@pytest.mark.parametrize(("tolerance", "expected"), [(0.09, 0.0), (0.1, 1.0)])
def test_an_outline_counts_within_the_tolerance(tolerance: float, expected: float) -> None:
    score = BoundaryScore(2, tolerance=tolerance)
    score.add(column_from(4), column_from(5))  # a pixel apart, a tenth of the diagonal
    assert score.f1().tolist() == [expected, expected]


def test_boundary_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    truth, found = np.zeros((6, 8), np.uint8), np.zeros((6, 8), np.uint8)
    truth[2, 2] = 1
    found[2, 2] = found[2, 6] = 1  # both found pixels are outline: one of two is near the truth, all the truth is found
    score = BoundaryScore(2, tolerance=0.0)
    score.add(truth, found)
    assert score.f1()[1] == pytest.approx(2 * 0.5 * 1 / 1.5)


def test_frames_count_for_the_classes_whose_outline_they_show() -> None:
    score = BoundaryScore(3, tolerance=0.0)
    score.add(column_from(4), column_from(4))
    score.add(column_from(4), column_from(6))
    score.add(np.full((6, 8), 2, np.uint8), np.full((6, 8), 2, np.uint8))  # fills the picture: no outline
    assert score.f1()[:2].tolist() == [0.5, 0.5]
    assert math.isnan(score.f1()[2])
    assert score.mean() == 0.5


def test_an_outline_that_is_there_in_one_map_only_scores_zero() -> None:
    score = BoundaryScore(2)
    score.add(column_from(4), np.zeros((6, 8), np.uint8))
    assert score.f1().tolist() == [0.0, 0.0]


def test_a_class_whose_outline_is_unlabelled_everywhere_has_no_score() -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[8:32, 8:32], truth[10:30, 10:30] = 255, 1  # an animal, and the border around it that nobody drew
    prediction = np.zeros_like(truth)
    prediction[9:31, 9:31] = 1
    score = BoundaryScore(2)
    score.add(truth, prediction)
    assert np.isnan(score.f1()).all()
    assert np.isnan(score.mean())


def test_next_to_unlabelled_pixels_there_is_no_outline() -> None:
    truth = column_from(4)
    truth[:, 3:5] = 255
    score = BoundaryScore(2)
    score.add(truth, column_from(4))
    assert math.isnan(score.mean())


def test_boundary_scores_of_maps_of_different_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="truth has shape"):
        BoundaryScore(2).add(column_from(4), column_from(4)[1:])


@given(maps)
def test_a_perfect_outline_scores_one(truth: np.ndarray) -> None:
    score = BoundaryScore(4)
    score.add(truth, truth)
    assert math.isnan(score.mean()) or score.mean() == 1.0


def outlines_one_by_one(truth: np.ndarray, found: np.ndarray, known: np.ndarray, classes: int, reach_px: float) -> list:
    """`count_outlines`, by the distance of each pair of outline pixels."""

    def outline(ids: np.ndarray) -> list[tuple[int, int, int]]:
        pixels = []
        for y, x in np.argwhere(known):
            near = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            inside = [(v, u) for v, u in near if 0 <= v < ids.shape[0] and 0 <= u < ids.shape[1] and known[v, u]]
            if any(ids[place] != ids[y, x] for place in inside):
                pixels.append((y, x, ids[y, x]))
        return pixels

    def met(own: list, other: list, index: int) -> int:
        return sum(
            any(math.hypot(y - v, x - u) <= reach_px for v, u, c in other if c == index)
            for y, x, k in own
            if k == index
        )

    true, drawn = outline(truth), outline(found)
    rows = [
        [met(true, drawn, i), sum(c == i for *_, c in true), met(drawn, true, i), sum(c == i for *_, c in drawn)]
        for i in range(classes)
    ]
    hidden = {i for i, row in enumerate(rows) if row[1] == 0 and not known.all() and np.any(truth[known] == i)}
    return [[0] * 4 if i in hidden else row for i, row in enumerate(rows)]  # where its outline runs is unknown


@pytest.mark.slow
@given(st.data(), st.sampled_from([2, 9, 20, 40, 70, 140]), st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.35, 1.0]))
def test_outlines_are_counted_as_by_all_distances(data: st.DataObject, classes: int, tolerance: float) -> None:
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 11)))
    few = data.draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=4))
    truth, found = (data.draw(arrays(np.uint8, shape, elements=st.sampled_from(few))) for _ in range(2))
    known = data.draw(arrays(np.bool_, shape, elements=st.sampled_from([True, True, True, False])))
    expected = outlines_one_by_one(truth, found, known, classes, tolerance * math.hypot(*shape) + 1e-6)
    assert count_outlines(truth, found, known, classes, tolerance).tolist() == expected


@pytest.mark.parametrize("classes", [8, 9, 16, 17, 32, 33, 64, 65, 150])
def test_outlines_of_any_number_of_classes_are_counted(classes: int) -> None:
    ids = np.arange(2 * classes, dtype=np.uint8).reshape(2, -1) % classes  # class i, and below it another
    wanted = np.bincount(ids.ravel(), minlength=classes)
    counts = count_outlines(ids, ids, np.ones(ids.shape, np.bool_), classes)
    assert counts.T.tolist() == [wanted.tolist()] * 4
