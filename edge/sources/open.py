"""From what the user types to a source of frames."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edge.errors import SourceNotFound
from edge.sources.source import Source


def open_source(name: str) -> Source:
    """The source a name stands for; close it, or use it as a context manager.

    `name` is a video file, a folder or pattern of pictures, a camera ("0", "/dev/video0") or a rendered street
    ("scene:street?seed=7&frames=300&size=1280x720&fps=30"). Each kind is imported when it is asked for.

    Raises:
        SourceError: it is not there, or cannot be read as what it is.
        ConfigError: a scene is asked for in words it does not know.
    """
    if name.startswith("scene:"):
        from edge.sources.scene import SceneSource

        return SceneSource(name)
    if name.isdecimal() or _is_device(name):
        from edge.sources.camera import Camera

        return Camera(name)
    if "://" in name:
        raise SourceNotFound(f"{name}: streams are not supported yet; a source is a file, a folder, a camera or scene:street")
    from edge.sources.pictures import SUFFIXES, Pictures

    if os.path.isdir(name) or Path(name).suffix.lower() in SUFFIXES or _is_pattern(name):
        return Pictures(name)
    from edge.sources.recording import Recording

    return Recording(name)


def _is_device(name: str) -> bool:
    """A camera, there or not; a video under /dev/shm is none."""
    try:
        return name.startswith("/dev/video") or stat.S_ISCHR(os.stat(name).st_mode)
    except (OSError, ValueError):  # not there, not to be looked at, or no name at all: told when it is opened
        return False


def _is_pattern(name: str) -> bool:
    """A pattern, unless a file is really called so: "drive[1].mp4"."""
    return any(sign in name for sign in "*?[") and not os.path.exists(name)
