"""What a wheel holds, and that it works without this checkout."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that git knows."""
    folder = tmp_path_factory.mktemp("source")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, files.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def make_wheel(source: Path, folder: Path) -> Path:
    """Built with the setuptools that is installed, of a folder or a source distribution."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    return next(folder.glob("*.tar.gz"))


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_engine_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "edge/engines/road/model.onnx" in names
    assert "edge/engines/road/card.json" in names
    assert "edge/py.typed" in names
    assert "edge/train/recipes/pet.yaml" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"edge", "edge_segmentation"}
    assert not [name for name in names if "test" in name]
    assert wheel.stat().st_size < 40e6  # three engines in every precision: INT8 for a CPU, INT8 and FP16 for a GPU


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


@pytest.mark.slow
def test_the_source_distribution_makes_the_same_wheel_and_brings_no_checkpoints(
    sdist: Path, wheel: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "edge/engines/road/card.json"} <= names
    assert not [name for name in names if name.endswith((".pt", ".mp4"))]
    again = make_wheel(sdist, tmp_path)
    contents = [{one.filename: one.CRC for one in zipfile.ZipFile(path).infolist()} for path in (wheel, again)]
    assert {name: crc for name, crc in contents[0].items() if "dist-info" not in name} == {
        name: crc for name, crc in contents[1].items() if "dist-info" not in name
    }
    assert contents[0].keys() == contents[1].keys()


@pytest.mark.slow
def test_an_index_would_take_both_distributions(sdist: Path, wheel: Path) -> None:
    pytest.importorskip("twine", reason="twine is not installed")
    command = [sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.slow
def test_the_same_source_gives_the_same_wheel_byte_for_byte(
    source: Path, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere and at another time; the umask has to be the same (`make dist` sets it)."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    first = make_wheel(source, tmp_path / "one")
    copy = tmp_path / "elsewhere"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    for path in copy.rglob("*"):
        os.utime(path, (1, 1e9))
    second = make_wheel(copy, tmp_path / "two")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_the_bill_of_materials_names_the_wheel_its_libraries_and_its_engines(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib is not installed")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    def bill() -> str:
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1790000000"}
        command = [sys.executable, str(ROOT / "release/sbom.py"), str(wheel)]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    text = bill()
    assert text == bill()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    tree = json.loads(text)
    assert tree["metadata"]["component"]["hashes"][0]["content"] == hashlib.sha256(wheel.read_bytes()).hexdigest()
    parts = {part["name"]: part for part in tree["components"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {re.split(r"[^\w-]", line, maxsplit=1)[0] for line in project["dependencies"]}
    assert asked == {name for name, part in parts.items() if part.get("scope") == "required"}
    assert parts["torch"]["scope"] == "optional"
    assert {"open", "road", "small"} == {
        name for name, part in parts.items() if part["type"] == "machine-learning-model"
    }


VERSION_FILES = ("pyproject.toml", ".git_archival.txt", ".gitattributes")


@pytest.mark.slow
def test_the_version_is_the_tag_in_a_clone_and_in_an_archive_and_none_is_needed(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("setuptools_scm", reason="setuptools-scm is not installed")
    repository = tmp_path / "repository"
    repository.mkdir()

    def git(*words: str, cwd: Path = repository) -> None:
        named = ["-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "protocol.file.allow=always"]
        subprocess.run(["git", *named, *words], cwd=cwd, check=True, capture_output=True)

    def version(folder: Path) -> str:
        command = [sys.executable, "-W", "ignore", "-m", "setuptools_scm"]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    for name in VERSION_FILES:
        shutil.copy(source / name, repository)
    assert version(repository) == "0.1.dev0"  # a copy without git
    git("init", "--initial-branch", "main")
    git("add", ".")
    git("commit", "-m", "one")
    git("tag", "v1.2.3")
    assert version(repository) == "1.2.3"
    git("archive", "--output", str(tmp_path / "archive.tar"), "HEAD")
    (tmp_path / "archive").mkdir()
    with tarfile.open(tmp_path / "archive.tar") as archive:
        archive.extractall(tmp_path / "archive", filter="data")
    assert version(tmp_path / "archive") == "1.2.3"
    (repository / "README.md").write_text("two")
    git("add", ".")
    git("commit", "-m", "two")
    assert version(repository).startswith("1.2.4.dev1+g")
    git("clone", "--depth", "1", "--no-tags", repository.as_uri(), str(tmp_path / "shallow"), cwd=tmp_path)
    assert version(tmp_path / "shallow").startswith("0.1.dev")


@pytest.mark.system
@pytest.mark.timeout(900)
def test_a_wheel_in_an_empty_environment_makes_an_overlay_without_torch(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "empty")], check=True, capture_output=True)
    binaries = tmp_path / "empty/bin"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL"))}
    installed = subprocess.run(
        [binaries / "pip", "install", "--quiet", "--disable-pip-version-check", wheel],
        capture_output=True,
        text=True,
        env=environment,
    )
    if installed.returncode and re.search("No matching distribution|Connection|Could not fetch", installed.stderr):
        pytest.skip(f"no package index here: {installed.stderr.splitlines()[-1]}")
    assert installed.returncode == 0, installed.stderr

    def edge(*words: str) -> str:
        command = [str(binaries / "edge"), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert edge("--version").startswith("edge ")
    edge("run", "scene:street?frames=8&size=320x180&fps=30", "--overlay", "out.mp4", "--masks", "masks")
    assert (tmp_path / "out.mp4").stat().st_size > 1000
    assert len(list((tmp_path / "masks").iterdir())) == 8
    assert "road" in edge("inspect", "road")
    listed = subprocess.run([binaries / "pip", "list"], capture_output=True, text=True, env=environment).stdout
    assert not re.search(r"^(torch|onnx|pytest)\b", listed, re.MULTILINE)
