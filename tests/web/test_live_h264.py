"""H.264 as viewers get it, read by another decoder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="pip install 'edge-segmentation[serve]'")

from web_client import H264Reader, looking, next_frame, publishing
from websockets.exceptions import ConnectionClosed

from edge.errors import OutputError
from edge.frame import Frame, Image, Yuv420, yuv_from_rgb
from edge.prediction import Prediction
from edge.sinks.video import AVCOL_SPC
from edge.sources.open import open_source
from edge.web import feed
from edge.web.encoder import EncodedImage, FrameEncoder, JpegImages
from edge.web.flow import AHEAD
from edge.web.h264 import BEHIND_MAX, Chunk, H264Image, H264Images
from edge.web.images import VIEW_WIDTH
from edge.web.server import WebServer
from edge.web.state import Live

MakeResult = Callable[..., Prediction]
RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def striped(size_wh: tuple[int, int], planes: tuple[str, bool] | None = None, index: int = 0) -> Frame:
    """Three upright stripes, red, green and blue, as BGR, or as planes of that matrix and range."""
    width, height = size_wh
    place = np.minimum(np.arange(width) * 3 // width, 2)
    rgb = np.array((RED, GREEN, BLUE), np.uint8)
    form: Any
    if planes is None:
        form = {"bgr": np.broadcast_to(rgb[place][:, ::-1], (height, width, 3)).copy()}
    else:
        colours = yuv_from_rgb(rgb, planes[0], planes[1])  # type: ignore[arg-type]
        half = np.minimum(np.arange((width + 1) // 2) * 6 // width, 2)
        y, u, v = (
            np.broadcast_to(colours[at, part], (rows, len(at))).copy()
            for part, (at, rows) in enumerate(((place, height), *[(half, (height + 1) // 2)] * 2))
        )
        form = {"yuv": Yuv420(y, u, v, *planes)}  # type: ignore[arg-type]
    return Frame(index=index, captured_ns=index * 40_000_000, source="stripes", **form)


def read(reader: H264Reader, image: EncodedImage, after: int = 0) -> Image:
    found = image.since(after)
    assert found is not None
    head: Any = found[0]
    return reader.read(head["video"]["chunks"], found[1])


SIZES = [((64, 48), (64, 48)), ((65, 49), (64, 48)), ((1280, 720), (1280, 720)), ((1281, 721), (1280, 720))]
SIZES += [((2560, 1440), (1280, 720)), ((48, 270), (48, 270)), ((4, 2), (4, 2))]
PLANES = [None, ("bt601", False), ("bt601", True), ("bt709", False), ("bt709", True)]


@pytest.mark.parametrize(("size_wh", "shown_wh"), SIZES)
@pytest.mark.parametrize("planes", PLANES)
def test_a_frame_of_any_size_and_colours_is_the_same_behind_the_decoder(
    size_wh: tuple[int, int], shown_wh: tuple[int, int], planes: tuple[str, bool] | None
) -> None:
    frame = striped(size_wh, planes)
    image, reader = H264Images(VIEW_WIDTH).encode(frame), H264Reader()
    seen = read(reader, image)
    assert image.size_wh == (seen.shape[1], seen.shape[0]) == shown_wh
    assert image.codec.startswith("avc1.42c0"), "baseline, which every browser decodes that decodes H.264"
    middle = seen.shape[0] // 2
    for stripe, rgb in enumerate((RED, GREEN, BLUE)) if size_wh[0] > 4 else ():
        assert np.abs(seen[middle, (2 * stripe + 1) * seen.shape[1] // 6, ::-1].astype(int) - rgb).max() <= 6
    matrix, full_range = planes or ("bt601", False)
    assert (reader.newest.colorspace, reader.newest.color_range) == (AVCOL_SPC[matrix], 2 if full_range else 1)  # type: ignore[index]


@pytest.mark.slow
def test_it_is_sharp_enough_in_about_half_of_the_bytes_of_a_jpeg() -> None:
    videos, jpegs, reader = H264Images(VIEW_WIDTH), JpegImages(VIEW_WIDTH), H264Reader()
    sizes, errors = [], []
    with open_source("scene:street?size=640x360&frames=8&fps=30") as street:
        for number, frame in enumerate(street, 1):
            image = videos.encode(frame)
            sizes.append((len(image.chunks[-1].data), len(jpegs.encode(frame).data)))
            errors.append(np.square(read(reader, image, number - 1).astype(float) - frame.image).mean())
    assert len(sizes) == 8
    assert sum(video for video, _ in sizes) < 0.6 * sum(jpeg for _, jpeg in sizes), "the first, a keyframe, among them"
    assert 10 * np.log10(255**2 / np.mean(errors)) > 31


KEY, NEXT = (True, b"key"), (False, b"next")


def image_of(first: int, *chunks: tuple[bool, bytes]) -> H264Image:
    return H264Image(
        (64, 48), "avc1.42c00a", tuple(Chunk(first + place, 0, *chunk) for place, chunk in enumerate(chunks))
    )


@pytest.mark.parametrize(
    ("image", "last", "expected"),
    [
        (image_of(7, KEY), 0, [7]),
        (image_of(7, KEY, NEXT, NEXT), 0, [7, 8, 9]),
        (image_of(7, KEY, NEXT, NEXT), 5, [7, 8, 9]),
        (image_of(7, KEY, NEXT, NEXT), 7, [8, 9]),
        (image_of(7, KEY, NEXT, NEXT), 8, [9]),
        (image_of(8, NEXT, NEXT), 8, [9]),
        (image_of(8, NEXT, NEXT), 6, None),
        (image_of(8, NEXT, NEXT), 0, None),
    ],
)
def test_a_viewer_gets_what_it_lacks_or_needs_a_keyframe(
    image: H264Image, last: int, expected: list[int] | None
) -> None:
    found = image.since(last)
    if expected is None:
        assert found is None
        return
    assert found is not None
    lacks = [chunk for chunk in image.chunks if chunk.place in expected]
    head: Any = found[0]
    assert [chunk["key"] for chunk in head["video"]["chunks"]] == [chunk.is_key for chunk in lacks]
    assert found[1] == b"".join(chunk.data for chunk in lacks)


def test_there_is_no_keyframe_that_no_one_asked_for() -> None:
    images = H264Images(VIEW_WIDTH)
    keys = []
    for number in range(1, 400):
        if number == 300:
            images.ask_for_key()
        if images.encode(striped((64, 48), index=number)).chunks[-1].is_key:
            keys.append(number)
    assert keys == [1, 300]


@pytest.mark.parametrize("missed", [0, 1, BEHIND_MAX - 2, BEHIND_MAX - 1, 3 * BEHIND_MAX])
def test_who_missed_frames_sees_what_the_others_see(missed: int) -> None:
    images, steady, hasty = H264Images(VIEW_WIDTH), H264Reader(), H264Reader()
    number = 0

    def encode() -> H264Image:
        nonlocal number
        number += 1
        return images.encode(striped((64, 48), index=number))

    for _ in range(10):
        image = encode()
        read(steady, image, number - 1)
        read(hasty, image, number - 1)
    for _ in range(1 + missed):
        image = encode()
        seen = read(steady, image, number - 1)
    if missed > BEHIND_MAX - 2:
        assert image.since(10) is None
        images.ask_for_key()
        image = encode()
        seen = read(steady, image, number - 1)
    assert np.array_equal(read(hasty, image, 10), seen)


@pytest.mark.parametrize(
    "other", [striped((96, 48)), striped((64, 48), ("bt601", True)), striped((64, 48), ("bt709", False))]
)
def test_another_size_or_other_colours_begin_the_stream_anew(other: Frame) -> None:
    images, reader = H264Images(VIEW_WIDTH), H264Reader()
    for number, frame in enumerate((striped((64, 48)), striped((64, 48)), other, other), 1):
        image = images.encode(frame)
        seen = read(reader, image, number - 1)
        assert image.chunks[-1].is_key == (number in (1, 3))
    assert (seen.shape[1], seen.shape[0]) == image.size_wh == other.size_wh


def test_times_are_those_of_capture_and_never_the_same() -> None:
    images = H264Images(VIEW_WIDTH)
    frames = [striped((64, 48), index=index) for index in (1, 2, 2, 1)]
    for frame in frames:
        image = images.encode(frame)
    assert [chunk.time_us for chunk in image.chunks] == [40_000, 80_000, 80_001, 80_002]


TOO_HIGH = np.zeros((20_000, 16, 3), np.uint8)  # x264 ends at 16384 lines, JPEG at 65535


def test_a_frame_that_x264_cannot_take_is_named_and_the_next_one_begins_anew() -> None:
    images = H264Images(VIEW_WIDTH)
    images.encode(striped((64, 48)))
    with pytest.raises(OutputError, match=r"frame 9: cannot be made H\.264"):
        images.encode(Frame(index=9, captured_ns=0, source="high", bgr=TOO_HIGH))
    assert images.encode(striped((64, 48))).chunks[-1].is_key


def test_behind_the_last_viewer_the_encoder_is_given_back(live: Live, make_result: MakeResult) -> None:
    async def look() -> list[int]:
        counts = []
        with FrameEncoder(live, H264Images(VIEW_WIDTH)) as encoder:
            for _ in range(2):
                with encoder.viewer(), encoder.viewer():
                    for _ in range(3):
                        live.publish(make_result(), 0)
                        assert live.newest is not None
                        encoded = await encoder.newer(live.newest.number - 1)
                counts.append(len(encoded.image.chunks))  # type: ignore[attr-defined]
        return counts

    assert asyncio.run(look()) == [3, 3]


def test_a_viewer_who_asks_for_h264_gets_it_and_one_beside_who_does_not_gets_jpeg(
    server: WebServer, live: Live, make_result: MakeResult, flag: Image, flag_classes: Image
) -> None:
    live.publish(make_result(4), 3)
    with looking(server, "?h264") as video, looking(server) as jpeg:
        seen, other = next_frame(video, H264Reader()), next_frame(jpeg)
    assert "video" in seen.head
    assert "jpeg_bytes" in other.head
    assert (seen.head["frame"], seen.head["dropped"]) == (4, 3)
    assert np.array_equal(seen.classes, flag_classes)
    assert np.abs(seen.picture.astype(int) - flag).mean() < 12


def test_viewers_who_come_in_the_middle_begin_with_a_keyframe_and_see_every_frame_whole(
    server: WebServer, live: Live, make_result: MakeResult, flag: Image
) -> None:
    with publishing(live, make_result), looking(server, "?h264") as first:
        reader = H264Reader()
        for _ in range(2 * BEHIND_MAX):
            next_frame(first, reader)
        with looking(server, "?h264") as second:
            key = next_frame(second, late := H264Reader())
            assert key.head["video"]["chunks"][0]["key"]
            for _ in range(5):
                for line, of in ((first, reader), (second, late)):
                    assert np.abs(next_frame(line, of).picture.astype(int) - flag).mean() < 12


def test_who_falls_far_behind_the_others_or_comes_when_the_camera_has_stopped_begins_with_a_keyframe(
    server: WebServer, live: Live, make_result: MakeResult, flag: Image
) -> None:
    with looking(server, "?h264") as quick, looking(server, "?h264") as slow:
        reader, behind = H264Reader(), H264Reader()
        for index in range(40):
            live.publish(make_result(index), 0)
            assert next_frame(quick, reader).head["frame"] == index
        seen = [next_frame(slow, behind)]
        while seen[-1].head["frame"] < 39:
            seen.append(next_frame(slow, behind))
        with looking(server, "?h264") as late:
            seen.append(next_frame(late, H264Reader()))
    assert sum(len(one.head["video"]["chunks"]) for one in seen) <= 2 * BEHIND_MAX + AHEAD
    assert all(np.abs(one.picture.astype(int) - flag).mean() < 12 for one in seen)
    assert seen[-1].head["frame"] == 39


def test_where_h264_cannot_be_made_the_line_ends_with_the_reason_and_jpeg_goes_on(
    server: WebServer, live: Live, make_result: MakeResult
) -> None:
    high = Frame(index=3, captured_ns=0, source="high", bgr=TOO_HIGH)
    live.publish(replace(make_result(), frame=high), 0)
    with looking(server, "?h264") as line, pytest.raises(ConnectionClosed) as ended:
        next_frame(line)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == feed.NO_H264
    assert ended.value.rcvd.reason.startswith("frame 3: cannot be made H.264")
    with looking(server) as line:
        assert next_frame(line).head["picture_wh"] == [16, 20_000]
