"""The training loop: recipe in, checkpoints out; can be interrupted at any time and resumed."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.backends import open_engine
from edge.classes import ClassTable
from edge.config import data_path
from edge.errors import ConfigError, DataError, EngineError
from edge.frame import Image
from edge.metrics import BoundaryScore
from edge.nets import make_net
from edge.nets.pretrained import load_encoder
from edge.score import Score, ignored_ids
from edge.train.ahead import ahead
from edge.train.augment import Pair
from edge.train.checkpoint import read_checkpoint, write_checkpoint
from edge.train.data import batches, class_shares, load_folder, render_pairs, street_meaning
from edge.train.journal import Journal, plain
from edge.train.losses import auxiliary_losses, class_weights, summed_loss
from edge.train.paste import Paster
from edge.train.plots import write_plots
from edge.train.precision import autocast, emulated
from edge.train.qat import FakeQuantised, Form
from edge.train.recipe import Folder, Recipe
from edge.train.schedule import learning_rate, make_optimiser, set_learning_rate
from edge.train.settle import settled
from edge.train.soft import SoftTeacher, summed_soft_loss
from edge.train.teacher import pseudo_labelled
from edge.train.teachers import open_teachers
from edge.train.unions import Unions

SAVE_EVERY = 250  # steps
OnProgress = Callable[[str, int, int], object]  # what is being done, how much of it is done, and of how much
OBSERVED_FRAMES = 16  # that the ranges of quantisation-aware training start from


@dataclasses.dataclass
class Report:
    """Progress of a training run after one step."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    score: Score | None = None  # present after a validation
    teacher_share: float | None = None  # of the time of this run's steps so far; None without teachers


class Trainer:
    """One training run in a folder: owns the net, its averaged twin, the optimiser, `last.pt` and `best.pt`.

    `last.pt` is what a run resumes from, and what is exported. `best.pt` is of the validation with the highest mIoU: to
    look at, since a choice by the validation set flatters its score.
    """

    def __init__(self, recipe: Recipe, folder: Path, device: str = "auto") -> None:
        """A new run, or the one that stands in `folder`.

        Raises:
            ConfigError: the folder holds the run of another net, the device does not support the recipe's precision, or
                the weights that the recipe starts from are missing or have no encoder to go into.
            DataError: that file holds other weights.
        """
        self.recipe, self.folder, self.plan = recipe, folder, recipe.training
        self.table: ClassTable = recipe.table
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        self.members = torch.from_numpy(recipe.unions.members).to(self.device)
        if self.plan.precision == "fp16" and self.device.type != "cuda":
            raise ConfigError(f"{recipe.name}: precision fp16 needs CUDA; a {self.device.type} trains in bf16 or fp32")
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        state = read_checkpoint(self.checkpoint, recipe, self.device) if self.checkpoint.is_file() else None
        self.journal = Journal(folder, self.table, recipe.training.steps)
        if state is None and emulated(self.device, self.plan.precision):
            self.journal.note(
                "precision bf16: this CPU has no instructions for it and would emulate it slowly; training in fp32"
            )
        self.net, self.averaged = self._make_nets(state)
        self.optimiser = make_optimiser(self.net, self.plan)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.plan.precision == "fp16")
        self.step = 0
        self.best_miou = -1.0
        self.stale = 0  # validations since the best one
        self._teachers: list[SoftTeacher] = []  # opened when the run begins
        self._seconds = {"steps": 0.0, "teachers": 0.0}
        self._broken = False  # the net holds NaN: batch norms take it in before the loss shows it
        if state is not None:
            self._load(state)

    @property
    def checkpoint(self) -> Path:
        """What the run resumes from; missing until the first save."""
        return self.folder / "last.pt"

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""
        return self.step >= self.plan.steps or (self.plan.patience is not None and self.stale >= self.plan.patience)

    # ----------------------------------------------------------------------------------------------------------- a run

    def run(self, on_progress: OnProgress = lambda what, done, total: None) -> Generator[Report, None, None]:
        """Train to the recipe's last step, yielding a report after every one. Closing the iterator saves and stops.

        Streets are rendered first, once; `on_progress` hears of this and of each validation: what is being
        done, how much of it, and of how much. At the end, scores and
        plots are written into the folder.
        """
        cv2.setNumThreads(1)
        sources = self._read_sources()
        real = [pair for source in sources for pair in source]
        val = self._read(self.recipe.val)
        rendered: list[Pair] = []
        if self.recipe.rendered:
            rendered = render_pairs(
                self.recipe.rendered,
                self.recipe.input_wh,
                self.folder / "rendered.npz",
                partial(on_progress, "rendering streets"),
            )
            meaning = street_meaning(self.recipe.rendered, self.table, self.recipe.unions)
            rendered = [(image, meaning(ids)) for image, ids in rendered]
        paste = [Paster(self.recipe.pasted, self.table)] if self.recipe.pasted else []
        self._teachers = open_teachers(self.recipe.teachers, self.table, self.averaged, self.device)
        weights = self._class_weights(real, rendered)
        self._start_ranges(real)
        self.journal.open(self.step)
        stream = ahead(batches(sources, rendered, self.recipe, self.table, self.step, *paste))
        try:
            while not self.ended:
                report = self._train_one(next(stream), weights)
                if self.step == self.plan.steps or self.step % self.plan.validate_every == 0:
                    report.score = self.validate(val, partial(on_progress, "validating"))
                    self._note(report, report.score)
                if self.ended or self.step % SAVE_EVERY == 0:
                    self.save()
                yield report
            self.write_results(val, partial(on_progress, "scoring"))
        finally:
            stream.close()
            self.journal.close()
            if not self._broken:
                self.save()

    def _class_weights(self, real: list[Pair], rendered: list[Pair]) -> Tensor:
        """Of mask ids, by the classes' shares of the real frames; of the rendered ones where these have no label."""
        for pairs in (real, rendered):
            shares = torch.from_numpy(class_shares(pairs, len(self.table))).float().to(self.device)
            if bool(shares.any()):
                return class_weights(shares, self.plan.class_balance, self.members)
        if not self._teachers:
            raise DataError(f"{self.recipe.name}: no pixel of the training frames has a label. Try: edge data check")
        return torch.ones(256, device=self.device)

    def _read_sources(self) -> list[list[Pair]]:
        """The frames of each entry of `train`, and of `unlabelled`."""
        unions = self.recipe.unions
        sources = [self._read(folder, unions) for folder in self.recipe.train]
        if self.recipe.unlabelled:
            sources.append(pseudo_labelled(self.recipe.unlabelled, unions, self.recipe.input_wh, self.recipe.resize))
        if plan := self.recipe.settled:
            with open_engine(plan.engine, outputs=["confidence"]) as engine:
                sources = [settled(pairs, plan, unions, engine) for pairs in sources]
        return sources

    def _read(self, folder: Folder, unions: Unions | None = None) -> list[Pair]:
        return load_folder(folder, self.table, self.recipe.input_wh, self.recipe.resize, unions)

    def _train_one(self, batch: tuple[np.ndarray, np.ndarray, np.ndarray], weights: Tensor) -> Report:
        begun_s = time.perf_counter()
        rate = learning_rate(self.plan, self.step)
        set_learning_rate(self.optimiser, rate)
        if isinstance(self.net, FakeQuantised):
            self.net.form = self._forms[self.step % len(self._forms)]
        images = to_input(batch[0], self.device)
        self.net.train()
        if self.plan.freeze_norms:
            for module in self.net.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        with autocast(self.device, self.plan.precision):
            found = self.net(images)
        outputs = found if isinstance(found, tuple) else (found,)
        loss = self._loss(outputs, batch[1], weights)
        if self._teachers:
            loss = loss + self._soft_loss(outputs[0].float(), batch[1], batch[2])
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)
        length = nn.utils.clip_grad_norm_(self.net.parameters(), self.plan.clip_norm)
        self._check_finite(loss, length)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        self._average()
        report = Report(self.step, self.plan.steps, float(loss.detach()), rate)
        self._seconds["steps"] += time.perf_counter() - begun_s
        if self._teachers:
            report.teacher_share = self._seconds["teachers"] / self._seconds["steps"]
        self.journal.add_loss(self.step, report.loss, rate)
        return report

    def _check_finite(self, loss: Tensor, gradient_length: Tensor) -> None:
        """Stop before a gradient that is not finite is stepped along. With loss scaling, one now and then is normal.

        Raises:
            EngineError: with what to change.
        """
        if bool(loss.isfinite()) and (self.scaler.is_enabled() or bool(gradient_length.isfinite())):
            return
        self._broken = True
        raise EngineError(
            f"{self.recipe.name}: diverged, loss or gradient of step {self.step + 1} is not finite. Lower"
            f" `learning_rate` ({self.plan.learning_rate:g}) or raise `warmup_steps`, and start again in another --run"
            " folder"
        )

    def _loss(self, outputs: tuple[Tensor, ...], labels: np.ndarray, weights: Tensor) -> Tensor:
        """The loss at half resolution, a quarter of the cost; which of each 2x2 labels counts changes by step, so that
        no side is favoured.
        """
        plan, ignore = self.plan, self.table.ignore_id
        dy, dx = divmod(self.step % 4, 2)
        target = torch.from_numpy(np.ascontiguousarray(labels[:, dy::2, dx::2])).to(self.device).long()
        target[~self.members.any(1)[target]] = ignore
        total = torch.zeros((), device=self.device)
        for place, logits in enumerate(outputs):
            if logits.shape[-2:] == labels.shape[1:]:  # the very pixels whose labels count
                logits = logits[..., dy::2, dx::2].float()
            else:
                logits = F.interpolate(logits.float(), size=target.shape[-2:], mode="bilinear", align_corners=False)
            losses = auxiliary_losses(plan.losses) if place else plan.losses
            loss = summed_loss(logits, target, losses, weights, ignore, plan.ohem_keep, self.members)
            total = total + loss * (plan.auxiliary_weight if place else 1.0)
        return total

    def _soft_loss(self, logits: Tensor, labels: np.ndarray, views: np.ndarray) -> Tensor:
        """Of the main logits against the teachers', who see the frames before their light was varied."""
        begun_s = time.perf_counter()
        ids = torch.from_numpy(labels).to(self.device)
        loss = summed_soft_loss(self._teachers, views, logits, ids, self.members)
        self._seconds["teachers"] += time.perf_counter() - begun_s
        return loss

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of weights and batch-norm statistics, short-memoried at the start."""
        decay = min(self.plan.ema_decay, (1 + self.step) / (10 + self.step))
        pairs = zip(self.averaged.state_dict().values(), self.net.state_dict().values(), strict=True)
        means, current = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        torch._foreach_lerp_(means, current, 1 - decay)

    # ------------------------------------------------------------------------------------------------------ validation

    def validate(self, pairs: list[Pair], on_frame: Callable[[int, int], object] = lambda done, total: None) -> Score:
        """The averaged net's score on labelled frames, at full resolution and precision. `on_frame` gets the number of
        frames done and of all.
        """
        return self._scored(pairs, self._predicted(pairs, on_frame))

    def _predicted(self, pairs: list[Pair], on_frame: Callable[[int, int], object]) -> Iterator[Image]:
        for done, (image, _) in enumerate(pairs, 1):
            yield self.predict(image)
            on_frame(done, len(pairs))

    def _scored(self, pairs: list[Pair], predictions: Iterable[Image]) -> Score:
        score = Score(self.table)
        for (_, labels), found in zip(pairs, predictions, strict=True):
            score.add(labels, found)
        return score

    @torch.no_grad()
    def predict(self, image: Image) -> Image:
        """uint8 (H, W): the averaged net's classes of an image of input size, uint8 (H, W, 3) BGR."""
        self.averaged.eval()
        logits = self.averaged(to_input(image[None], self.device))
        logits = F.interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False)
        return logits.argmax(1)[0].to(torch.uint8).cpu().numpy()

    def _note(self, report: Report, score: Score) -> None:
        """A validation in the journal; where it is the best so far, `best.pt`."""
        self.journal.add_scores(report.step, report.loss, score.confusion)
        miou = score.confusion.miou()
        if miou > self.best_miou:
            self.best_miou, self.stale = miou, 0
            write_checkpoint(self.folder / "best.pt", self._state())
        else:
            self.stale += 1

    def write_results(self, val: list[Pair], on_frame: Callable[[int, int], object] = lambda done, total: None) -> None:
        """`scores.json` and plots of the averaged net."""
        predictions = list(self._predicted(val, on_frame))
        score = self._scored(val, predictions)
        confusion = score.confusion
        edges = BoundaryScore(len(self.table), ignored_ids(self.table))
        for (_, labels), found in zip(val, predictions, strict=True):
            edges.add(labels, found)
        per_class = {"iou": confusion.iou(), "dice": confusion.dice(), "boundary_f1": edges.f1()}
        results = {
            "step": self.step,
            "frames": len(val),
            "miou": plain(confusion.miou()),
            "mean_dice": plain(confusion.mean_dice()),
            "pixel_accuracy": plain(confusion.pixel_accuracy()),
            "mean_boundary_f1": plain(edges.mean()),
            **{
                kind: {name: plain(value) for name, value in zip(self.table.names, values, strict=True)}
                for kind, values in per_class.items()
            },
        }
        (self.folder / "scores.json").write_text(json.dumps(results, indent=1) + "\n")
        write_plots(self.folder, self.journal, score, val, self.predict, self.recipe.seed)

    # ------------------------------------------------------------------------------------- quantisation-aware training

    @property
    def _forms(self) -> tuple[Form, ...]:
        """The forms of INT8 that the same weights must serve; they are trained for in turn."""
        return self.recipe.build.targets if self.recipe.build else ("openvino", "tensorrt")

    def _make_nets(self, state: dict[str, Any] | None) -> tuple[nn.Module, nn.Module]:
        """The net and its averaged twin: of the run's checkpoint, of the one to start from, or fresh."""
        nets = [make_net(self.recipe.net, len(self.table)) for _ in range(2)]
        if state is None:
            self._begin(nets[0])
            nets[1].load_state_dict(nets[0].state_dict())
        else:
            self._check_kind(state)
            nets[0].load_state_dict(state["net"])
            nets[1].load_state_dict(state["averaged"])
        if self.recipe.qat:
            width, height = self.recipe.input_wh
            image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(self.recipe.seed))
            nets = [FakeQuantised(net, image) for net in nets]
            nets[1].form = self._forms[-1]
        net, averaged = (net.to(self.device, memory_format=torch.channels_last) for net in nets)
        return net, averaged.eval()

    def _begin(self, net: nn.Module) -> None:
        """Load what the recipe starts from, if anything, into a fresh net."""
        if start := self.recipe.qat.checkpoint if self.recipe.qat else self.recipe.start:
            net.load_state_dict(read_checkpoint(data_path(start), self.recipe)["averaged"])
        if self.recipe.encoder_weights:
            path = data_path(self.recipe.encoder_weights)
            self.journal.note(f"{path}: {load_encoder(net, self.recipe.net, path)}")

    def _check_kind(self, state: dict[str, Any]) -> None:
        """Refuse a checkpoint that this run cannot resume from."""
        if missing := {"net", "averaged", "optimiser", "step", "history"} - set(state):
            raise ConfigError(
                f"{self.checkpoint}: holds no {', '.join(sorted(missing))}: a released net, not a run to"
                " resume; use another --run folder"
            )
        if ("ranges" in state) != (self.recipe.qat is not None):
            held, expected = ("with", "without") if "ranges" in state else ("without", "with")
            raise ConfigError(
                f"{self.checkpoint}: expected a run {expected} quantisation in the loop, got one {held} it;"
                " use another --run folder"
            )

    def _start_ranges(self, frames: list[Pair]) -> None:
        """At the start of quantisation-aware training, the ranges are what some frames show."""
        if not isinstance(self.net, FakeQuantised) or self.step:
            return
        if not frames:
            raise DataError(f"{self.recipe.name}: has no frames to take ranges from")
        places = np.linspace(0, len(frames) - 1, min(OBSERVED_FRAMES, len(frames))).round().astype(int)
        self.net.observe([to_input(frames[place][0][None], self.device) for place in places])
        self.averaged.load_state_dict(self.net.state_dict())

    # ----------------------------------------------------------------------------------------------------- checkpoints

    def save(self) -> None:
        """Write `last.pt` atomically."""
        write_checkpoint(self.checkpoint, self._state())

    def _state(self) -> dict[str, Any]:
        state = {
            "recipe": self.recipe.model_dump(mode="json"),
            "step": self.step,
            "net": _plain(self.net).state_dict(),
            "averaged": _plain(self.averaged).state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best_miou": self.best_miou,
            "stale": self.stale,
            **self.journal.state(),
        }
        if isinstance(self.net, FakeQuantised) and isinstance(self.averaged, FakeQuantised):
            state["ranges"], state["skip_ranges"] = self.averaged.ranges(), self.averaged.skip_ranges()
            state["roundings"] = [self.net.roundings.state_dict(), self.averaged.roundings.state_dict()]
        return state

    def _load(self, state: dict[str, Any]) -> None:
        """The rest of a checkpoint, which may be of the first version, without curves."""
        self.optimiser.load_state_dict(state["optimiser"])
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]
        self.best_miou, self.stale = state.get("best_miou", -1.0), state.get("stale", 0)
        self.journal.load(state)
        if "roundings" in state:
            for net, roundings in zip((self.net, self.averaged), state["roundings"], strict=True):
                assert isinstance(net, FakeQuantised)
                net.roundings.load_state_dict(roundings)


def _plain(net: nn.Module) -> nn.Module:
    """The net itself, which computes without rounding."""
    return net.net if isinstance(net, FakeQuantised) else net


def to_input(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 (N, H, W, 3) BGR as float (N, 3, H, W) in 0..1: what every net takes, and what its exported graph does."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
