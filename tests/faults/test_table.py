"""docs/faults.md: no fault left out, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall((HOME / "docs" / "faults.md").read_text(encoding="utf-8"))
FAULTS = 77  # of the project's list


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_no_fault_is_left_out_and_none_stands_there_twice() -> None:
    assert sorted(int(number) for number, *_ in ROWS) == list(range(1, FAULTS + 1))


@pytest.mark.parametrize(("number", "proof"), [(row[0], row[3]) for row in ROWS])
def test_every_fault_has_a_test_that_is_there_or_a_reason_why_not(number: str, proof: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", proof)
    assert named or "none: " in proof or "by hand: " in proof or proof.startswith("none in the tests: ")
    for path, name in named:
        assert name in functions_in(HOME / path)
