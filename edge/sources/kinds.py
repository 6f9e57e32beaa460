"""The table of sources: what each kind is called, which names are its own, and what opens it.

Other packages add rows by an entry point of the group `edge.sources`, whose name is the scheme in front of the colon:

    [project.entry-points."edge.sources"]
    genicam = "my_package.edge:GENICAM"      # a SourceKind; takes every name that begins with "genicam:"

They are looked up only for a scheme that is not ours, and when all kinds are listed.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import ConfigError
from edge.install import install_command
from edge.secrets import redacted, without_secrets
from edge.sources.place import place_of

if TYPE_CHECKING:  # a name is looked at before OpenCV is loaded
    from importlib.metadata import EntryPoint

    from edge.sources.source import Source


GROUP = "edge.sources"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
DRIVE_SUFFIXES = (".mcap", ".bag", ".db3", ".db3.zstd", ".mcap.zstd")
_DRIVE_FILES = ("metadata.yaml", "*.mcap", "*.db3", "*.db3.zstd", "*.mcap.zstd")  # by which a folder is a drive or bag
_YIELDING = {"address", "drive", "images", "video"}  # to another package's scheme
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class SourceKind:
    """A kind of source.

    Attributes:
        name: such as "video"; for those of other packages, the scheme.
        example: a name of that kind, for people.
        matches: whether a name is of this kind; asked in the order of the table.
        factory: what makes a Source of a name; or where it is, "package.module:function", imported at the first use.
        live: frames come whether or not they are taken.
        supervised: the factory gives an `edge.sources.supervised.Supervised`, whose first frame may come later.
        check: like `factory`: raises an EdgeError where a name can never be opened; "" checks nothing.
        extra: what to install where a library is missing, as pip takes it.
    """

    name: str
    example: str
    matches: Callable[[str], bool]
    factory: str | Callable[[str], Source]
    live: bool = False
    supervised: bool = False
    check: str | Callable[[str], object] = ""
    extra: str = "edge-segmentation"

    def open(self, name: str) -> Source:
        """The source of that name.

        Raises:
            SourceError: it is not there, or cannot be read.
            ConfigError: the name asks for what cannot be, or a library is missing.
        """
        try:
            return _loaded(self.factory)(name)
        except ModuleNotFoundError as error:  # another ImportError is a library that is there and broken
            raise ConfigError(
                f"{redacted(name)}: needs the library {error.name or error}. Try: {install_command(self.extra)}"
            ) from error

    def check_name(self, name: str) -> None:
        """Raises EdgeError: the name can never be opened, whatever is plugged in later."""
        if self.check:
            _loaded(self.check)(name)


def _loaded(factory: str | Callable[[str], Any]) -> Callable[[str], Any]:
    if not isinstance(factory, str):
        return factory
    module, _, attribute = factory.partition(":")
    return getattr(import_module(module), attribute)


def _capture(request: str, name: str) -> Source:
    """A camera of that name, as the function `request` has the capture process asked for it. Capture begins at once."""
    from edge.sources.supervised import Supervised  # late: it loads OpenCV

    return Supervised(redacted(name), _loaded(request)(name), hide=lambda text: without_secrets(text, name))


def kind_of(name: str) -> SourceKind:
    """The kind of source that a name stands for: what is no camera, drive or folder is taken for a video file.

    Raises:
        ConfigError: it is of a package that cannot be loaded.
    """
    builtin = next(kind for kind in BUILTIN if kind.matches(name))
    scheme = _SCHEME.match(name)
    if builtin.name not in _YIELDING or scheme is None or scheme[1].lower() in ADDRESSES or _mode(name):
        return builtin
    plugin = next((plugin for plugin in _plugins() if plugin.name == scheme[1]), None)
    return builtin if plugin is None else _plugged(plugin)


def _plugins() -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points  # late: it brings email, zipfile and socket, which a file does not need

    return entry_points(group=GROUP)


def _plugged(plugin: EntryPoint) -> SourceKind:
    where = f"source {plugin.name!r} of {plugin.dist.name if plugin.dist else plugin.value}"
    try:
        kind = plugin.load()
    except Exception as error:  # another package's code
        raise ConfigError(f"{where}: cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(kind, SourceKind):
        raise ConfigError(f"{where}: expected a SourceKind, got {type(kind).__name__}")
    return kind


# ---------------------------------------------------------------------------------------------------------- whose name


def _is_device(name: str) -> bool:
    device = name.partition("?")[0]
    if device.isdecimal() or name.startswith("/dev/video"):
        return True
    return stat.S_ISCHR(_mode(name)) or stat.S_ISCHR(_mode(device))


def _is_recorded(name: str) -> bool:
    """A drive or a ROS bag: one of their files, or a folder with them in it."""
    path = place_of(name).path
    try:
        return path.name.lower().endswith(DRIVE_SUFFIXES) or (
            path.is_dir() and any(any(path.glob(pattern)) for pattern in _DRIVE_FILES)
        )
    except (OSError, ValueError):  # it may not be seen, or is no name at all
        return False


def _is_images(name: str) -> bool:
    mode = _mode(name)
    is_pattern = not mode and any(sign in name for sign in "*?[")  # a file may be called "drive[1].mp4"
    return stat.S_ISDIR(mode) or is_pattern or Path(name).suffix.lower() in IMAGE_SUFFIXES


def _mode(name: str) -> int:
    """The kind of file that a name stands for, as stat has it; 0 for what is not there or may not be seen."""
    try:
        return Path(name).stat().st_mode
    except (OSError, ValueError):
        return 0


ADDRESSES = ("rtsp", "rtsps", "http", "https")
ADDRESS = SourceKind(
    "address",
    "rtsp://user:password@192.168.1.20:554/stream",
    lambda name: _ADDRESS.match(name) is not None,
    "edge.sources.stream:open_stream",
    live=True,
    supervised=True,
    check="edge.sources.stream:stream_request",
)
VIDEO = SourceKind("video", "drive.mp4", lambda _: True, "edge.sources.recording:Recording")
BUILTIN = (
    SourceKind(
        "scene",
        "scene:street?seed=7&frames=300&size=1280x720&fps=30",
        lambda name: name.startswith("scene:"),
        "edge.sources.scene:SceneSource",
        check="edge.sources.scene:parse_scene_uri",
    ),
    SourceKind(
        "gst",
        "gst:v4l2src ! videoconvert ! video/x-raw,format=BGR ! appsink",
        lambda name: name.startswith("gst:"),
        partial(_capture, "edge.sources.camera:pipeline_request"),
        live=True,
        supervised=True,
        check="edge.sources.camera:pipeline_request",
    ),
    SourceKind(
        "csi",
        "csi:0?size=1280x720&fps=30",
        lambda name: name.startswith("csi:"),
        partial(_capture, "edge.sources.camera:csi_request"),
        live=True,
        supervised=True,
        check="edge.sources.camera:csi_request",
    ),
    SourceKind(
        "ros2",
        "ros2:/camera/image_raw?router=tcp/127.0.0.1:7447&domain=0",
        lambda name: name.startswith("ros2:"),
        partial(_capture, "edge.sources.ros2:topic_request"),
        live=True,
        supervised=True,
        check="edge.sources.ros2:topic_request",
        extra="edge-segmentation[ros2]",
    ),
    ADDRESS,
    SourceKind(
        "device",
        "/dev/video0?size=1280x720&fps=30&format=mjpeg",
        _is_device,
        "edge.sources.camera:open_camera",
        live=True,
        supervised=True,
        check="edge.sources.camera:device_request",
    ),
    SourceKind(
        "drive",
        "drive.mcap?topic=/camera/image",
        _is_recorded,
        "edge.sources.drive:open_recorded",
        extra="edge-segmentation[drives]",
    ),
    SourceKind("images", "frames/*.png", _is_images, "edge.sources.images:ImageFiles"),
    VIDEO,
)
