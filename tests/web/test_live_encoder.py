from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from web_client import unpack

from edge.errors import OutputError
from edge.frame import Frame, Image, Letterbox, Yuv420
from edge.prediction import Prediction
from edge.web import encoder as encoder_module
from edge.web.encoder import EncodedFrame, FrameEncoder, Images, JpegImages, encode_frame
from edge.web.images import VIEW_WIDTH, view_bgr
from edge.web.state import Live, Newest

JPEG = JpegImages(VIEW_WIDTH)


def test_a_message_holds_the_frame_and_exactly_its_classes(make_result: Any, flag: Image, flag_classes: Image) -> None:
    seen = unpack(encode_frame(Newest(5, make_result(3), 2), JPEG).message())
    assert np.array_equal(seen.classes, flag_classes)
    assert np.abs(seen.picture.astype(int) - flag).mean() < 12  # a JPEG
    assert (seen.head["number"], seen.head["frame"], seen.head["dropped"]) == (5, 3, 2)
    assert seen.head["picture_wh"] == [64, 48]
    assert seen.head["age_ms"] == 20.0
    assert seen.head["now_age_ms"] >= 20.0


def test_the_black_bars_of_a_letterbox_are_not_sent(make_result: Any) -> None:
    box = Letterbox.fit((64, 24), (64, 48))
    classes = np.full((48, 64), 9, np.uint8)
    classes[12:36] = 2
    frame = Frame(index=0, captured_ns=0, source="wide", bgr=np.zeros((24, 64, 3), np.uint8))
    result = Prediction(frame, {"semantic": classes}, box, make_result().table, 1)
    seen = unpack(encode_frame(Newest(1, result, 0), JPEG).message())
    assert seen.classes.shape == (24, 64)
    assert (seen.classes == 2).all()


@pytest.mark.parametrize("planes", [False, True])
def test_a_frame_wider_than_a_screen_is_shrunk_and_keeps_its_colour_and_shape(planes: bool) -> None:
    height, width = 1440, 2560
    if planes:
        half = (height // 2, width // 2)
        y, u, v = np.full((height, width), 81, np.uint8), np.full(half, 90, np.uint8), np.full(half, 240, np.uint8)
        frame = Frame(index=0, captured_ns=0, source="red", yuv=Yuv420(y, u, v))
    else:
        frame = Frame(index=0, captured_ns=0, source="red", bgr=np.full((height, width, 3), (0, 0, 254), np.uint8))
    image = view_bgr(frame)
    assert image.shape == (VIEW_WIDTH * 9 // 16, VIEW_WIDTH, 3)
    assert np.abs(image.astype(int) - (0, 0, 254)).max() <= 3


def test_a_picture_is_made_once_for_all_who_wait(live: Live, make_result: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    goes_on = threading.Event()

    def slowly(newest: Newest, images: Images, with_maps: bool) -> EncodedFrame:
        made.append(newest.number)
        assert goes_on.wait(10)
        return encode_frame(newest, images, with_maps)

    monkeypatch.setattr(encoder_module, "encode_frame", slowly)

    async def look() -> list[int]:
        with FrameEncoder(live, JpegImages(VIEW_WIDTH)) as encoder:
            waiting = [asyncio.create_task(encoder.newer(0)) for _ in range(20)]
            await asyncio.sleep(0)
            live.publish(make_result(), 0)
            while not made:
                await asyncio.sleep(0.001)
            waiting.pop().cancel()  # who leaves takes no picture from the others
            goes_on.set()
            again = await encoder.newer(0)  # what is still the newest is not made anew
            return [again.number, *(picture.number for picture in await asyncio.gather(*waiting))]

    assert asyncio.run(look()) == [1] * 20
    assert made == [1]


def test_no_picture_is_made_while_nobody_looks(live: Live, make_result: Any) -> None:
    async def look() -> int:
        with FrameEncoder(live, JpegImages(VIEW_WIDTH)) as encoder:
            for index in range(50):
                live.publish(make_result(index), 0)
                await asyncio.sleep(0)
            return encoder.encode.count

    assert asyncio.run(look()) == 0


def test_who_asks_late_gets_the_newest_and_none_of_those_between(live: Live, make_result: Any) -> None:
    async def look() -> list[int]:
        with FrameEncoder(live, JpegImages(VIEW_WIDTH)) as encoder:
            live.publish(make_result(0), 0)
            first = await encoder.newer(0)
            for index in range(1, 8):
                live.publish(make_result(index), 0)
            second = await encoder.newer(first.number)
            return [first.number, second.number]

    assert asyncio.run(look()) == [1, 8]


def test_waiting_in_vain_leaves_nothing_behind(live: Live) -> None:
    async def look() -> None:
        with FrameEncoder(live, JpegImages(VIEW_WIDTH)) as encoder:
            for _ in range(100):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(encoder.newer(0), 0.0005)
            assert not encoder._arrived._waiters  # type: ignore[attr-defined]

    asyncio.run(look())


def test_a_frame_that_cannot_be_encoded_is_named(make_result: Any) -> None:
    frame = Frame(index=7, captured_ns=0, source="deep", bgr=np.zeros((4, 4, 3), np.complex64))  # type: ignore[arg-type]
    result = Prediction(frame, make_result().outputs, Letterbox.fit((64, 48), (64, 48)), make_result().table, 1)
    with pytest.raises(OutputError, match="frame 7"):
        encode_frame(Newest(1, result, 0), JPEG)
