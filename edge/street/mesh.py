"""Solid things made of small quadrilaterals: lit, projected and painted far to near.

All things of a frame are lit and projected together, as one set of arrays; only the painting goes thing by thing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.street.canvas import SHIFT, Canvas
from edge.street.light import Light
from edge.street.place import Floats, Ints
from edge.street.view import View

MATTE, PAINT, GLASS, LAMP = range(4)
# Clothes on people taller than this show their folds.
_WOVEN_PX = 80
_NEAR_M = 0.5


@dataclass(frozen=True)
class Mesh:
    """Quadrilaterals of one or more things, each in its own metres: x to its right, y up, z ahead.

    points float32 (N, 3); quads int (M, 4), clockwise seen from outside; colours BGR float32 (M, 3); kinds int (M,);
    nearer float32 (M,): metres by which a quad counts as nearer than it is, for what lies on another's surface;
    point_owner int (N,) and quad_owner int (M,): which thing each belongs to, ascending.
    """

    points: Floats
    quads: Ints
    colours: Floats
    kinds: Ints
    nearer: Floats
    point_owner: Ints
    quad_owner: Ints

    def scaled(self, factor: float) -> Mesh:
        """The same thing, `factor` times as large."""
        points = self.points * np.float32(factor)
        return Mesh(points, self.quads, self.colours, self.kinds, self.nearer, self.point_owner, self.quad_owner)


def make_mesh(
    points: Floats, quads: Floats, colours: Floats | tuple[float, ...], kind: int = MATTE, nearer: float = 0.0
) -> Mesh:
    """One thing of one material; `colours` is one BGR or one per quad."""
    count = len(quads)
    return Mesh(
        points=np.asarray(points, np.float32),
        quads=np.asarray(quads, np.intp),
        colours=np.broadcast_to(np.asarray(colours, np.float32), (count, 3)).copy(),
        kinds=np.full(count, kind, np.intp),
        nearer=np.full(count, nearer, np.float32),
        point_owner=np.zeros(len(points), np.intp),
        quad_owner=np.zeros(count, np.intp),
    )


def joined(meshes: list[Mesh], owners: list[int] | None = None) -> Mesh:
    """Several meshes as one: parts of one thing, or, with `owners`, of things counted on from those numbers."""
    starts = np.cumsum([0, *(len(mesh.points) for mesh in meshes[:-1])])
    first = owners or [0] * len(meshes)
    return Mesh(
        points=np.concatenate([mesh.points for mesh in meshes]),
        quads=np.concatenate([mesh.quads + start for mesh, start in zip(meshes, starts, strict=True)]),
        colours=np.concatenate([mesh.colours for mesh in meshes]),
        kinds=np.concatenate([mesh.kinds for mesh in meshes]),
        nearer=np.concatenate([mesh.nearer for mesh in meshes]),
        point_owner=np.concatenate([mesh.point_owner + owner for mesh, owner in zip(meshes, first, strict=True)]),
        quad_owner=np.concatenate([mesh.quad_owner + owner for mesh, owner in zip(meshes, first, strict=True)]),
    )


def in_owner_order(mesh: Mesh) -> Mesh:
    """The same mesh with the points and quads of each thing together."""
    by_point = np.argsort(mesh.point_owner, kind="stable")
    by_quad = np.argsort(mesh.quad_owner, kind="stable")
    place = np.empty_like(by_point)
    place[by_point] = np.arange(len(by_point))
    return Mesh(
        points=mesh.points[by_point],
        quads=place[mesh.quads[by_quad]],
        colours=mesh.colours[by_quad],
        kinds=mesh.kinds[by_quad],
        nearer=mesh.nearer[by_quad],
        point_owner=mesh.point_owner[by_point],
        quad_owner=mesh.quad_owner[by_quad],
    )


@dataclass(frozen=True)
class Pose:
    """Where a thing stands: X and S of its origin on the ground, and its heading, 0 along the road, to the right +."""

    x: float
    s: float
    heading_rad: float


def placed(mesh: Mesh, poses: list[Pose], origin_s: float) -> NDArray[np.float32]:
    """float32 (N, 3): the points of things 0, 1, 2... in street metres, S counted from origin_s.

    From the camera's S, so that 32 bits suffice however far the drive goes.
    """
    turns = np.array(
        [(math.cos(p.heading_rad), math.sin(p.heading_rad), p.x, p.s - origin_s) for p in poses], np.float32
    )
    c, s, x, along = turns[mesh.point_owner].T
    px, py, pz = mesh.points.T
    out = np.empty_like(mesh.points)
    out[:, 0], out[:, 1], out[:, 2] = px * c + pz * s + x, py, pz * c - px * s + along
    return out


@dataclass(frozen=True)
class Solid:
    """A thing ready to paint: its box in the image, and polygons far to near with their colours.

    polygons int32 (n, 4, 2), fixed point, `grain` times finer than the image and from the box's corner; fade is 1
    for what is fully there, less for what is just coming into sight; `woven` for what wears cloth.
    """

    box: tuple[int, int, int, int]
    grain: int
    polygons: NDArray[np.int32]
    colours: list[list[float]]
    fade: float
    woven: bool

    def paint(self, canvas: Canvas, class_id: int, instance: int) -> None:
        """Draw it into image, class and instance ids."""
        x0, y0, x1, y1 = self.box
        take = canvas.scratch.take
        big = take("big", ((y1 - y0) * self.grain, (x1 - x0) * self.grain, 4))
        big[:] = 0
        for polygon, colour in zip(self.polygons, self.colours, strict=True):
            cv2.fillConvexPoly(big, polygon, colour, cv2.LINE_8, SHIFT)
        image = take("small", (y1 - y0, x1 - x0, 4))
        cv2.resize(big, (x1 - x0, y1 - y0), image, interpolation=cv2.INTER_AREA)
        if self.woven and y1 - y0 > _WOVEN_PX:
            cv2.multiply(image, canvas.weave[: y1 - y0, : x1 - x0], image, scale=1 / 128)
        if self.fade < 1:
            cv2.convertScaleAbs(image, image, alpha=self.fade)
        canvas.stamp(image, (x0, y0), class_id, instance)


def solids(view: View, light: Light, mesh: Mesh, points: Floats, in_sun: Floats, fades: Floats) -> list[Solid | None]:
    """Every thing of a mesh ready to paint, None for those out of the image.

    Args:
        points: of the mesh, from `placed`, S counted from the camera's.
        in_sun: (things,) the share of the sun that reaches each.
        fades: (things,) how far each is in sight, 0 to 1.
    """
    count = len(in_sun)
    pixels = view.project_ahead(points)
    # Of what passes close by, only the part well before the camera's plane can be projected.
    ahead: Floats = points[:, 2] > _NEAR_M
    corner, far_corner = _boxes(view, mesh, pixels, ahead)
    seen = np.all(far_corner > corner, axis=1)
    front = _front(mesh, pixels, ahead, seen)
    corners = points[mesh.quads[front]]
    middles = 0.25 * corners.sum(axis=1)
    # Thing by thing, and within each from far to near; no thing is a thousand metres deep.
    order = np.argsort(mesh.nearer[front] - middles[:, 2] + 1000.0 * mesh.quad_owner[front], kind="stable")
    front, middles, corners = front[order], middles[order], corners[order]
    owner = mesh.quad_owner[front]
    colours = _lit(mesh, front, corners, middles, (view, light), in_sun[owner]).tolist()
    grain = np.where((far_corner - corner).max(axis=1) < 28, 3, 2)
    local = pixels[mesh.quads[front]] - corner.astype(np.float32)[owner][:, None]
    local = local * grain.astype(np.float32)[owner][:, None, None] - 0.5
    polygons = (local.clip(-4000, 8000) * (1 << SHIFT)).round().astype(np.int32)
    woven: Floats = np.maximum.reduceat(mesh.kinds, np.searchsorted(mesh.quad_owner, np.arange(count))) == MATTE
    boxes = np.hstack([corner, far_corner]).tolist()
    made: list[Solid | None] = [None] * count
    for k, (first, last) in enumerate(pairwise(np.searchsorted(owner, np.arange(count + 1)).tolist())):
        if seen[k] and last > first:
            part = slice(first, last)
            made[k] = Solid(
                tuple(boxes[k]), int(grain[k]), polygons[part], colours[part], float(fades[k]), bool(woven[k])
            )
    return made


def _boxes(view: View, mesh: Mesh, pixels: Floats, ahead: Floats) -> tuple[Ints, Ints]:
    """Near and far corners, int (things, 2), of the part of the image that each thing may touch."""
    starts = np.searchsorted(mesh.point_owner, np.arange(mesh.point_owner[-1] + 1))
    low = np.minimum.reduceat(np.where(ahead[:, None], pixels, np.float32(1e5)), starts).clip(-1e5, 1e5)
    high = np.maximum.reduceat(np.where(ahead[:, None], pixels, np.float32(-1e5)), starts).clip(-1e5, 1e5)
    return np.maximum(low.astype(int) - 1, 0), np.minimum(high.astype(int) + 2, np.array(view.size_wh))


def _front(mesh: Mesh, pixels: Floats, ahead: Floats, seen: Floats) -> Ints:
    """The numbers of the quads that face the camera, of things that are seen."""
    a, b, c, d = mesh.quads.T
    u, v = pixels.T
    front = np.flatnonzero((u[c] - u[a]) * (v[d] - v[b]) > (v[c] - v[a]) * (u[d] - u[b]))
    front = front[seen[mesh.quad_owner[front]]]
    return front if ahead.all() else front[ahead[mesh.quads[front]].all(axis=1)]


def _lit(
    mesh: Mesh, front: Ints, corners: Floats, middles: Floats, seen_by: tuple[View, Light], in_sun: Floats
) -> Floats:
    """float (n, 4): BGR and 255 of quads as the camera sees them through the air."""
    view, light = seen_by
    a, b = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    normals = crossed(a, b)
    normals /= np.sqrt(np.einsum("ij,ij->i", normals, normals))[:, None] + 1e-9
    gains = light.gain(normals, in_sun)
    # Little light comes down to what is close to the ground.
    gains *= np.clip(0.62 + 0.5 * middles[:, 1:2], 0.5, 1.0)
    colours = mesh.colours[front] * gains
    kinds = mesh.kinds[front]
    shiny = np.flatnonzero(kinds > MATTE)
    if len(shiny):
        rays = middles[shiny] - np.array([view.x, view.height_m, 0.0], np.float32)
        own = mesh.colours[front[shiny]]
        colours[shiny] = _reflecting(kinds[shiny], own, colours[shiny], normals[shiny], rays, light, in_sun[shiny])
    clear = light.clear(middles[:, 2:3])
    out = np.full((len(front), 4), 255.0)
    out[:, :3] = np.clip(colours * clear + light.air * (1 - clear), 0, 255)
    return out


def crossed(a: Floats, b: Floats) -> Floats:
    """(n, 3) cross products; NumPy's own takes five times as long on small arrays."""
    out = np.empty_like(a)
    out[:, 0] = a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1]
    out[:, 1] = a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2]
    out[:, 2] = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return out


def _reflecting(
    kinds: Ints, own: Floats, lit: Floats, normals: Floats, rays: Floats, light: Light, in_sun: Floats
) -> Floats:
    """Add the mirrored sky, houses and ground to paint and glass; lamps keep their own colour."""
    rays = rays / np.sqrt(np.einsum("ij,ij->i", rays, rays))[:, None]
    facing = np.einsum("ij,ij->i", rays, normals)[:, None]
    mirrored = rays - 2 * facing * normals
    up = mirrored[:, 1:2]
    # What a car mirrors: road below, a band of houses to about 25 degrees, then the sky.
    sky = light.horizon + (light.zenith - light.horizon) * np.clip(up, 0, 1)
    houses = 0.34 * light.horizon
    seen = np.where(
        up > 0.42, sky, np.where(up > 0.05, houses + (sky - houses) * np.clip((up - 0.25) / 0.17, 0, 1), 62.0)
    )
    grazing = (1 - np.minimum(1, np.abs(facing))) ** 3
    kinds = kinds[:, None]
    mirror = np.where(kinds == GLASS, 0.22 + 0.6 * grazing, 0.10 + 0.35 * grazing)
    glint = np.maximum(mirrored @ light.to_sun.astype(mirrored.dtype), 0)[:, None] ** 24 * light.direct
    return np.where(kinds == LAMP, own, lit * (1 - mirror) + seen * mirror + 190 * glint * in_sun[:, None])
