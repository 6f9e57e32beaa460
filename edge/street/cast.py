"""Everybody and everything that moves, or could: their shapes, shadows and labels for one frame."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from edge.street.canvas import Canvas, Paint
from edge.street.light import Light
from edge.street.mesh import Mesh, joined, placed, solids
from edge.street.people import Looks, crowd, cyclists, make_looks, walkers
from edge.street.place import BICYCLIST, CAR, FAR_M, PEDESTRIAN, Floats, rng_of
from edge.street.shadows import ShadowMap
from edge.street.traffic import PARKED_REACH_M, Actor, Traffic
from edge.street.truth import Placed
from edge.street.vehicles import Vehicle, make_vehicle
from edge.street.view import View
from edge.street.world import Block

_CLASS = {"car": CAR, "parked": CAR, "cyclist": BICYCLIST, "walker": PEDESTRIAN}
_PARKABLE = ("hatch", "saloon", "estate", "tall", "van")
# Heights in pixels from which people and cars are drawn with more and more detail.
_PEOPLE_PX, _CAR_PX = (48.0, 120.0, 220.0), (30.0, 80.0)
# Smaller people than this are left out, and all people further away than this.
_LEAST_PX, _PEOPLE_REACH_M = 7.5, 100.0
_SHADOW_REACH_M = 36.0
_FADE_M = 10.0


class Cast:
    """Keeps the looks of people and the shapes of cars, and sets them out for each frame."""

    def __init__(self, seed: int, traffic: Traffic) -> None:
        self._seed, self._traffic = seed, traffic
        self._vehicles: OrderedDict[tuple[int, ...], Vehicle] = OrderedDict()
        self._looks: OrderedDict[tuple[int, ...], Looks] = OrderedDict()

    def at(
        self, time_s: float, canvas: Canvas, view: View, light: Light, shadows: ShadowMap, blocks: list[Block]
    ) -> list[Paint]:
        """How to paint everybody in the image; their shadows are cast."""
        reach = _reach_m(view)
        actors: list[Actor] = []
        meshes: list[Mesh] = []
        owners: list[int] = []
        seen = [actor for actor in self._traffic.at(time_s, blocks, reach) if _in_view(actor, view)]
        for group, mesh in self._groups(seen, view):
            owners.append(len(actors))
            actors.extend(group)
            meshes.append(mesh)
        if not actors:
            return []
        mesh = joined(meshes, owners)
        points = placed(mesh, [actor.pose for actor in actors], view.s)
        in_sun = np.array([shadows.shade_at(actor.pose.x, actor.pose.s) for actor in actors], np.float32)
        starts = np.searchsorted(mesh.point_owner, np.arange(len(actors) + 1)).tolist()
        for actor, first, last in zip(actors, starts[:-1], starts[1:], strict=True):
            _shade(shadows, view, actor, points[first:last])
        fades = np.array([_fade(actor, view, reach) for actor in actors])
        paints: list[Paint] = []
        for actor, solid in zip(actors, solids(view, light, mesh, points, in_sun, fades), strict=True):
            if solid is not None:
                labels = _CLASS[actor.kind], actor.instance
                paints.append((actor.pose.s, partial(solid.paint, canvas, *labels)))
            if light.lamps and actor.kind == "car":
                paints.append((actor.pose.s - 2.5, partial(_shine, canvas, view, light, actor)))
        return paints

    def places(self, time_s: float, view: View, blocks: list[Block]) -> list[Placed]:
        """Where everybody is who may be in view."""
        found = (one for one in self._traffic.at(time_s, blocks, _reach_m(view)) if _in_view(one, view))
        return [
            Placed(
                one.instance,
                _CLASS[one.kind],
                one.pose.x + float(view.bend(one.pose.s)) - view.x,
                one.pose.s - view.s,
                one.pose.s - view.s - self._half_length_m(one),
            )
            for one in found
        ]

    def _half_length_m(self, actor: Actor) -> float:
        """Along the street, from the middle of a vehicle to its nearer end; 0 of a person."""
        if actor.kind not in ("car", "parked"):
            return 0.0
        x, _, z = np.abs(self._vehicle(actor).tiny.points).max(axis=0).tolist()
        return abs(math.cos(actor.pose.heading_rad)) * z + abs(math.sin(actor.pose.heading_rad)) * x

    def _groups(self, actors: list[Actor], view: View) -> Iterator[tuple[list[Actor], Mesh]]:
        """Actors whose shapes are made together, with those shapes."""
        people: dict[str, list[Actor]] = {}
        for actor in actors:
            if actor.kind in ("car", "parked"):
                vehicle = self._vehicle(actor)
                shapes = (vehicle.tiny, vehicle.coarse, vehicle.fine)
                yield [actor], shapes[int(np.searchsorted(_CAR_PX, _tall_px(actor, view)))]
            else:
                people.setdefault(actor.kind, []).append(actor)
        for kind, group in people.items():
            looks = crowd([self._person(actor) for actor in group])
            phase, pace = np.array([(actor.phase, actor.pace) for actor in group]).T
            detail = np.searchsorted(_PEOPLE_PX, [_tall_px(actor, view) for actor in group])
            if kind == "cyclist":
                # There are few: sets of their own for middling ones would cost more than they save.
                detail[detail == 1] = 2
            made = cyclists(looks, phase, detail) if kind == "cyclist" else walkers(looks, phase, pace, detail)
            for _, members, mesh in made:
                yield [group[k] for k in members], mesh

    def _vehicle(self, actor: Actor) -> Vehicle:
        if actor.identity not in self._vehicles:
            kinds = _PARKABLE if actor.kind == "parked" else None
            _keep(self._vehicles, actor.identity, make_vehicle(rng_of(self._seed, *actor.identity), kinds))
        return self._vehicles[actor.identity]

    def _person(self, actor: Actor) -> Looks:
        if actor.identity not in self._looks:
            _keep(self._looks, actor.identity, make_looks(rng_of(self._seed, *actor.identity), actor.kind == "cyclist"))
        return self._looks[actor.identity]


def _reach_m(view: View) -> float:
    """How far away people are drawn."""
    return min(_PEOPLE_REACH_M, view.focal_px * 1.75 / _LEAST_PX)


def _fade(actor: Actor, view: View, people_reach_m: float) -> float:
    """How far someone is in sight: who comes from afar appears over some metres, not at once."""
    reach = {"car": FAR_M, "parked": PARKED_REACH_M}.get(actor.kind, people_reach_m)
    return float(np.clip((reach - (actor.pose.s - view.s)) / _FADE_M, 0.0, 1.0))


def _shine(canvas: Canvas, view: View, light: Light, actor: Actor) -> None:
    """The glare of headlamps, or the red of tail lamps, when it is dark."""
    depth = actor.pose.s - 2.2 - view.s
    if depth < 3:
        return
    comes = abs(actor.pose.heading_rad) > 1.5
    radius = view.focal_px * (0.75 if comes else 0.28) / depth + (3.0 if comes else 0.0) * view.size_wh[1] / 720
    colour = np.array((210.0, 235.0, 245.0) if comes else (30.0, 20.0, 190.0)) * light.lamps
    for side in (-0.6, 0.6):
        at = view.pixel(actor.pose.x + side, 0.68 if comes else 0.8, actor.pose.s - 2.2)
        canvas.glow(at, radius, tuple(colour.tolist()))


def _tall_px(actor: Actor, view: View) -> float:
    return view.focal_px * 1.6 / max(1.0, actor.pose.s - view.s)


def _keep(store: OrderedDict[tuple[int, ...], Any], key: tuple[int, ...], value: object) -> None:
    """Add to a store that forgets its oldest."""
    store[key] = value
    if len(store) > 160:
        store.popitem(last=False)


def _in_view(actor: Actor, view: View) -> bool:
    """False for those who are beside the image, and whose shadow hardly reaches into it."""
    u, _ = view.pixel(actor.pose.x, 0.0, max(actor.pose.s, view.s + 1.0))
    # Half a bus beside someone's own place, and some metres of shadow.
    margin = view.focal_px * 4.0 / max(1.0, actor.pose.s - view.s)
    return -margin < u < view.size_wh[0] + margin


def _shade(shadows: ShadowMap, view: View, actor: Actor, points: Floats) -> None:
    """The shadow an actor casts, and the dark right under it; `points` as `placed` from the camera's S."""
    depth = actor.pose.s - view.s
    if depth > _SHADOW_REACH_M:
        return
    shadows.cast(points[:: 1 + len(points) // 200])
    if actor.kind in ("car", "parked"):
        (x0, _, z0), (x1, _, z1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        under = ((x0 + 0.1, z0), (x1 - 0.1, z0), (x1 - 0.1, z1), (x0 + 0.1, z1))
        shadows.close(np.array(under), 0.62)
    elif depth < 0.6 * _SHADOW_REACH_M:
        x, half = actor.pose.x, 0.24 if actor.kind == "walker" else 0.5
        shadows.close(
            np.array(
                ((x - 0.2, depth - half), (x + 0.2, depth - half), (x + 0.2, depth + half), (x - 0.2, depth + half))
            ),
            0.3,
        )
