from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from stand_in import PEDESTRIAN, ROAD, SKY, result_of
from videos import Image, decoded_bgr, noise, open_files, picture, write_video

from edge.appearance import Appearance
from edge.classes import CAMVID
from edge.errors import OutputError
from edge.frame import Matrix, Yuv420
from edge.overlay import paint_bgr
from edge.prediction import Prediction
from edge.sinks.drawing import draw_figures
from edge.sinks.video import OverlayVideo
from edge.sources.recording import Recording
from edge.timing import Stages

HALF_ROAD = np.full((12, 16), SKY, np.uint8)
HALF_ROAD[:, 8:] = ROAD
WH = (128, 96)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def results(count: int, size_wh: tuple[int, int] = WH, step_ns: int = 33_366_667) -> list[Prediction]:
    return [
        result_of(index, HALF_ROAD, image=picture(index, size_wh), media_ns=index * step_ns) for index in range(count)
    ]


def write(path: Path, results: Sequence[Prediction], rate_hz: float | None = 30000 / 1001) -> Path:
    with OverlayVideo(path, rate_hz, Stages()) as sink:
        for result in results:
            sink.write(result, 0)
    return path


def times_ms(path: Path) -> list[int]:
    with av.open(str(path)) as file:
        return [round(frame.time * 1000) for frame in file.decode(video=0)]


# ------------------------------------------------------------------------------------------------------------ the file


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov", "MP4"])
def test_the_video_plays_and_has_as_many_frames_as_were_written(ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"overlay.{ending}", results(25))
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.width, stream.height) == WH
    assert len(decoded_bgr(path)) == 25
    assert names(tmp_path) == [f"overlay.{ending}"]


def test_our_own_source_finds_nothing_wrong_with_the_video(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv"):
        with Recording(str(write(tmp_path / name, results(25)))) as recording:
            assert [frame.index for frame in recording] == list(range(25))
            assert recording.rate_hz == pytest.approx(30000 / 1001, rel=1e-3)


def test_times_are_those_of_the_frames_at_29_97_hertz(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", results(31))
    assert times_ms(path) == [round(index * 1001 / 30) for index in range(31)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_times_are_those_of_the_frames_where_the_rate_varies_or_frames_were_dropped(name: str, tmp_path: Path) -> None:
    wanted = [0, 33, 50, 200, 1234, 5000]
    path = write(
        tmp_path / name,
        [result_of(i, HALF_ROAD, image=picture(i, WH), media_ns=ms * 1_000_000 + 70) for i, ms in enumerate(wanted)],
    )
    assert times_ms(path) == wanted


def test_a_cameras_times_are_those_of_its_captures(tmp_path: Path) -> None:
    wanted = [0, 40, 75, 120]
    start_ns = 86_400_000_000_000
    path = write(
        tmp_path / "a.mp4",
        [
            result_of(i, HALF_ROAD, image=picture(i, WH), captured_ns=start_ns + ms * 1_000_000)
            for i, ms in enumerate(wanted)
        ],
    )
    assert times_ms(path) == wanted


def test_a_recording_that_begins_late_begins_at_once_in_the_video(tmp_path: Path) -> None:
    late = [result_of(i, HALF_ROAD, image=picture(i, WH), media_ns=10**12 + i * 40_000_000) for i in range(3)]
    assert times_ms(write(tmp_path / "a.mp4", late)) == [0, 40, 80]


def test_times_that_jump_back_or_are_missing_count_as_one_usual_step(tmp_path: Path) -> None:
    """As where recordings were joined, or a container keeps no times."""
    media_ms = [0, 40, 80, 0, 40, None, 120]
    path = write(
        tmp_path / "a.mp4",
        [
            result_of(i, HALF_ROAD, image=picture(i, WH), media_ns=None if ms is None else ms * 1_000_000)
            for i, ms in enumerate(media_ms)
        ],
        rate_hz=25,
    )
    assert times_ms(path) == [0, 40, 80, 120, 160, 200, 240]


@pytest.mark.parametrize("media_ms", [[0, 80, 40, 120, 160, 200, 240], [0, 120, 40, 80, 160, 200, 240, 280]])
def test_frames_that_were_swapped_make_the_video_no_longer(media_ms: list[int], tmp_path: Path) -> None:
    frames = [result_of(i, HALF_ROAD, image=picture(i, WH), media_ns=ms * 10**6) for i, ms in enumerate(media_ms)]
    shown = times_ms(write(tmp_path / "a.mp4", frames, rate_hz=25))
    assert shown == sorted(set(shown))
    assert shown[-1] == media_ms[-1]


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_the_video_is_shown_with_the_pixel_aspect_of_its_source(ending: str, tmp_path: Path) -> None:
    frames = results(3)
    for result in frames:
        result.frame.pixel_aspect = 4 / 3
    with av.open(str(write(tmp_path / f"a{ending}", frames))) as file:
        assert file.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize("rate_hz", [None, 1e-4, 0.5, 10, 23.976, 240, 1e5])
def test_any_rate_makes_a_video(rate_hz: float | None, tmp_path: Path) -> None:
    step_ns = round(1e9 / (rate_hz or 10))
    path = write(tmp_path / "a.mp4", results(4, step_ns=step_ns), rate_hz)
    assert times_ms(path) == pytest.approx([index * step_ns / 1e6 for index in range(4)], abs=0.6)


def test_a_video_takes_the_place_of_the_one_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("old")
    assert len(decoded_bgr(write(tmp_path / "a.mp4", results(2)))) == 2


@pytest.mark.parametrize("name", ["12:30.mp4", "a b.mp4", "a%d.mp4", "-a.mp4", "ü.mp4"])
def test_a_name_is_never_taken_for_a_protocol_or_a_pattern(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path(name), results(2))
    assert names(tmp_path) == [name]


# --------------------------------------------------------------------------------------------------------- the picture


def tinted_share(image: Image, plain: Image) -> float:
    """The part of the pixels that differ clearly."""
    return float((np.abs(image.astype(int) - plain).max(-1) > 25).mean())


def test_tints_are_seen_at_their_place_after_decoding(tmp_path: Path) -> None:
    classes = np.full((24, 32), SKY, np.uint8)
    classes[12:, :16] = ROAD
    classes[2:8, 20:28] = PEDESTRIAN
    image = np.full((192, 256, 3), 200, np.uint8)
    path = write(tmp_path / "a.mp4", [result_of(0, classes, image=image)])
    (found,) = decoded_bgr(path)
    wanted = paint_bgr(image, classes, result_of(0, classes, image=image).letterbox, CAMVID)
    difference = np.abs(found.astype(int) - wanted).max(-1)[:160]  # above the line of figures
    assert np.median(difference) <= 3
    assert (difference > 30).mean() < 0.02  # coded borders
    assert tinted_share(found[24:56, 168:216], image[24:56, 168:216]) == 1
    assert tinted_share(found[:90, :150], image[:90, :150]) == 0


@pytest.mark.parametrize("size_wh", [(128, 96), (127, 95), (130, 98)])
def test_side_by_side_is_twice_as_wide_with_the_plain_frame_on_the_left(
    size_wh: tuple[int, int], tmp_path: Path
) -> None:
    image = np.full((size_wh[1], size_wh[0], 3), 150, np.uint8)
    sizes = [size_wh, (64, 64)]  # the second is scaled into the first
    with OverlayVideo(tmp_path / "a.mp4", 10.0, Stages(), look=Appearance("side-by-side")) as sink:
        for index, (width, height) in enumerate(sizes):
            sink.write(result_of(index, HALF_ROAD, image=np.full((height, width, 3), 150, np.uint8)), 0)
    first, second = decoded_bgr(tmp_path / "a.mp4")
    width, height = size_wh[0] // 2 * 2, size_wh[1] // 2 * 2
    assert first.shape == second.shape == (height, 2 * width, 3)
    assert np.abs(first[: height // 2, :width].astype(int) - 150).max() <= 4
    assert tinted_share(first[:60, width + 70 :], image[:60, 70:width]) == 1
    assert second[height // 2, width + width // 4].min() > 100


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full_range", [False, True])
def test_colours_of_a_decoded_video_stay_as_they_were(matrix: Matrix, full_range: bool, tmp_path: Path) -> None:
    y = np.full((96, 128), 120, np.uint8)
    y[:, 64:] = 60
    u, v = np.full((48, 64), 100, np.uint8), np.full((48, 64), 170, np.uint8)
    yuv = Yuv420(y, u, v, matrix, full_range)
    result = result_of(0, np.full((12, 16), SKY, np.uint8), yuv=yuv)
    write(tmp_path / "a.mp4", [result])
    with Recording(str(tmp_path / "a.mp4")) as recording:
        (frame,) = recording
    assert frame.yuv is not None
    assert (frame.yuv.matrix, frame.yuv.full_range) == (matrix, full_range)
    assert np.abs(frame.image[:60].astype(int) - result.frame.image[:60]).max() <= 4


@pytest.mark.parametrize("size_wh", [(127, 95), (128, 95), (127, 96), (33, 17), (3, 3), (2, 2)])
@pytest.mark.parametrize("planes", [False, True])
def test_an_odd_size_loses_its_last_row_or_column(planes: bool, size_wh: tuple[int, int], tmp_path: Path) -> None:
    image = picture(2, size_wh)
    width, height = size_wh
    half = np.full(((height + 1) // 2, (width + 1) // 2), 128, np.uint8)
    content = {"yuv": Yuv420(image[:, :, 1].copy(), half, half)} if planes else {"image": image}
    path = write(tmp_path / "a.mp4", [result_of(i, HALF_ROAD, **content) for i in range(3)])  # type: ignore[arg-type]
    found = decoded_bgr(path)
    assert len(found) == 3
    assert found[0].shape == (height // 2 * 2, width // 2 * 2, 3)


def test_no_frame_shows_through_in_the_next_one(tmp_path: Path) -> None:
    """One picture is drawn into for all frames, while the encoder may still look at the one before."""
    sky = np.full((12, 16), SKY, np.uint8)
    images = [np.full((96, 128, 3), value, np.uint8) for value in (20, 220, 60, 180, 100, 240, 40)]
    path = write(tmp_path / "a.mp4", [result_of(i, sky, image=image) for i, image in enumerate(images)])
    for found, image in zip(decoded_bgr(path), images, strict=True):
        assert np.abs(found[:60].astype(int) - image[:60]).max() <= 3


def test_the_source_frame_is_not_drawn_into(tmp_path: Path) -> None:
    path = write_video(tmp_path / "drive.mp4", 3)
    with Recording(str(path)) as recording:
        frames = list(recording)
    before = [frame.yuv.y.copy() for frame in frames if frame.yuv]
    write(tmp_path / "a.mp4", [result_of(i, HALF_ROAD, yuv=frame.yuv) for i, frame in enumerate(frames)])
    assert all(np.array_equal(frame.yuv.y, y) for frame, y in zip(frames, before, strict=True) if frame.yuv)


@pytest.mark.parametrize("size_wh", [(1280, 720), (320, 240), (64, 48), (16, 8), (2, 2)])
def test_the_line_of_figures_stays_in_the_lower_left_corner_whatever_the_size(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    planes = [np.full((height // k, width // k), value, np.uint8) for k, value in ((1, 150), (2, 90), (2, 200))]
    before = [plane.copy() for plane in planes]
    draw_figures(Yuv420(planes[0], planes[1], planes[2]), "age 21 ms   frame 7   dropped 0")
    assert not np.array_equal(planes[0], before[0])
    changed = np.nonzero(planes[0] != before[0])
    assert changed[0].max() == height - 1
    assert changed[1].min() == 0
    if height >= 240:
        assert changed[0].min() >= height * 0.9
        assert np.any(planes[0] > 200)  # white letters


# ------------------------------------------------------------------------------------------------------- what is wrong


def test_another_ending_is_refused_before_the_first_frame(tmp_path: Path) -> None:
    for name in ("a.avi", "a"):
        with pytest.raises(OutputError, match=r"expected an overlay that ends with \.mp4, \.mkv, \.mov; got"):
            OverlayVideo(tmp_path / name, 30, Stages())
    assert names(tmp_path) == []


def test_a_place_that_may_not_be_written_is_known_before_the_first_frame(tmp_path: Path, as_nobody: Callable) -> None:
    with as_nobody(), pytest.raises(OutputError, match="may not be written by this user"):
        OverlayVideo(tmp_path / "a.mp4", 30, Stages())
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        OverlayVideo(tmp_path / "folder.mp4", 30, Stages())
    assert names(tmp_path) == ["folder.mp4"]


def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", [])
    assert names(tmp_path) == []


def test_a_sink_that_is_never_used_leaves_nothing(tmp_path: Path) -> None:
    OverlayVideo(tmp_path / "a.mp4", 30, Stages())
    assert names(tmp_path) == []


@pytest.mark.parametrize("planes", [True, False])
@pytest.mark.parametrize("size_wh", [(64, 48), (256, 192), (64, 96), (301, 33), (2, 2)])
def test_a_frame_of_another_size_is_scaled_into_the_video_with_black_around_it(
    size_wh: tuple[int, int], planes: bool, tmp_path: Path
) -> None:
    width, height = size_wh
    light, half = np.full((height, width, 3), 200, np.uint8), ((height + 1) // 2, (width + 1) // 2)
    grey = np.full(half, 128, np.uint8)
    other = {"yuv": Yuv420(light[..., 0].copy(), grey, grey)} if planes else {"image": light}
    sky = np.full((24, 32), SKY, np.uint8)
    changed = [*results(2), result_of(2, sky, media_ns=10**8, **other), *results(5)[3:]]  # type: ignore[arg-type]
    frames = decoded_bgr(write(tmp_path / "a.mp4", changed))
    assert [frame.shape for frame in frames] == [(96, 128, 3)] * 5
    assert np.abs(frames[2][44:48, 60:64].astype(int) - 200).max() < 40, "the picture is in the middle"
    assert (frames[2][:70, 2].mean() < 20) == (width * 96 < height * 128), "black beside a tall one"
    assert (frames[2][2, 4:].mean() < 20) == (width * 96 > height * 128 * 1.1), "black above a wide one"
    assert np.array_equal(frames[1], decoded_bgr(write(tmp_path / "b.mp4", results(2)))[1])


def test_a_picture_of_one_pixel_makes_no_video(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="frame 0 is 1x1, a video needs 2x2 pixels"):
        write(tmp_path / "a.mp4", [result_of(0, HALF_ROAD, image=np.zeros((1, 1, 3), np.uint8))])
    assert names(tmp_path) == []


def test_a_picture_larger_than_h264_allows_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.mp4"):
        write(tmp_path / "a.mp4", [result_of(0, HALF_ROAD, image=np.zeros((2, 20000, 3), np.uint8))])
    assert names(tmp_path) == []
    assert open_files(tmp_path) == []


def noisy(count: int) -> list[Prediction]:
    sky = np.full((12, 16), SKY, np.uint8)
    return [result_of(i, sky, image=noise(i, WH), media_ns=i * 40_000_000) for i in range(count)]


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("size_kib", [4, 8, 12, 32, 64, 100])
def test_a_full_disk_is_told_and_neither_file_nor_rest_is_left(
    size_kib: int, ending: str, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(size_kib)
    with pytest.raises(OutputError, match=rf"{disk}/a\.{ending}: the disk is full\. .*df -h {disk}"):
        write(disk / f"a.{ending}", noisy(20))
    assert names(disk) == []
    assert open_files(disk) == []


def test_a_disk_full_at_the_very_end_is_told_or_the_file_is_whole(
    small_disk: Callable[[int], Path], tmp_path: Path
) -> None:
    """The index of an MP4 is written last: whatever the disk's size, the file is complete or not there."""
    whole = write(tmp_path / "whole.mp4", noisy(10)).stat().st_size
    outcomes = set()
    for size_kib in range(whole // 1024 - 12, whole // 1024 + 12, 4):
        disk = small_disk(size_kib)
        try:
            write(disk / "a.mp4", noisy(10))
            outcomes.add("whole")
            assert len(decoded_bgr(disk / "a.mp4")) == 10
            assert (disk / "a.mp4").stat().st_size == whole
        except OutputError as error:
            outcomes.add("full")
            assert "the disk is full" in str(error)  # noqa: PT017 either outcome is right
            assert names(disk) == []
    assert outcomes == {"whole", "full"}


def test_another_ones_error_leaves_a_whole_video_of_what_was_written(tmp_path: Path) -> None:
    sink = OverlayVideo(tmp_path / "a.mp4", 30, Stages()).__enter__()
    for result in results(4):
        sink.write(result, 0)
    sink.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert len(decoded_bgr(tmp_path / "a.mp4")) == 4


def test_drawing_encoding_and_writing_are_timed(tmp_path: Path) -> None:
    stages = Stages()
    with OverlayVideo(tmp_path / "a.mp4", 30, stages) as sink:
        for result in results(3):
            sink.write(result, 0)
    assert {name: times.count for name, times in stages.by_name.items()} == {"overlay": 3, "encode": 3, "write": 3}


def test_several_encoder_threads_write_the_same_frames(tmp_path: Path) -> None:
    with OverlayVideo(tmp_path / "a.mp4", 30, Stages(), encoder_threads=2) as sink:
        for result in results(12):
            sink.write(result, 0)
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert [frame.time for frame in file.decode(video=0)] == [
            pytest.approx(float(Fraction(1001 * index, 30000)), abs=1e-4) for index in range(12)
        ]
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 12
