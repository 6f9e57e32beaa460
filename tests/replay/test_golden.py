"""The same drive and the same engine give the same bytes.

What can be promised, and is tested:
- the clip decodes to the same planes everywhere: H.264 is exact by its standard. That hash has no condition;
- a replay gives the same masks each time, however many threads work on it and in whatever order frames are asked for;
- on one kind of processor with the same libraries, a replay gives the masks it gave when golden/masks.json was written.
  Elsewhere OpenVINO takes other kernels, which may round otherwise: there that test is skipped, and says what to add.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.backends import open_engine
from edge.backends.cpu import cpu_kind
from edge.engine import Engine
from edge.replay.digest import MaskDigest
from edge.replay.fast import replay_fast
from edge.replay.identity import engine_identity, library_versions
from edge.replay.mask_track import engine_track
from edge.replay.session import Session
from edge.segmenter import Segmenter
from edge.sources.seek import RecordedVideo
from edge.timing import Stages

GOLDEN = Path(__file__).with_name("golden")
CLIP = GOLDEN / "street.mp4"
PLANES_SHA256 = "fe8c5e81177ed6766696c0b844d58720247f0bebc28282a0f21b747eb0267679"
CITY = Path(os.environ.get("EDGE_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / (
    "drives/city-15hz-labelled.mp4"
)


@pytest.fixture(scope="module")
def road() -> Iterator[Engine]:
    with open_engine("road", source_wh=(640, 360), backend="openvino") as engine:
        yield engine


def replayed(path: Path, **wishes: object) -> tuple[str, int]:
    """The hash over all masks, and of how many frames."""
    with RecordedVideo(str(path)) as video:
        with open_engine("road", source_wh=video.size_wh, backend="openvino", **wishes) as engine:  # type: ignore[arg-type]
            tracks = (engine_track(engine, "road"),)
            done = replay_fast(Session(video, engine, tracks, (engine.card.table,), None), [], Stages())
        assert done.summary.failure is None
        assert done.summary.frames_out == done.expected
        return done.sha256, done.summary.frames_out


def test_the_golden_clip_decodes_to_the_same_bits_on_every_machine() -> None:
    digest = hashlib.sha256()
    with RecordedVideo(str(CLIP)) as video:
        for frame in video:
            assert frame.yuv is not None
            for plane in (frame.yuv.y, frame.yuv.u, frame.yuv.v):
                digest.update(np.ascontiguousarray(plane).data)
    assert digest.hexdigest() == PLANES_SHA256


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two threads need two cores")
def test_masks_are_the_same_with_one_thread_with_two_and_with_frames_side_by_side() -> None:
    ways = [{"threads": 1}, {"threads": 2}, {"threads": 2, "side_by_side": True}]
    found = [replayed(CLIP, **way) for way in ways]
    assert found == [found[0]] * 3
    assert found[0][1] == 24


@pytest.mark.slow
def test_masks_do_not_depend_on_how_a_frame_was_come_to(road: Engine) -> None:
    segmenter = Segmenter(road)
    with RecordedVideo(str(CLIP)) as video:
        through = [segmenter.segment(frame).semantic for frame in video]
        for index in (23, 0, 11, 10, 9, 17, 5):
            assert np.array_equal(segmenter.segment(video.at(index)).semantic, through[index]), index


def test_masks_are_the_golden_ones_of_this_kind_of_machine(road: Engine) -> None:
    key = f"{cpu_kind()}; {library_versions(road).partition(', ')[2]}"
    golden = json.loads((GOLDEN / "masks.json").read_text())
    digest, segmenter = MaskDigest(), Segmenter(road)
    with RecordedVideo(str(CLIP)) as video:
        for frame in video:
            digest.write(segmenter.segment(frame), 0)
    name = "road " + hashlib.sha256(" ".join(engine_identity(road)[:-1]).encode()).hexdigest()[:16]
    if os.environ.get("EDGE_WRITE_GOLDEN"):
        golden.setdefault(name, {})[key] = digest.hexdigest()
        (GOLDEN / "masks.json").write_text(json.dumps(golden, indent=1) + "\n")
    if key not in golden.get(name, {}):
        pytest.skip(f"no golden masks for {name} on {key!r}. Write them: EDGE_WRITE_GOLDEN=1 pytest {__file__}")
    assert digest.hexdigest() == golden[name][key]


@pytest.mark.slow
@pytest.mark.skipif(not CITY.exists(), reason=f"{CITY} is not here; set EDGE_DATA")
def test_the_city_clip_replayed_twice_gives_the_same_bytes() -> None:
    first, second = replayed(CITY, side_by_side=True), replayed(CITY, side_by_side=True)
    assert first == second
    assert first[1] == 101
