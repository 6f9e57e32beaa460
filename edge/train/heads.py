"""Training of further heads on a trained net: the net's own weights do not move. Interrupted and resumed as `Trainer`.

Centres: the penalty-reduced focal loss of Law and Deng (arXiv 1808.01244, eq. 1) on Gaussians; offsets: the mean
distance, as Cheng et al. (arXiv 1911.10194), a small object counting as much as a large one; markings: binary
cross-entropy and Dice.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edge.config import data_path
from edge.errors import ConfigError
from edge.frame import Image
from edge.instances import thing_ids
from edge.metrics import ThinScore
from edge.nets import make_net
from edge.nets.heads import OFFSET_SCALE, STRIDE, Headed
from edge.train.ahead import ahead
from edge.train.checkpoint import read_checkpoint, weights_sha256, write_checkpoint
from edge.train.head_frames import (
    CURB,
    FIRST,
    MARKING,
    NO_OBJECT,
    SOME_OBJECT,
    UNKNOWN,
    Crowds,
    read_known,
    read_sources,
    views,
)
from edge.train.loop import SAVE_EVERY, OnProgress, Report, to_input
from edge.train.precision import autocast
from edge.train.recipe import Recipe
from edge.train.schedule import learning_rate, make_optimiser, set_learning_rate

LEAST_PX = 16  # of an object; smaller ones count as of unknown number
_SIGMA = (0.7, 3.0, 0.1)  # of a centre's Gaussian, in cells: least, most, and per cell of the object's width
MARKING_WEIGHT = 3.0  # of a marking's pixels in the cross-entropy
SURE = 128  # a grade from which on a pixel is a marking


class HeadTrainer:
    """One run in a folder: owns the heads, their averages, the optimiser and `last.pt`."""

    def __init__(self, recipe: Recipe, folder: Path, device: str = "auto") -> None:
        """A new run on the net of the recipe's checkpoint, or the run that stands in `folder`.

        Raises:
            ConfigError: the recipe has no heads or no checkpoint, or the folder holds heads of another net.
        """
        if recipe.heads is None or recipe.checkpoint is None:
            raise ConfigError(f"{recipe.name}: expected `heads:` and `checkpoint:` in the recipe; docs/training.md")
        self.recipe, self.plan, self.folder = recipe, recipe.heads, folder
        self.table = recipe.table
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.net_sha256, self.net, self.averaged = self._make_nets()
        self.optimiser = make_optimiser(self.net.heads, self.plan.optimisation)
        self.step = 0
        if self.checkpoint.is_file():
            self._load(read_heads(self.checkpoint, recipe, self.net_sha256))
        self._things = torch.zeros(len(self.table), dtype=torch.bool, device=self.device)
        self._things[list(thing_ids(self.table))] = True

    @property
    def checkpoint(self) -> Path:
        """What the run resumes from; missing until the first save."""
        return self.folder / "last.pt"

    def _make_nets(self) -> tuple[str, Headed, Headed]:
        state = read_checkpoint(data_path(self.recipe.checkpoint or ""), self.recipe)["averaged"]
        nets = []
        for _ in range(2):
            net = make_net(self.recipe.net, len(self.table))
            net.load_state_dict(state)
            nets.append(Headed(net, self.plan.names).to(self.device, memory_format=torch.channels_last))
        nets[1].load_state_dict(nets[0].state_dict())
        return weights_sha256(state), nets[0], nets[1]

    # ----------------------------------------------------------------------------------------------------------- a run

    def run(self, on_progress: OnProgress = lambda what, done, total: None) -> Generator[Report, None, None]:
        """Train to the plan's last step, yielding a report after every one; closing the iterator saves and stops.
        `on_progress` as of `Trainer.run`.
        """
        cv2.setNumThreads(1)
        sources, shares = read_sources(self.plan, self.recipe, self.folder, partial(on_progress, "rendering streets"))
        crowds = Crowds(self.plan.pasted, self.table) if self.plan.pasted else None
        stream = ahead(views(sources, shares, self.recipe, crowds, self.step))
        try:
            while self.step < self.plan.optimisation.steps:
                yield self._train_one(*next(stream))
                if self.step % SAVE_EVERY == 0:
                    self.save()
        finally:
            stream.close()
            self.save()

    def _train_one(self, images: NDArray[np.uint8], known: NDArray[np.uint8]) -> Report:
        rate = learning_rate(self.plan.optimisation, self.step)
        set_learning_rate(self.optimiser, rate)
        self.net.train()
        with autocast(self.device, self.plan.optimisation.precision):
            logits, found = self.net.learn(to_input(images, self.device))
        loss = torch.zeros((), device=self.device)
        if "objects" in found:
            heat, offsets = (one.float() for one in found["objects"])
            loss = loss + self._object_loss(heat, offsets, logits, known)
        if "markings" in found:
            loss = loss + marking_loss(found["markings"][0].float(), torch.from_numpy(known).to(self.device))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.heads.parameters(), self.plan.optimisation.clip_norm)
        self.optimiser.step()
        self.step += 1
        self._average()
        return Report(self.step, self.plan.optimisation.steps, float(loss.detach()), rate)

    def _object_loss(self, heat: Tensor, offsets: Tensor, logits: Tensor, known: NDArray[np.uint8]) -> Tensor:
        """Where the map knows of no object and the net sees one, either may be wrong: such cells do not count."""
        truth = [object_targets(one) for one in known]
        wanted, pull, weight, counts = (
            torch.from_numpy(np.stack(part)).to(self.device) for part in zip(*truth, strict=True)
        )
        seen = self._things[F.interpolate(logits.float(), size=heat.shape[-2:], mode="bilinear").argmax(1)]
        counts &= ~(seen & (weight == 0) & (wanted < 0.3))
        distance = (offsets - pull).abs().sum(1) / OFFSET_SCALE
        pulled = (distance * weight).sum() / weight.sum().clamp_min(1)
        return centre_loss(heat[:, 0], wanted, counts) + 4.0 * pulled

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.plan.optimisation.ema_decay, (1 + self.step) / (10 + self.step))
        for mean, now in zip(
            self.averaged.heads.state_dict().values(), self.net.heads.state_dict().values(), strict=True
        ):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - decay)

    # ----------------------------------------------------------------------------------------------------- figures

    @torch.no_grad()
    def marking_scores(self) -> dict[str, ThinScore]:
        """Of the averaged heads on the plan's `val`: F1 of lane markings within 0 and 2 pixels.

        Raises:
            ConfigError: the plan has no `val` with markings, or no such head.
        """
        if self.plan.val is None or self.plan.val.markings is None or "markings" not in self.plan.names:
            raise ConfigError("heads.val: expected frames with `markings`, and markings among the heads")
        self.averaged.eval()
        scores = {"plain": ThinScore(0), "within 2 px": ThinScore(2)}
        for image, _, known in read_known(self.plan.val, self.table, self.recipe.input_wh, self.recipe.resize):
            given = dict(zip([o.name for o in self.averaged.further], self._outputs(image)[1:], strict=True))
            grade = F.interpolate(given["marking_grades"][:, :1], size=image.shape[:2], mode="bilinear")[0, 0]
            for score in scores.values():
                score.add(known == MARKING, grade.cpu().numpy() >= SURE, known == UNKNOWN)
        return scores

    def _outputs(self, image: Image) -> tuple[Tensor, ...]:
        return self.averaged(to_input(image[None], self.device))

    # ----------------------------------------------------------------------------------------------------- checkpoints

    def save(self) -> None:
        """Write `last.pt` atomically."""
        state = {
            "recipe": self.recipe.model_dump(mode="json"),
            "step": self.step,
            "net_sha256": self.net_sha256,
            "heads": self.net.heads.state_dict(),
            "averaged": self.averaged.heads.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        write_checkpoint(self.checkpoint, state)

    def _load(self, state: dict[str, Any]) -> None:
        if "optimiser" not in state:
            raise ConfigError(f"{self.checkpoint}: holds released heads, not a run to resume; use another --run folder")
        self.net.heads.load_state_dict(state["heads"])
        self.averaged.heads.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]


def read_heads(path: Path, recipe: Recipe, net_sha256: str) -> dict[str, Any]:
    """The state in a file of heads, which were learned on the net of that hash.

    Raises:
        ConfigError: the file is missing, is of another kind, or of heads of another net.
    """
    state = read_checkpoint(path, recipe)
    if "net_sha256" not in state:
        raise ConfigError(f"{path}: expected heads, as edge train {recipe.name}.yaml --heads writes them")
    if state["net_sha256"] != net_sha256:
        raise ConfigError(
            f"{path}: these heads were learned on another net (weights {state['net_sha256'][:12]}, expected"
            f" {net_sha256[:12]}). Learn them again: edge train RECIPE --heads --run ANOTHER"
        )
    return state


# -------------------------------------------------------------------------------------------------------------- losses


def object_targets(known: Image) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[Any]]:
    """Of a map, at 1/4: centre heat (h, w), 1 at each centre; offsets (2, h, w) in cells; the weight of each cell's
    offset, 0 where there is no object of known number; and which cells' heat counts, bool.

    A cell is the pixel in its middle. Objects smaller than `LEAST_PX` are left out, and their cells do not count.
    """
    cells = np.ascontiguousarray(known[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE])
    height, width = (-(-side // STRIDE) for side in known.shape)
    cells = cv2.copyMakeBorder(cells, 0, height - cells.shape[0], 0, width - cells.shape[1], cv2.BORDER_REPLICATE)
    heat = np.zeros((height, width), np.float32)
    pull, weight = np.zeros((2, height, width), np.float32), np.zeros((height, width), np.float32)
    counts = (cells != UNKNOWN) & (cells != SOME_OBJECT)
    down, across = np.mgrid[:height, :width].astype(np.float32)
    for number in np.unique(known[(known >= FIRST) & (known != UNKNOWN)]).tolist():
        rows, columns = np.nonzero(known == number)
        own = cells == number
        if rows.size < LEAST_PX:
            counts[own] = False
            continue
        y, x = (float(place.mean() - STRIDE // 2) / STRIDE for place in (rows, columns))
        least, most, per_cell = _SIGMA
        sigma = min(max(per_cell * rows.size**0.5 / STRIDE, least), most)
        spot = np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * sigma**2))
        at = min(max(round(y), 0), height - 1), min(max(round(x), 0), width - 1)
        spot[at] = 1.0
        np.maximum(heat, spot, out=heat)
        pull[0][own], pull[1][own] = (x - across)[own], (y - down)[own]
        weight[own] = 1 / max(1.0, own.sum() ** 0.5)
    return heat, pull, weight, counts


def centre_loss(heat: Tensor, wanted: Tensor, counts: Tensor) -> Tensor:
    """Of logits (N, h, w) against Gaussians, over the cells that count, divided by the number of centres."""
    chance = heat.sigmoid().clamp(1e-5, 1 - 1e-5)
    is_centre = (wanted >= 1) & counts
    found = -((1 - chance) ** 2) * chance.log() * is_centre
    empty = -((1 - wanted) ** 4) * chance**2 * (1 - chance).log() * (counts & ~is_centre)
    return (found + empty).sum() / is_centre.sum().clamp_min(1)


def marking_loss(grades: Tensor, known: Tensor) -> Tensor:
    """Of logits (N, 2, h, w) against maps (N, H, W), at half their size."""
    known = known[:, ::2, ::2]
    grades = F.interpolate(grades, size=known.shape[-2:], mode="bilinear", align_corners=False)
    counts = (known != UNKNOWN) & (known != NO_OBJECT)
    total = grades.sum() * 0
    for channel, value in enumerate((MARKING, CURB)):
        scores, truth = grades[:, channel][counts], (known == value)[counts].float()
        if not truth.any():
            continue
        total = total + F.binary_cross_entropy_with_logits(scores, truth, weight=1 + (MARKING_WEIGHT - 1) * truth)
        chance = scores.sigmoid()
        total = total + 0.5 * (1 - 2 * (chance * truth).sum() / (chance.sum() + truth.sum()))
    return total
