"""What a replay needs, opened together: the recording, its engines, the lanes, and the strip between the first two."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from edge.classes import ClassTable
from edge.engine import GRAPH_PRECISION, Engine, open_engine
from edge.errors import ConfigError
from edge.replay.compare import Comparer
from edge.replay.lane import RECORDED, Lane, engine_lane, recorded_lane
from edge.replay.strip import Strip
from edge.sources.seek import Playable, open_recording
from edge.sources.source import display_wh_of


@dataclass(frozen=True)
class Session:
    """An open replay.

    Attributes:
        source: the recording; lanes: what is shown of each frame. The first is computed by `engine`.
        tables: what the classes of each lane are.
        strip: where the first two lanes disagree; None where there is only one.
    """

    source: Playable
    engine: Engine
    lanes: tuple[Lane, ...]
    tables: tuple[ClassTable, ...]
    strip: Strip | None


def open_session(
    stack: ExitStack, recording: str, engine: str, diff: str | None, *, side_by_side: bool = False, **wishes: Any
) -> Session:
    """Open all of it; `stack` closes it. `wishes` are those of `open_engine`, for the first engine.

    `diff` is an engine to compare with, by name or folder, with ":int8" or another precision behind it; or "recorded",
    for the masks in the recording, which also are what is compared with where `diff` is None and there are any.

    Raises:
        EdgeError: something cannot be opened, or not be compared.
    """
    source = stack.enter_context(open_recording(recording))
    opened = partial(open_engine, side_by_side=side_by_side, source_wh=display_wh_of(source))
    first = stack.enter_context(opened(engine, **wishes))
    lanes, tables = [engine_lane(first, _name(first))], [first.card.table]
    if diff is not None and diff != RECORDED:
        name, precision = split_precision(diff)
        second = stack.enter_context(opened(name, precision=precision))
        lanes.append(engine_lane(second, _name(second)))
        tables.append(second.card.table)
    kept = recorded_lane(source)
    if kept is None and diff == RECORDED:
        raise ConfigError(f"{recording}: holds no recorded masks. Compare with an engine: --diff road:f32")
    if kept is not None:
        lanes.append(kept[0])
        tables.append(kept[1])
    strip = Strip(source.frame_count, Comparer(*tables[:2])) if len(lanes) > 1 else None
    return Session(source, first, _distinct(lanes), tuple(tables), strip)


def split_precision(diff: str) -> tuple[str, str | None]:
    """Engine and precision of "road:f32"; a folder's name may hold a colon."""
    name, colon, precision = diff.rpartition(":")
    return (name, precision) if colon and precision in GRAPH_PRECISION else (diff, None)


def _name(engine: Engine) -> str:
    return f"{engine.card.name} {engine.precision}"


def _distinct(lanes: list[Lane]) -> tuple[Lane, ...]:
    """Two engines may be of one name, as an old and a new one are."""
    names = [lane.name for lane in lanes]
    again = [names[:place].count(name) for place, name in enumerate(names)]
    return tuple(
        replace(lane, name=f"{lane.name} ({count + 1})") if count else lane
        for lane, count in zip(lanes, again, strict=True)
    )
