"""Soft labels: what teachers think of a frame, and the loss of a net against it.

The loss is the Kullback-Leibler divergence of Hinton et al. (arXiv 1503.02531), at a temperature, of each pixel times
how sure the teacher is of it. A teacher need not know the net's classes: it speaks of meanings, sets of classes that do
not overlap, and the net's chances are summed over each. A labelled fact beats the teacher: where a label allows several
classes, both are compared over these alone; where it names one and the teacher thinks of another, the pixel does not
count. Losses of several teachers add up by weight; where their meanings and temperatures are the same, that has the
gradient of the loss against their weighted mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edge.train.plans import Teacher

Ask = Callable[[NDArray[np.uint8]], Tensor]  # views, uint8 (N, H, W, 3) BGR -> chances of meanings (N, K, h, w)
_LEAST = 1e-6  # chance of a teacher's
_TINY = 1e-20  # of the net's: a gradient must come of what it thinks impossible


@dataclass(frozen=True)
class SoftTeacher:
    """A teacher that is open. `members`, bool (K, C), are the net's classes that each of its meanings stands for."""

    plan: Teacher
    members: Tensor
    ask: Ask


def soft_loss(
    logits: Tensor, chances: Tensor, members: Tensor, open_to: Tensor, temperature: float = 1.0, confidence: float = 0.0
) -> Tensor:
    """The mean over all pixels of confidence * temperature^2 * KL(teacher || net); 0 where confidence is too low.

    Args:
        logits: (N, C, h, w) of the net.
        chances: (N, K, h, w) of the teacher's meanings; they add up to at most 1.
        members: bool (K, C), see `SoftTeacher`.
        open_to: bool (N, C, h, w), the classes that the label of each pixel allows; none where it has no label.
        temperature: both distributions are softened by it.
        confidence: the least chance of the teacher's likeliest meaning at which a pixel counts.
    """
    given, sorts = open_to.sum(1, keepdim=True), members.to(logits.dtype)
    compared = open_to | (given <= 1)  # a label of one class leaves nothing to compare, so all are
    possible = torch.einsum("nchw,kc->nkhw", compared.to(logits.dtype), sorts) > 0
    chances = torch.where(possible, chances, 0.0)
    best, first = chances.max(1)
    agrees = (members[first].permute(0, 3, 1, 2) & open_to).any(1)
    counts = (best >= max(confidence, _LEAST)) & (agrees | (given[:, 0] != 1))
    taught = torch.where(possible, chances.clamp_min(_LEAST) ** (1 / temperature), 0.0)
    taught = taught / taught.sum(1, keepdim=True).clamp_min(_LEAST)
    own = torch.where(compared, (logits / temperature).softmax(1), 0.0)
    found = torch.einsum("nchw,kc->nkhw", own, sorts)
    found = (found / found.sum(1, keepdim=True).clamp_min(_TINY)).clamp_min(_TINY)
    apart = (taught * (taught.clamp_min(_LEAST).log() - found.log())).sum(1)
    return temperature**2 * torch.where(counts, best * apart, 0.0).mean()


def summed_soft_loss(
    teachers: Sequence[SoftTeacher], views: NDArray[np.uint8], logits: Tensor, labels: Tensor, members: Tensor
) -> Tensor:
    """The losses of all teachers by weight, at the logits' resolution.

    Args:
        teachers: who are asked.
        views: uint8 (N, H, W, 3) BGR, what they see.
        logits: float (N, C, h, w) of the net, of the same views.
        labels: (N, H, W) mask ids.
        members: bool (256, C), the classes that each mask id allows (`Unions.members`).
    """
    size = logits.shape[-2:]
    ids = F.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")[:, 0].long()
    open_to = members[ids].permute(0, 3, 1, 2)
    exact = (open_to.sum(1) == 1).flatten(1).any(1)
    total = logits.sum() * 0
    for teacher in teachers:
        asked = torch.ones_like(exact) if teacher.plan.frames == "all" else ~exact
        if not bool(asked.any()):
            continue
        chances = teacher.ask(views[asked.cpu().numpy()]).to(logits.device)
        chances = F.interpolate(chances, size=size, mode="bilinear", align_corners=False)
        plan = teacher.plan
        loss = soft_loss(logits[asked], chances, teacher.members, open_to[asked], plan.temperature, plan.confidence)
        total = total + loss * plan.weight * asked.float().mean()  # of all frames, as the other losses
    return total
