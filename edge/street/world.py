"""What stands along the street: an endless row of blocks, each made from the seed and its number alone."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from edge.street.place import FAR_M, Place, Side, rng_of

BLOCK_M = 48.0
Span = tuple[float, float]
_SIDE_ROW_M = 28.0
# Higher than any house.
_ALL_M = 99.0


@dataclass(frozen=True)
class Building:
    """A house: its front stands `face` metres from the middle of the road, from s0 to s1.

    Its neighbour hides the wall that faces the camera up to `hidden_m`.
    """

    key: int
    sign: int
    s0: float
    s1: float
    face: float
    height_m: float
    depth_m: float
    kind: str
    units: int
    colour: int
    rise_m: float
    chimney: bool
    hidden_m: float


@dataclass(frozen=True)
class SideRow:
    """Houses along a side road, on its far side: they face back along the street at S, from x0 to x1 outwards."""

    front: Building
    s: float
    x0: float
    x1: float


@dataclass(frozen=True)
class Barrier:
    """Something low and long beside the pavement: railing, wooden fence, wall or hedge."""

    key: int
    x: float
    s0: float
    s1: float
    height_m: float
    kind: str


@dataclass(frozen=True)
class Standing:
    """Something upright: a tree, a lamp, a sign, a bollard, a bin."""

    key: int
    kind: str
    x: float
    s: float
    height_m: float


@dataclass(frozen=True)
class Parked:
    """A parked car. It faces the way we drive where `facing` is above 0."""

    key: int
    x: float
    s: float
    facing: int


@dataclass(frozen=True)
class Block:
    """BLOCK_M of street from s0 on, both sides."""

    number: int
    s0: float
    zebra_s: float | None
    junctions: tuple[Span | None, Span | None]
    buildings: tuple[Building, ...]
    side_rows: tuple[SideRow, ...]
    barriers: tuple[Barrier, ...]
    standing: tuple[Standing, ...]
    parked: tuple[Parked, ...]

    def junction(self, sign: int) -> Span | None:
        """Where a side road opens on that side: (S from, S to)."""
        return self.junctions[0 if sign < 0 else 1]


_WIDTHS_M = {"terrace": (4.8, 6.2), "shop": (5.5, 9.5), "villa": (7.5, 11.0), "office": (13.0, 22.0), "plain": (6, 10)}
_MIX = {
    "terrace": (("terrace", 0.8), ("plain", 0.1), ("shop", 0.1)),
    "shops": (("shop", 0.75), ("plain", 0.1), ("office", 0.15)),
    "suburb": (("villa", 0.8), ("plain", 0.2)),
    "offices": (("office", 0.6), ("shop", 0.25), ("plain", 0.15)),
    "mixed": (("terrace", 0.3), ("shop", 0.25), ("villa", 0.2), ("office", 0.1), ("plain", 0.15)),
}


class World:
    """Makes blocks when they come into view and keeps the latest few."""

    def __init__(self, seed: int, place: Place) -> None:
        self._seed, self._place = seed, place
        self._blocks: OrderedDict[int, Block] = OrderedDict()

    def block(self, number: int) -> Block:
        """Block `number`, made when it is first asked for; the latest are kept."""
        if number not in self._blocks:
            self._blocks[number] = BlockMaker(self._seed, self._place, number).made()
            if len(self._blocks) > 24:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def blocks_between(self, s0: float, s1: float) -> list[Block]:
        """The blocks that touch this stretch of road, in order."""
        return [self.block(n) for n in range(int(s0 // BLOCK_M), int(s1 // BLOCK_M) + 1)]

    def blocks_near(self, s: float) -> list[Block]:
        """The blocks that a camera at S may see, nearest first."""
        return self.blocks_between(s - 12, s + FAR_M)


class BlockMaker:
    """Fills one block."""

    def __init__(self, seed: int, place: Place, number: int) -> None:
        self.place, self.number = place, number
        self.rng = rng_of(seed, 10, number)
        self.s0 = number * BLOCK_M
        self.buildings: list[Building] = []
        self.side_rows: list[SideRow] = []
        self.barriers: list[Barrier] = []
        self.standing: list[Standing] = []
        self.parked: list[Parked] = []
        self._latest: dict[int, Building] = {}
        self._keys = 0

    def _key(self) -> int:
        self._keys += 1
        return self.number * 256 + self._keys

    def made(self) -> Block:
        """The block with all that stands on it."""
        share = self.place.junction_share
        junctions = tuple(self._junction() if self.rng.random() < share else None for _ in range(2))
        zebra = self.s0 + 36.0 if self.rng.random() < 0.22 else None
        for sign, junction in zip((-1, 1), junctions, strict=True):
            side = self.place.side(sign)
            self._lots(side, junction)
            if junction:
                self._side_row(side, junction)
            self._trees(side, junction)
            self._furniture(side, junction, zebra)
            self._park(side, junction, zebra)
        return Block(
            number=self.number,
            s0=self.s0,
            zebra_s=zebra,
            junctions=junctions,  # type: ignore[arg-type]
            buildings=tuple(self.buildings),
            side_rows=tuple(self.side_rows),
            barriers=tuple(self.barriers),
            standing=tuple(self.standing),
            parked=tuple(self.parked),
        )

    def _junction(self) -> Span:
        start = self.s0 + self.rng.uniform(3.5, 6.0)
        return start, start + self.rng.uniform(6.0, 8.5)

    def _lots(self, side: Side, junction: Span | None) -> None:
        """Divide what the side road leaves into houses, and some green gaps."""
        s, end = self.s0, self.s0 + BLOCK_M
        if junction:
            s = junction[1] + side.pavement_m * 0.6 + 0.5
        run_height = self.rng.uniform(6.0, 9.5)
        while end - s > 3.5:
            names, weights = zip(*_MIX[self.place.character], strict=True)
            kind = str(self.rng.choice(names, p=weights))
            if self.rng.random() < (0.05 if self.place.character in ("terrace", "shops") else 0.12):
                wide = min(self.rng.uniform(6, 14), end - s)
                self._green(side, s, s + wide)
                s += wide
                continue
            unit = self.rng.uniform(*_WIDTHS_M[kind])
            units = int(self.rng.integers(2, 5)) if kind == "terrace" else 1
            units = max(1, min(units, int((end - s) / unit)))
            wide = unit * units
            if end - s - wide < 4.0:
                wide = end - s
            gap = self.rng.uniform(1.2, 3.2) if kind == "villa" else 0.0
            self._house(side, kind, units, (s, s + wide - gap), run_height)
            s += wide

    def _house(self, side: Side, kind: str, units: int, span: Span, run_height: float) -> None:
        rng = self.rng
        heights = {"terrace": run_height, "shop": rng.choice([6.6, 9.2, 10.5]), "villa": rng.uniform(5.2, 6.6)}
        high = float(heights.get(kind, rng.uniform(9, 20) if kind == "office" else rng.uniform(5.5, 11)))
        flat = kind == "office" or (kind in ("shop", "plain") and rng.random() < 0.4)
        colours = self.place.wall_colours
        setback = side.face + (rng.uniform(0, 1.2) if kind == "villa" else 0.0)
        depth = rng.uniform(8, 11)
        rise = 0.0 if flat else 0.36 * depth
        before = self._latest.get(side.sign)
        hidden = 0.0
        if before and abs(before.s1 - span[0]) < 0.2 and before.face < setback + 0.3:
            hidden = before.height_m
            if before.height_m + 0.5 * before.rise_m >= high + rise:
                hidden = _ALL_M
        self._latest[side.sign] = house = Building(
            key=self._key(),
            sign=side.sign,
            s0=span[0],
            s1=span[1],
            face=setback,
            height_m=high,
            depth_m=depth,
            kind=kind,
            units=units,
            colour=colours[int(rng.integers(2 if kind == "terrace" else len(colours)))],
            rise_m=rise,
            chimney=bool(not flat and rng.random() < 0.6),
            hidden_m=hidden,
        )
        self.buildings.append(house)
        if side.setback_m >= 2:
            each = (span[1] - span[0]) / units
            for unit in range(units):
                self._front_fence(side, (span[0] + unit * each, span[0] + (unit + 1) * each))

    def _side_row(self, side: Side, junction: Span) -> None:
        """Close the view into a side road with the houses on its far side, from the corner house's back on."""
        beyond = [house for house in self.buildings if house.sign == side.sign and house.s0 > junction[1]]
        s, x0, high = junction[1] + side.pavement_m * 0.6 + 0.5, side.face, self.rng.uniform(5.5, 8.5)
        if beyond and beyond[0].s0 - s < 0.5:
            x0 = beyond[0].face + beyond[0].depth_m
        front = Building(
            key=self._key(),
            sign=side.sign,
            s0=0.0,
            s1=_SIDE_ROW_M,
            face=side.face,
            height_m=high,
            depth_m=8.0,
            kind="terrace",
            units=5,
            colour=self.place.wall_colours[int(self.rng.integers(4))],
            rise_m=0.0,
            chimney=False,
            hidden_m=0.0,
        )
        self.side_rows.append(SideRow(front, s, x0, x0 + _SIDE_ROW_M))

    def _front_fence(self, side: Side, span: Span) -> None:
        """Something before a front garden, with a gap for the gate at its far end."""
        kind = str(self.rng.choice(["railing", "wall", "hedge", "planks"], p=[0.25, 0.4, 0.25, 0.1]))
        high = {"railing": 1.1, "wall": 0.8, "hedge": self.rng.uniform(0.9, 1.7), "planks": 1.2}[kind]
        x = side.sign * (side.edge + 0.15)
        if self.rng.random() < 0.85:
            self.barriers.append(Barrier(self._key(), x, span[0], span[1] - 1.1, high, kind))

    def _green(self, side: Side, s0: float, s1: float) -> None:
        """A gap between houses: a fence or hedge with trees behind."""
        kind = str(self.rng.choice(["railing", "planks", "hedge", "wall"], p=[0.35, 0.25, 0.25, 0.15]))
        high = {"railing": 1.3, "planks": 1.8, "hedge": 1.9, "wall": 1.7}[kind]
        x = side.sign * (side.edge + 0.2)
        self.barriers.append(Barrier(self._key(), x, s0, s1, high, kind))
        # Behind, a thick hedge closes the view.
        deep = side.sign * (side.edge + 9.0)
        self.barriers.append(Barrier(self._key(), deep, max(s0 - 7, s1 - 15), s1, self.rng.uniform(3.0, 5.0), "hedge"))
        for number, s in enumerate(np.arange(s0 + 1.5, s1 - 1, self.rng.uniform(3.6, 5.5)).tolist()):
            out = side.sign * (side.edge + self.rng.uniform(3.0, 7.0))
            self.standing.append(Standing(self._key(), self._tree_kind(), out, s, self.rng.uniform(6, 12)))
            if number % 2 == 0:
                bush = side.sign * (side.edge + self.rng.uniform(1.2, 2.2))
                self.standing.append(Standing(self._key(), "bush", bush, s + 1.0, self.rng.uniform(1.4, 3.0)))

    def _tree_kind(self) -> str:
        return str(self.rng.choice(self.place.tree_kinds))

    def _trees(self, side: Side, junction: Span | None) -> None:
        """A row at the kerb, and some in front gardens."""
        x = (side.kerb + side.walk) / 2 if side.verge_m else side.kerb + 0.75
        wide_enough = side.verge_m > 0 or side.pavement_m > 2.6
        for s in np.arange(self.s0 + 5, self.s0 + BLOCK_M - 2, 9.0).tolist():
            s += self.rng.uniform(-1, 1)
            if self.rng.random() > self.place.tree_density or _within(s, junction, 4):
                continue
            if wide_enough:
                self.standing.append(
                    Standing(self._key(), self._tree_kind(), side.sign * x, s, self.rng.uniform(5, 9.5))
                )
            if side.setback_m >= 4 and self.rng.random() < 0.6:
                out = side.sign * (side.edge + self.rng.uniform(1.2, 2.6))
                kind = self._tree_kind() if self.rng.random() < 0.6 else "bush"
                high = self.rng.uniform(3.5, 7) if kind != "bush" else self.rng.uniform(1.2, 2.4)
                self.standing.append(Standing(self._key(), kind, out, s + 3, high))

    def _furniture(self, side: Side, junction: Span | None, zebra: float | None) -> None:
        rng, x = self.rng, side.sign * (side.kerb + 0.42)
        if (self.number % 2 == 0) == (side.sign < 0) or rng.random() < 0.3:
            self.standing.append(Standing(self._key(), "lamp", x, self.s0 + 24, rng.uniform(6.5, 9.0)))
        for _ in range(int(rng.integers(0, 3))):
            s = self.s0 + rng.uniform(0, BLOCK_M)
            if not _within(s, junction, 1):
                kind = str(rng.choice(["sign_round", "sign_triangle", "sign_square", "sign_small"]))
                self.standing.append(Standing(self._key(), kind, x, s, rng.uniform(2.2, 2.9)))
        if zebra is not None:
            for end in (-1.9, 1.9) if side.sign < 0 else (1.9,):
                kind = "beacon" if self.number % 3 else "signal"
                self.standing.append(Standing(self._key(), kind, x, zebra + end, 3.0 if kind == "beacon" else 3.3))
        if junction:
            self.standing.append(
                Standing(self._key(), "sign_name", side.sign * (side.edge - 0.1), junction[1] + 2.2, 1.0)
            )
            if rng.random() < 0.5:
                for s in np.arange(junction[1] + 4.5, junction[1] + 10, 1.6).tolist():
                    self.standing.append(Standing(self._key(), "bollard", x, s, 0.95))

    def _park(self, side: Side, junction: Span | None, zebra: float | None) -> None:
        if not side.bay_m:
            return
        for s in np.arange(self.s0 + 3, self.s0 + BLOCK_M, 6.0).tolist():
            s += self.rng.uniform(-0.45, 0.45)
            taken = self.rng.random() < self.place.parked_share
            if not taken or _within(s, junction, 6) or (zebra is not None and abs(s - zebra) < 7):
                continue
            facing = 1 if side.sign < 0 or self.rng.random() < 0.3 else -1
            x = side.sign * (side.kerb - side.bay_m / 2 + self.rng.uniform(-0.1, 0.2))
            self.parked.append(Parked(self._key(), x, s, facing))


def _within(s: float, span: Span | None, margin: float) -> bool:
    return span is not None and span[0] - margin < s < span[1] + margin
