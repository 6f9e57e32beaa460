"""Frames as H.264 in a real Chromium: the same page, and JPEG where it cannot be."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="pip install 'edge-segmentation[serve]'")

from browser import BLUE_XY, GREEN_XY, RED_XY, TINT, Page
from web_client import H264Reader, looking, next_frame, place_of, publishing, soon

from edge.frame import Frame, Image, Yuv420, yuv_from_rgb
from edge.prediction import Prediction
from edge.web.h264 import BEHIND_MAX
from edge.web.options import WebOptions
from edge.web.server import WebServer
from edge.web.state import Live

MakeResult = Callable[..., Prediction]
NO_WEBCODECS = "delete window.VideoDecoder;"
FAILS_LATER = """
const decode = VideoDecoder.prototype.decode;
let left = 5;
VideoDecoder.prototype.decode = function (chunk) {
  if (!left--) throw new DOMException("the decoder is gone", "EncodingError");
  return decode.call(this, chunk);
};
"""
BROKEN_STREAM = """
const Chunk = EncodedVideoChunk;
let left = 5;
window.EncodedVideoChunk = class { constructor(given) {
  return new Chunk(left-- ? given : { ...given, data: new Uint8Array([0, 0, 0, 1, 0x65, 0xff, 0xff, 0xff]) });
} };
"""
GIVES_NOTHING = """
const Decoder = VideoDecoder;
window.VideoDecoder = class extends Decoder {
  constructor(given) { super({ ...given, output: (image) => image.close() }); }
};
"""
NO_RGBA = "VideoFrame.prototype.copyTo = () => Promise.reject(new DOMException('no such format', 'NotSupportedError'));"


@contextmanager
def before_the_page(page: Page, script: str) -> Iterator[None]:
    """The script runs before those of any page that is opened meanwhile."""
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    try:
        yield
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def transport(page: Page) -> str:
    return str(page.js("return document.getElementById('transport').textContent"))


def yuv_of(image: Image, matrix: str, full_range: bool) -> Yuv420:
    """The planes of an image that is of one colour in each block of 2 x 2."""
    height, width = image.shape[:2]
    parts = yuv_from_rgb(image[..., ::-1].reshape(-1, 3), matrix, full_range).reshape(height, width, 3)  # type: ignore[arg-type]
    y, u, v = (np.ascontiguousarray(part) for part in (parts[..., 0], parts[::2, ::2, 1], parts[::2, ::2, 2]))
    return Yuv420(y, u, v, matrix, full_range)  # type: ignore[arg-type]


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full_range", [False, True])
def test_colours_are_those_of_the_camera_whatever_its_planes_mean(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult, flag: Image, matrix: str, full_range: bool
) -> None:
    frame = Frame(index=3, captured_ns=time.monotonic_ns(), source="flag", yuv=yuv_of(flag, matrix, full_range))
    patient.publish(dataclasses.replace(make_result(3), frame=frame), 0)
    page.open(server)
    assert soon(page.is_live)
    assert page.shows(BLUE_XY, (0, 0, 200))
    assert page.shows(GREEN_XY, (np.array((0, 200, 0)) + TINT) / 2)
    page.find("#none").click()
    assert page.shows(GREEN_XY, (0, 200, 0))
    assert page.shows(RED_XY, (200, 0, 0))
    assert soon(lambda: transport(page).startswith("Frames come as H.264, "))
    assert transport(page).endswith("MB/s.")
    assert page.complaints() == []


def test_the_image_the_masks_and_the_number_are_always_of_one_frame(
    page: Page, server: WebServer, live: Live, make_result: MakeResult, flag: Image
) -> None:
    greys = [20 + 25 * place for place in range(9)]

    def make(index: int) -> Prediction:
        result = make_result(index)
        flat = np.full_like(flag, greys[index % len(greys)])
        classes = np.full_like(result.semantic, 0 if index % 2 else 9)  # blue, or what has no tint
        frame = Frame(index=index, captured_ns=time.monotonic_ns(), source="flat", bgr=flat)
        return dataclasses.replace(result, frame=frame, outputs={"semantic": classes})

    look = """
    const [done] = arguments, seen = [], pen = document.getElementById("view").getContext("2d");
    new MutationObserver((_, observer) => {
      const [red, , blue] = pen.getImageData(20, 20, 1, 1).data;
      seen.push([document.getElementById("stamp").textContent, red, blue]);
      if (seen.length === 40) { observer.disconnect(); done(seen); }
    }).observe(document.getElementById("stamp"), { childList: true });
    """
    with publishing(live, make, rate_hz=30):
        page.open(server)
        assert soon(page.is_live)
        page.find("#all").click()
        seen = page.driver.execute_async_script(look)
    for stamp, red, blue in seen:
        index = int(stamp.split()[1])
        grey = greys[index % len(greys)]
        tinted = (grey / 2, (grey + 255) / 2) if index % 2 else (grey, grey)
        assert (red, blue) == pytest.approx(tinted, abs=6), stamp
    assert "H.264" in transport(page)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (NO_WEBCODECS, "this browser has no WebCodecs"),
        (FAILS_LATER, "H.264 failed: the decoder is gone"),
        (BROKEN_STREAM, "H.264 failed: "),
        (NO_RGBA, "H.264 failed: no such format"),
        (GIVES_NOTHING, "H.264 failed: no image within 2 s"),
    ],
    ids=["missing", "fails", "broken stream", "no conversion", "silent"],
)
def test_where_h264_cannot_be_decoded_frames_come_as_jpeg_and_the_page_says_why(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult, script: str, reason: str
) -> None:
    with before_the_page(page, script), publishing(patient, make_result, rate_hz=30):
        page.open(server)
        assert soon(lambda: transport(page).startswith("Frames come as JPEG, "))
        assert f" MB/s: {reason}" in transport(page)
        assert page.is_live()
        assert page.shows(BLUE_XY, (0, 0, 200))
        assert page.shows(GREEN_XY, (np.array((0, 200, 0)) + TINT) / 2)
        stamp = page.text("#stamp")
        assert soon(lambda: page.text("#stamp") != stamp), "frames go on"
    assert page.complaints() == []


def test_over_plain_http_on_a_network_frames_come_as_jpeg(page: Page, patient: Live, make_result: MakeResult) -> None:
    patient.publish(make_result(), 0)
    with WebServer(patient, WebOptions(port=0, names=("car.test",))) as server:
        page.driver.get(f"http://car.test:{place_of(server)[1]}/")
        assert soon(page.is_live)
        assert soon(lambda: transport(page).endswith("MB/s: H.264 needs https, or localhost."))
        assert page.shows(BLUE_XY, (0, 0, 200))


def test_a_frame_that_the_machine_cannot_encode_comes_as_jpeg(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult
) -> None:
    high = np.full((20_000, 16, 3), (0, 0, 200), np.uint8)
    frame = Frame(index=3, captured_ns=time.monotonic_ns(), source="high", bgr=high)
    patient.publish(dataclasses.replace(make_result(), frame=frame), 0)
    page.open(server)
    assert soon(page.is_live)
    assert soon(lambda: "JPEG" in transport(page))
    assert "H.264 failed: frame 3: cannot be made H.264" in transport(page)
    assert page.complaints() == []


def test_a_camera_that_changes_its_size_goes_on(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult, flag: Image
) -> None:
    page.open(server)
    for index, size in enumerate(((48, 64), (96, 128), (48, 64), (97, 129))):
        rows, columns = (np.arange(side) * part // side for side, part in zip(size, (48, 64), strict=True))
        image = np.ascontiguousarray(flag[rows][:, columns])
        frame = Frame(index=index, captured_ns=time.monotonic_ns(), source="flag", bgr=image)
        patient.publish(dataclasses.replace(make_result(index), frame=frame), 0)
        assert soon(lambda index=index: page.text("#stamp") == f"frame {index}")
        wide, high = page.js("const { width, height } = document.getElementById('view'); return [width, height]")
        assert (wide, high) == (size[1] // 2 * 2, size[0] // 2 * 2)
        assert page.shows((BLUE_XY[0] * wide // 64, high // 2), (0, 0, 200))
    assert soon(lambda: "H.264" in transport(page))
    assert page.complaints() == []


def test_a_browser_that_comes_in_the_middle_of_the_stream_sees_it_at_once(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult
) -> None:
    with looking(server, "?h264") as line:
        reader = H264Reader()
        for index in range(3 * BEHIND_MAX):
            patient.publish(make_result(index), 0)
            next_frame(line, reader)
        page.open(server)
        assert soon(page.is_live)  # and no frame comes any more
        assert page.shows(BLUE_XY, (0, 0, 200))
        assert soon(lambda: "H.264" in transport(page))


@pytest.mark.parametrize("size_wh", [(1400, 900), (390, 844)])
def test_how_frames_come_can_be_read_on_every_screen(
    page: Page, server: WebServer, patient: Live, make_result: MakeResult, size_wh: tuple[int, int]
) -> None:
    page.screen(*size_wh, mobile=size_wh[0] < 500)
    try:
        patient.publish(make_result(), 0)
        page.open(server)
        assert soon(lambda: "H.264" in page.text("#transport"))
        assert page.js("return document.documentElement.scrollWidth") <= size_wh[0]
        page.shot(f"transport {size_wh[0]}")
    finally:
        page.usual()
