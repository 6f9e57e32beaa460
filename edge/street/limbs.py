"""Tapered round limbs of many bodies, turned into one mesh."""

from __future__ import annotations

import numpy as np

from edge.street.mesh import MATTE, Mesh, crossed, in_owner_order, joined
from edge.street.place import Floats, Ints

# Rings of a limb for each detail: where (0 start, 1 end),
# how far beyond in radii, and how wide as a share of the radius.
_RINGS = (
    ((0.0, -0.35, 0.85), (1.0, 0.35, 0.85)),
    ((0.0, -0.6, 0.6), (0.5, 0.0, 1.02), (1.0, 0.6, 0.6)),
    ((0.0, -0.85, 0.25), (0.0, -0.2, 0.95), (0.33, 0.0, 1.0), (0.67, 0.0, 1.0), (1.0, 0.2, 0.95), (1.0, 0.85, 0.25)),
    ((0.0, -0.95, 0.1), (0.0, -0.8, 0.5), (0.0, -0.45, 0.84), (0.0, 0.0, 1.0), (0.25, 0.0, 1.0), (0.5, 0.0, 1.0),
    (0.75, 0.0, 1.0),
     (1.0, 0.0, 1.0), (1.0, 0.45, 0.84), (1.0, 0.8, 0.5), (1.0, 0.95, 0.1)),
)  # fmt: skip
_AROUND = (4, 5, 8, 14)
_THIN_M = 0.045


class Limbs:
    """Collects limbs, each given for all n bodies at once."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._ends: list[Floats] = []
        self._sizes: list[Floats | float] = []
        self._colours: list[Floats] = []
        self._traits: list[tuple[float, float, int]] = []
        self._where: list[Floats | bool] = []
        self._crowns: dict[int, Floats] = {}

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
        where: Floats | bool = True,
        least: int = 0,
        crown: Floats | None = None,
    ) -> None:
        """A limb with a radius at each end; across it is `flat` times as deep as it is wide.

        Args:
            start, end, colour, stripe: (n, 3); every other ring has the stripe's colour.
            radii: metres at start and end, one each or (n,).
            where: (n,) which bodies have it; all by default.
            least: the lowest detail at which it is worth drawing.
            crown: (n, 3) colour of the upper and rear part of its surface: hair, on a head.
        """
        if crown is not None:
            self._crowns[len(self._traits)] = crown
        self._ends += (start, end)
        self._sizes += radii
        self._colours += (colour, colour if stripe is None else stripe)
        self._traits.append((flat, nearer, least))
        self._where.append(where)

    def meshes(self, detail: Ints, scale: Floats) -> list[tuple[int, Ints, Mesh]]:
        """The bodies, sized by scale (n,), for each detail in use: (detail, which bodies, their mesh)."""
        limbs = len(self._traits)
        shape = (self._count, limbs, 2)
        ends = np.stack(self._ends, axis=1).reshape(*shape, 3) * scale[:, None, None, None]
        sizes = np.empty((self._count, 2 * limbs))
        for k, size in enumerate(self._sizes):
            sizes[:, k] = size
        sizes = sizes.reshape(shape) * scale[:, None, None]
        colours = np.stack(self._colours, axis=1).reshape(*shape, 3)
        has = np.empty((self._count, limbs), bool)
        for k, where in enumerate(self._where):
            has[:, k] = where
        flat, nearer, least = np.array(self._traits).T
        thin = sizes.max(axis=(0, 2)) < _THIN_M
        made = []
        for level in np.unique(detail).tolist():
            bodies = np.flatnonzero(detail == level)
            shown = has[bodies] & (least <= level)
            meshes = []
            # Thin limbs, small as they are, need no more rings than far ones.
            batches = ((shown & ~thin, level), (shown & thin, 1)) if level > 1 else ((shown, level),)
            for which, rings in batches:
                owner, number = np.nonzero(which)
                if not len(owner):
                    continue
                picked = bodies[owner], number
                points = _tubes(ends[picked], sizes[picked], flat[number], np.array(_RINGS[rings]), _AROUND[rings])
                mesh = _meshed(points, owner, colours[picked], nearer[number].astype(np.float32))
                for limb, colour in self._crowns.items():
                    _crown(mesh, points, np.flatnonzero(number == limb), colour[bodies][owner[number == limb]])
                meshes.append(mesh)
            made.append((level, bodies, in_owner_order(joined(meshes)) if len(meshes) > 1 else meshes[0]))
        return made


def _crown(mesh: Mesh, points: Floats, limbs: Ints, colours: Floats) -> None:
    """Colour the quads of some limbs that face up and back; `points` (limbs, rings, around, 3), colours (n, 3)."""
    _, rings, around, _ = points.shape
    each = (rings - 1) * around
    quads = (limbs[:, None] * each + np.arange(each)).ravel()
    middles = mesh.points[mesh.quads[quads]].mean(axis=1).reshape(len(limbs), each, 3)
    out = middles - points[limbs].mean(axis=(1, 2))[:, None]
    out /= np.linalg.norm(out, axis=2, keepdims=True) + 1e-9
    covered = out @ np.array([0.0, 0.62, -0.78]) > 0.08
    mesh.colours[quads] = np.where(covered.reshape(-1, 1), np.repeat(colours, each, axis=0), mesh.colours[quads])


def _tubes(ends: Floats, radii: Floats, flat: Floats, rings: Floats, around: int) -> Floats:
    """(limbs, rings, around, 3): points on the surfaces of limbs with ends (limbs, 2, 3) and radii (limbs, 2)."""
    start, axis = ends[:, 0], ends[:, 1] - ends[:, 0]
    length = np.sqrt(np.einsum("ij,ij->i", axis, axis))[:, None] + 1e-6
    along = axis / length
    # Every limb is wide along x as far as it can be, and deep along the third direction.
    sideways = np.where(np.abs(along[:, :1]) > 0.98, np.array([0, 0, 1.0]), np.array([1.0, 0, 0]))
    wide = sideways - along * np.einsum("ij,ij->i", along, sideways)[:, None]
    wide /= np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None] + 1e-6
    deep = crossed(along, wide)
    share = rings[:, 0]
    rx = radii[:, :1] + (radii[:, 1:] - radii[:, :1]) * share
    rz = rx * flat[:, None]
    place = length * share + np.minimum(rx, rz) * rings[:, 1]
    angle = 2 * np.pi * (np.arange(around) + 0.5) / around
    across = (rx * rings[:, 2])[:, :, None] * np.cos(angle)
    inward = (rz * rings[:, 2])[:, :, None] * np.sin(angle)
    middle = start[:, None] + place[:, :, None] * along[:, None]
    return middle[:, :, None] + across[..., None] * wide[:, None, None] + inward[..., None] * deep[:, None, None]


def _meshed(points: Floats, owner: Ints, colours: Floats, nearer: Floats) -> Mesh:
    """Quads over the points of tubes; colours (limbs, 2, 3) of their even and odd rings."""
    limbs, rings, around, _ = points.shape
    ring, k = (n.ravel() for n in np.meshgrid(np.arange(rings - 1), np.arange(around), indexing="ij"))
    nxt = (k + 1) % around
    base = ring * around
    one = np.column_stack([base + k, base + nxt, base + around + nxt, base + around + k])
    quads = (one[None] + (np.arange(limbs) * rings * around)[:, None, None]).reshape(-1, 4)
    painted = colours[:, ring % 2]
    each = len(one)
    return Mesh(
        points=points.reshape(-1, 3).astype(np.float32),
        quads=quads,
        colours=painted.reshape(-1, 3).astype(np.float32),
        kinds=np.full(len(quads), MATTE, np.intp),
        nearer=np.repeat(nearer, each),
        point_owner=np.repeat(owner, rings * around),
        quad_owner=np.repeat(owner, each),
    )
