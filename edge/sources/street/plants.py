"""Trees and bushes as cut-out pictures, grown once for each street."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.sources.street.canvas import Texture
from edge.sources.street.place import Floats, rng_of

Image = NDArray[np.uint8]

# Pixels of a picture's height; drawn at twice this and reduced.
_HEIGHT_PX = {"broad": 560, "slim": 560, "autumn": 560, "conifer": 560, "bare": 640, "bush": 200}
_ASPECT = {"broad": 0.86, "slim": 0.5, "autumn": 0.86, "conifer": 0.46, "bare": 0.8, "bush": 1.5}
_LEAVES = {
    "broad": ((30, 66, 48), (70, 138, 112)),
    "slim": ((34, 62, 50), (78, 134, 116)),
    "autumn": ((24, 62, 92), (60, 140, 196)),
    "conifer": ((28, 44, 30), (58, 88, 66)),
    "bush": ((26, 54, 38), (66, 116, 92)),
}
VARIANTS = 3


def make_plant(seed: int, kind: str, variant: int) -> Texture:
    """A plant that stands on the bottom edge of its picture, lit from the upper right."""
    rng = rng_of(seed, 40, sum(map(ord, kind)), variant)
    high = _HEIGHT_PX[kind] * 2
    wide = int(high * _ASPECT[kind])
    canvas = np.zeros((high, wide, 4), np.uint8)
    if kind == "bare":
        _grow(canvas, rng, np.array([wide / 2, high - 1.0]), -np.pi / 2, high * 0.2, high * 0.02)
    else:
        if kind != "bush":
            _trunk(canvas, rng, kind)
        _foliage(canvas, rng, kind)
    return Texture(cv2.resize(canvas, (wide // 2, high // 2), interpolation=cv2.INTER_AREA))


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
        cv2.line(canvas, _at(foot + shift * 1.25), _at(top + shift * 0.7), _bark(rng, share + 0.5), max(1, int(thick / 7)), cv2.LINE_AA)
    if kind == "conifer":
        return
    for _ in range(5):
        start = foot + (top - foot) * rng.uniform(0.55, 1.0)
        end = start + np.array([rng.normal(0, 0.2) * wide, -rng.uniform(0.1, 0.22) * high])
        cv2.line(canvas, _at(start), _at(end), _bark(rng, 0.4), max(2, int(thick * 0.35)), cv2.LINE_AA)


def _clumps(rng: np.random.Generator, kind: str) -> Floats:
    """Balls of leaves, (n, 4): x, y (0 top, 1 foot), depth and radius, as shares of the picture's width and height."""
    if kind == "conifer":
        y = np.linspace(0.04, 0.9, 26)
        spread = 0.05 + 0.42 * y
        return np.column_stack([0.5 + rng.uniform(-1, 1, 26) * spread * 0.75, y, rng.uniform(-1, 1, 26), 0.03 + 0.075 * y])
    if kind == "bush":
        x = rng.uniform(0.14, 0.86, 16)
        y = 0.8 - 0.42 * (1 - ((x - 0.5) / 0.42) ** 2) * rng.uniform(0.2, 1, 16)
        return np.column_stack([x, y, rng.uniform(-1, 1, 16), rng.uniform(0.16, 0.24, 16)])
    middle, half = (0.36, np.array([0.32, 0.25])) if kind != "slim" else (0.42, np.array([0.26, 0.34]))
    angle, reach = rng.uniform(0, 2 * np.pi, 24), np.sqrt(rng.random(24))
    x = 0.5 + half[0] * reach * np.cos(angle)
    y = middle + half[1] * reach * np.sin(angle)
    return np.column_stack([x, y, rng.uniform(-1, 1, 24), rng.uniform(0.09, 0.16, 24)])


def _foliage(canvas: Image, rng: np.random.Generator, kind: str) -> None:
    """Leaves in clumps, inner and lower ones dark, those towards the light bright; far ones first."""
    high, wide = canvas.shape[:2]
    clumps = _clumps(rng, kind)
    each = 260 if kind != "bush" else 150
    count = len(clumps) * each
    owner = np.repeat(np.arange(len(clumps)), each)
    ball = rng.standard_normal((count, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    ball *= (rng.random((count, 1)) ** 0.4) * np.array([1.0, 0.85, 1.0])
    radius = clumps[owner, 3] * high * (1.0 if kind != "bush" else 1.0)
    x = clumps[owner, 0] * wide + ball[:, 0] * radius
    y = np.minimum(clumps[owner, 1] * high + ball[:, 1] * radius, high - 3)
    depth = clumps[owner, 2] + 0.5 * ball[:, 2]
    towards = ball @ np.array([0.45, -0.75, -0.48])
    height = 1 - (y - y.min()) / (np.ptp(y) + 1e-6)
    light = 0.42 + 0.30 * towards + 0.22 * (height - 0.5) - 0.12 * depth + 0.16 * rng.standard_normal(count)
    dark, bright = (np.array(c, float) for c in _LEAVES[kind])
    hue = 1 + 0.10 * rng.standard_normal((count, 3)) * np.array([0.8, 0.5, 1.2]) + 0.08 * rng.standard_normal((len(clumps), 3))[owner]
    colours = np.clip((dark + (bright - dark) * np.clip(light, -0.35, 1.3)[:, None]) * hue, 0, 250)
    order = np.argsort(-depth)
    size = high * (0.0058 if kind != "conifer" else 0.0042) * (1.6 if kind == "bush" else 1.0) * rng.uniform(0.6, 1.5, count)
    points = np.column_stack([x, y]).round().astype(int)[order].tolist()
    drawn = np.column_stack([colours, np.full(count, 255.0)])[order].tolist()
    turns = rng.uniform(0, 180, count)[order].tolist()
    for point, colour, r, turn in zip(points, drawn, size[order].tolist(), turns, strict=True):
        cv2.ellipse(canvas, point, (max(1, int(r * 1.3)), max(1, int(r * 0.75))), turn, 0, 360, colour, -1)
