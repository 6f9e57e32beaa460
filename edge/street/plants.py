"""Trees and bushes as cut-out images, grown once for each street."""

from __future__ import annotations

import cv2
import numpy as np

from edge.street.canvas import CutOut, Outline
from edge.street.place import Floats, Image, rng_of

# Pixels of an image's height; drawn at twice this and reduced.
_HEIGHT_PX = {"broad": 560, "slim": 560, "autumn": 560, "conifer": 560, "bare": 640, "bush": 200}
_ASPECT = {"broad": 0.86, "slim": 0.5, "autumn": 0.86, "conifer": 0.46, "bare": 1.3, "bush": 1.5}
_LEAVES = {
    "broad": ((30, 66, 48), (70, 138, 112)),
    "slim": ((34, 62, 50), (78, 134, 116)),
    "autumn": ((24, 62, 92), (60, 140, 196)),
    "conifer": ((28, 44, 30), (58, 88, 66)),
    "bush": ((26, 54, 38), (66, 116, 92)),
}
VARIANTS = 3


def make_plant(seed: int, kind: str, variant: int) -> CutOut:
    """A plant that stands on the bottom edge of its image, lit from the upper right."""
    rng = rng_of(seed, 40, sum(map(ord, kind)), variant)
    high = _HEIGHT_PX[kind] * 2
    wide = int(high * _ASPECT[kind])
    canvas = np.zeros((high, wide, 4), np.uint8)
    if kind == "bare":
        _grow(canvas, rng, np.array([wide / 2, high - 1.0]), -np.pi / 2, high * 0.17, high * 0.019)
        x, y, w, _ = cv2.boundingRect(canvas[:, :, 3])
        # Centred on its trunk, without the empty rim.
        half = min(wide // 2, max(wide // 2 - x, x + w - wide // 2) + 2)
        canvas = canvas[y:, wide // 2 - half : wide // 2 + half]
    else:
        if kind != "bush":
            _trunk(canvas, rng, kind)
        _foliage(canvas, rng, kind)
    size = (canvas.shape[1] // 2, canvas.shape[0] // 2)
    image = cv2.resize(np.ascontiguousarray(canvas), size, interpolation=cv2.INTER_AREA)
    outline = Outline(22, 56) if kind == "bare" else Outline(11, 90)
    return CutOut(image, outline, _foot_of_crown(image[:, :, 3]) if kind != "bush" else None)


def _foot_of_crown(alpha: Image) -> int:
    """The row below which there is hardly more than the trunk."""
    wide = np.count_nonzero(alpha, axis=1) > 0.12 * alpha.shape[1]
    return int(np.flatnonzero(wide).max()) + 1 if wide.any() else alpha.shape[0] // 2


def _bark(rng: np.random.Generator, light: float) -> tuple[float, float, float, float]:
    level = rng.uniform(0.8, 1.1) * (0.7 + 0.5 * light)
    return (52 * level, 60 * level, 70 * level, 255)


def _grow(canvas: Image, rng: np.random.Generator, at: Floats, angle: float, length: float, thick: float) -> None:
    """A branch and what grows from it, down to twigs."""
    steps = 3
    for _ in range(steps):
        to = at + length / steps * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(canvas, _at(at), _at(to), _bark(rng, rng.random()), max(1, int(thick)), cv2.LINE_AA)
        if thick > 4:
            edge = np.array([thick * 0.28, 0])
            cv2.line(canvas, _at(at + edge), _at(to + edge), _bark(rng, 1.1), max(1, int(thick * 0.3)), cv2.LINE_AA)
        at, angle = to, angle + rng.normal(0, 0.09)
    if thick < 1.3 and length < canvas.shape[0] * 0.03:
        return
    for _ in range(int(rng.integers(2, 4)) + (thick > 12)):
        spread = rng.normal(0, 0.42)
        # Twigs turn up towards the light.
        turned = angle + spread + 0.12 * (-np.pi / 2 - angle)
        _grow(canvas, rng, at, turned, length * rng.uniform(0.66, 0.88), thick * rng.uniform(0.5, 0.68))


def _at(point: Floats) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _trunk(canvas: Image, rng: np.random.Generator, kind: str) -> None:
    high, wide = canvas.shape[:2]
    foot, thick = np.array([wide / 2, high - 1.0]), high * (0.028 if kind != "conifer" else 0.022)
    top = np.array([wide / 2 + rng.normal(0, 0.02) * wide, high * 0.45])
    for share in np.linspace(-0.5, 0.5, 9).tolist():
        shift = np.array([share * thick, 0])
        cv2.line(
            canvas,
            _at(foot + shift * 1.25),
            _at(top + shift * 0.7),
            _bark(rng, share + 0.5),
            max(1, int(thick / 7)),
            cv2.LINE_AA,
        )
    if kind == "conifer":
        return
    for _ in range(5):
        start = foot + (top - foot) * rng.uniform(0.55, 1.0)
        end = start + np.array([rng.uniform(-0.13, 0.13) * wide, -rng.uniform(0.08, 0.16) * high])
        cv2.line(canvas, _at(start), _at(end), _bark(rng, 0.4), max(2, int(thick * 0.35)), cv2.LINE_AA)


def _clumps(rng: np.random.Generator, kind: str) -> Floats:
    """Balls of leaves, (n, 4): x, y (0 top, 1 foot), depth and radius, as shares of the image's width and height."""
    if kind == "conifer":
        y = np.linspace(0.03, 0.9, 30)
        spread = 0.05 + 0.42 * y
        return np.column_stack(
            [0.5 + rng.uniform(-1, 1, 30) * spread * 0.75, y, rng.uniform(-1, 1, 30), 0.028 + 0.07 * y]
        )
    if kind == "bush":
        x = rng.uniform(0.14, 0.86, 18)
        y = 0.82 - 0.45 * (1 - ((x - 0.5) / 0.42) ** 2) * rng.uniform(0.2, 1, 18)
        return np.column_stack([x, y, rng.uniform(-1, 1, 18), rng.uniform(0.14, 0.22, 18)])
    middle, half = (0.36, np.array([0.34, 0.27])) if kind != "slim" else (0.42, np.array([0.2, 0.34]))
    count = 38
    angle, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.random(count))
    x = 0.5 + half[0] * reach * np.cos(angle)
    y = middle + half[1] * reach * np.sin(angle)
    # Smaller balls towards the rim give the crown a broken edge.
    size = rng.uniform(0.07, 0.135, count) * (1.15 - 0.45 * reach) * (1.0 if kind != "slim" else 0.8)
    return np.column_stack([x, y, rng.uniform(-1, 1, count), size])


def _leaves(rng: np.random.Generator, kind: str, size_wh: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """Places (n, 2) in pixels, colours (n, 3) and depths (n,) of a plant's leaves."""
    wide, high = size_wh
    clumps = _clumps(rng, kind)
    owner = np.repeat(
        np.arange(len(clumps)),
        np.maximum(60, 42000 * clumps[:, 3] ** 2 * {"bush": 0.5, "slim": 1.7}.get(kind, 1.0)).astype(int),
    )
    count = len(owner)
    ball = rng.standard_normal((count, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    ball *= (rng.random((count, 1)) ** 0.45) * np.array([1.05, 0.8, 1.0])
    radius = clumps[owner, 3] * high
    x = clumps[owner, 0] * wide + ball[:, 0] * radius
    y = np.minimum(clumps[owner, 1] * high + ball[:, 1] * radius, high - 3)
    depth = clumps[owner, 2] + 0.6 * ball[:, 2]
    towards = ball @ np.array([0.42, -0.78, -0.46])
    height = 1 - (y - y.min()) / (np.ptp(y) + 1e-6)
    light = 0.40 + 0.34 * towards + 0.26 * (height - 0.5) - 0.13 * depth + 0.15 * rng.standard_normal(count)
    # Gaps between leaves let a few dark spots through everywhere.
    light -= 0.35 * (rng.random(count) < 0.12)
    dark, bright = (np.array(c, float) for c in _LEAVES[kind])
    own = 1 + 0.08 * rng.standard_normal((count, 3)) * np.array([0.8, 0.5, 1.2])
    hue = own + 0.07 * rng.standard_normal((len(clumps), 3))[owner]
    colours = np.clip((dark + (bright - dark) * np.clip(light, -0.45, 1.35)[:, None]) * hue, 4, 250)
    return np.column_stack([x, y]), colours, depth


def _foliage(canvas: Image, rng: np.random.Generator, kind: str) -> None:
    """Leaves in clumps, inner and lower ones dark, those towards the light bright; far ones first."""
    high, wide = canvas.shape[:2]
    places, colours, depth = _leaves(rng, kind, (wide, high))
    count = len(places)
    order = np.argsort(-depth)
    long = high * {"conifer": 0.0042, "bush": 0.012}.get(kind, 0.0058) * rng.uniform(0.6, 1.5, count)
    turn = rng.uniform(0, np.pi, count)
    along = np.column_stack([np.cos(turn), np.sin(turn)]) * long[:, None]
    across = np.column_stack([-np.sin(turn), np.cos(turn)]) * (long * rng.uniform(0.45, 0.8, count))[:, None]
    corners = np.stack([places + along, places + across, places - along, places - across], axis=1)[order]
    drawn = np.column_stack([colours, np.full(count, 255.0)])[order].tolist()
    for leaf, colour in zip((corners * 16).round().astype(np.int32), drawn, strict=True):
        cv2.fillConvexPoly(canvas, leaf, colour, cv2.LINE_8, 4)
