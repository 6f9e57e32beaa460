"""Losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from edge.train.losses import (  # noqa: E402
    auxiliary_losses,
    bce_jaccard,
    bce_log_dice,
    binary_cross_entropy,
    class_weights,
    cross_entropy,
    ohem_cross_entropy,
    soft_dice,
    soft_jaccard,
    summed_loss,
)

IGNORE = 11
# Three pixels in a row, two classes: the chances of class 0 are 0.8, 0.4 and 0.5; the third pixel has no label.
CHANCE = torch.tensor([0.8, 0.4, 0.5])
SOFTMAX = torch.stack([CHANCE.log(), (1 - CHANCE).log()]).reshape(1, 2, 1, 3)
LABELS = torch.tensor([[[0, 1, IGNORE]]])
# The same for losses by sigmoid: class 0 has 0.8 and 0.4, class 1 has 0.3 and 0.9, unlabelled are 0.5.
SIGMOID = torch.logit(torch.tensor([[0.8, 0.4, 0.5], [0.3, 0.9, 0.5]])).reshape(1, 2, 1, 3)
BCE = -(math.log(0.8) + math.log(0.6) + math.log(0.7) + math.log(0.9)) / 4
ALL = ("cross_entropy", "ohem", "dice", "jaccard", "bce_jaccard", "bce_log_dice")


def test_cross_entropy_is_the_mean_of_minus_log_chance() -> None:
    loss = cross_entropy(SOFTMAX, LABELS, torch.ones(2), IGNORE)
    assert float(loss) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)


def test_class_weights_weigh_the_pixels_of_their_class() -> None:
    loss = cross_entropy(SOFTMAX, LABELS, torch.tensor([1.0, 3.0]), IGNORE)
    assert float(loss) == pytest.approx(-(math.log(0.8) + 3 * math.log(0.6)) / 4)


def test_class_weights_are_one_on_average_over_pixels() -> None:
    shares = torch.tensor([0.9, 0.1])
    weights = class_weights(shares, 0.5)
    assert float((weights * shares).sum()) == pytest.approx(1)
    assert float(weights[1] / weights[0]) == pytest.approx(3)


def test_hard_examples_alone_count() -> None:
    # Pixels: certain and right (loss about 0), undecided (loss ln 2), ignored.
    logits = torch.tensor([[[[20.0, 0.0, -20.0]], [[0.0, 0.0, 20.0]]]])
    labels = torch.tensor([[[0, 1, IGNORE]]])
    loss = ohem_cross_entropy(logits, labels, torch.ones(2), IGNORE, keep=0.5)
    assert float(loss) == pytest.approx(math.log(2))


def test_where_few_are_hard_the_hardest_share_counts() -> None:
    # Chances of the true class 0.99, 0.9 and 0.8: none is below 0.7, so the hardest two of three are kept.
    chance = torch.tensor([0.99, 0.9, 0.8])
    logits = torch.stack([chance.log(), (1 - chance).log()]).reshape(1, 2, 1, 3)
    loss = ohem_cross_entropy(logits, torch.zeros(1, 1, 3, dtype=torch.long), torch.ones(2), IGNORE, keep=0.67)
    assert float(loss) == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2)


def test_soft_dice_is_one_minus_the_mean_dice() -> None:
    class0, class1 = 2 * 0.8 / (1.2 + 1), 2 * 0.6 / (0.8 + 1)
    assert float(soft_dice(SOFTMAX, LABELS, IGNORE)) == pytest.approx(1 - (class0 + class1) / 2)


def test_soft_jaccard_is_one_minus_the_mean_overlap() -> None:
    class0, class1 = 0.8 / (1.2 + 1 - 0.8), 0.6 / (0.8 + 1 - 0.6)
    assert float(soft_jaccard(SOFTMAX, LABELS, IGNORE)) == pytest.approx(1 - (class0 + class1) / 2)


@pytest.mark.parametrize("loss", [soft_dice, soft_jaccard])
def test_a_class_that_does_not_occur_counts_in_no_overlap(loss) -> None:
    only_first = torch.tensor([[[0, 0, IGNORE]]])
    certain = torch.tensor([[[[30.0, 30.0, 0.0]], [[0.0, 0.0, 0.0]]]])
    assert float(loss(certain, only_first, IGNORE)) == pytest.approx(0, abs=1e-6)


def test_binary_cross_entropy_takes_each_class_against_all_others() -> None:
    assert float(binary_cross_entropy(SIGMOID, LABELS, IGNORE)) == pytest.approx(BCE)


def test_bce_jaccard_adds_the_overlap_of_sigmoids() -> None:
    class0, class1 = 0.8 / (1.2 + 1 - 0.8), 0.9 / (1.2 + 1 - 0.9)
    assert float(bce_jaccard(SIGMOID, LABELS, IGNORE)) == pytest.approx(BCE + 1 - (class0 + class1) / 2)


def test_bce_log_dice_takes_the_logarithm_of_the_overlap_away() -> None:
    class0, class1 = 2 * 0.8 / (1.2 + 1), 2 * 0.9 / (1.2 + 1)
    assert float(bce_log_dice(SIGMOID, LABELS, IGNORE)) == pytest.approx(BCE - math.log((class0 + class1) / 2))


def test_losses_are_summed_by_their_weights() -> None:
    weights = torch.ones(2)
    total = summed_loss(SOFTMAX, LABELS, {"cross_entropy": 2.0, "dice": 0.5}, weights, IGNORE, 0.35)
    expected = 2 * cross_entropy(SOFTMAX, LABELS, weights, IGNORE) + 0.5 * soft_dice(SOFTMAX, LABELS, IGNORE)
    assert float(total) == pytest.approx(float(expected))


def test_auxiliary_heads_learn_without_region_losses_unless_there_is_nothing_else() -> None:
    assert auxiliary_losses({"ohem": 1.0, "jaccard": 0.5, "dice": 0.2}) == {"ohem": 1.0}
    assert auxiliary_losses({"dice": 0.2}) == {"dice": 0.2}


@pytest.mark.parametrize("name", ALL)
def test_a_batch_without_any_label_has_no_loss_and_no_gradient(name) -> None:
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    loss = summed_loss(logits, torch.full((1, 2, 2), IGNORE), {name: 1.0}, torch.ones(3), IGNORE, 0.5)
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("name", ALL)
def test_what_is_said_of_an_unlabelled_pixel_does_not_matter(name) -> None:
    changed = SOFTMAX.clone()
    changed[..., 2] = torch.tensor([9.0, -9.0])[None, :, None]
    one, other = (
        summed_loss(logits, LABELS, {name: 1.0}, torch.ones(2), IGNORE, 0.35) for logits in (SOFTMAX, changed)
    )
    assert float(one) == pytest.approx(float(other))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_going_down_the_gradient_finds_the_labels(name) -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (2, 6, 6))
    logits = torch.zeros(2, 3, 6, 6, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.3)
    for _ in range(40):
        optimiser.zero_grad()
        summed_loss(logits, labels, {name: 1.0}, torch.ones(3), IGNORE, 0.35).backward()
        optimiser.step()
    assert bool((logits.argmax(1) == labels).all())
