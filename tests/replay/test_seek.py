from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from bundles import AsNobody
from videos import cut, flip_bits, noise, open_files, picture, write_video

from edge.barcode import read_barcode
from edge.errors import SourceDamaged, SourceError
from edge.frame import Frame, Image
from edge.sources.images import ImageFiles
from edge.sources.seek import RecordedVideo, open_recording

FRAMES = 60
KINDS: dict[str, tuple[str, str, Mapping[str, str]]] = {
    "mp4 with B frames": ("a.mp4", "libx264", {"bf": "3", "g": "17"}),
    "mp4 with one keyframe": ("a.mp4", "libx264", {"g": "250"}),
    "mkv with open groups": ("a.mkv", "libx264", {"bf": "3", "g": "12", "x264-params": "open-gop=1"}),
    "ts with gradual refresh": ("a.ts", "libx264", {"g": "16", "x264-params": "intra-refresh=1"}),
    "avi without times": ("a.avi", "libx264", {"bf": "2", "g": "15"}),
    "raw h264": ("a.h264", "libx264", {"bf": "0", "g": "15"}),
    "mpeg-2 in ts": ("a.ts", "mpeg2video", {"bf": "2", "g": "12"}),
    "mpeg-4 in mp4": ("a.mp4", "mpeg4", {"bf": "2", "g": "12"}),
    "mjpeg": ("a.avi", "mjpeg", {}),
    "ffv1": ("a.mkv", "ffv1", {}),
    "vp9": ("a.webm", "libvpx-vp9", {"g": "13", "deadline": "realtime"}),
}


def bytes_of(frame: Frame) -> bytes:
    yuv = frame.yuv
    assert yuv is not None
    return b"".join(np.ascontiguousarray(plane).tobytes() for plane in (yuv.y, yuv.u, yuv.v))


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_by_its_number_has_the_bytes_and_the_time_that_reading_through_gives_it(
    kind: str, tmp_path: Path
) -> None:
    name, codec, options = KINDS[kind]
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_video(tmp_path / name, FRAMES, codec=codec, options=options, pix_fmt=pix_fmt)
    with RecordedVideo(str(path)) as video:
        through = {frame.index: (bytes_of(frame), frame.media_ns) for frame in video}
        assert len(set(through.values())) == video.frame_count == FRAMES
        order = [*range(FRAMES), *range(FRAMES - 1, -1, -1), *random.Random(3).choices(range(FRAMES), k=40)]
        for index in order:
            frame = video.at(index)
            assert frame.index == index
            assert (bytes_of(frame), frame.media_ns) == through[index], index


def test_a_frame_is_the_same_without_what_was_kept_from_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.sources.seek.CACHE_BYTES", 0)
    path = write_video(tmp_path / "a.mp4", FRAMES, options={"bf": "3", "g": "17"})
    with RecordedVideo(str(path)) as video:
        through = [bytes_of(frame) for frame in video]
        assert [bytes_of(video.at(index)) for index in reversed(range(FRAMES))] == through[::-1]


def test_a_step_forward_decodes_one_frame_and_a_step_back_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    path = write_video(tmp_path / "a.mp4", FRAMES, options={"sc_threshold": "0"})
    with RecordedVideo(str(path)) as video:
        video.at(40)
        walk = video._walk
        assert walk is not None
        step = walk.step
        monkeypatch.setattr(walk, "step", lambda: steps.append(1) or step())
        for index in (41, 42, 41, 40, 20, 43):
            video.at(index)
    assert len(steps) == 3


def test_a_number_that_no_frame_has_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    with RecordedVideo(str(path)) as video:
        for index in (-1, 5):
            with pytest.raises(SourceError, match=f"has no frame {index}; its frames are 0 to 4"):
                video.at(index)


def test_closing_leaves_no_file_open(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", FRAMES)
    with RecordedVideo(str(path)) as video:
        video.at(30)
        video.at(3)
        assert open_files(tmp_path)
    assert open_files(tmp_path) == []


def test_a_damaged_file_says_what_is_missing_and_gives_the_frames_that_are_sound(tmp_path: Path) -> None:
    path = cut(write_video(tmp_path / "a.mkv", [noise(i) for i in range(30)], options={"g": "5"}), 0.6)
    with RecordedVideo(str(path)) as video:
        assert "missing" in video.damage
        assert 10 < video.frame_count < 25
        assert video.at(video.frame_count // 2).index == video.frame_count // 2


def test_a_sound_file_is_not_called_damaged(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv", "a.ts"):
        with RecordedVideo(str(write_video(tmp_path / name, 20))) as video:
            assert video.damage == ""


def test_a_frame_that_does_not_decode_is_refused_and_the_others_are_what_reading_through_gives(tmp_path: Path) -> None:
    path = flip_bits(write_video(tmp_path / "a.mkv", [noise(i) for i in range(30)], options={"g": "5"}), 12)
    refused, by_time = [], {}
    with RecordedVideo(str(path)) as video:
        with pytest.raises(SourceDamaged):
            by_time.update((frame.media_ns, bytes_of(frame)) for frame in video)
        for index in range(video.frame_count):
            try:
                frame = video.at(index)
            except SourceDamaged:
                refused.append(index)
                continue
            assert bytes_of(frame) == by_time[frame.media_ns]
    assert refused
    assert len(refused) < 25


def test_pictures_are_taken_by_their_place_in_the_list(tmp_path: Path) -> None:
    for index in range(4):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture(index))
    (tmp_path / "2.png").write_bytes(b"no image")
    with open_recording(str(tmp_path)) as images:
        assert isinstance(images, ImageFiles)
        assert np.array_equal(images.at(3).image, picture(3))
        with pytest.raises(SourceDamaged, match=r"2\.png"):
            images.at(2)
        with pytest.raises(SourceError, match="0 to 3"):
            images.at(4)


@pytest.mark.slow
def test_the_street_on_the_recorded_clock_repeats_to_the_bit() -> None:
    def images() -> list[Image]:
        with open_recording("scene:street?frames=3&size=320x180") as street:
            return [frame.image for frame in street] + [street.at(index).image for index in (2, 1)]

    first, second = images(), images()
    assert all(map(np.array_equal, first, second))
    assert np.array_equal(first[2], first[3])
    reading = read_barcode(first[2])
    assert reading is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wanted"), [("0", "is a camera"), ("rtsp://camera/1", "is a camera"), ("scene:street?frames=0", "no end")]
)
def test_what_is_no_recording_is_refused(name: str, wanted: str) -> None:
    with pytest.raises(SourceError, match=wanted):
        open_recording(name)


def test_what_cannot_be_opened_is_told_as_everywhere(tmp_path: Path, as_nobody: AsNobody) -> None:
    with pytest.raises(SourceError, match="no such file"):
        open_recording(str(tmp_path / "missing.mp4"))
