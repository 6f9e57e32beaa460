"""The section `heads:` of a recipe: what `edge train RECIPE --heads` learns on the net of the recipe's checkpoint."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from edge.config import StrictModel
from edge.train.plans import Optimisation, Pasted, Rendered

Share = Annotated[float, Field(gt=0, le=1)]  # of each batch


class HeadFolder(StrictModel):
    """Frames with what is known of them, in folders of masks of the frames' names.

    `labels` are class ids: a region that can only be one object is one. `instances` are objects, 0 none, 1..n one each.
    `markings` are 0 none, 1 lane marking, 2 curb. What is not given is unknown.
    """

    frames: str
    labels: str | None = None
    instances: str | None = None
    markings: str | None = None
    share: Share
    licence: str | None = None


class MarkedDrives(StrictModel):
    """Frames of drives, whose markings a teacher knows: an OpenVINO file, float (1, 3, h, w) BGR in 0..255 in,
    probabilities (1, C, h', w') out, of which the channels `marking` and `curb` count.
    """

    drives: tuple[str, ...] = Field(min_length=1)
    teacher: str
    marking: int = Field(ge=0)
    curb: int = Field(ge=0)
    frames: int = Field(default=60, gt=0)  # of each drive, those that differ most
    share: Share
    licence: str | None = None


class HeadsPlan(StrictModel):
    """Which heads, from which frames, how. `checkpoint` is what the build takes. The losses have their own form."""

    names: tuple[Literal["objects", "markings"], ...] = ("objects", "markings")
    train: tuple[HeadFolder, ...] = ()
    rendered: Rendered | None = None
    teacher: MarkedDrives | None = None
    pasted: Pasted | None = None  # crowds: who stands before whom is known
    optimisation: Optimisation
    val: HeadFolder | None = None  # whose markings are measured at the end
    checkpoint: str | None = None

    @model_validator(mode="after")
    def _learns_from_something(self) -> HeadsPlan:
        if not (self.train or self.rendered or self.teacher):
            raise ValueError("expected something to learn from: train, rendered or teacher")
        return self
