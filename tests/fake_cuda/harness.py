"""Runs a file of tests in a process whose CUDA driver is the fake one, and gives what became of each.

The file is one of pytest's, with a name that pytest does not collect by itself. A process of its own, because a process
has one CUDA driver, and the others' has none.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from fake_cuda.driver import compile_driver

HERE = Path(__file__).parent
PYCUDA = Path(sys.prefix, "test-pycuda")  # where `make test` builds it (tests/fake_cuda/install.py)


def sentences(file: Path) -> list[str]:
    """The names of a file's tests, without running it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def outcomes(file: Path, scratch: Path) -> dict[str, list[str]]:
    """What went wrong in each test of a file that was run over the fake driver, by name; skips unless it can be."""
    if shutil.which("gcc") is None:
        pytest.skip("the fake CUDA driver needs gcc")
    if not list(PYCUDA.glob("pycuda/_driver*.so")):
        pytest.skip(f"pycuda is not built for the tests; build it: {sys.executable} {HERE}/install.py {PYCUDA}")
    driver, report = compile_driver(scratch, PYCUDA), scratch / "report.xml"
    paths = [str(PYCUDA), str(HERE / "stand_in"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(file), "-q", "-p", "no:cacheprovider", f"--junitxml={report}"],
        env={**os.environ, "LD_LIBRARY_PATH": str(driver.parent), "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert report.is_file(), f"the tests over the fake driver crashed ({done.returncode}):\n{done.stdout}{done.stderr}"
    found: dict[str, list[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        bad = [child.text or child.get("message", "") for child in case if child.tag in ("failure", "error", "skipped")]
        found.setdefault(case.attrib["name"].partition("[")[0], []).extend(bad)
    return found
