"""What stays the same along one street: its cross-section, its character, its camera and its path over the ground.

Street coordinates, in metres: X to the right of the middle of the road, Y up from the ground, S along the road.
The road bends sideways: the point (X, Y, S) lies at X + bend(S) from the line on which the camera looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.classes import CAMVID

# Arrays of real numbers and of whole ones, of whatever width: NumPy's arithmetic on them is beyond type checkers.
Floats = NDArray[Any]
Ints = NDArray[Any]
Image = NDArray[np.uint8]

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
assert len(CAMVID) == 11
assert CAMVID.names[PEDESTRIAN] == "Pedestrian"

FAR_M = 138.0


def rng_of(seed: int, *keys: int) -> np.random.Generator:
    """Random numbers that depend on the seed and the keys (any whole numbers) alone."""
    return np.random.default_rng([seed, *(key % 2**32 for key in keys)])


@dataclass(frozen=True)
class Side:
    """One side of the street, outwards from the middle of the road; all in metres except the names."""

    sign: int
    lane_m: float
    bay_m: float
    cycle_lane_m: float
    verge_m: float
    pavement_m: float
    setback_m: float
    frontage: str
    paving: str

    @property
    def kerb(self) -> float:
        """Distance of the kerb from the middle of the road."""
        return self.lane_m + self.cycle_lane_m + self.bay_m

    @property
    def walk(self) -> float:
        """Distance at which the pavement proper begins, behind the verge."""
        return self.kerb + self.verge_m

    @property
    def edge(self) -> float:
        """Distance at which the pavement ends."""
        return self.walk + self.pavement_m

    @property
    def face(self) -> float:
        """Distance of the fronts of the houses."""
        return self.edge + self.setback_m


@dataclass(frozen=True)
class Place:
    """The character of one street."""

    left: Side
    right: Side
    character: str
    asphalt: float
    centre_line: str
    yellow_lines: bool
    tree_density: float
    tree_kinds: tuple[str, ...]
    people_density: float
    cyclist_density: float
    traffic_gap_m: float
    parked_share: float
    fence_share: float
    wall_colours: tuple[int, ...]
    junction_share: float
    lamp_style: int

    def side(self, sign: int) -> Side:
        """The left side for -1, the right one for 1."""
        return self.left if sign < 0 else self.right


@dataclass(frozen=True)
class Path:
    """Where the road goes and how the car drives along it."""

    amplitudes_m: tuple[float, ...]
    lengths_m: tuple[float, ...]
    phases: tuple[float, ...]
    speed_mps: float
    surge_m: float
    surge_hz: float
    start_m: float
    lane_x_m: float

    def offset(self, s: Floats | float, order: int = 0) -> Floats:
        """Lateral place of the middle of the road at S; its first derivative with order=1."""
        total = np.zeros_like(np.asarray(s, np.float64))
        for amplitude, length, phase in zip(self.amplitudes_m, self.lengths_m, self.phases, strict=True):
            k = 2 * np.pi / length
            angle = np.asarray(s, np.float64) * k + phase
            total += amplitude * (np.sin(angle) if order == 0 else k * np.cos(angle))
        return total

    def car_s(self, time_s: float) -> float:
        """How far along the road the camera is."""
        w = 2 * np.pi * self.surge_hz
        return float(self.start_m + self.speed_mps * time_s + self.surge_m * np.sin(w * time_s))

    def time_at(self, s: float) -> float:
        """When the camera passes S: the inverse of car_s, by bisection."""
        low = (s - self.start_m - self.surge_m) / self.speed_mps
        high = (s - self.start_m + self.surge_m) / self.speed_mps
        for _ in range(24):
            middle = (low + high) / 2
            low, high = (middle, high) if self.car_s(middle) < s else (low, middle)
        return (low + high) / 2


@dataclass(frozen=True)
class Optics:
    """The camera; lengths as shares of the image's height where they scale with it."""

    height_m: float
    focal: float
    horizon: float
    vignette: float
    noise: float
    shake: float
    warmth: tuple[float, float, float]
    saturation: float
    contrast: float


def make_path(seed: int, place: Place) -> Path:
    """The bends of a street and the speed on it."""
    rng = rng_of(seed, 2)
    bendy = rng.choice([0.25, 0.7, 1.0])
    speed = rng.uniform(7.0, 9.2)
    surge_hz = rng.uniform(0.025, 0.05)
    return Path(
        amplitudes_m=tuple(bendy * rng.uniform(lo, hi) for lo, hi in ((5, 11), (2, 4.5), (0.4, 1.0))),
        lengths_m=tuple(rng.uniform(lo, hi) for lo, hi in ((420, 760), (190, 290), (90, 130))),
        phases=tuple(rng.uniform(0, 2 * np.pi, 3)),
        speed_mps=speed,
        # The speed varies by a quarter at most, so the car never rolls back.
        surge_m=0.25 * speed / (2 * np.pi * surge_hz),
        surge_hz=surge_hz,
        start_m=rng.uniform(0, 200),
        # A little to the right of the lane's middle, as drivers keep clear of cyclists and parked cars.
        lane_x_m=-place.left.lane_m * 0.5 + 0.25,
    )


def make_optics(seed: int) -> Optics:
    """The camera that a street is seen through."""
    rng = rng_of(seed, 3)
    warm = rng.normal(0, 0.025)
    return Optics(
        height_m=rng.uniform(1.15, 1.55),
        focal=rng.uniform(1.15, 1.75),
        horizon=rng.uniform(0.42, 0.53),
        vignette=rng.uniform(0.06, 0.3),
        noise=rng.uniform(1.2, 4.5),
        shake=rng.uniform(0.3, 1.0),
        warmth=(1 - warm, 1 + rng.normal(0, 0.012), 1 + warm),
        saturation=rng.uniform(0.75, 1.12),
        contrast=rng.uniform(0.95, 1.15),
    )


def _make_side(rng: np.random.Generator, sign: int, character: str, frontage: str, paving: str) -> Side:
    urban = character in ("shops", "offices")
    return Side(
        sign=sign,
        lane_m=rng.uniform(2.9, 3.5),
        bay_m=float(rng.choice([0.0, 2.1], p=[0.5, 0.5])),
        cycle_lane_m=float(rng.choice([0.0, 1.4], p=[0.7, 0.3])),
        verge_m=0.0 if urban else float(rng.choice([0.0, 1.5], p=[0.7, 0.3])),
        pavement_m=rng.uniform(2.6, 4.6) if urban else rng.uniform(1.8, 3.2),
        setback_m=0.0 if urban else float(rng.choice([0.0, 2.0, 4.5], p=[0.3, 0.35, 0.35])),
        frontage=frontage,
        paving=paving,
    )


def make_place(seed: int) -> Place:
    """The street of a seed."""
    rng = rng_of(seed, 1)
    character = str(rng.choice(["terrace", "shops", "suburb", "offices", "mixed"], p=[0.24, 0.26, 0.2, 0.12, 0.18]))
    frontage = "paved" if character in ("shops", "offices") else str(rng.choice(["garden", "paved"], p=[0.7, 0.3]))
    paving = str(rng.choice(["slabs", "asphalt", "blocks"], p=[0.5, 0.3, 0.2]))
    kinds = str(rng.choice(["summer", "autumn", "winter", "mixed"], p=[0.45, 0.15, 0.2, 0.2]))
    trees = {
        "summer": ("broad", "broad", "slim"),
        "autumn": ("autumn", "broad", "bare"),
        "winter": ("bare", "bare", "conifer"),
        "mixed": ("broad", "bare", "conifer", "slim"),
    }[kinds]
    return Place(
        left=_make_side(rng, -1, character, frontage, paving),
        right=_make_side(rng, 1, character, frontage, paving),
        character=character,
        asphalt=rng.uniform(72, 122),
        centre_line=str(rng.choice(["dash", "long", "double"], p=[0.6, 0.3, 0.1])),
        yellow_lines=bool(rng.random() < 0.45),
        tree_density=float(rng.choice([0.15, 0.45, 0.8], p=[0.3, 0.4, 0.3])),
        tree_kinds=trees,
        people_density=rng.uniform(0.4, 1.0) * (1.0 if character in ("shops", "offices") else 0.7),
        cyclist_density=rng.uniform(0.15, 0.8),
        traffic_gap_m=rng.uniform(16, 55),
        parked_share=rng.uniform(0.25, 0.8),
        fence_share=rng.uniform(0.1, 0.7),
        wall_colours=tuple(int(n) for n in rng.permutation(8)[:4]),
        junction_share=rng.uniform(0.15, 0.4),
        lamp_style=int(rng.integers(3)),
    )
