from __future__ import annotations

import contextlib
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.delta import apply_delta, make_delta

LIMIT = 1 << 20


@given(base=st.binary(max_size=600), target=st.binary(max_size=600))
def test_any_file_comes_back_from_its_difference_to_any_other(base: bytes, target: bytes) -> None:
    assert apply_delta(base, make_delta(base, target), LIMIT) == target


@given(
    cuts=st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 50), st.binary(max_size=50)), max_size=5),
    seed=st.integers(0, 99),
)
def test_a_few_edits_of_a_large_file_make_a_small_difference(cuts: list[tuple[int, int, bytes]], seed: int) -> None:
    base = np.random.default_rng(seed).bytes(10_000)
    target = base
    for at, gone, new in cuts:
        target = target[:at] + new + target[at + gone :]
    delta = make_delta(base, target)
    assert apply_delta(base, delta, LIMIT) == target
    assert len(delta) < 60 + 300 * len(cuts)


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_damaged_difference_is_an_error_or_another_file_but_never_a_crash(at: int, bit: int) -> None:
    base = np.random.default_rng(1).bytes(3000)
    delta = bytearray(make_delta(base, base[:1000] + b"new" + base[900:]))
    delta[at % len(delta)] ^= 1 << bit
    with contextlib.suppress(ValueError):
        assert len(apply_delta(base, bytes(delta), LIMIT)) <= LIMIT


def test_what_is_no_difference_is_refused() -> None:
    for text in (b"", b"PK\x03\x04", b"edge delta 1\n", b"edge delta 1\n" + zlib.compress(b"c" + b"\xff" * 16)):
        with pytest.raises(ValueError, match=r".+"):
            apply_delta(b"base", text, LIMIT)


def test_a_difference_that_would_fill_the_memory_is_refused() -> None:
    bomb = b"edge delta 1\n" + zlib.compress(b"\0" * (50 << 20))
    with pytest.raises(ValueError, match="too large"):
        apply_delta(b"base", bomb, LIMIT)


@pytest.mark.parametrize(
    "record",
    [struct.pack("<cQQ", b"c", 0, 0), struct.pack("<cQQ", b"n", 0, 0), struct.pack("<cQQ", b"c", 0, 1), b"c" * 17],
)
def test_a_difference_of_many_records_takes_hardly_more_memory_than_they_do(record: bytes) -> None:
    count = 15_000
    bomb = b"edge delta 1\n" + zlib.compress(record * count)
    base = bytes(1000)
    tracemalloc.start()
    with contextlib.suppress(ValueError):
        assert len(apply_delta(base, bomb, 1 << 30)) == count
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 70 * count, "a list of them takes 90"


def test_a_difference_that_repeats_its_base_without_end_is_refused() -> None:
    base = bytes(1 << 20)
    bomb = b"edge delta 1\n" + zlib.compress(struct.pack("<cQQ", b"c", 0, len(base)) * 1000)
    with pytest.raises(ValueError, match="too large for a file made of this one"):
        apply_delta(base, bomb, 1 << 30)
