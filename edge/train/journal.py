"""What happened in a training run: losses and scores, kept for plots, for people and for TensorBoard."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.classes import ClassTable
from edge.metrics import Confusion

LOSS_EVERY, POINTS = 20, 50  # steps that one point of the loss curve is the mean of; fewer where there were not so many


class Journal:
    """The curves of one run of so many steps, and notes on how it began. `history.json` holds the scores of every
    validation, `notes.txt` the notes; where the library tensorboard is installed, the folder `tensorboard` holds all
    curves.
    """

    def __init__(self, folder: Path, table: ClassTable, steps: int = LOSS_EVERY * POINTS) -> None:
        self._folder, self._table = folder, table
        self.history: list[dict[str, Any]] = []
        self.losses: list[tuple[int, float]] = []  # step, mean loss since the last point
        self.notes: list[str] = []
        self._pending: list[float] = []
        self._every, self._steps = max(1, min(LOSS_EVERY, steps // POINTS)), steps
        self._board: Any = None

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {"history": self.history, "losses": self.losses, "pending": self._pending, "notes": self.notes}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, which may be one of an older version without curves."""
        self.history = state["history"]
        self.losses = [(step, loss) for step, loss in state.get("losses", [])]
        self._pending = state.get("pending", [])
        self.notes = state.get("notes", [])

    def open(self, step: int) -> None:
        """Start TensorBoard's log; what an earlier run wrote of later steps is hidden there."""
        if self._board is None and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter  # late: half a second, and not all have it

            self._board = SummaryWriter(str(self._folder / "tensorboard"), purge_step=step + 1)

    def close(self) -> None:
        """End TensorBoard's log; `open` starts it again."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def note(self, text: str) -> None:
        """Keep a line, and write `notes.txt`."""
        self.notes.append(text)
        (self._folder / "notes.txt").write_text("".join(f"{line}\n" for line in self.notes))

    def add_loss(self, step: int, loss: float, rate: float) -> None:
        """Note a step's loss and learning rate; the mean of every few steps is a point of the curve."""
        self._pending.append(loss)
        if step % self._every and step != self._steps:
            return
        mean = sum(self._pending) / len(self._pending)
        self._pending = []
        self.losses.append((step, mean))
        self._scalars({"loss": mean, "learning rate": rate}, step)

    def add_scores(self, step: int, loss: float, confusion: Confusion) -> None:
        """Note a validation, and write `history.json`."""
        iou = {name: plain(value) for name, value in zip(self._table.names, confusion.iou(), strict=True)}
        miou = plain(confusion.miou())
        self.history.append({"step": step, "loss": round(loss, 4), "miou": miou, "iou": iou})
        (self._folder / "history.json").write_text(json.dumps(self.history, indent=1) + "\n")
        self._scalars({"mIoU": miou, **{f"IoU/{name}": value for name, value in iou.items()}}, step)

    def _scalars(self, values: Mapping[str, float | None], step: int) -> None:
        if self._board is not None:
            for name, value in values.items():
                if value is not None:
                    self._board.add_scalar(name, value, step)


def plain(value: float) -> float | None:
    """A score to four digits, as JSON takes it; None for NaN."""
    return None if math.isnan(value) else round(float(value), 4)
