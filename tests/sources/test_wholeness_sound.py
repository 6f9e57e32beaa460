"""Files that are whole, of the many kinds that there are: nothing may be said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from videos import noise, picture, write_video

from edge.errors import SourceDamaged
from edge.sources.recording import Recording
from edge.sources.seek import RecordedVideo

FRAMES, WH = 24, (96, 64)
UNEVEN_MS = [0, 33, 66, 100, 133, 900, 933, 966, 1000, 3000, *range(3005, 3075, 5)]
FRAGMENTS = "frag_every_frame+empty_moov+default_base_moof"  # as edge.sinks.recorder writes
FAST_X265 = {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"}
NAMES = ["a.mp4", "a.mov", "a.mkv", "a.ts", "a.avi"]


def frames_of_sound(path: Path) -> int:
    """How many frames came; a complaint fails the test. A replay, which does not decode them, must agree."""
    with Recording(str(path)) as recording:
        frames = sum(1 for _ in recording)
    with RecordedVideo(str(path)) as video:
        assert (video.damage, video.frame_count) == ("", frames)
    return frames


def written(path: Path, options: Mapping[str, str] | None = None, **more: object) -> Path:
    pictures = [picture(index, WH) for index in range(FRAMES)]
    return write_video(path, pictures, options=options, **more)  # type: ignore[arg-type]


def with_sound(path: Path, container: Mapping[str, str] | None = None) -> Path:
    """A video with a second stream, whose packets are no frames."""
    with av.open(str(path), "w", options=dict(container or {})) as file:
        video, audio = file.add_stream("libx264", rate=30), file.add_stream("aac", rate=16000)
        (video.width, video.height), video.pix_fmt, audio.layout = WH, "yuv420p", "mono"
        for index in range(FRAMES):
            file.mux(
                video.encode(av.VideoFrame.from_ndarray(picture(index, WH), format="bgr24").reformat(format="yuv420p"))
            )
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 533), np.float32), format="fltp", layout="mono")
            sound.sample_rate = 16000
            file.mux(audio.encode(sound))
        file.mux([*video.encode(None), *audio.encode(None)])
    return path


def copied(path: Path, name: str, last_s: float | None = None) -> Path:
    """Its packets in another container; the frame that is shown last may last longer."""
    new = path.with_name(name)
    with av.open(str(path)) as source, av.open(str(new), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        if last_s is not None:
            last = max(packets, key=lambda packet: packet.pts or 0)
            last.duration = round(last_s / (stream.time_base or 1))
        for packet in packets:
            packet.stream = copy
            target.mux(packet)
    return new


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    [
        {"tune": "zerolatency"},
        {"bf": "5", "x264-params": "b-pyramid=strict"},
        {"x264-params": "open-gop=1:keyint=8:bframes=3"},
        {"x264-params": "slices=4"},
        {"x264-params": "interlaced=1"},
    ],
    ids=["zerolatency", "pyramid", "open", "slices", "interlaced"],
)
def test_h264_of_every_making_is_whole(name: str, options: Mapping[str, str], tmp_path: Path) -> None:
    assert frames_of_sound(written(tmp_path / name, options)) == FRAMES


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx265", FAST_X265),
        ("a.mkv", "libx265", FAST_X265),
        ("a.ts", "libx265", FAST_X265),
        ("a.mkv", "mpeg4", {"bf": "2"}),
        ("a.avi", "mpeg4", {}),
        ("a.ts", "mpeg4", {}),
        ("a.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
        ("a.mkv", "ffv1", {}),
        ("a.mov", "mpeg4", {}),
    ],
)
def test_other_codecs_are_whole(name: str, codec: str, options: Mapping[str, str], tmp_path: Path) -> None:
    assert frames_of_sound(written(tmp_path / name, options, codec=codec)) == FRAMES


@pytest.mark.parametrize(
    "movflags",
    [
        FRAGMENTS,
        "frag_keyframe",  # its first frames are in the header
        "frag_keyframe+empty_moov",
        "dash",
        "cmaf",
        "empty_moov+separate_moof+frag_keyframe",
        "frag_keyframe+hybrid_fragmented",
        "faststart",
        "isml+frag_keyframe",
        "omit_tfhd_offset+frag_keyframe",
        "negative_cts_offsets",
    ],
)
def test_fragments_of_every_making_are_whole(movflags: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.mp4", {"g": "5"}, container={"movflags": movflags})
    assert frames_of_sound(path) == FRAMES


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "fragments.mp4"])
def test_sound_is_not_counted_as_frames(name: str, tmp_path: Path) -> None:
    container = {"movflags": "frag_keyframe+empty_moov"} if name == "fragments.mp4" else {}
    assert frames_of_sound(with_sound(tmp_path / name, container)) == FRAMES


@pytest.mark.parametrize(
    "container",
    [
        {"live": "1"},
        {"reserve_index_space": "2000"},
        {"cluster_size_limit": "500"},
        {"write_crc32": "0"},
        {"dash": "1"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_matroska_of_every_making_is_whole(container: Mapping[str, str], tmp_path: Path) -> None:
    assert frames_of_sound(written(tmp_path / "a.mkv", container=container)) == FRAMES


@pytest.mark.parametrize(
    "container",
    [
        {"omit_video_pes_length": "0"},
        {"mpegts_m2ts_mode": "1"},
        {"muxrate": "2000000"},
        {"mpegts_flags": "pat_pmt_at_frames"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_transport_streams_of_every_making_are_whole(container: Mapping[str, str], tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", [noise(index, WH) for index in range(FRAMES)], container=container)
    assert frames_of_sound(path) == FRAMES


def test_a_transport_stream_caught_within_a_packet_and_two_in_a_row_are_whole(tmp_path: Path) -> None:
    data = written(tmp_path / "a.ts").read_bytes()
    for name, caught in (("caught.ts", data[100:]), ("joined.ts", data + data)):
        (tmp_path / name).write_bytes(caught)
        with Recording(str(tmp_path / name)) as recording:
            assert sum(1 for _ in recording) == FRAMES * len(caught) // len(data) or name == "caught.ts"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "fragments.mp4"])
def test_uneven_times_are_no_loss(name: str, tmp_path: Path) -> None:
    container = {"movflags": FRAGMENTS} if name == "fragments.mp4" else {}
    path = written(tmp_path / name, times_ms=UNEVEN_MS, container=container)
    assert frames_of_sound(path) == FRAMES


@pytest.mark.parametrize("times_ms", [None, UNEVEN_MS], ids=["even", "uneven"])
@pytest.mark.parametrize("last_s", [None, 3.0])
@pytest.mark.parametrize("name", ["copy.mkv", "copy.mov"])
def test_a_copy_in_another_container_is_whole_however_long_its_last_frame_lasts(
    name: str, last_s: float | None, times_ms: Sequence[int] | None, tmp_path: Path
) -> None:
    path = written(tmp_path / "a.mp4", times_ms=times_ms)
    assert frames_of_sound(copied(path, name, last_s)) == FRAMES


def test_an_avi_file_whose_clock_is_finer_than_its_frames_is_whole(tmp_path: Path) -> None:
    """As a copy has it: a tick of 1/600 s, a frame at every 20th, and a last one that lasts 20."""
    path = written(tmp_path / "a.mp4", {"bf": "0"}, codec="mpeg4")
    assert frames_of_sound(copied(path, "copy.avi")) == FRAMES


@pytest.mark.parametrize("share", [Fraction(1, 3), Fraction(1, 2)])
def test_an_edit_list_that_hides_the_beginning_is_no_loss(share: Fraction, tmp_path: Path) -> None:
    whole, trimmed = written(tmp_path / "whole.mp4", {"g": "8"}), tmp_path / "trimmed.mp4"
    with av.open(str(whole)) as source, av.open(str(trimmed), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        start = round(share * FRAMES / 30 / (stream.time_base or 1))
        for packet in source.demux(stream):
            if packet.dts is not None and packet.pts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - start, packet.dts - start, copy
                target.mux(packet)
    assert frames_of_sound(trimmed) == FRAMES - FRAMES * share


def test_what_is_tested_here_can_fail(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mp4", container={"movflags": FRAGMENTS})
    before, last, after = path.read_bytes().rpartition(b"trun")
    path.write_bytes(before + last.swapcase() + after)
    with pytest.raises(SourceDamaged):
        frames_of_sound(path)
