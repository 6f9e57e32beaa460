"""Everybody and everything that moves, or could: their shapes, shadows and labels for one frame."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from edge.sources.street.light import Light
from edge.sources.street.mesh import Mesh, Solid, joined, placed, solids
from edge.sources.street.people import Looks, crowd, cyclists_mesh, make_looks, walkers_mesh
from edge.sources.street.place import BICYCLIST, CAR, PEDESTRIAN, Floats, rng_of
from edge.sources.street.shadows import ShadowMap, hull
from edge.sources.street.traffic import Actor, Traffic
from edge.sources.street.vehicles import Vehicle, make_vehicle
from edge.sources.street.view import View
from edge.sources.street.world import Block

_CLASS = {"car": CAR, "parked": CAR, "cyclist": BICYCLIST, "walker": PEDESTRIAN}
_PARKABLE = ("hatch", "saloon", "estate", "tall", "van")
# Heights in pixels from which people are drawn with more detail, and a car in full.
_PEOPLE_PX, _CAR_PX = (26.0, 120.0), 34.0
# Smaller people than this are left out, and all people further away than this.
_LEAST_PX, _PEOPLE_REACH_M = 6.5, 165.0
_SHADOW_REACH_M = 60.0


class Cast:
    """Keeps the looks of people and the shapes of cars, and sets them out for each frame."""

    def __init__(self, seed: int, traffic: Traffic) -> None:
        self._seed, self._traffic = seed, traffic
        self._vehicles: OrderedDict[tuple[int, ...], Vehicle] = OrderedDict()
        self._looks: OrderedDict[tuple[int, ...], Looks] = OrderedDict()

    def at(
        self, time_s: float, view: View, light: Light, shadows: ShadowMap, blocks: list[Block]
    ) -> list[tuple[float, Solid, tuple[int, int]]]:
        """(S, thing to paint, (class id, instance id)) of everybody in the picture; their shadows are cast."""
        reach = min(_PEOPLE_REACH_M, view.focal_px * 1.75 / _LEAST_PX)
        actors: list[Actor] = []
        meshes: list[Mesh] = []
        owners: list[int] = []
        for group, mesh in self._groups(self._traffic.at(time_s, blocks, reach), view):
            owners.append(len(actors))
            actors.extend(group)
            meshes.append(mesh)
        if not actors:
            return []
        mesh = joined(meshes, owners)
        points = placed(mesh, [actor.pose for actor in actors])
        in_sun = np.array([shadows.shade_at(actor.pose.x, actor.pose.s) for actor in actors])
        starts = np.searchsorted(mesh.point_owner, np.arange(len(actors) + 1)).tolist()
        for actor, first, last in zip(actors, starts[:-1], starts[1:], strict=True):
            _shade(shadows, view, actor, points[first:last])
        ready = solids(view, light, mesh, points, in_sun)
        return [
            (actor.pose.s, solid, (_CLASS[actor.kind], actor.instance))
            for actor, solid in zip(actors, ready, strict=True)
            if solid is not None
        ]

    def _groups(self, actors: list[Actor], view: View) -> Iterator[tuple[list[Actor], Mesh]]:
        """Actors whose shapes are made together, with those shapes."""
        people: dict[tuple[str, int], list[Actor]] = {}
        for actor in actors:
            high_px = view.focal_px * 1.6 / max(1.0, actor.pose.s - view.s)
            if actor.kind in ("car", "parked"):
                vehicle = self._vehicle(actor)
                yield [actor], vehicle.fine if high_px > _CAR_PX else vehicle.coarse
            else:
                detail = sum(high_px > limit for limit in _PEOPLE_PX)
                people.setdefault((actor.kind, detail), []).append(actor)
        for (kind, detail), group in people.items():
            looks = crowd([self._person(actor) for actor in group])
            phase = np.array([actor.phase for actor in group])
            if kind == "cyclist":
                yield group, cyclists_mesh(looks, phase, detail)
            else:
                yield group, walkers_mesh(looks, phase, np.array([actor.pace for actor in group]), detail)

    def _vehicle(self, actor: Actor) -> Vehicle:
        if actor.identity not in self._vehicles:
            kinds = _PARKABLE if actor.kind == "parked" else None
            _keep(self._vehicles, actor.identity, make_vehicle(rng_of(self._seed, *actor.identity), kinds))
        return self._vehicles[actor.identity]

    def _person(self, actor: Actor) -> Looks:
        if actor.identity not in self._looks:
            _keep(self._looks, actor.identity, make_looks(rng_of(self._seed, *actor.identity), actor.kind == "cyclist"))
        return self._looks[actor.identity]


def _keep(store: OrderedDict[tuple[int, ...], Any], key: tuple[int, ...], value: object) -> None:
    """Add to a store that forgets its oldest."""
    store[key] = value
    if len(store) > 400:
        store.popitem(last=False)


def _shade(shadows: ShadowMap, view: View, actor: Actor, points: Floats) -> None:
    """The shadow an actor casts, and the dark right under it."""
    if actor.pose.s - view.s > _SHADOW_REACH_M:
        return
    shadows.cast(points)
    ground = hull(points[points[:, 1] < 0.45][:, [0, 2]])
    if len(ground) >= 3:
        shadows.close(ground, 0.62 if actor.kind in ("car", "parked") else 0.3)


