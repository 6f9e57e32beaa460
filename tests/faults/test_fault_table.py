"""docs/faults.md: every fault names a test that exists and checks something, or says why there is none."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall((HOME / "docs" / "faults.md").read_text(encoding="utf-8"))
CHECKS = re.compile(r"^(raises|warns|fail|assert_\w+|await_\w+)$")  # of pytest, of numpy, and waiting that gives up


@cache
def functions_of(path: Path) -> dict[str, ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def calls_of(function: ast.FunctionDef) -> set[str]:
    """The last names of all that it calls: `raises` for `pytest.raises(...)`."""
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    names = {call.id for call in calls if isinstance(call, ast.Name)}
    return names | {call.attr for call in calls if isinstance(call, ast.Attribute)}


def can_fail(path: Path, name: str) -> bool:
    """Whether a test asserts something, itself or in a function of the same file that it calls."""
    function = functions_of(path)[name]
    calls = calls_of(function)
    if any(isinstance(node, ast.Assert) for node in ast.walk(function)) or any(map(CHECKS.match, calls)):
        return True
    return any(can_fail(path, call) for call in calls & functions_of(path).keys() - {name})


def test_a_fault_has_one_row() -> None:
    numbers = [number for number, *_ in ROWS]
    assert numbers
    assert sorted(numbers) == sorted(set(numbers))


@pytest.mark.parametrize("proof", [pytest.param(row[3], id=row[0]) for row in ROWS])
def test_every_fault_has_a_test_that_can_fail_or_a_reason_why_not(proof: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", proof)
    assert named or "none: " in proof or "by hand: " in proof or proof.startswith("none in the tests: ")
    for path, name in named:
        assert name.startswith("test_")
        assert name in functions_of(HOME / path)
        assert can_fail(HOME / path, name), f"{path}::{name} asserts nothing"
