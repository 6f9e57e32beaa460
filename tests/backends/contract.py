"""What every engine does, whatever runs it: sentences that each backend's tests speak over their own engine.

An engine here is one of 64x48 pixels whose class is the strongest of blue, green, red: 0, 1, 2; of equals the lowest.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edge.engine import Engine
from edge.errors import EngineError
from edge.frame import Image

MISFITS = [
    (
        np.zeros((64, 48, 3), np.uint8),
        r"expected .* uint8 \(48, 64, 3\), C-contiguous, got uint8 \(64, 48, 3\)",
    ),
    (np.zeros((48, 64), np.uint8), r"got uint8 \(48, 64\)"),
    (np.zeros((1, 48, 64, 3), np.uint8), r"got uint8 \(1, 48, 64, 3\)"),
    (np.zeros((48, 64, 3), np.float32), r"got float32 \(48, 64, 3\)"),
    (np.zeros((48, 64, 3), np.int8), r"got int8 \(48, 64, 3\)"),
    (np.zeros((48, 128, 3), np.uint8)[:, ::2], r"\(48, 64, 3\), not C-contiguous"),
]


def colours_are_read_as_bgr_and_every_pixel_keeps_its_place(engine: Engine, flag: Image, flag_classes: Image) -> None:
    np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)
    np.testing.assert_array_equal(engine.infer(np.ascontiguousarray(flag[:, ::-1]))["semantic"], flag_classes[:, ::-1])


def of_equal_scores_the_lowest_class_wins(engine: Engine, flag: Image, flag_classes: Image) -> None:
    grey = np.full_like(flag, 77)
    grey[:, 32:, 0] = 76  # blue falls behind; green and red are equal
    classes = engine.infer(grey)["semantic"]
    assert set(classes[:, :28].flat) == {0}
    assert set(classes[:, 36:].flat) == {1}


def the_classes_are_the_callers_to_keep(engine: Engine, flag: Image, flag_classes: Image) -> None:
    kept = engine.infer(flag)["semantic"]
    engine.infer(np.zeros_like(flag))
    np.testing.assert_array_equal(kept, flag_classes)
    assert kept.dtype == np.uint8
    kept[:] = 9  # writable
    np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)


def a_read_only_image_is_taken_and_left_alone(engine: Engine, flag: Image, flag_classes: Image) -> None:
    before = flag.copy()
    flag.flags.writeable = False
    np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)
    np.testing.assert_array_equal(flag, before)


def an_image_of_another_form_is_refused_with_what_was_found(engine: Engine, flag: Image, flag_classes: Image) -> None:
    for image, found in MISFITS:
        with pytest.raises(EngineError, match=found):
            engine.infer(image)
    np.testing.assert_array_equal(engine.infer(flag)["semantic"], flag_classes)


def threads_may_share_an_engine(engine: Engine, flag: Image, flag_classes: Image) -> None:
    plain = [np.full((48, 64, 3), (255 * (c == 0), 255 * (c == 1), 255 * (c == 2)), np.uint8) for c in range(3)]
    barrier = threading.Barrier(3)

    def see(colour: int) -> set[int]:
        barrier.wait(10)
        return {int(value) for _ in range(50) for value in np.unique(engine.infer(plain[colour])["semantic"])}

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(see, range(3))) == [{0}, {1}, {2}]


def a_closed_engine_says_so_as_often_as_it_is_asked(engine: Engine, flag: Image, flag_classes: Image) -> None:
    engine.close()
    engine.close()
    for _ in range(2):
        with pytest.raises(EngineError, match=f"{engine.card.name}: is closed"):
            engine.infer(flag)


SENTENCES = (
    colours_are_read_as_bgr_and_every_pixel_keeps_its_place,
    of_equal_scores_the_lowest_class_wins,
    the_classes_are_the_callers_to_keep,
    a_read_only_image_is_taken_and_left_alone,
    an_image_of_another_form_is_refused_with_what_was_found,
    threads_may_share_an_engine,
    a_closed_engine_says_so_as_often_as_it_is_asked,
)
