"""Solid things made of small quadrilaterals: lit, projected and painted far to near."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.sources.street.canvas import SHIFT, Canvas
from edge.sources.street.light import Light
from edge.sources.street.place import Floats
from edge.sources.street.view import View

MATTE, PAINT, GLASS, LAMP = range(4)


@dataclass(frozen=True)
class Mesh:
    """Quadrilaterals in a thing's own metres: x to its right, y up, z ahead.

    points float (N, 3); quads int (M, 4), clockwise seen from outside; colours BGR float (M, 3); kinds int (M,);
    nearer float (M,): metres by which a quad counts as nearer than it is, for what lies on another's surface.
    """

    points: Floats
    quads: NDArray[np.intp]
    colours: Floats
    kinds: NDArray[np.intp]
    nearer: Floats

    @classmethod
    def joined(cls, meshes: list[Mesh]) -> Mesh:
        starts = np.cumsum([0, *(len(mesh.points) for mesh in meshes[:-1])])
        return cls(
            points=np.concatenate([mesh.points for mesh in meshes]),
            quads=np.concatenate([mesh.quads + start for mesh, start in zip(meshes, starts, strict=True)]),
            colours=np.concatenate([mesh.colours for mesh in meshes]),
            kinds=np.concatenate([mesh.kinds for mesh in meshes]),
            nearer=np.concatenate([mesh.nearer for mesh in meshes]),
        )


def make_mesh(points: Floats, quads: Floats, colours: Floats, kind: int = MATTE, nearer: float = 0.0) -> Mesh:
    """A mesh of one material; `colours` is one BGR or one per quad."""
    count = len(quads)
    return Mesh(
        points=np.asarray(points, np.float32),
        quads=np.asarray(quads, np.intp),
        colours=np.broadcast_to(np.asarray(colours, np.float32), (count, 3)).copy(),
        kinds=np.full(count, kind, np.intp),
        nearer=np.full(count, nearer, np.float32),
    )


@dataclass(frozen=True)
class Pose:
    """Where a thing stands: X and S of its origin on the ground, and its heading, 0 along the road, to the right +."""

    x: float
    s: float
    heading_rad: float

    def to_street(self, points: Floats) -> Floats:
        c, s = np.cos(self.heading_rad), np.sin(self.heading_rad)
        turn = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]], np.float32)
        return points @ turn + np.array([self.x, 0, self.s])


def _shaded(mesh: Mesh, corners: Floats, middles: Floats, light: Light, in_sun: float, eye: Floats) -> Floats:
    """BGR (M, 3) of every quad as it leaves the surface; corners (M, 4, 3) and middles (M, 3) in street metres."""
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    gains = light.gain(normals, in_sun)
    # Little light comes down to what is close to the ground.
    gains *= np.clip(0.62 + 0.5 * middles[:, 1:2], 0.5, 1.0)
    colours = mesh.colours * gains
    shiny = mesh.kinds > MATTE
    if shiny.any():
        colours[shiny] = _reflecting(mesh, shiny, colours[shiny], normals[shiny], middles[shiny] - eye, light)
    return colours


def _reflecting(mesh: Mesh, shiny: Floats, base: Floats, normals: Floats, rays: Floats, light: Light) -> Floats:
    """Add the mirrored sky, houses and ground to paint and glass; lamps keep their own colour."""
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    facing = np.sum(rays * normals, axis=1, keepdims=True)
    up = (rays - 2 * facing * normals)[:, 1:2]
    # What a car mirrors: road below, a band of houses to about 25 degrees, then the sky.
    sky = light.horizon + (light.zenith - light.horizon) * np.clip(up, 0, 1)
    houses = 0.34 * light.horizon
    seen = np.where(up > 0.42, sky, np.where(up > 0.05, houses + (sky - houses) * np.clip((up - 0.25) / 0.17, 0, 1), 62.0))
    grazing = (1 - np.minimum(1, np.abs(facing))) ** 3
    kinds = mesh.kinds[shiny][:, None]
    mirror = np.where(kinds == GLASS, 0.22 + 0.6 * grazing, 0.10 + 0.35 * grazing)
    out = base * (1 - mirror) + seen * mirror
    return np.where(kinds == LAMP, mesh.colours[shiny], out)


def draw_mesh(
    canvas: Canvas,
    view: View,
    light: Light,
    mesh: Mesh,
    pose: Pose,
    labels: tuple[int, int],
    in_sun: float = 1.0,
) -> bool:
    """Paint a mesh with its labels, (class id, instance id); False where it is not in the picture."""
    points = pose.to_street(mesh.points)
    pixels, depth = view.project(points)
    if depth.min() < 0.9 or (box := canvas.box(pixels)) is None:
        return False
    x0, y0, x1, y1 = box
    quads = pixels[mesh.quads]
    ab, cd = quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1]
    front = np.flatnonzero(ab[:, 0] * cd[:, 1] - ab[:, 1] * cd[:, 0] > 0)
    if not len(front):
        return False
    corners = points[mesh.quads[front]]
    middles = corners.mean(axis=1)
    part = Mesh(mesh.points, mesh.quads[front], mesh.colours[front], mesh.kinds[front], mesh.nearer[front])
    colours = _shaded(part, corners, middles, light, in_sun, np.array([view.x, view.height_m, view.s]))
    tone = light.tone(pose.s - view.s, np.ones(3))
    colours = np.clip(colours * tone[0, 0] + tone[:, 3], 0, 255)
    order = np.argsort(part.nearer - middles[:, 2])
    grain = 3 if max(x1 - x0, y1 - y0) < 120 else 2
    big = np.zeros(((y1 - y0) * grain, (x1 - x0) * grain, 4), np.uint8)
    local = ((quads[front][order] - np.array([x0, y0])) * grain - 0.5) * (1 << SHIFT)
    local = np.round(np.clip(local, -60000, 120000)).astype(np.int32)
    opaque = np.full((len(order), 1), 255.0)
    for polygon, colour in zip(local, np.hstack([colours[order], opaque]).tolist(), strict=True):
        cv2.fillConvexPoly(big, polygon, colour, cv2.LINE_8, SHIFT)
    picture = cv2.resize(big, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    canvas.stamp(picture, (x0, y0), *labels)
    return True
