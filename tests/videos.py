"""Small video files for tests, made with PyAV; no two of their frames are alike."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
WH = (64, 48)
RATE_HZ = 30


def picture(index: int, size_wh: tuple[int, int] = WH) -> Image:
    """uint8 (H, W, 3) BGR: smooth, brighter to the right and below, and of another colour in every frame."""
    width, height = size_wh
    rows, columns = np.mgrid[:height, :width]
    blue = 40 + 150 * columns / width + 2 * index
    green = 50 + 120 * rows / height + index
    red = 200 - 100 * (rows / height + columns / width) / 2 - 3 * (index % 20)
    return np.stack([blue, green, red], -1).clip(0, 255).astype(np.uint8)


def noise(index: int, size_wh: tuple[int, int] = WH) -> Image:
    """uint8 (H, W, 3) BGR that no codec can predict, so that every packet is long enough to be damaged."""
    return np.random.default_rng(index).integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)


def write_video(
    path: Path,
    pictures: Sequence[Image] | int = 12,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: Fraction | int = RATE_HZ,
    times_ms: Sequence[int] | None = None,
    options: Mapping[str, str] | None = None,
    container: Mapping[str, str] | None = None,
) -> Path:
    """A file of these pictures, or of so many; `times_ms` says when each is shown, by default at an even rate."""
    if isinstance(pictures, int):
        pictures = [picture(index) for index in range(pictures)]
    with av.open(str(path), "w", options=dict(container or {})) as file:
        stream = file.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, image in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=pix_fmt)
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[index], Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def write_frames(path: Path, frames: Sequence[av.VideoFrame], codec: str = "ffv1") -> Path:
    """A file of these frames as they are, colour tags included."""
    first = frames[0]
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=RATE_HZ)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, first.format.name
        stream.codec_context.color_range, stream.codec_context.colorspace = first.color_range, first.colorspace
        for frame in frames:
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def decoded(path: Path) -> list[tuple[float, list[Image]]]:
    """Time in seconds and planes of every frame, as PyAV has them."""
    with av.open(str(path)) as file:
        return [(float(frame.time), [plane_of(plane) for plane in frame.planes]) for frame in file.decode(video=0)]


def decoded_bgr(path: Path) -> list[Image]:
    """uint8 (H, W, 3) BGR of every frame, converted by libswscale."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="bgr24") for frame in file.decode(video=0)]


def plane_of(plane: av.video.plane.VideoPlane) -> Image:
    """A copy of one 8-bit plane without its padding."""
    rows = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width].copy()


def cut(path: Path, share: float) -> Path:
    """A new file of the first `share` of the bytes."""
    data = path.read_bytes()
    return _beside(path, "cut", data[: round(len(data) * share)])


def flip_bits(path: Path, count: int, first: float = 0.3, last: float = 0.7) -> Path:
    """A new file with `count` bits flipped between two shares of its length, the same ones every time."""
    data, chance = bytearray(path.read_bytes()), random.Random(1)
    for _ in range(count):
        data[chance.randrange(round(len(data) * first), round(len(data) * last))] ^= 1 << chance.randrange(8)
    return _beside(path, "flipped", bytes(data))


def _beside(path: Path, what: str, data: bytes) -> Path:
    new = path.with_name(f"{path.stem}-{what}{path.suffix}")
    new.write_bytes(data)
    return new


def open_files(folder: Path) -> list[str]:
    """The files below a folder that this process holds open."""
    links = Path("/proc/self/fd").iterdir()
    return [target for target in map(_target, links) if target.startswith(str(folder))]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # the one of the listing itself
        return ""
