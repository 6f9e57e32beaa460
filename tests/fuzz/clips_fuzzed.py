"""Recordings with damage in header, index and packets: every frame, or word that some are missing."""

from __future__ import annotations

import random
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

from mutants import Finding, mutated

sys.path.insert(0, str(Path(__file__).parents[1]))

from videos import picture, write_video

from edge.errors import SourceDamaged, SourceError
from edge.frame import Frame
from edge.sources.recording import Recording

_FRAMES = 24
_RECORDED = {"movflags": "frag_every_frame+empty_moov+default_base_moof"}  # as edge.sinks.recorder writes
_FAST = {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"}
_KINDS = {  # file: codec, its options, the container's
    "h264.mp4": ("libx264", {}, {}),
    "front.mp4": ("libx264", {}, {"movflags": "faststart"}),
    "recorded.mp4": ("libx264", {"tune": "zerolatency"}, _RECORDED),
    "h264.mkv": ("libx264", {}, {}),
    "h264.ts": ("libx264", {}, {}),
    "hevc.mp4": ("libx265", _FAST, {}),
    "mpeg4.avi": ("mpeg4", {}, {}),
    "mjpeg.avi": ("mjpeg", {}, {}),
}


_OPEN_ENDED = ("recorded.mp4", "h264.ts")  # made to be cut anywhere: by a kill, by a tuner


class _Clip(NamedTuple):
    data: bytes
    frames: list[int]  # the digest of each


class Clips:
    def __init__(self, folder: Path) -> None:
        pictures = [picture(index, (96, 64)) for index in range(_FRAMES)]
        self._folder, self._clips = folder, dict[str, _Clip]()
        for name, (codec, options, container) in _KINDS.items():
            pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            path = write_video(
                folder / name, pictures, codec=codec, pix_fmt=pix_fmt, options=options, container=container
            )
            with Recording(str(path)) as recording:
                self._clips[name] = _Clip(path.read_bytes(), [_digest(frame) for frame in recording])
            assert len(self._clips[name].frames) == _FRAMES

    def try_one(self, chance: random.Random) -> str:
        name = chance.choice(list(self._clips))
        whole = self._clips[name]
        path = self._folder / f"mutant-{name}"
        data = mutated(whole.data, chance, *chance.choice([(0, 1), (0, 0.1), (0.1, 0.9), (0.9, 1)]))
        path.write_bytes(data)
        frames, said = _read(path)
        if said and frames:
            if f"{len(frames)} frames were decoded" not in said:
                raise Finding(f"{name}: {len(frames)} frames came, and it says: {said}")
            return f"damaged, and said so; {name}"
        if said:
            return f"refused; {name}"
        if len(frames) < len(whole.frames) and name in _OPEN_ENDED and self._ends_there(path, whole, len(data), frames):
            return f"ends early between two parts, which nothing in it tells; {name}"
        if len(frames) != len(whole.frames):
            raise Finding(f"{name}: {len(frames)} of {len(whole.frames)} frames, and not a word")
        return f"whole; {name}" if frames == whole.frames else f"all frames, other pixels; {name}"

    def _ends_there(self, path: Path, whole: _Clip, size: int, frames: list[int]) -> bool:
        """Whether the cut alone costs these frames: other damage, to pixels and stuffing, cost none."""
        path.write_bytes(whole.data[:size])
        cut, said = _read(path)
        return not said and len(cut) == len(frames)

    def close(self) -> None:
        pass


def _read(path: Path) -> tuple[list[int], str]:
    """The digest of each frame, and what is said of the others; "" if nothing is."""
    frames: list[int] = []
    try:
        with Recording(str(path)) as recording:
            frames.extend(map(_digest, recording))
    except SourceDamaged as complaint:
        return frames, str(complaint)
    except SourceError as refusal:
        if frames:
            raise
        return [], str(refusal)
    return frames, ""


def _digest(frame: Frame) -> int:
    assert frame.yuv is not None
    digest = 0
    for plane in (frame.yuv.y, frame.yuv.u, frame.yuv.v):
        digest = zlib.crc32(plane.tobytes(), digest)
    return digest
