"""What is missing is named with a command that works as it stands, in this environment and from where edge came."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edge.install import install_command


class Installed:
    """A distribution that pip installed from this URL; from an index without one."""

    def __init__(self, origin: dict[str, object] | None) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        return json.dumps(self.origin) if self.origin and name == "direct_url.json" else None


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A virtual environment .venv that is not activated, in the current folder, which is a checkout."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/pip").touch(mode=0o755)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    return tmp_path


def install_from(monkeypatch: pytest.MonkeyPatch, origin: dict[str, object] | None) -> None:
    monkeypatch.setattr("importlib.metadata.distribution", lambda _: Installed(origin))


def test_a_checkout_is_named_where_edge_was_installed_from_one(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_from(monkeypatch, {"url": environment.as_uri(), "dir_info": {"editable": True}})
    assert install_command("edge-segmentation[serve]") == ".venv/bin/pip install -e '.[serve]'"
    assert install_command("pyarrow") == ".venv/bin/pip install pyarrow"
    install_from(monkeypatch, {"url": environment.as_uri(), "dir_info": {}})
    monkeypatch.chdir("/")
    expected = f"{environment.relative_to('/')}/.venv/bin/pip install '{environment}[serve]'"
    assert install_command("edge-segmentation[serve]") == expected


@pytest.mark.parametrize(
    "origin",
    [
        None,
        {"url": "file:///no/such/folder", "dir_info": {"editable": True}},
        {"url": "https://example.org/edge.whl", "archive_info": {}},
    ],
    ids=["index", "folder that is gone", "wheel"],
)
def test_the_index_is_named_where_no_folder_can_be(
    environment: Path, monkeypatch: pytest.MonkeyPatch, origin: dict[str, object] | None
) -> None:
    install_from(monkeypatch, origin)
    assert install_command("edge-segmentation[serve]") == ".venv/bin/pip install 'edge-segmentation[serve]'"


def test_an_active_environment_needs_no_path_and_one_without_pip_is_named_to_uv(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(environment / ".venv/bin"))
    assert install_command("av") == "pip install av"
    (environment / ".venv/bin/pip").unlink()
    monkeypatch.setattr("edge.install.find_spec", lambda _: None)
    assert install_command("av") == "VIRTUAL_ENV=.venv uv pip install av"
    monkeypatch.setattr("edge.install.find_spec", lambda name: name)
    assert install_command("av") == ".venv/bin/python -m pip install av"
    (environment / ".venv/pipx_metadata.json").touch()
    assert install_command("av") == "pipx runpip .venv install av"


def test_an_environment_that_uvx_made_for_one_run_is_not_changed_but_asked_for_with_more_in_it(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(environment / ".cache/uv/archive-v0/k2wFl0xgdr"))
    install_from(monkeypatch, {"url": environment.as_uri(), "dir_info": {}})
    assert install_command("edge-segmentation[serve]") == "uvx --from '.[serve]' edge …"
    assert install_command("av") == "uvx --from . --with av edge …"
    install_from(monkeypatch, None)
    assert install_command("av") == "uvx --from edge-segmentation --with av edge …"
