"""A decoder's frame as 8-bit 4:2:0 planes: upright, tone-mapped where it is HDR."""

from __future__ import annotations

import struct
from collections.abc import Callable

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.frame import VideoFrame

from edge.frame import Image, Matrix, Yuv420
from edge.sources import hdr

_PLANAR_420 = ("yuv420p", "yuvj420p")
# libavutil/pixfmt.h: BT709, BT470BG, SMPTE170M, BT2020_NCL, BT2020_CL. BT.2020's matrix is nearest to BT.709's.
_AVCOL_SPC: dict[int, Matrix] = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt709", 10: "bt709"}
_SWS_CS: dict[Matrix, int] = {"bt709": 1, "bt601": 5}  # libswscale/swscale.h
_LIMITED, _FULL = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG

Turn = Callable[[Image], Image]
# By the signs of a display matrix's a, b, c, d (ISO/IEC 14496-12, 8.3.2): x' = ax + cy, y' = bx + dy.
_TURNS: dict[tuple[int, int, int, int], Turn] = {
    (-1, 0, 0, -1): lambda plane: cv2.rotate(plane, cv2.ROTATE_180),
    (0, 1, -1, 0): lambda plane: cv2.rotate(plane, cv2.ROTATE_90_CLOCKWISE),
    (0, -1, 1, 0): lambda plane: cv2.rotate(plane, cv2.ROTATE_90_COUNTERCLOCKWISE),
    (-1, 0, 0, 1): lambda plane: cv2.flip(plane, 1),
    (1, 0, 0, -1): lambda plane: cv2.flip(plane, 0),
    (0, 1, 1, 0): cv2.transpose,
    (0, -1, -1, 0): lambda plane: cv2.rotate(cv2.transpose(plane), cv2.ROTATE_180),
}


def planes(decoded: VideoFrame) -> Yuv420:
    """The decoder's planes of a frame as views; other pixel formats are converted first.

    They are turned and mirrored as the display matrix says. HDR (PQ, HLG) is tone-mapped to BT.709. An untagged frame
    is taken as BT.601 up to 576 lines and BT.709 above, as players do.
    """
    matrix = _AVCOL_SPC.get(int(decoded.colorspace), "bt709" if decoded.height > 576 else "bt601")
    full_range = decoded.format.name.startswith("yuvj") or int(decoded.color_range) == _FULL
    tone_map = hdr.tone_map_for(int(decoded.color_trc))
    turn = turn_of(decoded)
    if decoded.format.name not in _PLANAR_420:
        decoded, full_range = _as_planar_420(decoded, matrix, full_range)
    width, height = decoded.width, decoded.height
    half = (height + 1) // 2, (width + 1) // 2
    sizes_hw = (height, width), half, half
    y, u, v = (_plane(plane, size_hw) for plane, size_hw in zip(decoded.planes, sizes_hw, strict=True))
    if tone_map is not None:
        (y, u, v), matrix, full_range = tone_map(y, u, v, full_range), "bt709", False
    if turn is not None:
        y, u, v = (turn(plane) for plane in (y, u, v))
    return Yuv420(y, u, v, matrix, full_range, owner=decoded)


def turn_of(decoded: VideoFrame) -> Turn | None:
    """How to turn or mirror the frame's planes upright; None where they are."""
    signs = _matrix_signs(decoded)
    return None if signs is None else _TURNS.get(signs)


def swaps_sides(decoded: VideoFrame) -> bool:
    """Whether turning it upright makes its width its height."""
    signs = _matrix_signs(decoded)
    return signs is not None and signs[1] != 0


def _matrix_signs(decoded: VideoFrame) -> tuple[int, int, int, int] | None:
    """Signs of a, b, c, d of its display matrix; a slanted one counts as the nearest that is not."""
    side_data = decoded.side_data.get(SideData.DISPLAYMATRIX)
    if side_data is None:
        return None
    a, b, _, c, d = struct.unpack_from("=5i", bytes(side_data))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return _sign(a), 0, 0, _sign(d)
    return 0, _sign(b), _sign(c), 0


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _as_planar_420(decoded: VideoFrame, matrix: Matrix, full_range: bool) -> tuple[VideoFrame, bool]:
    """The frame as yuv420p, and whether that is of full range."""
    if decoded.format.is_rgb or decoded.format.has_palette:
        return decoded.reformat(format="yuv420p", dst_colorspace=_SWS_CS[matrix], dst_color_range=_LIMITED), False
    if decoded.format.name.startswith("gray"):
        # libswscale takes every grey for full range, whatever its tag; full to full keeps the values as they are.
        same = decoded.reformat(format="yuv420p", src_color_range=_FULL, dst_color_range=_FULL)
        return same, int(decoded.color_range) != _LIMITED
    level = _FULL if full_range else _LIMITED
    return decoded.reformat(format="yuv420p", src_color_range=level, dst_color_range=level), full_range


def _plane(plane: av.video.plane.VideoPlane, size_hw: tuple[int, int]) -> Image:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: size_hw[0], : size_hw[1]]
