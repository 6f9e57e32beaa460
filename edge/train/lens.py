"""What lenses, sensors and encoders of other cameras do to an image: exposure, low sun, drops on the glass, H.264; and
the colours of another frame. Black stays black, so that a letterbox's bars look as they do at run time.
"""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from edge.frame import Image

_SUN_BGR = np.array([190, 225, 255], np.float32)  # low sun; lamps are not far from it
_H264_FRAMES = 3  # the last is predicted from those before it, as nearly all of a video are
_LEAST_BLACK = np.ones((9, 9), np.uint8)
_DROP_ZOOM = 4.0  # a drop shows the view about it upside down, so many times smaller


def expose(image: Image, rng: Generator) -> Image:
    """Exposed wrongly: 1.4 to 2.5 times as much light, of which the brightest is lost, or 0.25 to 0.6 of it."""
    gain = rng.uniform(1.4, 2.5) if rng.random() < 0.5 else rng.uniform(0.25, 0.6)
    return cv2.convertScaleAbs(image, alpha=gain)


def add_glare(image: Image, rng: Generator) -> Image:
    """A low sun or a lamp: a spot of light with its halo, and a veil over everything."""
    height, width = image.shape[:2]
    x, y = rng.uniform(0, width), rng.uniform(0, 0.6 * height)
    rows, columns = np.ogrid[:height, :width]
    away = ((columns - x) ** 2 + (rows - y) ** 2) / width**2
    spot, halo = rng.uniform(0.02, 0.08), rng.uniform(0.15, 0.5)
    light = np.exp(-away / (2 * spot**2)) + rng.uniform(0.3, 0.7) * np.exp(-away / (2 * halo**2))
    light = np.minimum(light + rng.uniform(0, 0.15), 1).astype(np.float32)[..., None]
    return _inside(image, image + (_SUN_BGR - image).clip(0) * light)


def add_drops(image: Image, rng: Generator) -> Image:
    """Rain on the glass: drops, each of which shows the view about it small, blurred and upside down."""
    height, width = image.shape[:2]
    soft = cv2.GaussianBlur(image, (0, 0), max(1.0, width / 160)).astype(np.float32)
    found = image.astype(np.float32)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(int(rng.integers(4, 25))):
        radius = width * rng.uniform(0.008, 0.05)
        x, y, tall = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.8, 1.4)
        part = _around(x, y, radius * max(1, tall) + 2, width, height)
        across, down = columns[part] - x, rows[part] - y
        cover = np.clip((1 - np.hypot(across, down / tall) / radius) * 4, 0, 1)[..., None]
        maps = (x - across * _DROP_ZOOM, y - down * _DROP_ZOOM)
        seen = cv2.remap(soft, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        found[part] += cover * (seen * rng.uniform(0.8, 1.1) - found[part])
    return _inside(image, found)


def _around(x: float, y: float, reach: float, width: int, height: int) -> tuple[slice, slice]:
    return (
        slice(max(0, int(y - reach)), min(height, int(y + reach) + 1)),
        slice(max(0, int(x - reach)), min(width, int(x + reach) + 1)),
    )


def through_h264(image: Image, rng: Generator) -> Image:
    """Encoded as H.264 at CRF 26 to 42 while the camera moves by some pixels, and decoded: the last of three frames."""
    from av import CodecContext, VideoFrame
    from av.video.codeccontext import VideoCodecContext

    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    step_x, step_y = rng.integers(-4, 5, 2)
    encoder, decoder = CodecContext.create("libx264", "w"), CodecContext.create("h264", "r")
    assert isinstance(encoder, VideoCodecContext)
    assert isinstance(decoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 30), 1
    encoder.options = {"preset": "veryfast", "tune": "zerolatency", "crf": str(rng.integers(26, 43))}
    decoded: list[VideoFrame] = []
    for number in range(_H264_FRAMES):
        away = number - _H264_FRAMES + 1  # the last lies where the image does
        move = np.array([[1, 0, away * step_x], [0, 1, away * step_y]], np.float32)
        moved = cv2.warpAffine(image, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
        frame = VideoFrame.from_ndarray(moved, "bgr24").reformat(format="yuv420p")
        frame.pts = number
        for packet in encoder.encode(frame):
            decoded += decoder.decode(packet)
    for packet in encoder.encode(None):
        decoded += decoder.decode(packet)
    decoded += decoder.decode(None)
    found = image.copy()
    found[:height, :width] = decoded[-1].to_ndarray(format="bgr24")
    return _inside(image, found)


def borrow_style(image: Image, other: Image, rng: Generator) -> Image:
    """With the colours of another frame, by a random part: the mean and spread of each channel of L*a*b* (Reinhard et
    al., "Color transfer between images", 2001).
    """
    own, seen = (_colours(one) for one in (image, other))
    if own is None or seen is None:
        return image
    part = rng.uniform(0.3, 1.0)
    lab = cv2.cvtColor(image, cv2.COLOR_BGR2LAB).astype(np.float32)
    moved = (lab - own[0]) * np.clip(seen[1] / own[1], 0.5, 2.0) + seen[0]
    lab += part * (moved - lab)
    return _inside(image, cv2.cvtColor(lab.clip(0, 255).astype(np.uint8), cv2.COLOR_LAB2BGR))


def _colours(image: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Mean and standard deviation in L*a*b* of what is not black; None of an image that is."""
    there = image.any(axis=2)
    if not there.any():
        return None
    lab = cv2.cvtColor(image, cv2.COLOR_BGR2LAB)[there].astype(np.float32)
    return lab.mean(axis=0), lab.std(axis=0) + 1


def _inside(image: Image, changed: NDArray[np.float32] | Image) -> Image:
    """The changed image, but for the black beyond the view: not a black pixel here and there, which is of the scene."""
    beyond = cv2.morphologyEx((~image.any(axis=2)).view(np.uint8), cv2.MORPH_OPEN, _LEAST_BLACK)
    return np.where(beyond[..., None] > 0, 0, np.clip(changed, 0, 255)).astype(np.uint8)
