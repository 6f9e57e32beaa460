"""The drive that the benchmarks run on: a rendered street as a 720p H.264 file, made once."""

from __future__ import annotations

import sys
from pathlib import Path

from edge.bench import write_drive


def street_720p(frames: int = 300) -> Path:
    """The file, rendered at the first call (half a minute) and kept in out/."""
    path = Path(f"out/street-720p-{frames}.mp4")
    if not path.exists():
        print(f"rendering {path} …", file=sys.stderr)
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(".part.mp4")
        write_drive(partial, frames)
        partial.rename(path)
    return path
