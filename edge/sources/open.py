"""From what the user types to a source of frames."""

from __future__ import annotations

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
    if name.isdecimal() or name.startswith("/dev/"):
        from edge.sources.camera import Camera

        return Camera(name)
    if Path(name).is_dir() or any(sign in name for sign in "*?["):
        from edge.sources.pictures import Pictures

        return Pictures(name)
    if "://" in name:
        raise SourceNotFound(f"{name}: streams are not supported yet; a source is a file, a folder, a camera or scene:street")
    from edge.sources.pictures import SUFFIXES, Pictures

    if Path(name).suffix.lower() in SUFFIXES:
        return Pictures(name)
    from edge.sources.recording import Recording

    return Recording(name)
