from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from videos import picture, write_video

from edge.errors import SourceError
from edge.sources.index import load_times, median_rate_hz
from edge.sources.open import open_source

UNEVEN_NS = [0, 100_000_000, 300_000_000, 400_000_001]


def index(path: Path, text: str) -> Path:
    path.write_text("frame,time_s\n" + text)
    return path


UNEVEN = "0,1795389519.126337500\n1,1795389519.2263375\n2,1795389519.4263375\n3,1795389519.526337501\n"


def test_a_videos_index_says_when_its_frames_were_taken(tmp_path: Path) -> None:
    write_video(tmp_path / "drive.mp4", 4)
    index(tmp_path / "drive.times.csv", UNEVEN)
    with open_source(str(tmp_path / "drive.mp4")) as source:
        assert [frame.media_ns for frame in source] == UNEVEN_NS
        assert source.rate_hz == 10.0


def test_a_folders_index_says_when_its_pictures_were_taken(tmp_path: Path) -> None:
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(number))
    index(tmp_path / "times.csv", UNEVEN)
    with open_source(str(tmp_path)) as source:
        assert [frame.media_ns for frame in source] == UNEVEN_NS
        assert source.rate_hz == 10.0


def test_an_index_of_other_frames_is_refused(tmp_path: Path) -> None:
    for frames in (3, 5):
        write_video(tmp_path / "drive.mp4", frames)
        index(tmp_path / "drive.times.csv", UNEVEN)
        with open_source(str(tmp_path / "drive.mp4")) as source, pytest.raises(SourceError, match="index has 4 times"):
            list(source)
    (tmp_path / "drive.mp4").unlink()
    (tmp_path / "drive.times.csv").rename(tmp_path / "times.csv")
    cv2.imwrite(str(tmp_path / "0.png"), picture(0))
    with pytest.raises(SourceError, match="index has 4 times"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with frame,time_s; found 'nothing'"),
        ("frame,ms\n0,1\n", "begins with frame,time_s; found 'frame,ms'"),
        ("frame,time_s\n0,1\n0,2\n", "line 3 is '0,2'; expected 1,TIME in seconds"),
        ("frame,time_s\n0,1e9\n", "line 2 is '0,1e9'"),
        ("frame,time_s\n0,1\n1,nan\n", "line 3 is '1,nan'"),
        ("frame,time_s\n0,1\n1\n", "line 3 is '1'"),
        ("frame,time_s\n0,2\n1,2\n", "the time of frame 1 is not above that of frame 0"),
    ],
)
def test_an_index_that_is_not_in_order_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "drive.times.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        load_times(str(tmp_path / "drive.mp4"))


@given(times_ns=st.lists(st.integers(0, 2**62), unique=True, min_size=1, max_size=20).map(sorted))
def test_times_are_read_to_the_nanosecond(times_ns: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    rows = [f"{number},{time_ns // 10**9}.{time_ns % 10**9:09d}\n" for number, time_ns in enumerate(times_ns)]
    index(folder / "times.csv", "".join(rows))
    assert load_times(str(folder)) == [time_ns - times_ns[0] for time_ns in times_ns]


def test_frames_that_were_dropped_do_not_change_the_usual_rate() -> None:
    assert median_rate_hz([0, 100, 200, 600, 700]) == 1e7
    assert median_rate_hz([5]) is None
