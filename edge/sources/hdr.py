"""HDR (PQ and HLG in BT.2020) as SDR planes in BT.709, by tables: a look-up for luma, a gain by luma for chroma.

Exact for greys. A colour is moved by the slope of the curve at its luma, and by the matrix that takes BT.2020's
primaries to BT.709's: right for small chroma, and clipped to what 8 bits hold. Some 2 ms for 1080p on one core.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Image

Planes = tuple[Image, Image, Image]
ToneMap = Callable[[Image, Image, Image, bool], Planes]
Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]

WHITE_NITS = 203.0  # of diffuse white, which SDR shows as its white (ITU-R BT.2408)
PEAK_NITS = 1000.0  # what is shown as the brightest SDR
_KNEE, _GAMMA = 0.5, 2.4  # of white, from where light is compressed; BT.1886
# Linear BT.2020 to BT.709 (ITU-R BT.2087), and luma weights.
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
_LUMA_2020, _LUMA_709 = (0.2627, 0.6780, 0.0593), (0.2126, 0.7152, 0.0722)


def _pq_nits(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084: signal 0..1 to cd/m2."""
    root = signal ** (1 / 78.84375)
    return 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)


def _hlg_nits(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """ITU-R BT.2100 HLG on a display of 1000 cd/m2: signal 0..1 to cd/m2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return 1000 * scene**1.2


_NITS: dict[int, Curve] = {16: _pq_nits, 18: _hlg_nits}  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67


def tone_map_for(transfer: int) -> ToneMap | None:
    """What makes SDR of planes with that transfer (FFmpeg's AVColorTransferCharacteristic); None where they are SDR."""
    if transfer not in _NITS:
        return None

    def tone_map(y: Image, u: Image, v: Image, full_range: bool) -> Planes:
        luma, gain = tables(transfer, full_range)
        half = cv2.resize(y, (u.shape[1], u.shape[0]), interpolation=cv2.INTER_AREA)
        return cv2.LUT(y, luma), *_chroma(u, v, cv2.LUT(half, gain), full_range)

    return tone_map


def _chroma(u: Image, v: Image, gain: NDArray[np.float32], full_range: bool) -> tuple[Image, Image]:
    matrix = _chroma_matrix() * (224 / 255 if full_range else 1.0)
    centred = [cv2.subtract(plane, 128, dtype=cv2.CV_32F) for plane in (u, v)]
    out = []
    for row in matrix:
        mixed = cv2.addWeighted(centred[0], float(row[0]), centred[1], float(row[1]), 0)
        out.append(cv2.add(cv2.multiply(mixed, gain), 128, dtype=cv2.CV_8U))
    return out[0], out[1]


@cache
def tables(transfer: int, full_range: bool) -> tuple[Image, NDArray[np.float32]]:
    """uint8 (256,): luma to limited-range SDR luma; float32 (256,): the curve's slope there, by which chroma grows."""
    codes = np.arange(256.0)
    signal = codes / 255 if full_range else np.clip((codes - 16) / 219, 0, 1)
    shown = _to_sdr(_NITS[transfer](signal))
    slope = np.gradient(_to_sdr(_NITS[transfer](fine := np.linspace(0, 1, 4097))), fine)
    gain = np.interp(signal, fine, slope)
    return np.rint(16 + 219 * shown).astype(np.uint8), gain.astype(np.float32)


def _to_sdr(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Display light to an SDR signal 0..1: as it is up to half of white, then Moebius' curve up to PEAK_NITS."""
    level, peak, knee = nits / WHITE_NITS, PEAK_NITS / WHITE_NITS, _KNEE
    a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
    b = (knee**2 - 2 * knee * peak + peak) / (peak - 1)
    bent = (b**2 + 2 * b * knee + knee**2) / (b - a) * (level + a) / (level + b)
    return np.clip(np.where(level <= knee, level, bent), 0, 1) ** (1 / _GAMMA)


@cache
def _chroma_matrix() -> NDArray[np.float64]:
    """(2, 2): (Cb, Cr) of BT.2020 to that of BT.709, for a colour near grey: luma does not change."""
    to_rgb = np.linalg.inv(_ycc_matrix(_LUMA_2020))
    return (_ycc_matrix(_LUMA_709) @ _TO_709 @ to_rgb)[1:, 1:]


def _ycc_matrix(weights: tuple[float, float, float]) -> NDArray[np.float64]:
    """(3, 3): R'G'B' to Y'CbCr."""
    red, green, blue = weights
    return np.array(
        [
            [red, green, blue],
            [-red / (2 - 2 * blue), -green / (2 - 2 * blue), 0.5],
            [0.5, -green / (2 - 2 * red), -blue / (2 - 2 * red)],
        ]
    )
