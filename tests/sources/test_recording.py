from __future__ import annotations

import os
import random
import struct
import threading
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from videos import (
    Image,
    cut,
    decoded,
    decoded_bgr,
    flip_bits,
    noise,
    open_files,
    picture,
    plane_of,
    write_frames,
    write_video,
)

from edge.errors import ConfigError, EdgeError, NotAVideo, SourceDamaged, SourceError, SourceNotFound
from edge.frame import Frame, bgr_from_yuv
from edge.sources.planes import planes
from edge.sources.recording import Recording
from edge.sources.seek import open_recording
from edge.sources.source import display_wh_of

AVCOL_SPC = {"bt601": 6, "bt709": 1}


def frames_of(path: Path) -> list[Frame]:
    with Recording(str(path)) as recording:
        return list(recording)


def frames_and_complaint(path: Path) -> tuple[list[Frame], str]:
    """What a damaged file gives before it complains, and how it complains."""
    frames: list[Frame] = []
    with Recording(str(path)) as recording, pytest.raises(SourceDamaged) as caught:
        frames.extend(recording)
    assert str(path) in str(caught.value)
    assert f"{len(frames)} frames were decoded" in str(caught.value)
    return frames, str(caught.value)


# ---------------------------------------------------------------------------------------------------------- sound files


@pytest.mark.parametrize(
    ("codec", "ending", "pix_fmt"),
    [
        ("libx264", "mp4", "yuv420p"),
        ("libx264", "mkv", "yuv420p"),
        ("libx264", "ts", "yuv420p"),
        ("mpeg4", "mp4", "yuv420p"),
        ("mpeg4", "avi", "yuv420p"),
        ("mjpeg", "avi", "yuvj420p"),
        ("mjpeg", "mkv", "yuvj420p"),
    ],
)
def test_every_frame_comes_in_order_with_its_planes_as_they_were_decoded(
    codec: str, ending: str, pix_fmt: str, tmp_path: Path
) -> None:
    path = write_video(tmp_path / f"drive.{ending}", 12, codec=codec, pix_fmt=pix_fmt)
    wanted = decoded(path)
    frames = frames_of(path)
    assert [frame.index for frame in frames] == list(range(12))
    for frame, (time_s, arrays) in zip(frames, wanted, strict=True):
        assert frame.yuv is not None
        assert frame.media_ns == pytest.approx(time_s * 1e9, abs=1)
        assert frame.source == str(path)
        for found, plane in zip((frame.yuv.y, frame.yuv.u, frame.yuv.v), arrays, strict=True):
            assert np.array_equal(found, plane)


def test_frames_outlive_the_recording_they_came_from(tmp_path: Path) -> None:
    path = write_video(tmp_path / "drive.mp4", [noise(index) for index in range(12)])
    frames = frames_of(path)
    for frame, (_, arrays) in zip(frames, decoded(path), strict=True):
        assert frame.yuv is not None
        assert np.array_equal(frame.yuv.y, arrays[0])


def test_a_recording_says_what_it_holds(tmp_path: Path) -> None:
    path = write_video(tmp_path / "drive.mp4", 12, rate=Fraction(30000, 1001))
    with Recording(str(path)) as recording:
        assert recording.name == str(path)
        assert recording.size_wh == (64, 48)
        assert recording.rate_hz == pytest.approx(30000 / 1001)
        assert recording.frame_count == 12
        assert not recording.live
        assert len(list(recording)) == 12
        assert recording.decode.count == 12


def test_a_file_that_does_not_count_its_frames_has_no_frame_count(tmp_path: Path) -> None:
    with Recording(str(write_video(tmp_path / "drive.mkv", 3))) as recording:
        assert recording.frame_count is None


def test_times_are_those_of_the_recording_where_the_rate_varies(tmp_path: Path) -> None:
    times_ms = [0, 33, 50, 200, 1234, 1300]
    frames = frames_of(write_video(tmp_path / "drive.mp4", 6, times_ms=times_ms))
    assert [frame.media_ns for frame in frames] == [pytest.approx(ms * 1e6, abs=1e5) for ms in times_ms]


def test_frames_are_stamped_when_they_are_decoded_and_the_first_when_it_is_asked_for(tmp_path: Path) -> None:
    path = write_video(tmp_path / "drive.mp4", 3)
    with Recording(str(path)) as recording:
        opened_ns = time.monotonic_ns()
        stamps = [frame.captured_ns for frame in recording]
    assert opened_ns <= stamps[0] <= stamps[1] <= stamps[2] <= time.monotonic_ns()


@pytest.mark.parametrize("size_wh", [(63, 47), (65, 48), (17, 33)])
def test_odd_sizes_keep_their_last_row_and_column(size_wh: tuple[int, int], tmp_path: Path) -> None:
    width, height = size_wh
    path = write_video(tmp_path / "odd.mkv", [noise(1, size_wh)], codec="ffv1")
    (frame,) = frames_of(path)
    assert frame.yuv is not None
    assert frame.size_wh == size_wh
    assert frame.yuv.u.shape == frame.yuv.v.shape == ((height + 1) // 2, (width + 1) // 2)
    assert np.array_equal(frame.yuv.y, decoded(path)[0][1][0])
    assert np.array_equal(frame.yuv.v, decoded(path)[0][1][2])
    assert frame.image.shape == (height, width, 3)


def test_a_frame_of_another_size_in_the_middle_keeps_its_own_size(tmp_path: Path) -> None:
    """Two transport streams, joined: every decoder follows, and so does the frame."""
    first = write_video(tmp_path / "a.ts", 4).read_bytes()
    second = write_video(tmp_path / "b.ts", [picture(index, (96, 64)) for index in range(4)]).read_bytes()
    (tmp_path / "joined.ts").write_bytes(first + second)
    with Recording(str(tmp_path / "joined.ts")) as recording:
        sizes = [frame.size_wh for frame in recording]
    assert sizes[0] == (64, 48)
    assert sizes[-1] == (96, 64)


def test_only_the_frames_that_a_trimmed_file_shows_are_expected_of_it(tmp_path: Path) -> None:
    """A cut without decoding keeps the frames back to the last key frame, and hides them by an edit list."""
    whole, trimmed = write_video(tmp_path / "whole.mp4", 24), tmp_path / "trimmed.mp4"
    with av.open(str(whole)) as source, av.open(str(trimmed), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        assert stream.time_base is not None
        start = round(Fraction(10, 30) / stream.time_base)
        for packet in source.demux(stream):
            if packet.dts is not None and packet.pts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - start, packet.dts - start, copy
                target.mux(packet)
    with Recording(str(trimmed)) as recording:
        frames = list(recording)
        assert recording.frame_count == len(frames) == 14
    assert np.array_equal(frames[0].image, frames_of(whole)[10].image)


def test_an_avi_file_with_pauses_between_its_frames_is_sound(tmp_path: Path) -> None:
    """AVI fills pauses with empty chunks, and counts them as frames."""
    path = tmp_path / "pauses.avi"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.codec_context.time_base = 64, 48, Fraction(1, 30)
        for index, tick in enumerate([0, 1, 2, 7, 8, 20]):
            frame = av.VideoFrame.from_ndarray(picture(index), format="bgr24")
            frame.pts, frame.time_base = tick, Fraction(1, 30)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    frames = frames_of(path)
    assert [round((frame.media_ns or 0) * 30 / 1e9) for frame in frames] == [0, 1, 2, 7, 8, 20]


# ------------------------------------------------------------------------------------------------------------- colours

PATCHES_RGB = [(200, 40, 30), (30, 180, 60), (20, 50, 220), (128, 128, 128), (240, 240, 240), (20, 20, 20)]


def patches(height: int) -> Image:
    """uint8 (height, 96, 3) RGB: six flat patches side by side."""
    return np.repeat(np.tile(np.array(PATCHES_RGB, np.uint8), (height, 1, 1)), 16, axis=1)


def patch_colours(frame: Frame) -> Image:
    """int (6, 3) RGB in the middle of each patch."""
    middle = frame.image[frame.image.shape[0] // 2, 8::16]
    return middle[:, ::-1].astype(int)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuva420p"])
def test_colours_are_right_in_every_layout_of_planes(
    pix_fmt: str, matrix: str, full_range: bool, tmp_path: Path
) -> None:
    frame = av.VideoFrame.from_ndarray(patches(48), format="rgb24").reformat(
        format=pix_fmt, dst_colorspace=AVCOL_SPC[matrix], dst_color_range=2 if full_range else 1
    )
    frame.colorspace = AVCOL_SPC[matrix]
    (found,) = frames_of(write_frames(tmp_path / "colours.mkv", [frame]))
    assert found.yuv is not None
    assert (found.yuv.matrix, found.yuv.full_range) == (matrix, full_range)
    assert np.abs(patch_colours(found) - PATCHES_RGB).max() <= 4


@pytest.mark.parametrize("pix_fmt", ["yuvj420p", "yuvj422p", "yuvj444p"])
def test_motion_jpeg_is_of_full_range(pix_fmt: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "drive.mov", [patches(48)[:, :, ::-1].copy()], codec="mjpeg", pix_fmt=pix_fmt)
    (found,) = frames_of(path)
    assert found.yuv is not None
    assert found.yuv.full_range
    assert np.abs(patch_colours(found) - PATCHES_RGB).max() <= 8  # JPEG's own loss


@pytest.mark.parametrize("height", [48, 640])
@pytest.mark.parametrize(("pix_fmt", "codec"), [("rgb24", "rawvideo"), ("bgr0", "ffv1")])
def test_rgb_video_keeps_its_colours_at_every_height(pix_fmt: str, codec: str, height: int, tmp_path: Path) -> None:
    frame = av.VideoFrame.from_ndarray(patches(height), format="rgb24").reformat(format=pix_fmt)
    (found,) = frames_of(write_frames(tmp_path / "rgb.nut", [frame], codec))
    assert np.abs(patch_colours(found) - PATCHES_RGB).max() <= 4


def test_semi_planar_video_is_split_into_its_planes(tmp_path: Path) -> None:
    planar = av.VideoFrame.from_ndarray(patches(48), format="rgb24").reformat(format="yuv420p")
    (found,) = frames_of(write_frames(tmp_path / "camera.nut", [planar.reformat(format="nv12")], "rawvideo"))
    assert found.yuv is not None
    for plane, wanted in zip((found.yuv.y, found.yuv.u, found.yuv.v), planar.planes, strict=True):
        assert np.array_equal(plane, plane_of(wanted))


@pytest.mark.parametrize(("color_range", "shown"), [(1, [0, 98, 255]), (2, [16, 100, 235])])
def test_grey_video_is_read_by_the_range_it_is_tagged_with(color_range: int, shown: list[int], tmp_path: Path) -> None:
    grey = av.VideoFrame.from_ndarray(np.repeat([[16, 100, 235]], 48, 0).repeat(16, 1).astype(np.uint8), format="gray")
    grey.color_range = color_range
    (found,) = frames_of(write_frames(tmp_path / "grey.mkv", [grey]))
    assert found.image[24, [8, 24, 40], 0].tolist() == shown
    assert np.ptp(found.image, axis=-1).max() == 0


@pytest.mark.parametrize(("height", "matrix"), [(576, "bt601"), (578, "bt709")])
def test_untagged_video_is_bt601_up_to_576_lines_and_bt709_above(height: int, matrix: str, tmp_path: Path) -> None:
    (found,) = frames_of(write_video(tmp_path / "drive.mp4", [np.zeros((height, 64, 3), np.uint8)]))
    assert found.yuv is not None
    assert found.yuv.matrix == matrix


# ------------------------------------------------------------------------------------------------------------ upright

# Display matrices a, b, c, d of cameras held in four ways, and of mirrors (ISO/IEC 14496-12, 8.3.2):
# x' = ax + cy, y' = bx + dy.
TURNS: list[tuple[tuple[int, int, int, int], Callable[[Image], Image]]] = [
    ((1, 0, 0, 1), lambda image: image),
    ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
    ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    ((1, 0, 0, -1), lambda image: image[::-1]),
    ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    ((0, -1, -1, 0), lambda image: np.rot90(image.transpose(1, 0, 2), 2)),
]


def set_display_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    a, b, c, d = (value * 0x10000 for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(data)


@pytest.mark.parametrize(("matrix", "turn"), TURNS)
def test_an_image_of_a_turned_or_mirrored_camera_is_upright(
    matrix: tuple[int, int, int, int], turn: Callable[[Image], Image], tmp_path: Path
) -> None:
    path = write_video(tmp_path / "phone.mp4", 2)
    upright = [turn(image) for image in decoded_bgr(path)]
    set_display_matrix(path, matrix)
    with Recording(str(path)) as recording:
        assert recording.size_wh == (upright[0].shape[1], upright[0].shape[0])
        for frame, wanted in zip(recording, upright, strict=True):
            assert frame.size_wh == recording.size_wh
            assert np.abs(frame.image.astype(int) - wanted).max() <= 8


# --------------------------------------------------------------------------------------------------- shape of a pixel


def with_aspect(path: Path, aspect: Fraction, size_wh: tuple[int, int] = (64, 48)) -> Path:
    """A video whose pixels are `aspect` times as wide as high."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(picture(index, size_wh), format="bgr24").reformat(format="yuv420p")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(4, 3), Fraction(10, 11)])
def test_frames_carry_the_aspect_of_their_pixels(aspect: Fraction, ending: str, tmp_path: Path) -> None:
    with Recording(str(with_aspect(tmp_path / f"dv{ending}", aspect))) as recording:
        assert recording.pixel_aspect == pytest.approx(float(aspect), rel=0.01)
        assert {round(frame.pixel_aspect / float(aspect), 2) for frame in recording} == {1.0}
        assert display_wh_of(recording) == pytest.approx((64 * max(1, aspect), 48 * max(1, 1 / aspect)), abs=1)


def test_pixels_of_a_camera_held_upright_are_turned_with_it(tmp_path: Path) -> None:
    path = with_aspect(tmp_path / "dv.mp4", Fraction(2))
    set_display_matrix(path, (0, 1, -1, 0))
    with Recording(str(path)) as recording:
        assert recording.size_wh == (48, 64)
        assert recording.pixel_aspect == 0.5


def test_a_pixel_aspect_that_only_damage_makes_is_not_believed(tmp_path: Path) -> None:
    with Recording(str(with_aspect(tmp_path / "dv.mkv", Fraction(200)))) as recording:
        assert recording.pixel_aspect == 1.0


# ---------------------------------------------------------------------------------------------------------------- HDR


def hdr_frame(transfer: int, levels: Sequence[int], full_range: bool = False) -> av.VideoFrame:
    """A grey 10-bit frame of stripes of these luma codes."""
    frame = av.VideoFrame(16 * len(levels), 32, "yuv420p10le")
    for plane, values in zip(frame.planes, (levels, [512] * len(levels), [512] * len(levels)), strict=True):
        rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        rows[:, : plane.width] = np.repeat(values, plane.width // len(levels))
        plane.update(rows.tobytes())
    frame.color_trc, frame.colorspace, frame.color_range = transfer, 9, 2 if full_range else 1
    return frame


# Luma of black, of half and of all of diffuse white (203 cd/m2), of 1000 cd/m2 (BT.2408, tables 1 and 2), in 10 bits.
@pytest.mark.parametrize(("transfer", "levels"), [(16, (64, 508, 573, 723)), (18, (64, 571, 721, 940))])
def test_hdr_greys_are_shown_as_bright_as_sdr_shows_them(transfer: int, levels: tuple[int, ...]) -> None:
    shown = planes(hdr_frame(transfer, levels))
    assert (shown.matrix, shown.full_range) == ("bt709", False)
    black, _, white, peak = (int(shown.y[16, 8 + 16 * stripe]) for stripe in range(4))
    assert black == 16
    assert 200 <= white <= 225
    assert 233 <= peak <= 236
    assert np.abs(shown.u.astype(int) - 128).max() <= 1


def test_hdr_colours_keep_their_hue_and_are_no_paler_than_before() -> None:
    frame = hdr_frame(16, [500] * 4)
    for plane, value in zip(list(frame.planes)[1:], (480, 600), strict=True):  # reddish
        plane.update(np.full(plane.line_size // 2 * plane.height, value, np.uint16).tobytes())
    blue, green, red = (int(part) for part in bgr_from_yuv(planes(frame))[16, 16])
    assert red > green + 40
    assert red > blue + 40


def test_sdr_in_ten_bits_stays_as_it_is() -> None:
    shown = planes(hdr_frame(1, (64, 508, 721, 940)))
    assert [int(shown.y[16, 8 + 16 * stripe]) for stripe in range(4)] == pytest.approx([16, 127, 180, 235], abs=1)


# -------------------------------------------------------------------------------------------------------- streams in it


def two_cameras(path: Path, default: int) -> Path:
    """Twelve frames of 64x48 and one, or four, of 96x64; stream `default` is marked so."""
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("libx264", rate=10) for _ in range(2)]
        for number, (stream, size_wh) in enumerate(zip(streams, ((64, 48), (96, 64)), strict=True)):
            stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
            stream.disposition = Disposition.default if number == default else Disposition(0)
        for stream, count in zip(streams, (12, 4), strict=True):
            for index in range(count):
                image = picture(index, (stream.width, stream.height))
                file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")))
            file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("default", "size_wh", "count"), [(0, (64, 48), 12), (1, (96, 64), 4)])
@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_of_several_videos_the_default_is_taken_and_the_others_are_named(
    default: int, size_wh: tuple[int, int], count: int, ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = two_cameras(tmp_path / f"dash{ending}", default)
    with Recording(str(path)) as recording:
        assert recording.size_wh == size_wh
        assert len(list(recording)) == count
    assert f"has 2 videos; number {default}" in caplog.text
    assert f"#stream={1 - default}" in caplog.text


@pytest.mark.parametrize("number", [0, 1])
def test_a_video_is_chosen_by_its_number_in_order_and_by_frame(number: int, tmp_path: Path) -> None:
    name = f"{two_cameras(tmp_path / 'dash.mp4', 0)}#stream={number}"
    with open_recording(name) as recording:
        frames = list(recording)
        assert [frame.size_wh for frame in frames] == [((64, 48), (96, 64))[number]] * (12, 4)[number]
        assert np.array_equal(recording.at(2).image, frames[2].image)


@pytest.mark.parametrize(("choice", "said"), [("7", "expected 0 to 1; it has 2"), ("rear", "expected the number")])
def test_a_stream_that_is_not_there_is_refused(choice: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        Recording(f"{two_cameras(tmp_path / 'dash.mp4', 0)}#stream={choice}")


def test_a_file_may_be_called_like_a_choice_of_stream(tmp_path: Path) -> None:
    with Recording(str(write_video(tmp_path / "a#stream=1.mp4", 3))) as recording:
        assert len(list(recording)) == 3


# ---------------------------------------------------------------------------------------------------- pipes and limits


def test_a_named_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    content = write_video(tmp_path / "drive.mkv", 12).read_bytes()
    os.mkfifo(pipe := tmp_path / "pipe.mkv")
    writer = threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True)
    writer.start()
    with Recording(str(pipe)) as recording:
        assert len(list(recording)) == 12
    writer.join()


@pytest.mark.slow
def test_a_video_larger_than_the_limit_is_refused_with_both_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "360.mp4", [picture(0, (2048, 1024))])
    monkeypatch.setenv("EDGE_MAX_MEGAPIXELS", "2")
    with pytest.raises(
        SourceError, match=r"2048x1024 is 2\.1 megapixels, expected at most 2\.0.*EDGE_MAX_MEGAPIXELS=3"
    ):
        Recording(str(path))


# ----------------------------------------------------------------------------------------------------------- open GOPs


def cut_at_open_gop(folder: Path, codec: str, ending: str, first_dts: int | None = None) -> tuple[Path, int]:
    """A lossless cut at a key frame whose first B frames refer to what was before, and how many such there are. With
    `first_dts`, times begin anew, so that the key frame is decoded then.
    """
    if codec == "mpeg4":
        return _copied(
            write_video(folder / "whole.mkv", 40, codec=codec, options={"bf": "2", "g": "12"}),
            folder,
            first_dts,
            ending,
        )
    options = {"libx264": "open-gop=1:keyint=12:min-keyint=12:bframes=2:scenecut=0:b-adapt=0"}.get(codec)
    option = (
        {"x264-params": options}
        if options
        else {"x265-params": "open-gop=1:keyint=12:min-keyint=12:bframes=2:scenecut=0:b-adapt=0:log-level=0"}
    )
    whole = write_video(folder / "whole.mkv", 40, codec=codec, options=option)
    return _copied(whole, folder, first_dts, ending)


def _copied(whole: Path, folder: Path, first_dts: int | None, ending: str) -> tuple[Path, int]:
    path, leading, shift = folder / f"cut{ending}", 0, 0
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        key_pts = None
        for packet in source.demux(video=0):
            if not packet.size or (key_pts is None and not (packet.is_keyframe and packet.pts)):
                continue
            if key_pts is None:
                key_pts, shift = packet.pts, 0 if first_dts is None else packet.dts - first_dts
            leading += packet.pts < key_pts
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = stream
            target.mux(packet)
    return path, leading


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("ending", [".mkv", ".mp4"])
def test_a_recording_cut_at_an_open_gop_is_whole(codec: str, ending: str, tmp_path: Path) -> None:
    path, leading = cut_at_open_gop(tmp_path, codec, ending)
    assert leading > 0
    with Recording(str(path)) as recording:
        frames = list(recording)  # raises where it is taken for damaged
    assert len(frames) == 28


@pytest.mark.parametrize("first_dts", [-66, 0, 33])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_a_cut_whose_edit_list_hides_what_cannot_be_decoded_is_whole(
    codec: str, first_dts: int, tmp_path: Path
) -> None:
    """As `ffmpeg -i drive.mp4 -ss 1.1 -c copy cut.mp4` writes it: the header's duration has the hidden frames in it."""
    path, leading = cut_at_open_gop(tmp_path, codec, ".mp4", first_dts)
    assert leading > 0
    with Recording(str(path)) as recording:
        frames = list(recording)  # raises where it is taken for damaged
        assert len(frames) == recording.frame_count == 28


# ------------------------------------------------------------------------------------------------------- damaged files


def test_a_truncated_mp4_whose_index_is_at_the_front_gives_the_frames_it_has_and_then_complains(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "drive.mp4", [noise(i) for i in range(30)], container={"movflags": "faststart"})
    frames, complaint = frames_and_complaint(cut(whole, 0.5))
    assert 10 <= len(frames) <= 16
    assert f"({30 - len(frames)} missing" in complaint or f"({29 - len(frames)} missing, 1 undecodable" in complaint
    assert np.array_equal(frames[3].image, frames_of(whole)[3].image)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_truncated_matroska_file_complains_about_the_seconds_it_lacks(codec: str, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "drive.mkv", [noise(i) for i in range(40)], codec=codec, options={"g": "12"})
    frames, complaint = frames_and_complaint(cut(whole, 0.5))
    assert 10 <= len(frames) <= 25
    assert f"the last {(40 - len(frames)) / 30:.2f} s missing" in complaint


def test_a_truncated_avi_complains_about_the_frames_it_lacks(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "drive.avi", [noise(i) for i in range(30)], codec="mjpeg", pix_fmt="yuvj420p")
    frames, complaint = frames_and_complaint(cut(whole, 0.6))
    assert f"({30 - len(frames)} missing" in complaint or f"({29 - len(frames)} missing, 1 undecodable" in complaint


@pytest.mark.parametrize("share", [0.42, 0.45, 0.51, 0.6])
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "mpeg4"])
def test_a_transport_stream_cut_within_a_frame_complains(codec: str, share: float, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "drive.ts", [noise(i) for i in range(30)], codec=codec)
    frames, complaint = frames_and_complaint(cut(whole, share))
    assert 5 <= len(frames) <= 20
    assert "broken off within the last one" in complaint or "1 corrupt" in complaint


@pytest.mark.parametrize(
    ("codec", "ending"), [("libx264", "mp4"), ("libx264", "ts"), ("mpeg4", "mkv"), ("mpeg4", "avi")]
)
def test_flipped_bits_cost_no_frame_but_are_counted_at_the_end(codec: str, ending: str, tmp_path: Path) -> None:
    options = {"x264-params": "slices=1"} if codec == "libx264" else {}
    path = write_video(tmp_path / f"drive.{ending}", [noise(i) for i in range(30)], codec=codec, options=options)
    frames, complaint = frames_and_complaint(flip_bits(path, 60))
    assert len(frames) >= 25
    assert "corrupt" in complaint or "undecodable" in complaint
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_a_complaint_says_what_the_results_cover_and_what_to_do(tmp_path: Path) -> None:
    path = write_video(tmp_path / "drive.avi", [noise(i) for i in range(20)], codec="mjpeg", pix_fmt="yuvj420p")
    _, complaint = frames_and_complaint(cut(path, 0.6))
    assert "The results cover the decoded frames only; copy the file again from its origin." in complaint


@pytest.mark.parametrize(
    ("codec", "ending", "pix_fmt"),
    [
        ("libx264", "mp4", "yuv420p"),
        ("mpeg4", "mkv", "yuv420p"),
        ("mpeg4", "ts", "yuv420p"),
        ("mjpeg", "avi", "yuvj420p"),
    ],
)
def test_whatever_is_wrong_with_a_file_comes_out_as_an_error_of_ours(
    codec: str, ending: str, pix_fmt: str, tmp_path: Path
) -> None:
    pictures = [noise(index, (48, 32)) for index in range(6)]
    whole = write_video(tmp_path / f"drive.{ending}", pictures, codec=codec, pix_fmt=pix_fmt).read_bytes()
    chance, seen = random.Random(7), set[str]()
    for _ in range(30):
        data = bytearray(whole)
        reach = chance.choice([600, len(data)])  # the header, or anywhere
        for _ in range(chance.randrange(1, 20)):
            data[chance.randrange(reach)] = chance.randrange(256)
        (tmp_path / f"bad.{ending}").write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        try:
            seen.add("sound" if frames_of(tmp_path / f"bad.{ending}") else "empty")
        except EdgeError as error:
            seen.add(type(error).__name__)
    assert seen <= {"sound", "SourceDamaged", "NotAVideo"}
    assert {"SourceDamaged", "NotAVideo"} <= seen


def test_a_title_in_another_encoding_than_utf_8_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "drive.avi"
    with av.open(str(path), "w") as file:
        file.metadata["title"] = "Muenchen"
        stream = file.add_stream("mpeg4", rate=30)
        stream.width, stream.height = 64, 48
        file.mux([*stream.encode(av.VideoFrame.from_ndarray(picture(0), format="bgr24")), *stream.encode(None)])
    path.write_bytes(path.read_bytes().replace(b"Muenchen", "M\xfcnchen ".encode("latin-1")))
    assert len(frames_of(path)) == 1


# ---------------------------------------------------------------------------------------------- what cannot be opened


def write_song(path: Path, cover: bool) -> Path:
    """A second of silence, with or without a picture on its cover."""
    with av.open(str(path), "w", format="mp4") as file:
        song = file.add_stream("aac", rate=44100, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        if cover:
            stream = file.add_stream("mjpeg", rate=1)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
            stream.disposition = av.stream.Disposition.attached_pic
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0), format="bgr24")))
        file.mux(song.encode(silence))
        file.mux(song.encode(None))
    return path


def test_a_missing_file_is_not_found_and_its_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=rf"{tmp_path}/no\.mp4: there is no such file\. .* ls {tmp_path}$"):
        Recording(str(tmp_path / "no.mp4"))
    assert issubclass(SourceNotFound, FileNotFoundError)


def test_a_misspelt_file_is_not_found_and_the_name_that_was_meant_is_told(tmp_path: Path) -> None:
    (tmp_path / "drive.mp4").touch()
    with pytest.raises(SourceNotFound, match=rf"no such file; did you mean '{tmp_path}/drive\.mp4'\?"):
        Recording(str(tmp_path / "drvie.mp4"))


def test_a_path_through_a_file_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceNotFound, match="there is no such file"):
        Recording(str(tmp_path / "file" / "drive.mp4"))


def test_a_name_too_long_for_the_file_system_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(NotAVideo, match="File name too long"):
        Recording(str(tmp_path / ("x" * 300)))


@pytest.mark.parametrize("name", ["drive.mp4", "drive.mkv", "drive"])
def test_an_empty_file_is_told_apart(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(NotAVideo, match=r"is empty \(0 bytes\)\. .* Copy it again"):
        Recording(str(tmp_path / name))


@pytest.mark.parametrize("content", [b"a text about videos\n" * 50, b"\x00" * 5000, bytes(range(256)) * 40])
def test_what_is_no_video_is_refused_with_the_next_step(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "drive.mp4").write_bytes(content)
    with pytest.raises(NotAVideo, match=rf"{tmp_path}/drive\.mp4: is not a video .*ffprobe {tmp_path}/drive\.mp4"):
        Recording(str(tmp_path / "drive.mp4"))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.9])
def test_an_mp4_cut_off_in_or_before_its_index_is_refused_with_the_likely_cause(share: float, tmp_path: Path) -> None:
    with pytest.raises(NotAVideo, match="cut off"):
        Recording(str(cut(write_video(tmp_path / "drive.mp4", 60), share)))


@pytest.mark.parametrize("cover", [False, True])
def test_a_song_is_no_video_even_with_a_picture_on_its_cover(cover: bool, tmp_path: Path) -> None:
    with pytest.raises(NotAVideo, match="holds no video stream"):
        Recording(str(write_song(tmp_path / "song.m4a", cover)))


def test_a_codec_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "drive.mkv")
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/XYZ"))
    with pytest.raises(NotAVideo, match="FFmpeg does not know"):
        Recording(str(path))


def test_a_video_without_a_decodable_frame_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    path = write_video(tmp_path / "drive.mkv", 3, codec="ffv1")
    data = path.read_bytes()
    start = data.index(b"\x1f\x43\xb6\x75")  # the first Cluster, where the frames are
    path.write_bytes(data[: start + 40] + b"\xff" * (len(data) - start - 40))
    with pytest.raises(NotAVideo, match="no frame in it can be decoded"):
        Recording(str(path))


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(NotAVideo, match="Is a directory"):
        Recording(str(tmp_path))


def test_a_file_that_may_not_be_read_says_so(public_folder: Path, as_nobody: Callable) -> None:
    path = write_video(public_folder / "drive.mp4")
    path.chmod(0)
    with as_nobody(), pytest.raises(SourceError, match="may not be read by this user") as caught:
        Recording(str(path))
    assert not isinstance(caught.value, NotAVideo | SourceNotFound)


def test_a_folder_that_may_not_be_entered_says_so(public_folder: Path, as_nobody: Callable) -> None:
    closed = public_folder / "closed"
    closed.mkdir()
    path = write_video(closed / "drive.mp4")
    closed.chmod(0)
    with as_nobody(), pytest.raises(SourceError, match="may not be read by this user"):
        Recording(str(path))
    closed.chmod(0o755)


@pytest.mark.parametrize(
    "name", ["12:30.mp4", "drive[1].mp4", "a%03d.mp4", "with space.mp4", "-y.mp4", "übung.mp4", "a?b#c"]
)
def test_a_file_name_is_never_taken_for_a_protocol_a_pattern_or_an_option(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "plain.mp4", 3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with Recording(name) as recording:
        assert len(list(recording)) == 3


# ------------------------------------------------------------------------------------------------------------- closing


def test_the_file_is_closed_at_the_end_of_the_block_even_half_way(tmp_path: Path) -> None:
    path = write_video(tmp_path / "drive.mp4")
    with Recording(str(path)) as recording:
        next(iter(recording))
        assert open_files(tmp_path) == [str(path)]
    assert open_files(tmp_path) == []


def test_a_file_that_is_refused_is_closed(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    paths = [tmp_path / "text.mp4", write_song(tmp_path / "song.m4a", cover=True)]
    broken = write_video(tmp_path / "drive.mkv")
    broken.write_bytes(broken.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/XYZ"))
    for path in [*paths, broken]:
        with pytest.raises(NotAVideo):
            Recording(str(path))
    assert open_files(tmp_path) == []


# ------------------------------------------------------------------------------------- images that FFmpeg gives in part


def test_a_photo_in_tiles_is_refused_instead_of_its_first_tile_being_taken(tmp_path: Path) -> None:
    photo = tmp_path / "IMG 1.heic"
    photo.write_bytes((Path(__file__).parent / "tiles.heic").read_bytes())  # two tiles of 64x64, by libheif
    with pytest.raises(
        NotAVideo, match=r"is a photo in 2 tiles .* Make a JPEG or PNG of it: heif-convert '.*IMG 1.heic'"
    ):
        Recording(str(photo))


def test_an_animated_gif_is_refused_instead_of_its_first_image_being_taken(tmp_path: Path) -> None:
    animated = write_video(tmp_path / "a.gif", 3, codec="gif", pix_fmt="rgb8")
    with pytest.raises(NotAVideo, match=r"is an animated GIF, .* Make a video of it: ffmpeg -i .*a.gif .*a.mp4"):
        Recording(str(animated))
    still = write_video(tmp_path / "b.gif", 1, codec="gif", pix_fmt="rgb8")
    assert len(frames_of(still)) == 1
