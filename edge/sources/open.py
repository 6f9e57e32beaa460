"""From what the user types to a source of frames."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edge.errors import ConfigError, SourceNotFound
from edge.paths import no_such_file
from edge.secrets import hidden_in_errors, redacted
from edge.sources.kinds import IMAGE_SUFFIXES, kind_of

if TYPE_CHECKING:  # a name is looked at before OpenCV is loaded
    from collections.abc import Sequence

    from edge.sources.source import Source
    from edge.sources.supervised import Supervised

A_SOURCE_IS = "A source is a file, a folder, a pattern of images, a camera, a stream's address or scene:street."


def is_camera(name: str) -> bool:
    """Whether a name stands for a camera, whose frames come whether or not they are taken."""
    return kind_of(name).live


def is_supervised(name: str) -> bool:
    """Whether `open_live` takes it: a camera that may be away, and come later."""
    return kind_of(name).supervised


def open_source(name: str) -> Source:
    """The source a name stands for; close it, or use it as a context manager.

    `name` is a video file ("drive.mp4", of several videos in it "drive.mp4#stream=1"), a folder or pattern of images, a
    drive or ROS bag ("drive.mcap?topic=/camera/image"), a rendered street
    ("scene:street?seed=7&frames=300&size=1280x720&fps=30"), or a camera, whose first frame is awaited. A camera is a
    device ("0", "/dev/video0?size=1280x720&fps=30&format=mjpeg"), an address ("rtsp://user:password@camera/1",
    "http://camera/live.mjpg"), a CSI camera ("csi:0?size=1280x720&fps=30") or a pipeline ("gst:... ! appsink"). Other
    packages add kinds: see `edge.sources.kinds`. Each is imported when it is asked for.

    Raises:
        SourceError: it is not there, cannot be read as what it is, or is a camera that gives no frame.
        ConfigError: a scene or a camera is asked for in words it does not know, or a library is missing.
    """
    if not name:
        raise SourceNotFound(f"the source's name is empty. Is a variable not set? {A_SOURCE_IS}")
    if name == "-":
        raise SourceNotFound("-: standard input is named /dev/stdin here: cat drive.mp4 | edge run /dev/stdin")
    kind = kind_of(name)
    with hidden_in_errors(name):
        source = kind.open(name)
    if kind.supervised:
        camera = cast("Supervised", source)
        try:
            camera.await_first()
        except BaseException:  # Ctrl-C too: nothing else could close it
            camera.close()
            raise
    return source


def open_sources(names: Sequence[str]) -> Source:
    """The source that one name stands for; or the images that several name, as a shell makes them of `frames/*.png`.

    Raises:
        ConfigError: several names, and not all are of image files.
        SourceError, ConfigError: see `open_source`.
    """
    if len(names) == 1:
        return open_source(names[0])
    from edge.sources.images import ImageFiles

    others = [name for name in names if Path(name).suffix.lower() not in IMAGE_SUFFIXES]
    if others:
        shown = redacted(others[0])
        way_out = _as_output(names) or "Run edge once for each of the others"
        raise ConfigError(f"{shown}: several sources can only be images. {way_out}")
    missing = [name for name in names if not Path(name).is_file()]
    if missing:
        raise SourceNotFound(f"{no_such_file(Path(missing[0]))} {_as_output(names)}".rstrip())
    return ImageFiles(f"{len(names)} images, {names[0]} …", [Path(name) for name in names])


def _as_output(names: Sequence[str]) -> str:
    """What to type where a second name, that of no file, was meant as an output's; "" elsewhere."""
    last = names[-1]
    if len(names) > 2 or Path(last).exists() or not Path(last).suffix or kind_of(last).live:
        return ""
    return f"To write it: edge run {shlex.quote(redacted(names[0]))} --overlay {shlex.quote(redacted(last))}"


def open_live(name: str) -> Supervised:
    """A camera by its name, whose capture begins at once: it may be away now, and come later.

    Raises:
        SourceError: the device is missing, or the address is not valid.
        ConfigError: it is asked for in words it does not know, or is no camera of such a kind.
    """
    kind = kind_of(name)
    if not kind.supervised:
        raise ConfigError(f"{redacted(name)}: expected a camera that may be away and come back, got a {kind.name}")
    with hidden_in_errors(name):
        return cast("Supervised", kind.open(name))


def check_name(name: str) -> None:
    """Refuse a scene, an address or a camera's options that cannot be. A device, a file or a host that is not there is
    no fault of the name: it may come later, and is not looked for.

    Raises:
        ConfigError: only a person can mend it.
    """
    try:
        with hidden_in_errors(name):
            kind_of(name).check_name(name)
    except SourceNotFound as error:
        raise ConfigError(str(error)) from error
