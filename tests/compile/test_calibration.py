"""Calibration sets: their files, the frames that they name, and how these are chosen."""

from __future__ import annotations

import dataclasses
import shutil
from itertools import combinations
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from videos import cut, flip_bits, noise, picture, write_video

from edge.compile.calibration import (
    CalibrationSet,
    Candidate,
    ChosenDrive,
    ChosenFrame,
    Coverage,
    choose,
    contact_sheet,
    find_candidates,
    frame_sha256,
    load_set,
    make_set,
    read_frames,
)
from edge.content import CELL_WH
from edge.errors import CalibrationError, ConfigError, SourceError, SourceNotFound
from edge.frame import Image
from edge.sources.open import open_source

TUNNEL, NIGHT, SNOW = 17, 41, 42  # odd frames of `drive`, at no even distance


def set_of(*drives: tuple[str | Path, list[tuple[int, str]]], name: str = "cal") -> CalibrationSet:
    """A set of (drive, [(index, hash)])."""
    chosen = [
        ChosenDrive(drive=str(drive), frames=tuple(ChosenFrame(index=i, sha256=s) for i, s in frames))
        for drive, frames in drives
    ]
    return CalibrationSet(name=name, why="a test", drives=tuple(chosen))


def hashes(drive: Path) -> list[str]:
    with open_source(str(drive)) as source:
        return [frame_sha256(frame) for frame in source]


def frames_of(drive: Path, *indices: int) -> tuple[str, list[tuple[int, str]]]:
    """That drive's part of a set."""
    known = hashes(drive)
    return str(drive), [(index, known[index]) for index in indices]


def read(chosen: CalibrationSet) -> list[tuple[str, int]]:
    return [(words, frame.index) for words, frame in read_frames(chosen)]


def places(candidates: list[Candidate]) -> list[int]:
    return [candidate.index for candidate in candidates]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve different frames."""
    return write_video(tmp_path_factory.mktemp("drives") / "drive.mp4")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of five different frames, stored without loss."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(5):
        cv2.imwrite(str(folder / f"{index}.png"), picture(3 * index))
    return folder


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Fifty frames of an even road that slowly changes, with a tunnel, a night and a snowstorm in between."""
    folder = tmp_path_factory.mktemp("drive")
    odd = {TUNNEL: picture(0) // 12, NIGHT: picture(0) // 3, SNOW: noise(0)}
    for index in range(50):
        cv2.imwrite(str(folder / f"{index:02d}.png"), odd.get(index, picture(index)))
    return str(folder)


# ------------------------------------------------------------------------------------------------------------- the file


sha256s = st.text("0123456789abcdef", min_size=64, max_size=64)
words = st.text(st.characters(exclude_categories=["Cc", "Cs"]))  # a control character is refused
chosen_frames = st.builds(ChosenFrame, index=st.integers(0, 2**40), sha256=sha256s)
drives = st.builds(ChosenDrive, drive=words, frames=st.lists(chosen_frames, min_size=1, max_size=4).map(tuple))
sets = st.builds(
    CalibrationSet,
    name=st.one_of(st.sampled_from(["on", "no", "null", "y"]), st.from_regex(r"\A[a-z][a-z0-9_-]*\Z")),
    why=words,
    drives=st.lists(drives, min_size=1, max_size=3).map(tuple),
)


@pytest.mark.slow
@given(chosen=sets)
def test_a_set_survives_its_file(chosen: CalibrationSet, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "set.yaml"
    path.write_text(chosen.to_yaml(), encoding="utf-8")
    assert load_set(path) == chosen


@pytest.mark.parametrize("sha256", ["1" * 64, f"{'1' * 30}e{'2' * 33}", "0" * 64])
def test_a_hash_that_looks_like_a_number_stays_text(sha256: str, tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_text(set_of(("drive.mp4", [(1, sha256)])).to_yaml(), encoding="utf-8")
    assert load_set(path).drives[0].frames[0].sha256 == sha256


def test_each_frame_has_a_line_of_its_own_in_the_file() -> None:
    text = set_of(("drive.mp4", [(3, "a" * 64), (7, "b" * 64)])).to_yaml()
    assert text.splitlines()[-2:] == [
        f'      - {{index: 3, sha256: "{"a" * 64}"}}',
        f'      - {{index: 7, sha256: "{"b" * 64}"}}',
    ]


def test_a_set_without_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_text("name: cal\nwhy: none\ndrives: [{drive: a.mp4, frames: []}]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"drives\.0\.frames: "):
        load_set(path)


def test_a_set_that_is_not_there_is_answered_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml: there is no such calibration set\. .*: edge calibrate select"):
        load_set(tmp_path / "no.yaml")


def test_a_sets_hash_is_of_its_frames_in_their_order_alone() -> None:
    one = set_of(("a.mp4", [(0, "a" * 64), (1, "b" * 64)]))
    assert one.sha256 == set_of(("elsewhere.mkv", [(5, "a" * 64), (9, "b" * 64)]), name="other").sha256
    assert one.sha256 != set_of(("a.mp4", [(0, "b" * 64), (1, "a" * 64)])).sha256
    assert one.sha256 != set_of(("a.mp4", [(0, "a" * 64)])).sha256
    assert one.frame_count == 2


# -------------------------------------------------------------------------------------------------------- reading a set


def test_frames_come_in_the_order_of_the_drives_each_read_once(
    video: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def counted(name: str) -> object:
        opened.append(name)
        return open_source(name)

    monkeypatch.setattr("edge.compile.calibration.open_source", counted)
    chosen = set_of(frames_of(video, 9, 2, 4), frames_of(pictures, 3, 1))
    assert read(chosen) == [
        *((f"frame {index} of {video}", index) for index in (2, 4, 9)),
        *((f"frame {index} of {pictures}", index) for index in (1, 3)),
    ]
    assert opened == [str(video), str(pictures)]


def test_the_pixels_that_come_are_those_that_were_hashed(video: Path) -> None:
    chosen = set_of(frames_of(video, 2, 9))
    assert [frame_sha256(frame) for _, frame in read_frames(chosen)] == [f.sha256 for f in chosen.drives[0].frames]


def test_a_changed_frame_is_refused_by_name(pictures: Path) -> None:
    chosen = set_of(frames_of(pictures, 1, 3))
    image = picture(9)
    image[20, 30, 1] ^= 1  # one bit of one pixel
    cv2.imwrite(str(pictures / "3.png"), image)
    with pytest.raises(CalibrationError, match=r"frame 3 of .*pictures: is not the one that calibration set cal was"):
        read(chosen)


def test_a_frame_that_is_not_there_any_more_is_refused_by_number(pictures: Path) -> None:
    chosen = set_of(frames_of(pictures, 1, 3, 4))
    (pictures / "4.png").unlink()
    with pytest.raises(CalibrationError, match=r"pictures: has no frame 4, which calibration set cal lists \(1 are"):
        read(chosen)


def test_a_drive_that_is_gone_is_refused_by_name(video: Path, tmp_path: Path) -> None:
    gone = Path(shutil.copy(video, tmp_path / "gone.mp4"))
    chosen = set_of(frames_of(gone, 1))
    gone.unlink()
    with pytest.raises(SourceNotFound, match=r"gone\.mp4: there is no such file"):
        read(chosen)


def test_a_drive_under_edge_data_is_found_there_or_the_variable_is_asked_for(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = set_of((f"$EDGE_DATA/{video.name}", frames_of(video, 5)[1]))
    monkeypatch.setenv("EDGE_DATA", str(video.parent))
    assert read(chosen) == [(f"frame 5 of $EDGE_DATA/{video.name}", 5)]
    monkeypatch.delenv("EDGE_DATA")
    with pytest.raises(ConfigError, match="set EDGE_DATA"):
        read(chosen)


def test_a_damaged_video_never_gives_fewer_or_other_frames_in_silence(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", [noise(index) for index in range(12)])
    chosen = set_of(frames_of(whole, 1, 11))
    for damaged in (cut(whole, 0.6), flip_bits(whole, 60)):
        with pytest.raises((CalibrationError, SourceError), match=damaged.stem):
            read(set_of((damaged, frames_of(whole, 1, 11)[1])))
    assert len(read(chosen)) == 2


def test_a_drive_is_not_read_beyond_its_last_chosen_frame(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", [noise(index) for index in range(12)])
    assert len(read(set_of((cut(whole, 0.6), frames_of(whole, 0, 1)[1])))) == 2


def test_a_frame_listed_twice_is_refused_before_anything_is_read() -> None:
    with pytest.raises(CalibrationError, match=r"calibration set cal: lists frame 2 of gone\.mp4 twice"):
        read(set_of(("gone.mp4", [(2, "a" * 64), (2, "b" * 64)])))
    with pytest.raises(CalibrationError, match=r"frame 2 of gone\.mp4 twice"):
        read(set_of(("gone.mp4", [(2, "a" * 64)]), ("gone.mp4", [(2, "a" * 64)])))


def test_the_same_picture_under_two_names_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"frame 9 of b\.mp4 is the same as frame 2 of a\.mp4; each must add"):
        read(set_of(("a.mp4", [(2, "a" * 64)]), ("b.mp4", [(9, "a" * 64)])))


@pytest.mark.parametrize("name", ["0", "/dev/video0", "scene:street?frames=2&size=160x120"])
def test_what_never_gives_the_same_frames_again_is_no_drive(name: str) -> None:
    with pytest.raises(CalibrationError, match=r"is a camera or a rendered scene, whose frames never come again"):
        find_candidates([name], every=1)
    with pytest.raises(CalibrationError, match=r"is a camera or a rendered scene"):
        read(set_of((name, [(0, "a" * 64)])))


def test_a_copy_in_another_container_holds_the_same_frames(video: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mkv"
    with av.open(str(video)) as old, av.open(str(copy), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    assert hashes(copy) == hashes(video)
    assert read(set_of((copy, frames_of(video, 2, 9)[1]))) == [(f"frame {i} of {copy}", i) for i in (2, 9)]


def test_a_frames_hash_knows_the_shape_of_its_picture(tmp_path: Path) -> None:
    for name, size_wh in (("wide", (32, 16)), ("tall", (16, 32))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((*size_wh[::-1], 3), np.uint8))
    assert hashes(tmp_path / "wide.png") != hashes(tmp_path / "tall.png")


# ------------------------------------------------------------------------------------------------------------- choosing


def test_candidates_are_every_nth_frame(video: Path) -> None:
    seen: list[None] = []
    found = find_candidates([str(video)], 5, lambda: seen.append(None))
    assert places(found) == [0, 5, 10]
    assert len(seen) == 3
    assert [candidate.sha256 for candidate in found] == [hashes(video)[index] for index in (0, 5, 10)]


def test_identical_frames_are_candidates_once(tmp_path: Path) -> None:
    for index, look in enumerate([0, 1, 0, 2, 1]):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture(3 * look))
    found = find_candidates([str(tmp_path), str(tmp_path / "*.png")], 1)
    assert [(Path(candidate.drive).name, candidate.index) for candidate in found] == [
        (tmp_path.name, index) for index in (0, 1, 3)
    ]


def test_candidates_of_a_broken_drive_are_refused(tmp_path: Path) -> None:
    broken = cut(write_video(tmp_path / "whole.mkv", 60), 0.5)
    with pytest.raises(SourceError, match="whole-cut"):
        find_candidates([str(broken)], 1)


def test_the_choice_holds_the_odd_frames_and_covers_better_than_simple_rules(drive: str) -> None:
    candidates = find_candidates([drive], 1)
    chosen, coverage = choose(candidates, 6)
    assert {TUNNEL, NIGHT, SNOW} <= set(places(chosen))
    assert places(chosen) == sorted(set(places(chosen)))
    assert coverage.chosen < 0.5 * min(coverage.first, coverage.spaced)


def test_coverage_is_the_distance_of_the_worst_candidate_in_spreads() -> None:
    candidates = line_of([0, 1, 2, 3, 14])  # mean 4: the spread is 10, and 3 is the first choice
    chosen, coverage = choose(candidates, 2)
    assert places(chosen) == [3, 4]
    assert coverage == Coverage(chosen=0.3, first=1.3, spaced=0.3)  # by 0 and 1; by 0 and 14


def line_of(positions: list[float]) -> list[Candidate]:
    """Candidates whose looks are a number each."""
    thumbnail = np.zeros((*CELL_WH[::-1], 3), np.uint8)
    return [
        Candidate("drive", index, f"{index:064x}", np.array([position], np.float32), thumbnail)
        for index, position in enumerate(positions)
    ]


def test_the_same_candidates_give_the_same_choice(drive: str) -> None:
    first, second = (choose(find_candidates([drive], 1), 8) for _ in range(2))
    assert places(first[0]) == places(second[0])
    assert first[1] == second[1]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.data())
def test_a_choice_has_the_wanted_size_and_no_frame_twice(positions: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(positions)))
    chosen, coverage = choose(line_of(positions), count)
    assert len(set(places(chosen))) == count
    assert coverage.chosen >= 0
    if count == len(positions):
        assert coverage.chosen == 0


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=9), st.integers(1, 3))
def test_no_choice_is_more_than_twice_as_good(positions: list[float], count: int) -> None:
    def radius(centres: tuple[float, ...]) -> float:
        return max(min(abs(position - centre) for centre in centres) for position in positions)

    chosen, _ = choose(line_of(positions), count)
    best = min(radius(centres) for centres in combinations(positions, count))
    assert radius(tuple(positions[place] for place in places(chosen))) <= 2 * best


def test_more_frames_than_there_are_is_an_error_that_says_how_many_there_are(video: Path) -> None:
    candidates = find_candidates([str(video)], 6)
    with pytest.raises(CalibrationError, match="expected 3 frames, the drives hold 2 different ones"):
        choose(candidates, 3)


def test_a_set_made_of_a_choice_is_read_back_frame_by_frame(drive: str, video: Path, tmp_path: Path) -> None:
    candidates = find_candidates([drive, str(video)], 1)
    chosen, coverage = choose(candidates, 7)
    made = make_set("cal", candidates, chosen, coverage)
    path = tmp_path / "cal.yaml"
    path.write_text(made.to_yaml(), encoding="utf-8")
    found = [(words, frame_sha256(frame)) for words, frame in read_frames(load_set(path))]
    assert found == [(f"frame {c.index} of {c.drive}", c.sha256) for c in chosen]
    assert made.why.startswith("the 7 most different of 62 frames")
    assert f"none is farther than {coverage.chosen:.2f} spreads" in made.why


def test_the_contact_sheet_shows_each_chosen_frame_in_order() -> None:
    width, height = CELL_WH
    shown = [dataclasses.replace(c, thumbnail=c.thumbnail + 20 * (c.index + 1)) for c in line_of([0] * 5)]
    sheet = contact_sheet(shown)
    assert sheet.shape == (3 * height, 2 * width, 3)
    cells = [sheet[y : y + height, x : x + width] for y in (0, height, 2 * height) for x in (0, width)]
    assert [levels_of(cell) for cell in cells] == [[20], [40], [60], [80], [100], [0]]


def levels_of(cell: Image) -> list[int]:
    return np.unique(cell).tolist()
