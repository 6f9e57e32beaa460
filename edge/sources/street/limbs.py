"""Tapered round limbs of many bodies, turned into one mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.sources.street.mesh import MATTE, Mesh
from edge.sources.street.place import Floats

# Rings of a limb for each detail: where (0 start, 1 end), how far beyond in radii, and how wide as a share of the radius.
_RINGS = (
    ((0.0, -0.35, 0.85), (1.0, 0.35, 0.85)),
    ((0.0, -0.75, 0.25), (0.0, 0.1, 1.0), (1.0, -0.1, 1.0), (1.0, 0.75, 0.25)),
    ((0.0, -0.9, 0.12), (0.0, -0.6, 0.72), (0.0, 0.0, 1.0), (0.33, 0.0, 1.0), (0.67, 0.0, 1.0), (1.0, 0.0, 1.0),
     (1.0, 0.6, 0.72), (1.0, 0.9, 0.12)),
)  # fmt: skip
_AROUND = (4, 6, 10)


@dataclass(frozen=True)
class _Part:
    start: Floats
    end: Floats
    radii: Floats
    colour: Floats
    stripe: Floats
    nearer: float
    where: Floats
    least: int


class Limbs:
    """Collects limbs, each given for all n bodies at once."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    def add(
        self,
        start: Floats,
        end: Floats,
        radii: tuple[Floats | float, Floats | float],
        colour: Floats,
        flat: float = 1.0,
        *,
        nearer: float = 0.0,
        stripe: Floats | None = None,
        where: Floats | None = None,
        least: int = 0,
    ) -> None:
        """A limb with a radius at each end; across it is `flat` times as deep as it is wide.

        Args:
            start, end, colour, stripe: (n, 3); every other ring has the stripe's colour.
            radii: metres at start and end, one each or (n,).
            where: (n,) which bodies have it; all by default.
            least: the lowest detail at which it is worth drawing.
        """
        count = len(start)
        both = np.stack([np.broadcast_to(radius, count) for radius in radii], axis=1)
        has = np.ones(count, bool) if where is None else where
        sizes = np.concatenate([both, both * flat], axis=1)
        self._parts.append(_Part(start, end, sizes, colour, colour if stripe is None else stripe, nearer, has, least))

    def mesh(self, detail: int, scale: Floats) -> Mesh:
        """All limbs of all bodies, sized by scale (n,)."""
        parts = [part for part in self._parts if part.least <= detail]
        has = np.stack([part.where for part in parts], axis=1)
        owner, number = np.nonzero(has)
        factor = scale[owner][:, None]

        def picked(field: str) -> Floats:
            return np.stack([getattr(part, field) for part in parts], axis=1)[owner, number]

        rings = np.array(_RINGS[detail])
        points = _tubes(picked("start") * factor, picked("end") * factor, picked("radii") * factor, rings, _AROUND[detail])
        nearer = np.array([part.nearer for part in parts], np.float32)[number]
        return _meshed(points, owner, picked("colour"), picked("stripe"), nearer)


def _tubes(start: Floats, end: Floats, radii: Floats, rings: Floats, around: int) -> Floats:
    """(limbs, rings, around, 3): points on the limbs' surfaces."""
    axis = end - start
    length = np.sqrt(np.einsum("ij,ij->i", axis, axis))[:, None] + 1e-6
    along = axis / length
    # Every limb is wide along x as far as it can be, and deep along the third direction.
    wide = np.array([1.0, 0, 0]) - along * along[:, :1]
    wide /= np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None] + 1e-6
    deep = np.stack([along[:, 1] * wide[:, 2] - along[:, 2] * wide[:, 1], along[:, 2] * wide[:, 0] - along[:, 0] * wide[:, 2],
                     along[:, 0] * wide[:, 1] - along[:, 1] * wide[:, 0]], axis=1)  # fmt: skip
    share = rings[:, 0]
    rx = radii[:, :1] + (radii[:, 1:2] - radii[:, :1]) * share
    rz = radii[:, 2:3] + (radii[:, 3:] - radii[:, 2:3]) * share
    place = length * share + np.minimum(rx, rz) * rings[:, 1]
    angle = 2 * np.pi * (np.arange(around) + 0.5) / around
    across = (rx * rings[:, 2])[:, :, None] * np.cos(angle)
    inward = (rz * rings[:, 2])[:, :, None] * np.sin(angle)
    middle = start[:, None] + place[:, :, None] * along[:, None]
    return middle[:, :, None] + across[..., None] * wide[:, None, None] + inward[..., None] * deep[:, None, None]


def _meshed(points: Floats, owner: Floats, colour: Floats, stripe: Floats, nearer: Floats) -> Mesh:
    limbs, rings, around, _ = points.shape
    ring, k = (n.ravel() for n in np.meshgrid(np.arange(rings - 1), np.arange(around), indexing="ij"))
    nxt = (k + 1) % around
    base = ring * around
    one = np.column_stack([base + k, base + nxt, base + around + nxt, base + around + k])
    quads = (one[None] + (np.arange(limbs) * rings * around)[:, None, None]).reshape(-1, 4)
    colours = np.where((ring % 2 == 1)[None, :, None], stripe[:, None], colour[:, None])
    each = len(one)
    return Mesh(
        points=points.reshape(-1, 3).astype(np.float32),
        quads=quads,
        colours=colours.reshape(-1, 3).astype(np.float32),
        kinds=np.full(len(quads), MATTE, np.intp),
        nearer=np.repeat(nearer, each),
        point_owner=np.repeat(owner, rings * around),
        quad_owner=np.repeat(owner, each),
    )
