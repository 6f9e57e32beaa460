from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from recordings import Numbers, all_road, road_but_rows, seen, track
from videos import write_video

from edge.classes import CAMVID, ClassTable, make_table
from edge.errors import ConfigError, EngineError
from edge.frame import Letterbox
from edge.prediction import Prediction
from edge.replay.background import BackgroundComparison
from edge.replay.compare import Comparer
from edge.replay.digest import MaskDigest
from edge.replay.mask_track import MaskTrack
from edge.replay.timeline import DisagreementTimeline

FRAME = Numbers().at(0)
TWO = ClassTable(("ground", "person"), ((1, 1, 1), (2, 2, 2)), {"road": ("ground",), "pedestrian": ("person",)}, {})
MAPS = arrays.arrays(np.uint8, (48, 64), elements=st.integers(0, 10))


def filled(shares: dict[int, int], frame_count: int = 30) -> DisagreementTimeline:
    """A timeline that knows of these frames how many rows of 48 differ."""
    timeline = DisagreementTimeline(frame_count, Comparer(CAMVID, CAMVID))
    for index, rows in shares.items():
        timeline.compare(index, seen(FRAME, all_road(0)), seen(FRAME, road_but_rows(lambda _, rows=rows: rows)(0)))
    return timeline


# -------------------------------------------------------------------------------------------------------- comparing


def test_the_share_is_that_of_differing_pixels_and_the_iou_that_of_each_group() -> None:
    comparer = Comparer(CAMVID, CAMVID)
    found = comparer.compare(seen(FRAME, all_road(0)), seen(FRAME, road_but_rows(lambda _: 12)(0)))
    iou = dict(zip(comparer.groups, found.iou, strict=True))
    assert found.share == 0.25
    assert (iou["road"], iou["pavement"]) == (0.75, 0.0)
    assert iou["pedestrian"] is None


@given(first=MAPS, second=MAPS)
def test_comparing_is_symmetric_and_zero_for_equals_alone(first: np.ndarray, second: np.ndarray) -> None:
    comparer = Comparer(CAMVID, CAMVID)
    a, b = seen(FRAME, first), seen(FRAME, second)
    assert comparer.compare(a, b).share == comparer.compare(b, a).share == np.mean(first != second)
    assert comparer.compare(a, a).share == 0
    assert np.array_equal(comparer.differ(a, b), first != second)


def test_classes_are_matched_by_their_names() -> None:
    order = [3, 0, 1, 2, *range(4, 11)]
    shuffled = dataclasses.replace(
        CAMVID,
        names=tuple(CAMVID.names[i] for i in order),
        colours_rgb=tuple(CAMVID.colours_rgb[i] for i in order),
    )
    other = seen(FRAME, np.zeros((48, 64)), shuffled)
    assert Comparer(CAMVID, shuffled).compare(seen(FRAME, all_road(0)), other).share == 0


def test_nets_of_other_classes_are_compared_by_the_groups_that_both_have() -> None:
    comparer = Comparer(CAMVID, TWO)
    assert comparer.groups == ("road", "pedestrian")
    found = comparer.compare(seen(FRAME, all_road(0)), seen(FRAME, np.zeros((48, 64)), TWO))
    assert (found.share, found.iou[0]) == (0.0, 1.0)


def test_nets_with_nothing_in_common_are_refused() -> None:
    other = make_table([("cat", (0, 0, 0))], {}, {}, 255)
    with pytest.raises(ConfigError, match="no group in common"):
        Comparer(CAMVID, other)


def test_nets_of_other_input_sizes_are_compared_over_the_picture() -> None:
    small = np.full((24, 48), 3, np.uint8)
    box = Letterbox.fit(FRAME.size_wh, (48, 24))  # bars at the sides: 32x24 of the 48x24 are image
    small[:, :8], small[:, 40:] = 0, 0
    wide = Prediction(FRAME, {"semantic": small}, box, CAMVID, 0)
    assert Comparer(CAMVID, CAMVID).compare(seen(FRAME, all_road(0)), wide).share == 0


# -------------------------------------------------------------------------------------------------------- the timeline


def test_the_worst_frame_of_a_stretch_stands_for_it() -> None:
    timeline = filled({3: 5, 4: 9, 5: 7, 20: 8, 25: 0})
    assert timeline.worst(apart=5) == [4, 20]
    assert timeline.worst(apart=1) == [4, 20, 5, 3]
    assert timeline.worst(apart=1, limit=2) == [4, 20]


def test_a_column_shows_its_worst_frame_and_one_that_knows_nothing_says_so() -> None:
    timeline = filled({0: 12, 1: 24, 15: 6})
    assert np.array_equal(timeline.columns(3), np.array([0.5, 0.125, np.nan], np.float32), equal_nan=True)
    assert len(timeline.columns(1000)) == 30


@given(
    frame_count=st.integers(1, 60),
    width=st.integers(1, 100),
    known=st.dictionaries(st.integers(0, 59), st.integers(0, 48)),
)
def test_no_disagreement_is_lost_between_columns(frame_count: int, width: int, known: dict[int, int]) -> None:
    known = {index: rows for index, rows in known.items() if index < frame_count}
    columns = filled(known, frame_count).columns(width)
    assert len(columns) == min(width, frame_count)
    wanted = max((rows / 48 for rows in known.values()), default=float("nan"))
    assert np.fmax.reduce(columns) == pytest.approx(wanted, nan_ok=True)


def test_the_mean_is_over_what_is_known() -> None:
    assert filled({}).mean() is None
    mean = filled({3: 12, 4: 36}).mean()
    assert mean is not None
    assert mean.share == 0.5
    assert mean.iou[0] == 0.5


def test_what_is_kept_is_what_is_taken_again(tmp_path: Path) -> None:
    timeline, again = filled({3: 5, 4: 9}), filled({5: 7})
    timeline.save(tmp_path / "a" / "timeline.npz")
    again.load(tmp_path / "a" / "timeline.npz")
    assert [index for index in range(30) if again.knows(index)] == [3, 4, 5]
    assert again.at(4) == timeline.at(4)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04" + bytes(40)])
def test_a_damaged_file_of_an_earlier_replay_is_not_taken(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "timeline.npz").write_bytes(content)
    timeline = filled({})
    timeline.load(tmp_path / "timeline.npz")
    assert timeline.known == 0


def test_a_file_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    filled({1: 2}).save(tmp_path / "file" / "timeline.npz")


# ------------------------------------------------------------------------------------------------------- the comparison

ROAD, OTHER = track("road", lambda _: all_road(0)), track("other", road_but_rows(lambda number: number % 48))


def comparison(path: Path, tracks: tuple[MaskTrack, MaskTrack] = (ROAD, OTHER)) -> DisagreementTimeline:
    timeline = DisagreementTimeline(12, Comparer(CAMVID, CAMVID))
    with BackgroundComparison(str(path), tracks, timeline) as running:
        running.wait()
    return timeline


def test_a_survey_compares_every_frame_and_a_second_one_asks_no_engine(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    first = comparison(path)
    assert first.known == 12

    def refuse(number: int) -> np.ndarray:
        raise EngineError("was asked")

    second = comparison(path, (track("road", refuse), track("other", refuse)))
    assert [second.at(index) for index in range(12)] == [first.at(index) for index in range(12)]


def test_a_survey_goes_on_where_one_was_broken_off(tmp_path: Path) -> None:
    path, asked = write_video(tmp_path / "a.mp4"), 0

    def fail_later(number: int) -> np.ndarray:
        nonlocal asked
        asked += 1
        if asked == 6:
            raise EngineError("is gone")
        return all_road(0)

    with pytest.raises(EngineError, match="is gone"):
        comparison(path, (track("road", fail_later), OTHER))
    assert comparison(path, (track("road", fail_later), OTHER)).known == 12
    assert asked == 6 + 7


def test_another_recording_or_engine_is_another_comparison(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    comparison(path)
    shutil.copy(path, tmp_path / "same content.mp4")
    write_video(tmp_path / "other.mp4", codec="mpeg4")

    def refuse(number: int) -> np.ndarray:
        raise EngineError("was asked")

    assert comparison(tmp_path / "same content.mp4", (track("road", refuse), OTHER)).known == 12
    for changed, tracks in (
        (tmp_path / "other.mp4", (track("road", refuse), OTHER)),
        (path, (track("new", refuse), OTHER)),
    ):
        with pytest.raises(EngineError, match="was asked"):
            comparison(changed, tracks)


# ------------------------------------------------------------------------------------------------------- the digest


def test_a_replay_is_named_by_its_frames_their_masks_and_their_order() -> None:
    def digest(*rows: int, size_wh: tuple[int, int] = (64, 48)) -> str:
        name = MaskDigest()
        for index, row in enumerate(rows):
            frame = Numbers().at(index)
            name.write(seen(frame, road_but_rows(lambda _, row=row: row)(0).reshape(size_wh[::-1])), 0)
        return name.hexdigest()

    names = [digest(), digest(1), digest(1, 2), digest(2, 1), digest(1, 2, 3), digest(1, 2, size_wh=(48, 64))]
    assert len(set(names)) == len(names)
    assert digest(1, 2) == names[2]
