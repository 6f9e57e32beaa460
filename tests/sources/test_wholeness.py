"""Losses that FFmpeg steps over without a word; found by benchmarks/fuzz.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from videos import picture, write_video

from edge.errors import SourceDamaged
from edge.sources.recording import Recording

FRAMES = 24
RECORDED = {"movflags": "frag_every_frame+empty_moov+default_base_moof"}  # as edge.sinks.recorder writes


def clip(folder: Path, name: str) -> bytes:
    options = {"tune": "zerolatency"} if name == "recorded.mp4" else {}
    pictures = [picture(index, (96, 64)) for index in range(FRAMES)]
    container = RECORDED if name == "recorded.mp4" else {}
    return write_video(folder / name, pictures, options=options, container=container).read_bytes()


def complaint(path: Path, data: bytes) -> tuple[int, str]:
    """How many frames came, and what was said of the others; "" if nothing was."""
    path.write_bytes(data)
    frames = 0
    try:
        with Recording(str(path)) as recording:
            for _ in recording:
                frames += 1
    except SourceDamaged as error:
        return frames, str(error)
    return frames, ""


def without(data: bytes, start: int, end: int) -> bytes:
    return data[:start] + data[end:]


@pytest.mark.parametrize("name", ["recorded.mp4", "h264.mp4", "h264.mkv", "h264.ts"])
def test_a_sound_file_is_whole(name: str, tmp_path: Path) -> None:
    assert complaint(tmp_path / "copy", clip(tmp_path, name)) == (FRAMES, "")


def test_a_fragment_that_is_missing_or_unreadable_is_told(tmp_path: Path) -> None:
    data = clip(tmp_path, "recorded.mp4")
    moofs = [match.start() - 4 for match in re.finditer(b"moof", data)]
    frames, said = complaint(tmp_path / "out.mp4", without(data, moofs[12], moofs[13]))
    assert (frames, "1 fragments missing" in said) == (FRAMES - 1, True)
    changed = bytearray(data)
    changed[moofs[12] + 4] ^= 0xFF
    assert "no sense" in complaint(tmp_path / "kind.mp4", bytes(changed))[1]
    assert "broken off within the last one" in complaint(tmp_path / "cut.mp4", data[: moofs[20] + 60])[1]


def test_a_recording_that_was_killed_between_two_frames_is_whole(tmp_path: Path) -> None:
    data = clip(tmp_path, "recorded.mp4")
    moofs = [match.start() - 4 for match in re.finditer(b"moof", data)]
    assert complaint(tmp_path / "killed.mp4", data[: moofs[20]]) == (20, "")


def test_a_packet_that_is_missing_from_a_transport_stream_is_told(tmp_path: Path) -> None:
    data = clip(tmp_path, "h264.ts")
    assert len(data) > 188 * 30
    told = [complaint(tmp_path / "out.ts", without(data, 188 * n, 188 * (n + 1)))[1] for n in range(8, 28)]
    assert all("missing" in said or "corrupt" in said for said in told)


def test_a_frames_head_that_is_damaged_in_a_transport_stream_is_told(tmp_path: Path) -> None:
    data = bytearray(clip(tmp_path, "h264.ts"))
    heads = [match.start() for match in re.finditer(b"\x00\x00\x01\xe0", data)]
    assert len(heads) == FRAMES
    data[heads[11] : heads[11] + 4] = b"noise"[:4]
    frames, said = complaint(tmp_path / "head.ts", bytes(data))
    assert frames < FRAMES
    assert "1 without their heads" in said


def test_a_matroska_file_whose_parts_do_not_join_is_told(tmp_path: Path) -> None:
    data = clip(tmp_path, "h264.mkv")
    middle = data.index(bytes.fromhex("1f43b675")) + 900
    assert complaint(tmp_path / "out.mkv", without(data, middle, middle + 40))[1]


def test_frames_that_damaged_times_hide_are_told(tmp_path: Path) -> None:
    """An MP4's times (ctts) decide what its edit list cuts off."""
    data = bytearray(clip(tmp_path, "h264.mp4"))
    offsets = data.index(b"ctts") + 12
    data[offsets + 5 * 8 + 4 : offsets + 5 * 8 + 8] = b"\x00\x00\xa0\x00"
    frames, said = complaint(tmp_path / "times.mp4", bytes(data))
    assert frames < FRAMES
    assert "times that make no sense" in said
