"""What the page draws from above: what a result knows in metres, as its head has it."""

from __future__ import annotations

from typing import Any

from edge.instances import THINGS
from edge.prediction import Prediction


def seen_in_metres(result: Prediction) -> dict[str, Any] | None:
    """The free road and the lane, as records have them, and who is where, the nearest first; None without a camera
    model.
    """
    if result.free_space is None and result.lane is None and result.ground is None:
        return None
    table = result.table
    group_of = {number: group for group in THINGS if group in table.groups for number in table.ids(group)}
    placed = [one for one in result.instances or () if one.distance_m is not None and one.class_id in group_of]
    return {
        "free_space": None if result.free_space is None else result.free_space.as_json(),
        "lane": None if result.lane is None else result.lane.as_json(),
        "objects": [
            {
                "group": group_of[one.class_id],
                "distance_m": one.distance_m,
                "lateral_m": one.lateral_m,
                "distance_sd_m": one.distance_sd_m,
                "track_id": one.track_id,
                "in_lane": one.in_lane,
            }
            for one in sorted(placed, key=lambda one: one.distance_m or 0.0)
        ],
    }
