"""A recipe: what `edge train`, `edge calibrate run` and `edge build` read, such as engines/road.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator
from typing_extensions import Self

from edge.classes import ClassTable
from edge.config import StrictModel, parse_size_wh
from edge.train.head_plan import HeadsPlan
from edge.train.label_sets import TABLES
from edge.train.own_classes import OwnClass, as_rows, check_rows, own_table
from edge.train.plans import Meanings, Optimisation, Pasted, Positive, Rendered, Share, Teacher
from edge.train.unions import Unions, parse_meaning

# By kind, so that a wrong row is not said to be none of the known names too.
Classes = Annotated[
    Annotated[Literal["camvid", "cityscapes", "comma10k", "pet"], Tag("known")]
    | Annotated[dict[str, OwnClass], Tag("own")],
    Discriminator(lambda given: "own" if isinstance(given, dict) else "known"),
]

# By form, likewise.
Teachers = Annotated[
    Annotated[Teacher, Tag("one")] | Annotated[tuple[Teacher, ...], Tag("several")],
    Discriminator(lambda given: "one" if isinstance(given, (dict, Teacher)) else "several"),
]

_MASKS = Literal[
    "pairs", "camvid", "camvid32", "cityscapes", "cityscapes-train-ids", "bdd100k", "kitti", "comma10k", "pet"
]
LayoutName = _MASKS | Literal["coco", "yolo"]


class Split(StrictModel):
    """The part of a data set that an entry takes. Held out are whole drives, chosen by the seed; or the tail of each
    drive, the last frames by name, for sets of few drives: training then sees the neighbours of one frame a drive.
    """

    part: Literal["train", "val"]
    held_out: float = Field(gt=0, lt=1)  # of the frames, as nearly as drives allow
    seed: int = 0
    by: Literal["drive", "tail"] = "drive"


class Folder(StrictModel):
    """Frames and their masks; `$EDGE_DATA` at the start of a path is the environment variable.

    Plain "pairs" are masks of the frames' names that hold the net's own ids; other layouts are those of published sets
    and of exports (`edge.train.layouts`). `map` says what each label means, by the label's name or, where all keys are
    numbers or "#rrggbb", by its id or colour in the masks: "Road", "Car or Pedestrian", "not Road or Pavement". Labels
    that it leaves out mean what "*" does, or are ignored; without `map` the declared one is used. `names` is a text
    file with the frames to take. `share` is the part of each batch that comes from this entry; entries without one
    divide the rest by their number of frames. `licence` goes into the card.
    """

    frames: str
    labels: str
    layout: LayoutName = "pairs"
    map: Meanings | None = None
    names: str | None = None
    split: Split | None = None
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    licence: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether its masks can be used as they are."""
        given = (self.map, self.names, self.split)
        return self.layout == "pairs" and all(value is None for value in given)


class Unlabelled(StrictModel):
    """Frames of drives. With `teacher` they get its labels where it is sure; without, they are for the soft labels of
    the recipe's own `teacher`.

    `teacher` is an OpenVINO file: float (1, 3, h, w) BGR in 0..255 in, probabilities (1, C, h', w') out. `map` says
    what its channels mean, as in `train`; what one meaning's channels sum to must reach `confidence`, or the pixel is
    ignored. Of the end of each drive, the part `held_out` is left for judging.
    """

    drives: tuple[str, ...] = Field(min_length=1)
    teacher: str | None = None
    map: Meanings | None = None
    frames: int = Field(default=60, gt=0)  # of each drive, those that differ most
    held_out: float = Field(default=0.0, ge=0, lt=1)
    confidence: float = Field(default=0.9, gt=0, le=1)
    share: Annotated[float, Field(gt=0, le=1)]  # of each batch
    licence: str | None = None

    @model_validator(mode="after")
    def _teacher_and_map_belong_together(self) -> Self:
        if (self.teacher is None) != (self.map is None):
            raise ValueError("expected `teacher` and `map` together, or neither")
        return self


class Settled(StrictModel):
    """What the labels of `train` and `unlabelled` leave open, settled by an engine, a bundle's name or folder: a pixel
    of "not Road" becomes one of `classes` where it says so with that confidence (`edge.outputs.CONFIDENCE`).
    """

    engine: str
    classes: tuple[str, ...] = Field(min_length=1)
    confidence: float = Field(default=0.9, gt=0, le=1)
    licence: str | None = None


class Augmentation(StrictModel):
    """How frames are changed before each step: a range or strength, or the chance that it happens at all."""

    scale: tuple[Positive, Positive] = (0.6, 2.0)
    aspect: Positive = 1.2  # width is scaled by up to this factor, or its inverse, more than height
    rotation_deg: float = Field(default=3.0, ge=0, le=45)
    flip: Share = 0.5
    colour: float = Field(default=0.35, ge=0, lt=1)
    blur: Share = 0.2
    noise: Share = 0.2
    mix_rare: Share = 0.5  # chance that the rare classes of another frame are pasted in
    pitch_deg: float = Field(default=0.0, ge=0, le=30)  # the camera nods by up to this angle
    night: Share = 0.0  # dark, warm or cold, noisy
    motion_blur: Share = 0.0
    low_resolution: Share = 0.0  # scaled down by up to 3 and up again, as a cheaper camera's frames are
    jpeg: Share = 0.0  # encoded and decoded at quality 10 to 60
    h264: Share = 0.0  # encoded and decoded at CRF 26 to 42, as the last of three frames of a camera that moves
    exposure: Share = 0.0  # too much light, of which the brightest is lost, or too little
    glare: Share = 0.0  # a low sun or a lamp, and its veil
    drops: Share = 0.0  # rain on the glass
    style: Share = 0.0  # the colours of another frame
    shapes: tuple[str, ...] = ()  # that batches are cut to, in turn: 480x272 for 16:9

    @field_validator("shapes")
    @classmethod
    def _are_sizes(cls, shapes: tuple[str, ...]) -> tuple[str, ...]:
        for text in shapes:
            parse_size_wh(text)
        return shapes

    @property
    def shapes_wh(self) -> list[tuple[int, int]]:
        """Width and height in pixels; empty: all batches have the net's input size."""
        return [parse_size_wh(text) for text in self.shapes]


class Qat(StrictModel):
    """Fine-tuning with INT8's rounding in the loop, from a checkpoint of the same net (`edge.train.qat`)."""

    checkpoint: str
    steps: int = Field(gt=0)
    learning_rate: Positive = 1e-4


class Calibration(StrictModel):
    """Where INT8's ranges come from: a set of frames, `calibration/NAME.yaml`. The scales lie beside it, in a file of
    its name, unless another is given: several nets may be calibrated on one set.
    """

    set: str
    scales: str | None = None
    method: Literal["max", "percentile", "entropy"] = "max"
    percentile: float | None = Field(default=None, gt=50, le=100)  # of the values that INT8 covers

    @model_validator(mode="after")
    def _percentile_belongs_to_its_method(self) -> Self:
        if (self.percentile is not None) != (self.method == "percentile"):
            raise ValueError("percentile: expected with `method: percentile`, and only there")
        return self

    @property
    def set_path(self) -> Path:
        """As the recipe has it: relative to where the command runs."""
        return Path(self.set)

    @property
    def scales_path(self) -> Path:
        """As the recipe has it, or beside the set."""
        return Path(self.scales) if self.scales else self.set_path.with_suffix(".scales.json")


class GatePlan(StrictModel):
    """What an engine may lose against its own fp32 graph, in points, on frames with labels or without.

    `limits` are by name: miou, a class or group (IoU), or disagreement (pixels with another class). Masks of another
    label set have their `layout` and `map`, as `Folder` has.
    """

    frames: str
    labels: str | None = None
    layout: LayoutName = "pairs"
    map: Meanings | None = None
    limits: dict[str, Annotated[float, Field(ge=0, le=100)]] = Field(min_length=1)


class BuildPlan(StrictModel):
    """Which graphs a bundle gets, and what is asked of them."""

    precisions: tuple[Literal["fp32", "fp16", "int8"], ...] = ("fp32", "fp16", "int8")
    targets: tuple[Literal["openvino", "tensorrt"], ...] = ("openvino", "tensorrt")
    sizes: tuple[str, ...] = ()  # more input sizes for frames of another shape: 480x272 for 16:9
    calibration: Calibration
    gate: GatePlan

    @field_validator("sizes")
    @classmethod
    def _are_sizes(cls, sizes: tuple[str, ...]) -> tuple[str, ...]:
        for text in sizes:
            parse_size_wh(text)
        return sizes

    @property
    def sizes_wh(self) -> list[tuple[int, int]]:
        """Width and height in pixels, beside the net's own input size."""
        return [parse_size_wh(text) for text in self.sizes]


class Recipe(StrictModel):
    """Everything a training run depends on but the data itself, and how its net becomes an engine."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    net: str
    classes: Classes = "camvid"
    rare_classes: tuple[str, ...] = ()
    input_size: str = "480x360"
    resize: Literal["letterbox", "stretch"] = "letterbox"
    seed: int = 0
    train: tuple[Folder, ...] = ()
    val: Folder
    unlabelled: Unlabelled | None = None
    teacher: Teachers = ()
    settled: Settled | None = None
    rendered: Rendered | None = None
    pasted: Pasted | None = None
    augmentation: Augmentation = Augmentation()
    optimisation: Optimisation
    qat: Qat | None = None
    start: str | None = None  # a checkpoint of the same net whose weights are the first ones
    encoder_weights: str | None = None  # a file in torchvision's naming with the encoder's first weights
    checkpoint: str | None = None
    heads: HeadsPlan | None = None
    build: BuildPlan | None = None
    licence: str
    data_note: str

    @field_validator("classes", mode="before")
    @classmethod
    def _classes_are_rows(cls, given: Any) -> Any:
        return as_rows(given)

    @field_validator("classes")
    @classmethod
    def _classes_fit_a_byte(cls, classes: str | dict[str, OwnClass]) -> str | dict[str, OwnClass]:
        if isinstance(classes, dict):
            check_rows(classes)
            own_table(classes)  # its ConfigError is a ValueError
        return classes

    @field_validator("input_size")
    @classmethod
    def _is_a_size(cls, text: str) -> str:
        parse_size_wh(text)
        return text

    def at(self, input_wh: tuple[int, int]) -> Recipe:
        """The same net at another input size."""
        return self.model_copy(update={"input_size": f"{input_wh[0]}x{input_wh[1]}"})

    @model_validator(mode="after")
    def _rare_classes_are_classes(self) -> Self:
        for name in self.rare_classes:
            self.table.ids(name)  # its ConfigError is a ValueError, and says which there are
        return self

    @model_validator(mode="after")
    def _settled_classes_are_classes(self) -> Self:
        for name in self.settled.classes if self.settled else ():
            if name not in self.table.names:
                raise ValueError(
                    f"settled.classes: no class is called {name!r}; there are: {', '.join(self.table.names)}"
                )
        return self

    @model_validator(mode="after")
    def _streets_are_of_these_classes(self) -> Self:
        if self.rendered and self.rendered.map is None and self.table.names != TABLES["camvid"].names:
            raise ValueError(
                "rendered: streets are drawn with the classes of camvid; say by `map` what each of them means, or leave"
                " `rendered` out"
            )
        return self

    @model_validator(mode="after")
    def _shapes_fit(self) -> Self:
        for width, height in self.augmentation.shapes_wh:
            if width > self.input_wh[0] or height > self.input_wh[1]:
                raise ValueError(f"augmentation.shapes: {width}x{height} is larger than input_size, {self.input_size}")
        return self

    @model_validator(mode="after")
    def _starts_once(self) -> Self:
        given = [name for name in ("qat", "start", "encoder_weights") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: each brings the first weights; leave all but one of them out")
        return self

    @model_validator(mode="after")
    def _splits_agree(self) -> Self:
        """Two entries of one data set must cut it at the same place, or validation frames are trained on."""
        cuts: dict[str, Split] = {}
        for folder in (*self.train, self.val):
            if folder.split is None:
                continue
            cut = cuts.setdefault(folder.frames, folder.split)
            if cut.model_copy(update={"part": folder.split.part}) != folder.split:
                raise ValueError(f"{folder.frames}: is split in two ways; held_out, seed and by must be the same")
        return self

    @model_validator(mode="after")
    def _there_is_something_to_learn(self) -> Self:
        if not (self.train or self.unlabelled):
            raise ValueError("train: expected at least one data set, or frames of drives under `unlabelled`")
        if self.unlabelled and not (self.unlabelled.teacher or self.teacher):
            raise ValueError("unlabelled: expected a `teacher` in it, or `teacher` in the recipe, for its labels")
        return self

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        given = [folder.share for folder in self.train if folder.share is not None]
        others = [part.share for part in (self.rendered, self.unlabelled) if part]
        total = sum(given) + sum(others)
        if total > 1 + 1e-9:
            raise ValueError(f"the shares of train, rendered and unlabelled add up to {total:g}, expected at most 1")
        if len(given) == len(self.train) and abs(total - 1) > 1e-9:
            raise ValueError(
                f"the shares of train, rendered and unlabelled add up to {total:g}, expected 1; leave one entry of"
                " train without a share to give it the rest"
            )
        return self

    @property
    def table(self) -> ClassTable:
        """The classes that the net tells apart."""
        return TABLES[self.classes] if isinstance(self.classes, str) else own_table(self.classes)

    @property
    def teachers(self) -> tuple[Teacher, ...]:
        """Whose soft labels are learned."""
        return (self.teacher,) if isinstance(self.teacher, Teacher) else self.teacher

    @property
    def training_data(self) -> str:
        """What a bundle's card says of the data: the note, and the licence that each entry states."""
        entries = [
            entry for entry in (*self.train, self.unlabelled, *self.teachers, self.settled, self.pasted) if entry
        ]
        licences = dict.fromkeys(entry.licence for entry in entries if entry.licence)
        return f"{self.data_note}. Licences: {'; '.join(licences)}" if licences else self.data_note

    @property
    def shares(self) -> tuple[float | None, ...]:
        """The stated share of each entry of `train`, and of `unlabelled` behind them."""
        return tuple(entry.share for entry in (*self.train, self.unlabelled) if entry)

    @property
    def unions(self) -> Unions:
        """Mask ids of the unions of classes that the training data use.

        Raises:
            ConfigError: a map names what is neither class nor group.
        """
        maps = [entry.map for entry in (*self.train, self.unlabelled, self.rendered) if entry and entry.map]
        meanings = {text for given in maps for text in given.values()}
        return Unions(self.table, [parse_meaning(text, self.table) for text in meanings])

    @property
    def training(self) -> Optimisation:
        """What this run optimises by: quantisation-aware fine-tuning has its own length and rate, and is in fp32, since
        half floats would round what it rounds itself.
        """
        if self.qat is None:
            return self.optimisation
        changes = {"steps": self.qat.steps, "learning_rate": self.qat.learning_rate}
        return self.optimisation.model_copy(
            update={**changes, "warmup_steps": 0, "precision": "fp32", "optimiser": "adamw"}
        )

    @property
    def input_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return parse_size_wh(self.input_size)
