"""Zones of events as the page draws them, and takes them from whoever edits them there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from edge.config import parse_tree
from edge.errors import ConfigError
from edge.events import CameraZones, EventOptions

LIMIT_BYTES = 32_768  # of what the page sends
ZONES_MAX, CORNERS_MAX = 32, 64

Save = Callable[[str, CameraZones], None]  # of a camera; raises ConfigError or OutputError where they cannot be kept


@dataclass(frozen=True)
class ZoneView:
    """Zones of one camera, corners as [x, y] in shares of the image's width and height.

    Attributes:
        own: the way ahead, and places by name.
        tracked: whether people are followed into the places.
    """

    own: CameraZones
    tracked: bool

    @classmethod
    def of(cls, options: EventOptions | None, camera: str) -> ZoneView:
        """What a config has for that camera; of no events, the way ahead by default."""
        found = (options or EventOptions()).of_camera(camera)
        places = found.tracks.zones if found.tracks else {}
        return cls(CameraZones(zone=found.zone, zones=places), found.tracks is not None)

    def as_json(self) -> dict[str, object]:
        """As the page has it."""
        return {"ahead": self.own.zone, "places": self.own.zones or {}, "tracked": self.tracked}


def read_zones(body: bytes) -> CameraZones:
    """The zones in what a page sent: {"zone": [[x, y], ...], "zones": {NAME: [...]}}.

    Raises:
        ConfigError: what is wrong with them, for the person who drew them.
    """
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ConfigError("expected zones as JSON") from error
    zones = parse_tree(tree, CameraZones, "zones")
    drawn = [*(zones.zones or {}).values(), *([zones.zone] if zones.zone else [])]
    if len(drawn) > ZONES_MAX or any(len(corners) > CORNERS_MAX for corners in drawn):
        raise ConfigError(f"expected at most {ZONES_MAX} zones of at most {CORNERS_MAX} corners")
    return zones
