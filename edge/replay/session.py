"""What a replay needs, opened together: the recording, its engines, mask tracks, the timeline of their differences."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from edge.backends import open_engine
from edge.classes import ClassTable
from edge.engine import GRAPH_PRECISION, Engine
from edge.errors import ConfigError
from edge.replay.compare import Comparer
from edge.replay.mask_track import RECORDED, MaskTrack, engine_track, recorded_track
from edge.replay.timeline import DisagreementTimeline
from edge.sources.seek import Playable, open_recording
from edge.sources.source import display_wh_of


@dataclass(frozen=True)
class Session:
    """An open replay.

    Attributes:
        source: the recording; tracks: what is shown of each frame. The first is computed by `engine`.
        tables: what the classes of each track are.
        timeline: where the first two tracks disagree; None where there is only one.
    """

    source: Playable
    engine: Engine
    tracks: tuple[MaskTrack, ...]
    tables: tuple[ClassTable, ...]
    timeline: DisagreementTimeline | None


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
    tracks, tables = [engine_track(first, _name(first))], [first.card.table]
    if diff is not None and diff != RECORDED:
        name, precision = split_precision(diff)
        second = stack.enter_context(opened(name, precision=precision))
        tracks.append(engine_track(second, _name(second)))
        tables.append(second.card.table)
    kept = recorded_track(source)
    if kept is None and diff == RECORDED:
        raise ConfigError(f"{recording}: holds no recorded masks. Compare with an engine: --diff road:f32")
    if kept is not None:
        tracks.append(kept[0])
        tables.append(kept[1])
    timeline = DisagreementTimeline(source.frame_count, Comparer(*tables[:2])) if len(tracks) > 1 else None
    return Session(source, first, _distinct(tracks), tuple(tables), timeline)


def split_precision(diff: str) -> tuple[str, str | None]:
    """Engine and precision of "road:f32"; a folder's name may hold a colon."""
    name, colon, precision = diff.rpartition(":")
    return (name, precision) if colon and precision in GRAPH_PRECISION else (diff, None)


def _name(engine: Engine) -> str:
    return f"{engine.card.name} {engine.precision}"


def _distinct(tracks: list[MaskTrack]) -> tuple[MaskTrack, ...]:
    """Two engines may be of one name, as an old and a new one are."""
    names = [track.name for track in tracks]
    again = [names[:place].count(name) for place, name in enumerate(names)]
    return tuple(
        replace(track, name=f"{track.name} ({count + 1})") if count else track
        for track, count in zip(tracks, again, strict=True)
    )
