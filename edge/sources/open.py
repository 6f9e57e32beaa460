"""From what the user types to a source of frames."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import ConfigError, SourceNotFound

if TYPE_CHECKING:  # a name is looked at before OpenCV is loaded
    from collections.abc import Sequence

    from edge.sources.capture.wire import Order
    from edge.sources.source import Source
    from edge.sources.supervised import Supervised

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
A_SOURCE_IS = "A source is a file, a folder, a pattern of pictures, a camera, a stream's address or scene:street."


def is_camera(name: str) -> bool:
    """Whether a name stands for a camera, whose frames come whether or not somebody takes them."""
    device = name.partition("?")[0]
    if device.isdecimal() or name.startswith(("/dev/video", "gst:", "csi:")) or _ADDRESS.match(name):
        return True
    return stat.S_ISCHR(_mode(name)) or stat.S_ISCHR(_mode(device))


def open_source(name: str) -> Source:
    """The source a name stands for; close it, or use it as a context manager.

    `name` is a video file, a folder or pattern of pictures, a drive or ROS bag ("drive.mcap?topic=/camera/image"), a
    rendered street ("scene:street?seed=7&frames=300&size=1280x720&fps=30"), or a camera, whose first picture is
    awaited. A camera is a device ("0", "/dev/video0?size=1280x720&fps=30&format=mjpeg"), an address
    ("rtsp://user:password@camera/1", "http://camera/live.mjpg"), a CSI camera ("csi:0?size=1280x720&fps=30") or a
    pipeline ("gst:... ! appsink").
    Each kind is imported when it is asked for.

    Raises:
        SourceError: it is not there, cannot be read as what it is, or is a camera that gives no picture.
        ConfigError: a scene or a camera is asked for in words it does not know.
    """
    if name.startswith("scene:"):
        from edge.sources.scene import SceneSource

        return SceneSource(name)
    if not name:
        raise SourceNotFound(f"the source's name is empty. Is a variable not set? {A_SOURCE_IS}")
    if is_camera(name):
        camera = open_live(name)
        try:
            camera.await_first()
        except BaseException:  # Ctrl-C too: nobody else could close it
            camera.__exit__(None, None, None)
            raise
        return camera
    if _is_recorded(Path(name.partition("?topic=")[0])):
        from edge.sources.drive import open_recorded

        return open_recorded(name)
    from edge.sources.pictures import SUFFIXES, Pictures

    mode = _mode(name)
    is_pattern = not mode and any(sign in name for sign in "*?[")  # a file may be called "drive[1].mp4"
    if stat.S_ISDIR(mode) or is_pattern or Path(name).suffix.lower() in SUFFIXES:
        return Pictures(name)
    from edge.sources.recording import Recording

    return Recording(name)


def open_sources(names: Sequence[str]) -> Source:
    """The source that one name stands for; or the images that several name, as a shell makes them of `frames/*.png`.

    Raises:
        ConfigError: several names, and not all are of image files.
        SourceError, ConfigError: see `open_source`.
    """
    if len(names) == 1:
        return open_source(names[0])
    from edge.sources.pictures import SUFFIXES, Pictures

    others = [name for name in names if Path(name).suffix.lower() not in SUFFIXES]
    if others:
        raise ConfigError(f"{others[0]}: several sources can only be images. Run edge once for each of the others")
    missing = [name for name in names if not stat.S_ISREG(_mode(name))]
    if missing:
        raise SourceNotFound(f"{missing[0]}: there is no such file")
    return Pictures(f"{len(names)} images, {names[0]} …", [Path(name) for name in names])


def open_live(name: str) -> Supervised:
    """A camera by its name, whose capture begins at once: it may be away now, and come later.

    Raises:
        SourceError: there is no such device, or the address is none.
        ConfigError: it is asked for in words it does not know.
    """
    from edge.sources.camera import open_camera, open_csi, open_pipeline
    from edge.sources.stream import open_stream

    if name.startswith("gst:"):
        return open_pipeline(name)
    if name.startswith("csi:"):
        return open_csi(name)
    return open_stream(name) if _ADDRESS.match(name) else open_camera(name)


def check_name(name: str) -> None:
    """Refuse a scene, an address or a camera's options that cannot be. A device, a file or a host that is not there is
    no fault of the name: it may come later, and is not looked for.

    Raises:
        ConfigError: only a person can mend it.
    """
    try:
        if name.startswith("scene:"):
            from edge.sources.scene import parse_scene_uri

            parse_scene_uri(name)
        elif is_camera(name):
            _camera_order(name)
    except SourceNotFound as error:
        raise ConfigError(str(error)) from error


def _camera_order(name: str) -> Order:
    from edge.sources.camera import camera_order, csi_order, pipeline_order
    from edge.sources.stream import stream_order

    if name.startswith("gst:"):
        return pipeline_order(name)
    if name.startswith("csi:"):
        return csi_order(name)
    return stream_order(name) if _ADDRESS.match(name) else camera_order(name)


def _is_recorded(path: Path) -> bool:
    """Whether it is a drive or a ROS bag: one of their files, or a folder with them in it."""
    try:
        return path.suffix.lower() in (".mcap", ".bag", ".db3") or (
            path.is_dir() and any(any(path.glob(pattern)) for pattern in ("metadata.yaml", "*.mcap", "*.db3"))
        )
    except (OSError, ValueError):  # it may not be seen, or is no name at all
        return False


def _mode(name: str) -> int:
    """The kind of file that a name stands for, as stat has it; 0 for what is not there or may not be seen."""
    try:
        return Path(name).stat().st_mode
    except (OSError, ValueError):
        return 0
