"""What a wheel holds, and that it works without this checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the files that git knows; built with the setuptools that is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, files.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_engine_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "edge/engines/road/model.onnx" in names
    assert "edge/engines/road/card.json" in names
    assert "edge/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"edge", "edge_segmentation"}
    assert not [name for name in names if "test" in name]
    assert wheel.stat().st_size < 26e6  # the engine in every precision: INT8 for a CPU, INT8 and FP16 for a GPU


@pytest.mark.slow
def test_an_installed_wheel_segments_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import edge;"
        "assert edge.__file__.startswith(sys.argv[1]), edge.__file__;"
        "print(*(f'{r.mask(\"road\").mean():.2f}' for r in edge.segment('scene:street?frames=2&size=320x180')))"
    )
    command = [sys.executable, "-I", "-c", code, str(tmp_path / "site")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert result.returncode == 0, result.stderr
    assert all(0.1 < float(share) < 0.7 for share in result.stdout.split())
