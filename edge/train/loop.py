"""The training loop: recipe in, checkpoints out; interrupted at any time, resumed where it stood."""

from __future__ import annotations

import dataclasses
import json
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.classes import CAMVID, ClassTable
from edge.errors import ConfigError
from edge.metrics import Confusion
from edge.nets import make_net
from edge.train.augment import Pair
from edge.train.data import batches, class_shares, load_folder, render_pairs
from edge.train.losses import class_weights, ohem_cross_entropy, soft_jaccard
from edge.train.recipe import Optimisation, Recipe

SAVE_EVERY = 250  # steps
VALIDATE_EVERY = 1000


@dataclasses.dataclass
class Report:
    """What a caller is told while training runs."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    confusion: Confusion | None = None  # present after a validation


class Trainer:
    """One training run in a folder: owns the net, its averaged twin, the optimiser and `last.pt`."""

    def __init__(self, recipe: Recipe, folder: Path, device: str = "auto") -> None:
        self.recipe, self.folder = recipe, folder
        self.table: ClassTable = CAMVID
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.net = make_net(recipe.net, len(self.table)).to(self.device, memory_format=torch.channels_last)
        self.averaged = make_net(recipe.net, len(self.table)).to(self.device, memory_format=torch.channels_last).eval()
        self.averaged.load_state_dict(self.net.state_dict())
        self.optimiser = _make_optimiser(self.net, recipe.optimisation)
        self.step = 0
        self.history: list[dict[str, Any]] = []
        if self.checkpoint.is_file():
            self._load()

    @property
    def checkpoint(self) -> Path:
        return self.folder / "last.pt"

    def run(self, on_street: Callable[[int, int], None] = lambda done, total: None) -> Generator[Report, None, None]:
        """Train to the recipe's last step, yielding a report after every one. Closing the iterator saves and stops.

        Streets are rendered first, once; `on_street` is told how many of how many are done.
        """
        cv2.setNumThreads(1)
        real = [pair for folder in self.recipe.train for pair in load_folder(folder, self.table, self.recipe.input_wh)]
        val = load_folder(self.recipe.val, self.table, self.recipe.input_wh)
        rendered: list[Pair] = []
        if self.recipe.rendered:
            rendered = render_pairs(self.recipe.rendered, self.recipe.input_wh, self.folder / "rendered.npz", on_street)
        shares = torch.from_numpy(class_shares(real, len(self.table))).float().to(self.device)
        weights = class_weights(shares, self.recipe.optimisation.class_balance)
        steps = self.recipe.optimisation.steps
        stream = _ahead(batches(real, rendered, self.recipe, self.table, self.step))
        try:
            while self.step < steps:
                report = self._train_one(next(stream), weights)
                done = self.step == steps
                if done or self.step % VALIDATE_EVERY == 0:
                    report.confusion = self.validate(val)
                    self._log(report)
                if done or self.step % SAVE_EVERY == 0:
                    self.save()
                yield report
        finally:
            stream.close()
            self.save()

    def _train_one(self, batch: tuple[np.ndarray, np.ndarray], weights: Tensor) -> Report:
        plan = self.recipe.optimisation
        rate = learning_rate(plan, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        images = to_input(batch[0], self.device)
        self.net.train()
        with torch.autocast(self.device.type, torch.bfloat16):
            outputs = self.net(images)
        loss = self._loss(outputs if isinstance(outputs, tuple) else (outputs,), batch[1], weights)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), plan.clip_norm)
        self.optimiser.step()
        self.step += 1
        self._average()
        return Report(self.step, plan.steps, float(loss.detach()), rate)

    def _loss(self, outputs: tuple[Tensor, ...], labels: np.ndarray, weights: Tensor) -> Tensor:
        """The loss at half resolution, a quarter of the cost; which of each 2x2 labels counts changes by step, so that
        no side is favoured.
        """
        plan, ignore = self.recipe.optimisation, self.table.ignore_id
        dy, dx = divmod(self.step % 4, 2)
        target = torch.from_numpy(np.ascontiguousarray(labels[:, dy::2, dx::2])).to(self.device).long()
        target[target >= len(self.table)] = ignore
        total = torch.zeros((), device=self.device)
        for place, logits in enumerate(outputs):
            logits = F.interpolate(logits.float(), size=target.shape[-2:], mode="bilinear", align_corners=False)
            loss = ohem_cross_entropy(logits, target, weights, ignore, plan.ohem_keep)
            if place == 0 and plan.jaccard_weight:
                loss = loss + plan.jaccard_weight * soft_jaccard(logits, target, ignore)
            total = total + loss * (plan.auxiliary_weight if place else 1.0)
        return total

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of weights and batch-norm statistics, short-memoried at the start."""
        decay = min(self.recipe.optimisation.ema_decay, (1 + self.step) / (10 + self.step))
        pairs = zip(self.averaged.state_dict().values(), self.net.state_dict().values(), strict=True)
        means, current = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        torch._foreach_lerp_(means, current, 1 - decay)

    @torch.no_grad()
    def validate(self, pairs: list[Pair]) -> Confusion:
        """The averaged net's confusion on labelled frames, at full resolution and precision."""
        confusion = Confusion(len(self.table), (self.table.ignore_id, 255))
        self.averaged.eval()
        for image, labels in pairs:
            logits = self.averaged(to_input(image[None], self.device))
            logits = F.interpolate(logits, size=labels.shape, mode="bilinear", align_corners=False)
            confusion.add(labels, logits.argmax(1)[0].to(torch.uint8).cpu().numpy())
        return confusion

    def _log(self, report: Report) -> None:
        assert report.confusion is not None
        iou = {name: round(float(v), 4) for name, v in zip(self.table.names, report.confusion.iou(), strict=True)}
        entry = {
            "step": report.step,
            "loss": round(report.loss, 4),
            "miou": round(report.confusion.miou(), 4),
            "iou": iou,
        }
        self.history.append(entry)
        (self.folder / "history.json").write_text(json.dumps(self.history, indent=1) + "\n")

    def save(self) -> None:
        """Write `last.pt` as a whole or not at all."""
        state = {
            "recipe": self.recipe.model_dump(mode="json"),
            "step": self.step,
            "net": self.net.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": self.history,
        }
        partial = self.checkpoint.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def _load(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["recipe"]["net"] != self.recipe.net:
            raise ConfigError(
                f"{self.checkpoint}: holds a {state['recipe']['net']}, the recipe wants a {self.recipe.net};"
                " name another --run folder"
            )
        self.net.load_state_dict(state["net"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.history = state["step"], state["history"]


def learning_rate(plan: Optimisation, step: int) -> float:
    """Linear warm-up, then (1 - progress) ** power (the "poly" schedule of DeepLab, arXiv 1606.00915)."""
    warm = min(1.0, (step + 1) / max(1, plan.warmup_steps))
    return plan.learning_rate * warm * (1 - step / plan.steps) ** plan.poly_power


def to_input(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 (N, H, W, 3) BGR as float (N, 3, H, W) in 0..1: what every net takes, and what its exported graph does."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255


def _make_optimiser(net: nn.Module, plan: Optimisation) -> torch.optim.Optimizer:
    """Weight decay on convolution kernels only."""
    kernels = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if plan.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=0.9)
    return torch.optim.AdamW(groups, lr=plan.learning_rate)


def _ahead(source: Iterator[Any], depth: int = 3) -> Generator[Any, None, None]:
    """`source`, computed by a thread of its own up to `depth` items ahead; its error comes out here."""
    slots: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def fill() -> None:
        try:
            for item in source:
                while not stop.is_set():
                    try:
                        slots.put(item, timeout=0.2)
                        break
                    except queue.Full:
                        continue
                if stop.is_set():
                    return
        except Exception as error:  # noqa: BLE001 handed to the consumer, whose iteration it ends
            slots.put(error)

    worker = threading.Thread(target=fill, name="batches", daemon=True)
    worker.start()
    try:
        while True:
            item = slots.get()
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stop.set()
        worker.join(5)
