"""Losses that FFmpeg steps over without a word; found by benchmarks/fuzz.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from videos import noise, picture, write_video

from edge.errors import SourceDamaged
from edge.sources.recording import Recording
from edge.sources.seek import RecordedVideo

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


def last_packet(data: bytes) -> int:
    """Where the last packet of an ffmpeg-made transport stream's video begins."""
    return max(at for at in range(0, len(data), 188) if data[at + 1] & 31 == 1 and data[at + 2] == 0)


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


@pytest.mark.parametrize("box", [b"traf", b"trun"])
@pytest.mark.parametrize("number", [12, -1])
def test_a_fragment_whose_frame_nobody_announces_is_told(number: int, box: bytes, tmp_path: Path) -> None:
    data = bytearray(clip(tmp_path, "recorded.mp4"))
    boxes = [match.start() for match in re.finditer(box, data)]
    data[boxes[number]] ^= 0x20
    frames, said = complaint(tmp_path / "kind.mp4", bytes(data))
    assert frames < FRAMES
    assert "a fragment holds" in said


@pytest.mark.parametrize(("box", "words"), [(b"moof", "a fragment"), (b"mdat", "a fragment"), (b"tfhd", "no sense")])
def test_a_box_without_a_size_does_not_swallow_what_follows_in_silence(box: bytes, words: str, tmp_path: Path) -> None:
    """0 stands for up to the end of the file (ISO/IEC 14496-12, 4.2)."""
    data = bytearray(clip(tmp_path, "recorded.mp4"))
    start = [match.start() for match in re.finditer(box, data)][-3] - 4
    data[start : start + 4] = bytes(4)
    assert words in complaint(tmp_path / "size.mp4", bytes(data))[1]


def test_a_recording_that_was_killed_between_two_frames_is_whole(tmp_path: Path) -> None:
    data = clip(tmp_path, "recorded.mp4")
    moofs = [match.start() - 4 for match in re.finditer(b"moof", data)]
    assert complaint(tmp_path / "killed.mp4", data[: moofs[20]]) == (20, "")


def test_a_packet_of_the_video_that_is_missing_from_a_transport_stream_is_told(tmp_path: Path) -> None:
    data = clip(tmp_path, "h264.ts")
    video = [at for at in range(0, len(data), 188) if data[at + 1] & 31 == 1 and data[at + 2] == 0]
    assert len(video) > 20
    told = [complaint(tmp_path / "out.ts", without(data, at, at + 188))[1] for at in video[5:25]]
    assert all("missing" in said or "corrupt" in said for said in told)


def test_a_packet_that_is_there_twice_is_told_as_it_makes_a_frame_too_many(tmp_path: Path) -> None:
    data = clip(tmp_path, "h264.ts")
    start = last_packet(data)
    frames, said = complaint(tmp_path / "twice.ts", data + data[start:])
    assert (frames > FRAMES, "1 packets of the transport stream are there twice" in said) == (True, True)


@pytest.mark.parametrize(
    ("byte", "mask", "words"),
    [
        (1, 0x04, "belongs to no other"),  # its PID
        (1, 0x80, "make no sense"),  # marked as damaged
        (3, 0x30, "make no sense"),  # neither payload nor adaptation field
    ],
)
def test_a_last_packet_whose_head_is_damaged_is_told(byte: int, mask: int, words: str, tmp_path: Path) -> None:
    data = bytearray(clip(tmp_path, "h264.ts"))
    data[last_packet(bytes(data)) + byte] ^= mask
    assert words in complaint(tmp_path / "last.ts", bytes(data))[1]


@pytest.mark.parametrize("lost", [8, 16])
def test_a_stream_that_ends_within_a_packet_is_told_though_its_length_suits_longer_ones(
    lost: int, tmp_path: Path
) -> None:
    """Of 192 or 204 bytes, as Blu-ray and DVB have them."""
    data = clip(tmp_path, "h264.ts")
    end = next(end for end in range(188 * 20, len(data)) if end % (184 + lost) == 0 and end % 188)
    assert "broken off within the last one" in complaint(tmp_path / "cut.ts", data[:end])[1]


def test_bytes_that_slip_into_a_transport_stream_are_told_however_many_follow(tmp_path: Path) -> None:
    data = clip(tmp_path, "h264.ts")
    slipped = data[:2737] + bytes(16) + data[2737:6498] + bytes(1) + data[6498:]
    assert "make no sense" in complaint(tmp_path / "slipped.ts", slipped)[1]


def test_a_hevc_stream_that_tells_its_frames_lengths_is_told_to_end_within_one(tmp_path: Path) -> None:
    """Its decoder does not: the rest of the picture is made up."""
    options = {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"}
    pictures = [noise(index, (96, 64)) for index in range(4)]
    container = {"omit_video_pes_length": "0"}
    path = write_video(tmp_path / "a.ts", pictures, codec="libx265", options=options, container=container)
    data = path.read_bytes()
    frames, said = complaint(tmp_path / "cut.ts", data[: len(data) - 188 * 5])
    assert (frames, "broken off within the last one" in said) == (4, True)


def test_frames_that_an_h264_decoder_passes_over_in_a_transport_stream_are_told(tmp_path: Path) -> None:
    """Bits of a slice's head decide whether the decoder shows its picture, and those behind it."""
    data = clip(tmp_path, "h264.ts")
    slices = [match.end() for match in re.finditer(rb"\x00\x00\x01[\x41\x01]", data)]
    assert len(slices) == FRAMES - 1
    heard = []
    for bit in range(8):
        changed = bytearray(data)
        changed[slices[5] + 1] ^= 1 << bit
        frames, said = complaint(tmp_path / "passed.ts", bytes(changed))
        assert frames == FRAMES or said
        heard.append(said)
    assert any("passed over by the decoder" in said for said in heard)


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


@pytest.mark.parametrize(
    ("box", "at", "value", "words"),
    [
        (b"mvhd", 16, 1000 << 4, "hidden by its edit list"),  # the movie's ticks per second
        (b"elst", 12, 0x120, "hidden by its edit list"),  # how long the edit lasts
        (b"stts", 16, 640, "times that make no sense"),  # how long a frame lasts
        (b"ctts", 0, int.from_bytes(b"stts", "big"), "2 tables of times"),
    ],
)
def test_frames_that_an_edit_list_hides_because_of_other_times_are_told(
    box: bytes, at: int, value: int, words: str, tmp_path: Path
) -> None:
    data = bytearray(clip(tmp_path, "h264.mp4"))
    place = data.index(box) + at
    data[place : place + 4] = value.to_bytes(4, "big")
    frames, said = complaint(tmp_path / "times.mp4", bytes(data))
    assert frames < FRAMES
    assert words in said


def last_block(data: bytes) -> int:
    """Where the last SimpleBlock of an ffmpeg-made Matroska file begins: its kind, its size, track 1."""
    return [match.start() for match in re.finditer(rb"\xa3[\x80-\xff]\x81", data)][-1]


@pytest.mark.parametrize(
    ("byte", "value", "words"),
    [
        (0, 0xA7, "no sense at byte"),  # a position
        (2, 0x82, "1 of a track that it has not"),
        (5, 0x06, "1 missing"),  # said to hold several frames
    ],
)
def test_a_last_block_whose_head_is_damaged_is_told(byte: int, value: int, words: str, tmp_path: Path) -> None:
    data = bytearray(clip(tmp_path, "h264.mkv"))
    data[last_block(bytes(data)) + byte] = value
    frames, said = complaint(tmp_path / "block.mkv", bytes(data))
    assert (frames, words in said) == (FRAMES - 1, True)


def test_an_avi_file_whose_index_forgets_its_last_frame_is_told(tmp_path: Path) -> None:
    pictures = [picture(index, (96, 64)) for index in range(FRAMES)]
    path = write_video(tmp_path / "a.avi", pictures, codec="mjpeg", pix_fmt="yuvj420p")
    data = path.read_bytes()
    entry = data.index(b"idx1") + 8 + 16 * 20
    doubled = data[: entry + 16] + data[entry:]
    frames, said = complaint(tmp_path / "index.avi", doubled)
    assert (frames, "1 missing" in said) == (FRAMES - 1, True)


def test_pictures_without_the_head_that_says_what_they_are_are_told(tmp_path: Path) -> None:
    pictures = [picture(index, (96, 64)) for index in range(FRAMES)]
    path = write_video(tmp_path / "a.avi", pictures, codec="mjpeg", pix_fmt="yuvj420p")
    assert "no sense at byte 0" in complaint(tmp_path / "headless.avi", b"noise" + path.read_bytes()[5:])[1]


@pytest.mark.parametrize("name", ["recorded.mp4", "h264.ts"])
def test_a_replay_tells_the_same_of_a_damaged_file(name: str, tmp_path: Path) -> None:
    data = clip(tmp_path, name)
    (tmp_path / name).write_bytes(data[:-400] + data[-200:])
    with RecordedVideo(str(tmp_path / name)) as video:
        assert video.damage
