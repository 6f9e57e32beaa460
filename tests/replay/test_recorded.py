"""Masks that a drive holds, beside those computed anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import Edge, MakeCard
from drives import write_drive
from recordings import Numbers, all_road
from videos import open_files, write_video

from edge.card import Card
from edge.classes import CAMVID
from edge.engine import Bundle
from edge.errors import EngineError, SourceDamaged
from edge.frame import Image, Letterbox
from edge.outputs import Output
from edge.replay.mask_track import recorded_track
from edge.replay.session import open_session, split_precision
from edge.sinks import drive as drive_module
from edge.sources.drive import open_recorded


@dataclass
class Mask:
    classes: Image
    letterbox: Letterbox
    age_ms: float = 25.0
    instances: None = None
    free_space: None = None
    lane: None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    specs: Mapping[str, Output] = field(default_factory=dict)


class Drive(Numbers):
    """A recording with a mask for every second frame."""

    source_wh: tuple[int, int] = (64, 48)

    def __init__(self, card: Card | None) -> None:
        super().__init__(10)
        self.card = card

    def recorded(self, index: int) -> Mask | None:
        return None if index % 2 else Mask(all_road(index), Letterbox.fit(self.source_wh, (64, 48)))


def test_recorded_masks_come_with_their_own_classes_and_age(make_card: MakeCard) -> None:
    drive = Drive(make_card(b"graph", table=CAMVID))
    found = recorded_track(drive)
    assert found is not None
    track, table = found
    mask = track.of(drive, drive.at(4))
    assert mask is not None
    assert (mask.table, table) == (CAMVID, CAMVID)
    assert mask.age_ms == pytest.approx(25, abs=0.01)
    assert np.array_equal(mask.semantic, all_road(4))
    assert track.of(drive, drive.at(5)) is None


def test_a_recording_without_masks_has_no_such_lane(make_card: MakeCard) -> None:
    assert recorded_track(Numbers()) is None
    assert recorded_track(Drive(None)) is None


def test_a_mask_of_a_picture_of_another_size_is_not_laid_over_the_frame(make_card: MakeCard) -> None:
    drive = Drive(make_card(b"graph", table=CAMVID))
    drive.source_wh = (128, 96)
    found = recorded_track(drive)
    assert found is not None
    with pytest.raises(SourceDamaged, match="the mask of frame 4 is of an image of"):
        found[0].of(drive, drive.at(4))


@pytest.mark.slow
def test_a_recorded_drive_is_compared_with_its_own_masks_without_being_asked(
    edge_here: Edge, colour_bundle: Bundle, tmp_path: Path
) -> None:
    pytest.importorskip("mcap", reason="pip install 'edge-segmentation[drives]'")
    video, drive = write_video(tmp_path / "a.mp4"), tmp_path / "drive.mcap"
    command = ["record", str(video), str(drive), "--engine", str(colour_bundle.folder)]
    done = edge_here(*command)
    assert done.returncode == 0, done.stderr
    done = edge_here("replay", drive, "--fast", "--engine", colour_bundle.folder, "--backend", "openvino")
    assert done.returncode == 0, done.stderr
    assert "decoded  12 of 12 frames" in done.stdout
    assert "colours f32 and recorded: 12 of 12 frames compared" in done.stdout


def test_results_that_are_damaged_are_not_taken_for_agreement(
    edge_here: Edge, colour_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mcap", reason="pip install 'edge-segmentation[drives]'")
    monkeypatch.setattr("edge.sinks.drive.as_record", lambda result, dropped: {"frame": result.frame.index})
    drive = write_drive(tmp_path / "drive.mcap", 5, card=colour_bundle.card)
    done = edge_here(
        "replay", drive, "--fast", "--diff", "recorded", "--engine", colour_bundle.folder, "--json", tmp_path / "a.json"
    )
    assert done.returncode == 69
    assert "5 of 5 frames could not be compared, first: " in done.stderr
    assert "what was recorded with a frame is damaged" in done.stderr
    assert json.loads((tmp_path / "a.json").read_text())["differing"] == [None] * 5


@pytest.mark.parametrize(
    "wrong",
    [
        *({"age_ms": value} for value in ("x", None, 1e400)),
        {"frame": "1"},
        {"captured_ns": 10**30},
        {"dropped": []},
        *({"shares": value} for value in ([1], {"Road": "x"})),
    ],
    ids=str,
)
def test_a_figure_of_another_kind_is_damage_of_its_frame(
    wrong: dict[str, object], colour_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_record = drive_module.as_record
    monkeypatch.setattr(drive_module, "as_record", lambda result, dropped: {**as_record(result, dropped), **wrong})
    path = write_drive(tmp_path / "drive.mcap", 2, card=colour_bundle.card)
    with open_recorded(str(path)) as source, pytest.raises(SourceDamaged, match="what was recorded with a frame is"):
        source.recorded(0)  # type: ignore[attr-defined]


def test_engine_and_precision_are_told_apart() -> None:
    assert split_precision("road:f32") == ("road", "f32")
    assert split_precision("road") == ("road", None)
    assert split_precision("./old:new") == ("./old:new", None)


def test_an_engine_that_cannot_be_opened_leaves_no_recording_open(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4")
    with pytest.raises(EngineError), ExitStack() as stack:
        open_session(stack, str(video), "nobody", None)
    assert open_files(tmp_path) == []
