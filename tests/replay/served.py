"""The page of a replay, served: 60 frames, two tracks, and frames in which these differ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from bundles import MakeCard
from recordings import Numbers, seen, track, with_confidence

from edge.classes import CAMVID
from edge.frame import Frame
from edge.replay.compare import Comparer
from edge.replay.mask_track import MaskTrack
from edge.replay.player import Player
from edge.replay.session import Session
from edge.replay.timeline import DisagreementTimeline
from edge.sources.seek import Playable

pytest.importorskip("starlette", reason="pip install 'edge-segmentation[serve]'")

from edge.replay.web import ReplayServer

COUNT, WORST = 60, {7: 12, 40: 24, 41: 20}  # frames, and in some of them rows of 48 in which the second track differs


def second_lane() -> MaskTrack:
    def of(source: Playable, frame: Frame) -> Any:
        classes = np.full((48, 64), 3, np.uint8)
        classes[: WORST.get(frame.index, 0)] = 4
        return seen(frame, classes)

    return MaskTrack("second", ["second"], of)


class Session60:
    """A player of 60 frames with two tracks, behind a page."""

    def __init__(self, make_card: MakeCard, source: Numbers, compared: bool) -> None:
        first = with_confidence(track("first", lambda number: np.full((48, 64), 3)))
        tracks = (first, second_lane()) if compared else (first,)
        timeline = DisagreementTimeline(source.frame_count, Comparer(CAMVID, CAMVID)) if compared else None
        engine = cast("Any", SimpleNamespace(card=make_card(b"graph", table=CAMVID), precision="int8"))
        self.session = Session(source, engine, tracks, (CAMVID,) * len(tracks), timeline)
        self.player = Player(source, tracks, timeline=timeline)
        frame = source.at(0)
        for index in range(source.frame_count if timeline else 0):
            assert timeline is not None
            there = Frame(index=index, captured_ns=0, source="", bgr=frame.image)
            first_mask, second_mask = (one.of(source, there) for one in tracks)
            assert first_mask is not None
            assert second_mask is not None
            timeline.compare(index, first_mask, second_mask)


@contextmanager
def serving(make_card: MakeCard, source: Numbers | None = None, compared: bool = True) -> Iterator[tuple[str, Player]]:
    made = Session60(make_card, source or Numbers(COUNT, 20.0), compared)
    with made.player as player, ReplayServer(player, made.session, None, 0) as server:
        yield server.url, player
