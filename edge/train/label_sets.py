"""What the values in a data set's masks mean, and which of a net's classes each becomes.

A label set names the values that a mask may hold: ids in one channel, or colours in three. A class map gives
the meaning of each by name; labels that it leaves out are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.classes import CAMVID, ClassTable, Rgb, make_table
from edge.errors import ConfigError, DataError
from edge.frame import Image
from edge.train.unions import Unions, parse_meaning

OTHERS = "*"  # in a map: every label that it does not name
UNLABELLED = 255  # means "no label" in every set of ids, whatever else does


@dataclass(frozen=True)
class LabelSet:
    """`values` are the names by id or by RGB colour; None is a value that means "no label"."""

    name: str
    values: Mapping[int, str | None] | Mapping[Rgb, str | None]

    @property
    def is_coloured(self) -> bool:
        """Whether its masks hold colours, not ids."""
        return isinstance(next(iter(self.values)), tuple)

    @property
    def names(self) -> tuple[str, ...]:
        """Without "no label"; one that several values have is there once, at the place of the first."""
        return tuple(dict.fromkeys(name for name in self.values.values() if name is not None))


@dataclass(frozen=True)
class Translation:
    """Masks of a label set into a net's class ids."""

    source: LabelSet
    target_of: Mapping[str, int]  # the mask id (`edge.train.unions`) by the label's name; what has none is ignored
    ignore_id: int

    @classmethod
    def between(
        cls, source: LabelSet, table: ClassTable, meanings: Mapping[str, str] | None, unions: Unions | None = None
    ) -> Translation:
        """By `meanings`, the text of `unions.parse_meaning` by label name; without, by the declared map of the two
        sets, or by equal names. Without `unions` every label must mean one class.

        Raises:
            ConfigError: a name is neither in the label set nor in the table, or there is no map between them.
        """
        unions = unions or Unions(table)
        targets = {}
        given = dict(meanings or _declared(source, table))
        if others := given.pop(OTHERS, None):
            given = {**dict.fromkeys(source.names, others), **given}
        for label, text in given.items():
            if label not in source.names:
                raise ConfigError(f"map: {source.name} has no label {label!r}; there are: {', '.join(source.names)}")
            try:
                targets[label] = unions.id_of(parse_meaning(text, table))
            except ConfigError as error:
                raise ConfigError(f"map: {label} -> {text!r}: {error}") from error
        return cls(source, targets, table.ignore_id)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The labels that the map ignores."""
        return tuple(name for name in self.source.names if name not in self.target_of)

    def __call__(self, mask: NDArray) -> Image:
        """uint8 (H, W) mask ids of a mask as OpenCV reads it: uint8 (H, W), or (H, W, 3) BGR where it is coloured.

        Raises:
            DataError: the mask has another form, or holds a value that the label set does not know.
        """
        if self.source.is_coloured:
            return self._of_colours(mask)
        if mask.ndim != 2 or mask.dtype != np.uint8:
            raise DataError(f"has shape {mask.shape}, {mask.dtype}; expected ids, uint8 {mask.shape[:2]}")
        ids = self._of_ids
        known = np.array([value in self.source.values for value in range(256)])
        known[UNLABELLED] = True
        stray = np.flatnonzero(np.bincount(mask.reshape(-1), minlength=256)[~known])
        if stray.size:
            raise DataError(f"holds id {np.flatnonzero(~known)[stray[0]]}; {self._known_ids()}")
        return ids[mask]

    @property
    def _of_ids(self) -> Image:
        """uint8 (256,): mask id by value."""
        table = np.full(256, self.ignore_id, np.uint8)
        for value, name in self.source.values.items():
            if isinstance(value, int) and name is not None:
                table[value] = self.target_of.get(name, self.ignore_id)
        return table

    def _known_ids(self) -> str:
        ids = [value for value in self.source.values if isinstance(value, int)]
        named = [value for value, name in self.source.values.items() if isinstance(value, int) and name is not None]
        void = ", ".join(str(value) for value in ids if value not in named) or str(UNLABELLED)
        return f"known are {min(named)} to {max(named)} and {void} (ignored)"

    def _of_colours(self, mask: NDArray) -> Image:
        if mask.ndim != 3 or mask.dtype != np.uint8 or mask.shape[2] < 3:
            raise DataError(f"has shape {mask.shape}, {mask.dtype}; expected colours, uint8 (H, W, 3)")
        packed = mask[..., :3].astype(np.int32) @ np.array([1, 256, 65536], np.int32)  # BGR
        values, places = np.unique(packed, return_inverse=True)
        ids = np.array([self._class_of(_unpacked(int(value))) for value in values], np.uint8)
        return ids[places].reshape(mask.shape[:2])

    def _class_of(self, colour: Rgb) -> int:
        if colour not in self.source.values:
            raise DataError(
                f"holds the colour #{''.join(f'{part:02x}' for part in colour)},"
                f" which {self.source.name} does not define; masks must not be saved as JPEG"
            )
        name = self.source.values[colour]  # type: ignore[index]
        return self.ignore_id if name is None else self.target_of.get(name, self.ignore_id)


def _unpacked(colour: int) -> Rgb:
    return colour >> 16, colour >> 8 & 255, colour & 255


def _declared(source: LabelSet, table: ClassTable) -> Mapping[str, str]:
    target = next((name for name, known in TABLES.items() if known.names == table.names), None)
    if target is not None and (source.name, target) in MAPS:
        return MAPS[source.name, target]
    same = {name: name for name in source.names if name in table.names}
    if len(same) < len(table):
        raise ConfigError(
            f"no map from the labels of {source.name} to these classes is known; add `map:` with a class for each of"
            f" {', '.join(source.names)}; the classes are {', '.join(table.names)}"
        )
    return same


def numbered(ids: Collection[str]) -> LabelSet:
    """The label set of masks whose ids a recipe's `map` names by number; with "*", of every id."""
    named = {int(text): text for text in ids if text != OTHERS}
    every = {value: str(value) for value in range(UNLABELLED)} if OTHERS in ids else {}
    return LabelSet("the map", {**every, **named})


def coloured(colours: Iterable[str]) -> LabelSet | None:
    """The label set of masks whose colours a recipe's `map` names as "#rrggbb"; None where it names anything else."""
    values: dict[Rgb, str | None] = {}
    for text in colours:
        if not re.fullmatch("#[0-9a-fA-F]{6}", text):
            return None
        red, green, blue = bytes.fromhex(text[1:])
        values[red, green, blue] = text
    return LabelSet("the map", values)


def ids_of(table: ClassTable, name: str = "the net's classes") -> LabelSet:
    """The label set of masks that hold a net's own ids."""
    return LabelSet(name, {**dict(enumerate(table.names)), table.ignore_id: None})


# ------------------------------------------------------------------------------------------------------- the net's side

CITYSCAPES = make_table(  # the 19 classes that are scored, in the order of their training ids (Cordts et al. 2016)
    rows=[
        ("road", (128, 64, 128)),
        ("sidewalk", (244, 35, 232)),
        ("building", (70, 70, 70)),
        ("wall", (102, 102, 156)),
        ("fence", (190, 153, 153)),
        ("pole", (153, 153, 153)),
        ("traffic light", (250, 170, 30)),
        ("traffic sign", (220, 220, 0)),
        ("vegetation", (107, 142, 35)),
        ("terrain", (152, 251, 152)),
        ("sky", (70, 130, 180)),
        ("person", (220, 20, 60)),
        ("rider", (255, 0, 0)),
        ("car", (0, 0, 142)),
        ("truck", (0, 0, 70)),
        ("bus", (0, 60, 100)),
        ("train", (0, 80, 100)),
        ("motorcycle", (0, 0, 230)),
        ("bicycle", (119, 11, 32)),
    ],
    groups={
        "road": ["road"],
        "pedestrian": ["person"],
        "cyclist": ["rider", "bicycle", "motorcycle"],
        "vehicle": ["car", "truck", "bus", "train"],
        "pavement": ["sidewalk"],
    },
    tints=CAMVID.tints,
    ignore_id=255,
)

COMMA10K = make_table(
    rows=[
        ("road", (64, 32, 32)),
        ("lane markings", (255, 0, 0)),
        ("undrivable", (128, 128, 96)),
        ("movable", (0, 255, 102)),
        ("my car", (204, 0, 255)),
    ],
    groups={"road": ["road", "lane markings"], "movable": ["movable"]},
    tints={"road": (40, 190, 120), "movable": (255, 60, 60)},
    ignore_id=255,
)

PET = make_table(
    rows=[("pet", (255, 120, 60)), ("background", (60, 60, 60))],
    groups={"pet": ["pet"]},
    tints={"pet": (255, 120, 60)},
    ignore_id=255,
)

TABLES: dict[str, ClassTable] = {"camvid": CAMVID, "cityscapes": CITYSCAPES, "comma10k": COMMA10K, "pet": PET}

# ------------------------------------------------------------------------------------------------------ the masks' side

# cityscapesScripts, labels.py. License plates have id -1, which no mask holds.
_CITYSCAPES_IDS = (
    "unlabeled",
    "ego vehicle",
    "rectification border",
    "out of roi",
    "static",
    "dynamic",
    "ground",
    "road",
    "sidewalk",
    "parking",
    "rail track",
    "building",
    "wall",
    "fence",
    "guard rail",
    "bridge",
    "tunnel",
    "pole",
    "polegroup",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "caravan",
    "trailer",
    "train",
    "motorcycle",
    "bicycle",
)
_CITYSCAPES_VOID = 7  # ids below are not scored and carry no class

# CamVid's own 32 colours (label_colors.txt, Brostow et al. 2008).
_CAMVID32: dict[Rgb, str | None] = {
    (0, 0, 0): None,  # Void
    (64, 128, 64): "Animal",
    (192, 0, 128): "Archway",
    (0, 128, 192): "Bicyclist",
    (0, 128, 64): "Bridge",
    (128, 0, 0): "Building",
    (64, 0, 128): "Car",
    (64, 0, 192): "CartLuggagePram",
    (192, 128, 64): "Child",
    (192, 192, 128): "Column_Pole",
    (64, 64, 128): "Fence",
    (128, 0, 192): "LaneMkgsDriv",
    (192, 0, 64): "LaneMkgsNonDriv",
    (128, 128, 64): "Misc_Text",
    (192, 0, 192): "MotorcycleScooter",
    (128, 64, 64): "OtherMoving",
    (64, 192, 128): "ParkingBlock",
    (64, 64, 0): "Pedestrian",
    (128, 64, 128): "Road",
    (128, 128, 192): "RoadShoulder",
    (0, 0, 192): "Sidewalk",
    (192, 128, 128): "SignSymbol",
    (128, 128, 128): "Sky",
    (64, 128, 192): "SUVPickupTruck",
    (0, 0, 64): "TrafficCone",
    (0, 64, 64): "TrafficLight",
    (192, 64, 128): "Train",
    (128, 128, 0): "Tree",
    (192, 128, 192): "Truck_Bus",
    (64, 0, 64): "Tunnel",
    (192, 192, 0): "VegetationMisc",
    (64, 192, 0): "Wall",
}

LABEL_SETS: dict[str, LabelSet] = {
    found.name: found
    for found in (
        ids_of(CAMVID, "camvid"),
        LabelSet("camvid32", _CAMVID32),
        LabelSet(
            "cityscapes",
            {place: name if place >= _CITYSCAPES_VOID else None for place, name in enumerate(_CITYSCAPES_IDS)},
        ),
        ids_of(CITYSCAPES, "cityscapes-train-ids"),
        LabelSet("comma10k", dict(zip(COMMA10K.colours_rgb, COMMA10K.names, strict=True))),
        LabelSet("pet", {1: "pet", 2: "background", 3: None}),  # 3: the border, not classified
    )
}

# ----------------------------------------------------------------------------------------------------- from one to both

_CITYSCAPES_AS_CAMVID = {
    "road": "Road",
    "sidewalk": "Pavement",
    "building": "Building",
    "wall": "Building",
    "fence": "Fence",
    "pole": "Pole",
    "traffic light": "SignSymbol",
    "traffic sign": "SignSymbol",
    "vegetation": "Tree",
    "sky": "Sky",
    "person": "Pedestrian",
    "rider": "Bicyclist",
    "car": "Car",
    "truck": "Car",
    "bus": "Car",
    "train": "Car",
    "motorcycle": "Bicyclist",
    "bicycle": "Bicyclist",
}

# CamVid has no class for terrain, which is ignored.
MAPS: dict[tuple[str, str], Mapping[str, str]] = {
    ("cityscapes-train-ids", "camvid"): _CITYSCAPES_AS_CAMVID,
    ("cityscapes", "camvid"): {
        **_CITYSCAPES_AS_CAMVID,
        "parking": "Pavement",
        "guard rail": "Fence",
        "bridge": "Building",
        "tunnel": "Building",
        "polegroup": "Pole",
        "caravan": "Car",
        "trailer": "Car",
    },
    ("camvid32", "camvid"): {  # the 11 classes of the SegNet papers (Badrinarayanan et al. 2015)
        "Sky": "Sky",
        **dict.fromkeys(("Archway", "Bridge", "Building", "Tunnel", "Wall"), "Building"),
        **dict.fromkeys(("Column_Pole", "TrafficCone"), "Pole"),
        **dict.fromkeys(("Road", "LaneMkgsDriv", "LaneMkgsNonDriv"), "Road"),
        **dict.fromkeys(("Sidewalk", "ParkingBlock", "RoadShoulder"), "Pavement"),
        **dict.fromkeys(("Tree", "VegetationMisc"), "Tree"),
        **dict.fromkeys(("SignSymbol", "Misc_Text", "TrafficLight"), "SignSymbol"),
        "Fence": "Fence",
        **dict.fromkeys(("Car", "SUVPickupTruck", "Truck_Bus", "Train", "OtherMoving"), "Car"),
        **dict.fromkeys(("Pedestrian", "Child", "CartLuggagePram", "Animal"), "Pedestrian"),
        **dict.fromkeys(("Bicyclist", "MotorcycleScooter"), "Bicyclist"),
    },
    ("comma10k", "camvid"): {"road": "Road", "lane markings": "Road"},  # "movable" is several classes of CamVid
}
