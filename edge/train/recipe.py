"""A recipe: what `edge train`, `edge calibrate run` and `edge build` read, such as engines/road.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from edge.config import StrictModel, parse_size_wh

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Folder(StrictModel):
    """Frames and the masks of the same names; `$EDGE_DATA` at the start of a path is the environment variable."""

    frames: str
    labels: str


class Rendered(StrictModel):
    """Frames drawn by the rendered street, truth included: `streets` seeds, `frames` spread over each one's drive."""

    streets: int = Field(gt=0)
    frames: int = Field(gt=0)
    first_seed: int = 1000
    share: Share = 0.2  # of each batch


class Augmentation(StrictModel):
    scale: tuple[Positive, Positive] = (0.6, 2.0)
    aspect: Positive = 1.2  # width is scaled by up to this factor, or its inverse, more than height
    rotation_deg: float = Field(default=3.0, ge=0, le=45)
    flip: Share = 0.5
    colour: float = Field(default=0.35, ge=0, lt=1)
    blur: Share = 0.2
    noise: Share = 0.2
    mix_rare: Share = 0.5  # chance that the rare classes of another frame are pasted in


class Optimisation(StrictModel):
    steps: int = Field(gt=0)
    batch: int = Field(default=8, gt=1)
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: float = Field(default=0.02, ge=0)
    warmup_steps: int = Field(default=200, ge=0)
    poly_power: Positive = 0.9
    clip_norm: Positive = 5.0
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    auxiliary_weight: float = Field(default=0.4, ge=0)
    ohem_keep: Share = 0.35  # hardest part of the pixels that the loss averages over
    class_balance: float = Field(default=0.3, ge=0, le=1)  # weight of a class ~ (its share of pixels) ** -class_balance
    jaccard_weight: float = Field(default=0.5, ge=0)


class Calibration(StrictModel):
    """Where INT8's ranges come from: a set of frames, `calibration/NAME.yaml`, whose scales lie beside it."""

    set: str
    method: Literal["max", "percentile", "entropy"] = "max"
    percentile: float | None = Field(default=None, gt=50, le=100)  # of the values that INT8 covers

    @model_validator(mode="after")
    def _percentile_belongs_to_its_method(self) -> Self:
        if (self.percentile is not None) != (self.method == "percentile"):
            raise ValueError("percentile: is wanted with `method: percentile`, and only there")
        return self

    @property
    def set_path(self) -> Path:
        return Path(self.set)

    @property
    def scales_path(self) -> Path:
        return self.set_path.with_suffix(".scales.json")


class GatePlan(StrictModel):
    """What an engine may lose against its own fp32 graph, in points, on frames with labels or without.

    `limits` are by name: miou, a class or group (IoU), or disagreement (pixels with another class).
    """

    frames: str
    labels: str | None = None
    limits: dict[str, Annotated[float, Field(ge=0, le=100)]] = Field(min_length=1)


class BuildPlan(StrictModel):
    """Which graphs a bundle gets, and what is asked of them."""

    precisions: tuple[Literal["fp32", "fp16", "int8"], ...] = ("fp32", "fp16", "int8")
    targets: tuple[Literal["openvino", "tensorrt"], ...] = ("openvino", "tensorrt")
    calibration: Calibration
    gate: GatePlan


class Recipe(StrictModel):
    """Everything a training run depends on but the data itself, and how its net becomes an engine."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    net: str
    classes: Literal["camvid"] = "camvid"
    rare_classes: tuple[str, ...] = ()
    input_size: str = "480x360"
    resize: Literal["letterbox", "stretch"] = "letterbox"
    seed: int = 0
    train: tuple[Folder, ...] = Field(min_length=1)
    val: Folder
    rendered: Rendered | None = None
    augmentation: Augmentation = Augmentation()
    optimisation: Optimisation
    checkpoint: str | None = None
    build: BuildPlan | None = None
    licence: str
    data_note: str

    @field_validator("input_size")
    @classmethod
    def _is_a_size(cls, text: str) -> str:
        parse_size_wh(text)
        return text

    @property
    def input_wh(self) -> tuple[int, int]:
        return parse_size_wh(self.input_size)
