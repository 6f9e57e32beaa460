"""Losses on logits (N, C, h, w) and mask ids (N, h, w); pixels labelled `ignore_id` do not count.

A mask id below C is a class. Higher ones may stand for several, of which the pixel is one: `members`, bool (256, C),
says which (`edge.train.unions`). Such a pixel costs -log of the summed probability of its classes. Without `members`,
and in losses over regions or of sigmoids always, only pixels labelled with one class count.

A batch without any labelled pixel has a loss of 0, with a gradient of 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from edge.train.plans import Loss

REGION = (
    "dice",
    "jaccard",
)  # of the whole image; their gradient is weak at a single pixel, so auxiliary heads learn without them


def summed_loss(
    logits: Tensor,
    labels: Tensor,
    losses: Mapping[Loss, float],
    weights: Tensor,
    ignore_id: int,
    ohem_keep: float,
    members: Tensor | None = None,
) -> Tensor:
    """The losses by name, each times its weight; `weights`, (C,) or (256,) with `members`, are those of mask ids in the
    cross-entropies.
    """
    exact = torch.where(labels < logits.shape[1], labels, ignore_id)
    terms = {
        "cross_entropy": lambda: cross_entropy(logits, labels, weights, ignore_id, members),
        "ohem": lambda: ohem_cross_entropy(logits, labels, weights, ignore_id, ohem_keep, members),
        "dice": lambda: soft_dice(logits, exact, ignore_id),
        "jaccard": lambda: soft_jaccard(logits, exact, ignore_id),
        "bce_jaccard": lambda: bce_jaccard(logits, exact, ignore_id),
        "bce_log_dice": lambda: bce_log_dice(logits, exact, ignore_id),
    }
    total = torch.zeros((), device=logits.device)
    for name, weight in losses.items():
        total = total + weight * terms[name]()
    return total


def auxiliary_losses(losses: Mapping[Loss, float]) -> Mapping[Loss, float]:
    """What an auxiliary head learns by: the losses of single pixels, or all if there are no others."""
    return {name: weight for name, weight in losses.items() if name not in REGION} or losses


def class_weights(shares: Tensor, balance: float, members: Tensor | None = None) -> Tensor:
    """Weights ~ share ** -balance, (C,), scaled so that the mean over pixels is 1. 0 is no balance, 1 full balance.

    With `members` they are those of all mask ids, (256,): a union weighs as a class of its summed share would.
    """
    weights = shares.clamp_min(1e-4) ** -balance
    scale = 1 / (weights * shares).sum()
    if members is not None:
        weights = (members.float() @ shares).clamp_min(1e-4) ** -balance
    return weights * scale


# ---------------------------------------------------------------------------------------------------------- of a pixel


def pixel_losses(logits: Tensor, labels: Tensor, ignore_id: int, members: Tensor | None = None) -> Tensor:
    """(N, h, w): -log of the probability that the pixel has one of the classes of its label; 0 where it has none."""
    exact = torch.where(labels < logits.shape[1], labels, ignore_id)
    losses = F.cross_entropy(logits, exact, reduction="none", ignore_index=ignore_id)
    several = (labels >= logits.shape[1]) & (labels != ignore_id)
    if members is None or not bool(several.any()):
        return losses
    scores = logits.permute(0, 2, 3, 1)[several]
    allowed = scores.masked_fill(~members[labels[several]], -torch.inf)
    return losses.index_put((several,), scores.logsumexp(1) - allowed.logsumexp(1))


def cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor, ignore_id: int, members: Tensor | None = None
) -> Tensor:
    """Mean over the labelled pixels, each with the weight of its label."""
    known = labels != ignore_id
    if not bool(known.any()):
        return logits.sum() * 0
    pixel_weights = weights[labels[known]]
    losses = pixel_losses(logits, labels, ignore_id, members)[known]
    return (losses * pixel_weights).sum() / pixel_weights.sum()


def ohem_cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor, ignore_id: int, keep: float, members: Tensor | None = None
) -> Tensor:
    """Cross-entropy over the hard pixels: those whose label got a probability below 0.7, and at least the part `keep`.

    Online hard example mining (Shrivastava et al. 2016, arXiv 1604.03540) as segmentation nets use it.
    """
    known = labels != ignore_id
    losses = pixel_losses(logits, labels, ignore_id, members)[known]
    if losses.numel() == 0:
        return logits.sum() * 0
    least = max(1, int(keep * losses.numel()))
    hard = losses.detach() > -math.log(0.7)
    if int(hard.sum()) < least:
        hard = losses.detach() >= torch.topk(losses.detach(), least, sorted=False).values.min()
    pixel_weights = weights[labels[known][hard]]
    return (losses[hard] * pixel_weights).sum() / pixel_weights.sum()


def binary_cross_entropy(logits: Tensor, labels: Tensor, ignore_id: int) -> Tensor:
    """Each class against all others by a sigmoid of its own; the mean over labelled pixels and classes."""
    scores, truth = _labelled(logits, labels, ignore_id)
    if truth.numel() == 0:
        return logits.sum() * 0
    # softplus(x) - t x is the cross-entropy of sigmoid(x) and t; t is 1 for one class in each pixel.
    return (F.softplus(scores).sum() - scores.gather(1, truth[:, None]).sum()) / scores.numel()


# --------------------------------------------------------------------------------------------------------- of a region


def soft_jaccard(logits: Tensor, labels: Tensor, ignore_id: int) -> Tensor:
    """1 - soft IoU, averaged over the classes that occur in the labels (Rahman and Wang 2016)."""
    chance, truth = _labelled(logits.softmax(1), labels, ignore_id)
    return 1 - _mean_jaccard(chance, truth) if truth.numel() else logits.sum() * 0


def soft_dice(logits: Tensor, labels: Tensor, ignore_id: int) -> Tensor:
    """1 - soft Dice, averaged over the classes that occur (Milletari et al. 2016, arXiv 1606.04797; plain sums)."""
    chance, truth = _labelled(logits.softmax(1), labels, ignore_id)
    return 1 - _mean_dice(chance, truth) if truth.numel() else logits.sum() * 0


def bce_jaccard(logits: Tensor, labels: Tensor, ignore_id: int) -> Tensor:
    """Binary cross-entropy + 1 - soft IoU, both of sigmoids."""
    chance, truth = _labelled(logits.sigmoid(), labels, ignore_id)
    if truth.numel() == 0:
        return logits.sum() * 0
    return binary_cross_entropy(logits, labels, ignore_id) + 1 - _mean_jaccard(chance, truth)


def bce_log_dice(logits: Tensor, labels: Tensor, ignore_id: int) -> Tensor:
    """Binary cross-entropy - log(soft Dice), both of sigmoids (as Iglovikov and Shvets 2018, arXiv 1801.05746, eq. 5,
    have it of Jaccard): steep where almost nothing overlaps.
    """
    chance, truth = _labelled(logits.sigmoid(), labels, ignore_id)
    if truth.numel() == 0:
        return logits.sum() * 0
    dice = _mean_dice(chance, truth).clamp_min(torch.finfo(chance.dtype).tiny)
    return binary_cross_entropy(logits, labels, ignore_id) - dice.log()


def _labelled(values: Tensor, labels: Tensor, ignore_id: int) -> tuple[Tensor, Tensor]:
    """Of (N, C, h, w) values the labelled pixels', (pixels, C), and their class ids."""
    known = (labels != ignore_id).flatten()
    return values.permute(0, 2, 3, 1).reshape(-1, values.shape[1])[known], labels.flatten()[known]


def _mean_jaccard(chance: Tensor, truth: Tensor) -> Tensor:
    both, target = _overlap(chance, truth)
    present = target > 0
    either = chance.sum(0) + target - both
    return (both[present] / either[present]).mean()


def _mean_dice(chance: Tensor, truth: Tensor) -> Tensor:
    both, target = _overlap(chance, truth)
    present = target > 0
    return (2 * both[present] / (chance.sum(0) + target)[present]).mean()


def _overlap(chance: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """(C,): the chance of each class summed over its own pixels, and how many these are."""
    classes = chance.shape[1]
    # Sums by index instead of a one-hot tensor: a quarter of a whole training step on a CPU.
    both = chance.new_zeros(classes).index_add(0, truth, chance.gather(1, truth[:, None])[:, 0])
    return both, torch.bincount(truth, minlength=classes)
