"""Losses on logits (N, C, h, w) and class ids (N, h, w); pixels labelled `ignore_id` do not count."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def class_weights(shares: Tensor, balance: float) -> Tensor:
    """Weights ~ share ** -balance, (C,), scaled so that the mean over pixels is 1. 0 is no balance, 1 full balance."""
    weights = shares.clamp_min(1e-4) ** -balance
    return weights / (weights * shares).sum()


def ohem_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor, ignore_id: int, keep: float) -> Tensor:
    """Cross-entropy over the hard pixels: those whose class got less than 0.7, and at least the part `keep`.

    Online hard example mining (Shrivastava et al. 2016, arXiv 1604.03540) as segmentation nets use it.
    """
    losses = F.cross_entropy(logits, labels, reduction="none", ignore_index=ignore_id).flatten()
    known = labels.flatten() != ignore_id
    losses = losses[known]
    if losses.numel() == 0:
        return logits.sum() * 0
    least = max(1, int(keep * losses.numel()))
    hard = losses.detach() > -math.log(0.7)
    if int(hard.sum()) < least:
        hard = losses.detach() >= torch.topk(losses.detach(), least, sorted=False).values.min()
    pixel_weights = weights[labels.flatten()[known][hard]]
    return (losses[hard] * pixel_weights).sum() / pixel_weights.sum()


def soft_jaccard(logits: Tensor, labels: Tensor, ignore_id: int) -> Tensor:
    """1 - soft IoU, averaged over the classes that occur in the labels (Rahman and Wang 2016)."""
    classes = logits.shape[1]
    known = (labels != ignore_id).flatten()
    chance = logits.softmax(1).permute(0, 2, 3, 1).reshape(-1, classes)[known]  # (pixels, C)
    truth = labels.flatten()[known]
    # Sums by index instead of a one-hot tensor: a quarter of a whole training step on a CPU.
    both = chance.new_zeros(classes).index_add(0, truth, chance.gather(1, truth[:, None])[:, 0])
    target = torch.bincount(truth, minlength=classes)
    present = target > 0
    either = chance.sum(0) + target - both
    return 1 - (both[present] / either[present]).mean() if bool(present.any()) else logits.sum() * 0
