"""release/people_by_background.py: masks of people in front of a still room, without a net."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

_PATH = Path(__file__).parents[2] / "release/people_by_background.py"
_SPEC = importlib.util.spec_from_file_location("people_by_background", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
people = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(people)

HW = (120, 160)
PERSON = (slice(20, 100), slice(60, 90))


def room() -> np.ndarray:
    """A wall above a floor, with a little noise that does not change."""
    image = np.full((*HW, 3), (200, 205, 210), np.uint8)
    image[80:] = (60, 90, 140)
    return image + np.random.default_rng(1).integers(0, 4, image.shape, np.uint8)


def with_person(colour: tuple[int, int, int]) -> np.ndarray:
    image = room()
    image[PERSON] = colour
    return image


def test_the_room_is_found_though_people_stand_at_one_place_in_most_frames() -> None:
    clothes = [(90 * place % 256, 60 * place % 256, 35 * place) for place in range(7)]
    frames = [with_person(colour) for colour in clothes for _ in range(2)] + [room() for _ in range(6)]
    expected = cv2.cvtColor(room(), cv2.COLOR_BGR2LAB)
    assert np.abs(people.room_of(frames) - expected).max() <= 1


@pytest.mark.parametrize("colour", [(20, 20, 20), (30, 30, 160), (90, 160, 60)])
def test_a_person_is_marked_with_a_border_that_is_left_open(colour: tuple[int, int, int]) -> None:
    empty = cv2.cvtColor(room(), cv2.COLOR_BGR2LAB).astype(np.float32)
    mask = people.mask_of(with_person(colour), empty)
    assert mask is not None
    inner = mask[PERSON][6:-6, 6:-6]
    assert (inner == 1).all()
    assert (mask[:8] == 0).all()
    assert (mask[:, :40] == 0).all()
    assert set(np.unique(mask)) == {0, 1, 255}


def test_an_empty_room_has_no_mask() -> None:
    empty = cv2.cvtColor(room(), cv2.COLOR_BGR2LAB).astype(np.float32)
    assert people.mask_of(room(), empty) is None
