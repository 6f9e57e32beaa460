"""Sections that a recipe and its heads share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from edge.config import StrictModel

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Loss = Literal["cross_entropy", "ohem", "dice", "jaccard", "bce_jaccard", "bce_log_dice"]


def text_keys(given: Any) -> Any:
    """YAML reads ids as numbers."""
    return {str(key): value for key, value in given.items()} if isinstance(given, dict) else given


# What each label of other data means, as `edge.train.unions.parse_meaning` takes it, by the label's name, id or colour.
Meanings = Annotated[dict[str, str], BeforeValidator(text_keys), Field(min_length=1)]


class Rendered(StrictModel):
    """Frames drawn by the rendered street, truth included: `streets` seeds, `frames` spread over each one's drive.

    Streets are drawn with the classes of camvid. A recipe with classes of its own says by `map` what each of these
    means, as an entry of `train` does.
    """

    streets: int = Field(gt=0)
    frames: int = Field(gt=0)
    first_seed: int = 1000
    share: Share = 0.2  # of each batch
    map: Meanings | None = None


class Pasted(StrictModel):
    """Objects pasted into frames: `instances` are masks of the frames' names, 0 none, 1..n one object each.

    An object's foot is placed on one of the classes `on`, and its height follows from how far below the horizon that
    is (`edge.train.paste`).
    """

    frames: str
    instances: str
    label: str  # the class that its pixels become
    on: tuple[str, ...] = Field(min_length=1)
    chance: Share = 0.3  # of each frame to get any
    most: int = Field(default=3, gt=0)  # objects in a frame
    height_m: tuple[Positive, Positive] = (1.5, 1.9)
    camera_height_m: tuple[Positive, Positive] = (0.8, 1.8)
    licence: str | None = None


OWN = "self"


class Teacher(StrictModel):
    """A net whose soft labels are learned on every frame of a batch, or on those without exact labels.

    `engine` is a bundle's name or folder; an OpenVINO file as `unlabelled.teacher` takes it; or "self", the moving
    average of the net in training (mean teacher, Tarvainen and Valpola, arXiv 1703.01780). `map` says what its classes
    mean, by their names, of a file by channel, as in `train`; without it, equal names mean the same. `mirrored` and
    `scales` average what it says of views of the frame; a bundle and a file have one size.
    """

    engine: str = Field(min_length=1)
    map: Meanings | None = None
    weight: Positive = 1.0
    temperature: Positive = 2.0
    confidence: float = Field(default=0.5, ge=0, lt=1)  # below it a pixel does not count
    mirrored: bool = False
    scales: tuple[Positive, ...] = Field(default=(1.0,), min_length=1)
    frames: Literal["all", "unlabelled"] = "all"
    licence: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is an OpenVINO file, whose channels have no names."""
        return self.engine.endswith(".xml")

    @model_validator(mode="after")
    def _says_what_it_must(self) -> Self:
        if self.is_file and self.map is None:
            raise ValueError(f"{self.engine}: expected `map`, what its channels mean: {{0: not Road, 1: Road}}")
        if self.engine == OWN and self.map is not None:
            raise ValueError("a teacher that is the net itself takes no `map`")
        if self.engine != OWN and self.scales != (1.0,):
            raise ValueError(f"scales: expected with `engine: {OWN}`; {self.engine} has a size of its own")
        return self


class Optimisation(StrictModel):
    """How the weights move, by which loss, for how long."""

    steps: int = Field(gt=0)
    batch: int = Field(default=8, gt=1)
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: float = Field(default=0.02, ge=0)
    warmup_steps: int = Field(default=200, ge=0)
    schedule: Literal["poly", "cosine"] = "poly"
    poly_power: Positive = 0.9
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"  # of the forward pass; weights are fp32 always
    clip_norm: Positive = 5.0
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    auxiliary_weight: float = Field(default=0.4, ge=0)
    ohem_keep: Share = 0.35  # hardest part of the pixels that the loss averages over
    class_balance: float = Field(default=0.3, ge=0, le=1)  # weight of a class ~ (its share of pixels) ** -class_balance
    losses: dict[Loss, Positive] = Field(default={"ohem": 1.0, "jaccard": 0.5}, min_length=1)  # summed by weight
    validate_every: int = Field(default=1000, gt=0)  # steps
    freeze_norms: bool = False  # batch norms keep their statistics
    patience: int | None = Field(default=None, gt=0)  # validations without a better mIoU before the run ends early
