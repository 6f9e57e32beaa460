"""A rendered street as a source: `scene:street?seed=7&frames=300&size=1280x720&fps=30`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from urllib.parse import unquote_plus

import numpy as np
from numpy.typing import NDArray

from edge.barcode import barcode_rect_xywh, draw_barcode
from edge.classes import CAMVID
from edge.closing import Closing
from edge.errors import ConfigError
from edge.frame import Frame
from edge.street.render import Rendered, StreetScene
from edge.timing import Durations

EXAMPLE = "scene:street?seed=7&frames=300&size=1280x720&fps=30"
_MIN_WH, _MAX_WH = (160, 120), (3840, 2160)


@dataclass(frozen=True)
class SceneOptions:
    """What a scene URI says. `frames` is 0 for a drive without end."""

    seed: int = 7
    frames: int = 300
    size: tuple[int, int] = (1280, 720)
    fps: float = 30.0


def _wrong(uri: str, got: str, expected: str) -> ConfigError:
    return ConfigError(f"{uri}: expected {expected}, got {got}; for example {EXAMPLE}")


def _whole(text: str, highest: int) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) > highest:
        raise ValueError(f"a whole number from 0 to {highest}")
    return int(text)


def _size_wh(text: str) -> tuple[int, int]:
    wanted = f"an even width x height from {_MIN_WH[0]}x{_MIN_WH[1]} to {_MAX_WH[0]}x{_MAX_WH[1]}"
    if not (match := re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)):
        raise ValueError(wanted)
    size = (int(match[1]), int(match[2]))
    if any(not low <= n <= high or n % 2 for n, low, high in zip(size, _MIN_WH, _MAX_WH, strict=True)):
        raise ValueError(wanted)
    return size


def _rate_hz(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text) or not 1 <= float(text) <= 1000:
        raise ValueError("a rate from 1 to 1000 frames per second")
    return float(text)


_READERS: dict[str, Callable[[str], object]] = {
    "seed": lambda text: _whole(text, 2**32 - 1),
    "frames": lambda text: _whole(text, 10**9),
    "size": _size_wh,
    "fps": _rate_hz,
}


def parse_scene_uri(uri: str) -> SceneOptions:
    """What the URI asks for; what it leaves out has its default.

    Raises:
        ConfigError: another scene, an unknown or repeated key, or a value that cannot be.
    """
    kind, _, rest = uri.partition(":")
    name, _, query = rest.partition("?")
    if kind != "scene" or name != "street":
        raise _wrong(uri, f"the scene {rest and name!r}" if kind == "scene" else f"{kind!r}", "'scene:street'")
    values: dict[str, object] = {}
    for part in query.split("&") if query else []:
        key, _, text = part.partition("=")
        if key not in _READERS:
            raise _wrong(uri, f"the key {key!r}", f"one of {', '.join(field.name for field in fields(SceneOptions))}")
        if key in values:
            raise _wrong(uri, f"{key!r} twice", "each key once")
        try:
            values[key] = _READERS[key](unquote_plus(text))
        except ValueError as error:
            raise _wrong(uri, f"{key}={text}", f"{key} as {error}") from None
    return SceneOptions(**values)  # type: ignore[arg-type]


class SceneSource(Closing):
    """The street as frames, each with a barcode that carries its index and capture time.

    >>> with SceneSource("scene:street?seed=7&frames=2&size=320x180") as source:
    ...     [frame.index for frame in source]
    [0, 1]
    """

    live = False

    def __init__(self, uri: str) -> None:
        self.options = parse_scene_uri(uri)
        self.name = uri
        self.decode = Durations()
        self.size_wh = self.options.size
        self.rate_hz: float | None = self.options.fps
        self.frame_count: int | None = self.options.frames or None
        self.scene = StreetScene(self.options.seed, self.options.size, self.options.fps)

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while self.frame_count is None or index < self.frame_count:
            yield self._frame(index)
            index += 1

    def _frame(self, index: int) -> Frame:
        with self.decode.span():
            image = self.scene.render(index).image
        captured_ns = time.monotonic_ns()
        draw_barcode(image, index, captured_ns)
        media_ns = round(index * 1e9 / self.options.fps)
        return Frame(index=index, captured_ns=captured_ns, source=self.name, bgr=image, media_ns=media_ns)

    def rendered(self, index: int) -> Rendered:
        """Frame `index` without its barcode, with its labels."""
        return self.scene.render(index)

    def truth(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Labels of frame `index`: classes uint8 (H, W), CamVid ids, and instances uint16 (H, W), 0 for none.

        The barcode hides what is behind it, so its rectangle is unlabelled: class 11, instance 0.
        """
        rendered = self.scene.render(index)
        x, y, width, height = barcode_rect_xywh(self.size_wh)
        rendered.classes[y : y + height, x : x + width] = CAMVID.ignore_id
        rendered.instances[y : y + height, x : x + width] = 0
        return rendered.classes, rendered.instances

    def close(self) -> None:
        """Nothing is held open."""
