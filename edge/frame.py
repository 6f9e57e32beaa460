"""A camera frame, and the geometry between its pixels and the network's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.errors import ConfigError

if TYPE_CHECKING:
    from edge.location import Fix

Image = NDArray[np.uint8]
Matrix = Literal["bt601", "bt709"]
ResizePolicy = Literal["letterbox", "stretch"]


@dataclass(frozen=True, slots=True)
class Yuv420:
    """A planar 4:2:0 image as decoders give it and encoders take it.

    `y` is uint8 (H, W); `u` and `v` are uint8 (ceil(H/2), ceil(W/2)). They may be views of a decoder's memory with
    padded rows; `owner` keeps that memory alive. Read-only by agreement.
    """

    y: Image
    u: Image
    v: Image
    matrix: Matrix = "bt601"
    full_range: bool = False
    owner: object = None


class Frame:
    """One image from a source, with its identity.

    Attributes:
        index: counts what the source produced from 0; a gap is a drop.
        captured_ns: monotonic clock, stamped right after the grab. Ages are counted from here.
        media_ns: time within the recording, where the source has one (a file's presentation time), else None.
        source: what the frame came from, as the user named it.
        yuv: the decoder's planes where the source decodes to planes, else None.
        size_wh: in pixels; pixel_aspect: width over height of a pixel as shown, 1.0 for square ones.
        fix: where the car was and how fast it went, by GPS; None where that is unknown.
    """

    __slots__ = ("_bgr", "captured_ns", "fix", "index", "media_ns", "pixel_aspect", "size_wh", "source", "yuv")

    def __init__(
        self,
        *,
        index: int,
        captured_ns: int,
        source: str,
        bgr: Image | None = None,
        yuv: Yuv420 | None = None,
        media_ns: int | None = None,
        pixel_aspect: float = 1.0,
        fix: Fix | None = None,
    ) -> None:
        if (bgr is None) == (yuv is None):
            raise ConfigError("a frame holds either a BGR image or YUV planes")
        self.index = index
        self.captured_ns = captured_ns
        self.media_ns = media_ns
        self.pixel_aspect = pixel_aspect
        self.source = source
        self.fix = fix
        self.yuv = yuv
        self._bgr = bgr
        plane = bgr if bgr is not None else yuv.y  # type: ignore[union-attr]
        self.size_wh: tuple[int, int] = (plane.shape[1], plane.shape[0])

    @property
    def image(self) -> Image:
        """uint8 (H, W, 3) BGR, read-only by agreement; converted from the planes at the first use and kept."""
        if self._bgr is None:
            assert self.yuv is not None
            self._bgr = bgr_from_yuv(self.yuv)
        return self._bgr

    @property
    def taken_ns(self) -> int:
        """When the frame was taken: in its recording, if it is from one."""
        return self.captured_ns if self.media_ns is None else self.media_ns

    def small_luma(self, size_wh: tuple[int, int]) -> Image:
        """uint8 (h, w): its brightness at a smaller size, for finding motion."""
        small = np.empty((size_wh[1], size_wh[0], *(() if self.yuv else (3,))), np.uint8)
        shrink(self.yuv.y if self.yuv else self.image, small)
        return small if self.yuv else cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)


def display_wh(size_wh: tuple[int, int], pixel_aspect: float) -> tuple[int, int]:
    """The size in square pixels in which an image of `size_wh` pixels is shown; no side gets smaller."""
    width, height = size_wh
    if pixel_aspect >= 1:
        return round(width * pixel_aspect), height
    return width, round(height / pixel_aspect)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where the source image lies inside the network's input.

    The image, `source_wh`, fills the rectangle `content_xywh` of the input, `input_wh`; the rest is black.
    """

    source_wh: tuple[int, int]
    input_wh: tuple[int, int]
    content_xywh: tuple[int, int, int, int]

    @classmethod
    def fit(
        cls,
        source_wh: tuple[int, int],
        input_wh: tuple[int, int],
        policy: ResizePolicy = "letterbox",
        pixel_aspect: float = 1.0,
    ) -> Letterbox:
        """Place the image: as large as it fits with the shape in which it is shown and centred, or stretched over all.

        Raises:
            ConfigError: a size has a side below 1.
        """
        if min(*source_wh, *input_wh) < 1:
            raise ConfigError(f"an image of {source_wh} pixels cannot be fitted into {input_wh}")
        if policy == "stretch":
            return cls(source_wh, input_wh, (0, 0, *input_wh))
        shown_wh = (source_wh[0] * pixel_aspect, source_wh[1])
        scale = min(input_wh[0] / shown_wh[0], input_wh[1] / shown_wh[1])
        width = min(input_wh[0], max(1, round(shown_wh[0] * scale)))
        height = min(input_wh[1], max(1, round(shown_wh[1] * scale)))
        return cls(source_wh, input_wh, ((input_wh[0] - width) // 2, (input_wh[1] - height) // 2, width, height))

    @property
    def is_identity(self) -> bool:
        """Whether pixels are the network's cells one to one: then nothing is scaled."""
        return self.source_wh == self.input_wh == self.content_xywh[2:]

    def content(self, array: NDArray) -> NDArray:
        """The view of a network-sized array (h, w, ...) that the image covers."""
        x, y, width, height = self.content_xywh
        return array[y : y + height, x : x + width]

    def to_source(self, array: Image) -> Image:
        """A network-sized uint8 (h, w) map at source resolution, uint8 (H, W): each pixel takes its nearest cell."""
        inside = self.content(array)
        if self.is_identity:
            return np.ascontiguousarray(inside)
        # NEAREST_EXACT samples at pixel centres; NEAREST rounds down and shifts the mask by up to half a cell.
        return cv2.resize(inside, self.source_wh, interpolation=cv2.INTER_NEAREST_EXACT)


def where_any(values: Image, ids: Sequence[int]) -> Image:
    """uint8 (h, w): 255 where a map has one of a few values, 0 elsewhere; a lookup table takes six times as long."""
    found = cv2.compare(values, ids[0], cv2.CMP_EQ) if ids else np.zeros_like(values)
    for one in ids[1:]:
        cv2.bitwise_or(found, cv2.compare(values, one, cv2.CMP_EQ), dst=found)
    return found


def shrink(image: Image, target: Image) -> None:
    """Resize uint8 (H, W[, C]) into `target` (h, w[, C]), in place, without aliasing.

    Halving by averaging is exact and quick; one bilinear step does the rest, which is under 2:1 by then. OpenCV's
    INTER_AREA is twelve times slower where the ratio is not whole, INTER_LINEAR alone skips pixels from 2:1 on.
    """
    height, width = target.shape[:2]
    while image.shape[0] >= 2 * height or image.shape[1] >= 2 * width:
        down, across = (2 if image.shape[0] >= 2 * height else 1), (2 if image.shape[1] >= 2 * width else 1)
        rows, columns = image.shape[0] // down, image.shape[1] // across
        whole = image[: rows * down, : columns * across]
        exact = (rows, columns) == (height, width)
        image = cv2.resize(whole, (columns, rows), dst=target if exact else None, interpolation=cv2.INTER_AREA)
        if exact:
            return
    cv2.resize(image, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)


# BT.601 and BT.709, limited ("video") and full range: Y'CbCr -> R'G'B' (ITU-R BT.601-7, BT.709-6, section 3).
_LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}


def luma_weights(matrix: Matrix) -> tuple[float, float, float]:
    """What blue, green and red contribute to luma."""
    kr, kb = _LUMA[matrix]
    return kb, 1 - kr - kb, kr


def yuv_to_bgr_coefficients(matrix: Matrix, full_range: bool) -> NDArray[np.float32]:
    """float32 (3, 4): BGR = A @ (Y, U, V, 1), all in 0..255."""
    kb, kg, kr = luma_weights(matrix)
    y_gain, c_gain, y_zero = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    blue, red = (2 * (1 - kb), 0.0), (0.0, 2 * (1 - kr))
    green = (-blue[0] * kb / kg, -red[1] * kr / kg)
    rows = [
        [y_gain, c_gain * cu, c_gain * cv, -y_gain * y_zero - 128 * c_gain * (cu + cv)] for cu, cv in (blue, green, red)
    ]
    return np.array(rows, np.float32)


def yuv_from_rgb(rgb: ArrayLike, matrix: Matrix, full_range: bool) -> Image:
    """uint8 (n, 3): the Y, U and V of n colours."""
    a = yuv_to_bgr_coefficients(matrix, full_range).astype(np.float64)
    bgr = np.asarray(rgb, np.float64).reshape(-1, 3)[:, ::-1]
    yuv = np.linalg.solve(a[:, :3], (bgr - a[:, 3]).T).T
    return np.clip(np.rint(yuv), 0, 255).astype(np.uint8)


def bgr_from_yuv(yuv: Yuv420) -> Image:
    """uint8 (H, W, 3) BGR of a planar image."""
    size_wh = (yuv.y.shape[1], yuv.y.shape[0])
    chroma = [cv2.resize(plane, size_wh, interpolation=cv2.INTER_LINEAR) for plane in (yuv.u, yuv.v)]
    return cv2.transform(cv2.merge([yuv.y, *chroma]), yuv_to_bgr_coefficients(yuv.matrix, yuv.full_range))
