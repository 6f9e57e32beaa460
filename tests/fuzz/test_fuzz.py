"""A sample of what benchmarks/fuzz.py does by the ten thousand; one number is one mutant, always the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from bundles_fuzzed import Bundles
from clips_fuzzed import Clips
from configs_fuzzed import Configs
from mutants import Target, chance_of, mutated
from streams_fuzzed import Streams

SEED = 2


def tried(target: Target, count: int) -> list[str]:
    try:
        return [target.try_one(chance_of(SEED, number)) for number in range(count)]
    finally:
        target.close()


def test_a_changed_bundle_is_refused_or_means_the_same(tmp_path: Path) -> None:
    outcomes = tried(Bundles(tmp_path), 200)
    assert sum(outcome.startswith("refused") for outcome in outcomes) > 190


def test_a_changed_config_is_refused_in_words_or_taken_as_written(tmp_path: Path) -> None:
    outcomes = tried(Configs(tmp_path), 200)
    assert {"refused", "means the same", "another good config"} == set(outcomes)


def test_a_changed_recording_gives_every_frame_or_says_that_some_are_missing(tmp_path: Path) -> None:
    outcomes = tried(Clips(tmp_path), 300)
    assert {"refused", "damaged, and said so", "whole"} <= {outcome.partition(";")[0] for outcome in outcomes}


def test_a_stream_damaged_on_its_way_is_well_again_afterwards(tmp_path: Path) -> None:
    assert len(tried(Streams(tmp_path), 8)) == 8


@pytest.mark.parametrize("size", [1, 2, 600])
def test_a_mutant_is_never_the_original_and_always_the_same_for_its_number(size: int) -> None:
    data = random.Random(size).randbytes(size)
    for number in range(50):
        mutant = mutated(data, chance_of(SEED, number))
        assert mutant != data
        assert mutant == mutated(data, chance_of(SEED, number))
