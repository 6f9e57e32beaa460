"""The card file of a net that a user brings: YAML that says what ONNX has no place for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from edge.card import NAME
from edge.classes import CAMVID, ClassTable, Rgb
from edge.compile.foreign import Layout
from edge.compile.wrap import InputScaling
from edge.config import StrictModel, load_yaml, parse_size_wh
from edge.errors import ConfigError
from edge.outputs import DTYPES, OUTPUT_NAME, SEMANTIC, Output, as_shape, output_problems
from edge.train.recipe import BuildPlan


class ClassRow(StrictModel):
    """One class of a net that knows its own: the place in the list is its id."""

    name: str = Field(min_length=1)
    colour_rgb: tuple[int, int, int]

    @field_validator("colour_rgb")
    @classmethod
    def _is_a_colour(cls, colour: Rgb) -> Rgb:
        if not all(0 <= part <= 255 for part in colour):
            raise ValueError("a colour is [red, green, blue], 0 to 255 each")
        return colour


class InputFile(StrictModel):
    """How the net was fed in training. There is no default for what would give poor masks if it were guessed wrong."""

    order: Literal["rgb", "bgr"]
    pixels: Literal["0..1", "0..255"]  # what black and white are before mean and std are applied
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # in the net's order
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    size: str | None = None  # needed where the graph leaves it open
    layout: Layout | None = None

    @field_validator("size")
    @classmethod
    def _is_a_size(cls, text: str | None) -> str | None:
        if text is not None:
            parse_size_wh(text)
        return text

    @field_validator("std")
    @classmethod
    def _is_positive(cls, std: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(std) <= 0:
            raise ValueError("a standard deviation is above 0")
        return std

    @property
    def size_wh(self) -> tuple[int, int] | None:
        """Width and height in pixels; None where the graph is to say."""
        return None if self.size is None else parse_size_wh(self.size)

    @property
    def scaling(self) -> InputScaling:
        """The same for bytes: 255 is white whatever the net's scale is."""
        white = 255.0 if self.pixels == "0..1" else 1.0
        red, green, blue = ((m * white, 1 / (s * white)) for m, s in zip(self.mean, self.std, strict=True))
        return InputScaling((red[0], green[0], blue[0]), (red[1], green[1], blue[1]), self.order)


class OutputFile(StrictModel):
    """A further output of the net, passed on as it is: what `edge.outputs.Output` says of it."""

    name: str = Field(pattern=f"^{OUTPUT_NAME}$")
    tensor: str | None = None  # the graph's name for it, if another
    dtype: str
    shape: tuple[int | str, ...]
    decoder: str
    meaning: str

    @property
    def output(self) -> Output:
        """The same as a card has it; off unless asked for would be a surprise, so it is on."""
        return Output(self.name, self.dtype, self.shape, self.decoder, self.meaning, self.tensor or self.name)

    @model_validator(mode="after")
    def _is_one(self) -> OutputFile:
        problems = output_problems([SEMANTIC, self.output])
        if self.dtype not in DTYPES or as_shape(list(self.shape)) is None:
            problems.append(f"expected a dtype of {', '.join(DTYPES)} and a shape such as [H, W/8, 2]")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class CardFile(StrictModel):
    """What a user writes about a net; `edge.card.Card` is made of it."""

    name: str = Field(pattern=f"^{NAME}$")
    description: str = ""
    licence: str
    training_data: str
    classes: Literal["camvid"] | tuple[ClassRow, ...]
    groups: dict[str, tuple[str, ...]] | None = None
    tints: dict[str, tuple[int, int, int]] | None = None
    label_map: dict[int, str] | None = None
    input: InputFile
    output: str | None = None  # that gives the classes
    outputs: tuple[OutputFile, ...] = ()  # further ones to pass on
    threshold: float | None = Field(default=None, gt=0, lt=1)  # of a mask's probability, where there is one channel
    resize: Literal["letterbox", "stretch"] = "letterbox"
    net: str | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)  # of a torch net's factory
    build: BuildPlan | None = None  # INT8 too, as a recipe has it

    @property
    def table(self) -> ClassTable:
        """The classes. A class of its own makes a group, unless groups are given; known groups have known colours."""
        if self.classes == "camvid":
            rows = list(zip(CAMVID.names, CAMVID.colours_rgb, strict=True))
        else:
            rows = [(row.name, row.colour_rgb) for row in self.classes]
        names = tuple(name for name, _ in rows)
        groups = self.groups
        if groups is None:
            groups = dict(CAMVID.groups) if self.classes == "camvid" else {name.lower(): (name,) for name in names}
        tints = self.tints
        if tints is None:
            tints = {group: tint for group, tint in CAMVID.tints.items() if group in groups}
        return ClassTable(names, tuple(colour for _, colour in rows), groups, tints)


def load_card_file(path: Path) -> CardFile:
    """The card file, checked as a whole.

    Raises:
        ConfigError: it cannot be read or does not fit; every misfit is listed, a line each.
    """
    spec = load_yaml(path, CardFile)
    try:
        table = spec.table
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    wrong = {key: name for key, name in (spec.label_map or {}).items() if name not in table.names or key < 0}
    if wrong:
        lines = [f"label_map.{key}: no class is called {name!r}" for key, name in wrong.items() if key >= 0]
        lines += [f"label_map.{key}: an id is 0 or more" for key in wrong if key < 0]
        raise ConfigError("\n  ".join([f"{path}: {len(lines)} problem(s)", *lines, f"classes: {list(table.names)}"]))
    return spec
