"""From what the user types to a source of frames."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import SourceNotFound

if TYPE_CHECKING:  # a name is looked at before OpenCV is loaded
    from edge.sources.source import Source

A_SOURCE_IS = "A source is a file, a folder, a pattern of pictures, a camera or scene:street."


def is_camera(name: str) -> bool:
    """Whether a name stands for a camera, whose frames come whether or not somebody takes them."""
    return name.isdecimal() or name.startswith("/dev/video") or stat.S_ISCHR(_mode(name))


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
    if not name:
        raise SourceNotFound(f"the source's name is empty. Is a variable not set? {A_SOURCE_IS}")
    if is_camera(name):
        from edge.sources.camera import Camera

        return Camera(name)
    if "://" in name:
        raise SourceNotFound(f"{name}: streams are not supported yet. {A_SOURCE_IS}")
    from edge.sources.pictures import SUFFIXES, Pictures

    mode = _mode(name)
    is_pattern = not mode and any(sign in name for sign in "*?[")  # a file may be called "drive[1].mp4"
    if stat.S_ISDIR(mode) or is_pattern or Path(name).suffix.lower() in SUFFIXES:
        return Pictures(name)
    from edge.sources.recording import Recording

    return Recording(name)


def _mode(name: str) -> int:
    """The kind of file that a name stands for, as stat has it; 0 for what is not there or may not be seen."""
    try:
        return Path(name).stat().st_mode
    except (OSError, ValueError):
        return 0
