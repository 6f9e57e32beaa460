"""Traffic signs and signals as cut-out images, uint8 (h, w, 4), BGR times alpha and alpha."""

from __future__ import annotations

import cv2
import numpy as np

from edge.street.place import Image

_PX = 96
_RED, _BLUE, _WHITE, _BLACK = (36, 30, 190), (150, 84, 22), (226, 228, 228), (24, 24, 24)


def make_sign(rng: np.random.Generator, name: str) -> Image:
    """The front of a sign: round, triangular, square, small, a street's name, a signal or a beacon's globe."""
    return {
        "sign_round": _round,
        "sign_triangle": _triangle,
        "sign_square": _square,
        "sign_small": _small,
        "sign_name": _name,
        "sign_signal": _signal,
        "sign_globe": _globe,
    }[name](rng)


def _blank(wide: int = _PX, high: int = _PX) -> Image:
    return np.zeros((high, wide, 4), np.uint8)


def _round(rng: np.random.Generator) -> Image:
    image, middle = _blank(), (_PX // 2, _PX // 2)
    blue = rng.random() < 0.35
    cv2.circle(image, middle, 46, (*(_WHITE if blue else _RED), 255), -1, cv2.LINE_AA)
    cv2.circle(image, middle, 42 if blue else 35, (*(_BLUE if blue else _WHITE), 255), -1, cv2.LINE_AA)
    if blue:
        cv2.arrowedLine(image, (48, 74), (48, 24), (*_WHITE, 255), 9, cv2.LINE_AA, 0, 0.4)
    else:
        text = str(rng.choice(["20", "30", "40"]))
        cv2.putText(image, text, (16, 64), cv2.FONT_HERSHEY_DUPLEX, 1.55, (*_BLACK, 255), 5, cv2.LINE_AA)
    return image


def _triangle(rng: np.random.Generator) -> Image:
    image = _blank()
    for inset, colour in ((0, _RED), (13, _WHITE)):
        points = np.array(
            [[48, 3 + inset * 1.9], [94 - inset * 1.7, 88 - inset * 0.8], [2 + inset * 1.7, 88 - inset * 0.8]]
        )
        cv2.fillConvexPoly(image, points.round().astype(np.int32), (*colour, 255), cv2.LINE_AA)
    cv2.line(image, (48, 40), (48, 62), (*_BLACK, 255), 7, cv2.LINE_AA)
    cv2.circle(image, (48, 72), 4, (*_BLACK, 255), -1, cv2.LINE_AA)
    return image


def _square(rng: np.random.Generator) -> Image:
    image = _blank()
    colour = (_BLUE, (60, 110, 30), (40, 150, 220))[int(rng.integers(3))]
    cv2.rectangle(image, (2, 2), (93, 93), (*_WHITE, 255), -1)
    cv2.rectangle(image, (6, 6), (89, 89), (*colour, 255), -1)
    cv2.putText(
        image,
        str(rng.choice(["P", "i", "H"])),
        (28, 72),
        cv2.FONT_HERSHEY_DUPLEX,
        2.2,
        (*_WHITE, 255),
        7,
        cv2.LINE_AA,
    )
    return image


def _small(rng: np.random.Generator) -> Image:
    image = _blank(66, _PX)
    cv2.rectangle(image, (1, 1), (64, 94), ((60, 190, 225, 255), (*_WHITE, 255))[int(rng.integers(2))], -1)
    for y in range(14, 90, 14):
        cv2.line(image, (10, y), (int(rng.integers(30, 56)), y), (*_BLACK, 255), 4)
    return image


def _name(rng: np.random.Generator) -> Image:
    image = _blank(160, 46)
    image[:] = (*_WHITE, 255)
    cv2.rectangle(image, (2, 2), (157, 43), (*_BLACK, 255), 2)
    x = 12
    while x < 140:
        cv2.line(image, (x, 14), (x + int(rng.integers(0, 6)), 32), (*_BLACK, 255), 4)
        x += int(rng.integers(8, 16))
    return image


def _signal(rng: np.random.Generator) -> Image:
    image = _blank(44, 116)
    cv2.rectangle(image, (1, 1), (42, 114), (*_BLACK, 255), -1)
    lit = int(rng.integers(3))
    for k, (off, on) in enumerate(
        (((30, 26, 70), (60, 50, 250)), ((24, 60, 80), (60, 190, 255)), ((40, 66, 30), (190, 240, 90)))
    ):
        cv2.circle(image, (22, 22 + 36 * k), 14, (*(on if k == (0, 2, 2)[lit] else off), 255), -1, cv2.LINE_AA)
    return image


def _globe(rng: np.random.Generator) -> Image:
    image = _blank()
    for radius, colour in ((46, (20, 120, 215)), (36, (36, 150, 240)), (20, (90, 190, 250))):
        cv2.circle(image, (48 - (46 - radius) // 4, 48 - (46 - radius) // 4), radius, (*colour, 255), -1, cv2.LINE_AA)
    return image
