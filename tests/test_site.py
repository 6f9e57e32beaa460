"""The site is built without a warning, its reference has all that the code has, and it loads nothing from elsewhere."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

import edge
import edge.cli
from edge import errors
from edge.service.config import ServeConfig
from edge.train.recipe import Recipe

HOME = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="install the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def words_of(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", page.read_text(encoding="utf-8")))


def test_the_reference_has_every_command_and_option(site: Path) -> None:
    text = words_of(site / "reference/commands.html")
    groups = [("edge", typer.main.get_command(edge.cli.make_app()))]
    for path, command in groups:
        if parts := getattr(command, "commands", {}):
            groups += [(f"{path} {name}", part) for name, part in parts.items()]
            continue
        assert path in text
        for param in command.params:
            assert all(name in text for name in param.opts if name.startswith("-")), (path, param.opts)


def test_the_reference_has_every_key_of_configs_and_recipes_with_its_unit(site: Path) -> None:
    text = words_of(site / "reference/configs.html")
    assert [key for key in (*ServeConfig.model_fields, *Recipe.model_fields) if key not in text] == []
    row = re.search(r"segment_s\s+number[^\n]*\s+(seconds)\s+60\.0", text)
    assert row, "segment_s of the recorder: its unit and its default"


def test_the_reference_has_every_public_name(site: Path) -> None:
    text = (site / "reference/python.html").read_text(encoding="utf-8")
    assert [name for name in edge.__all__ if f'id="edge.{name}"' not in text] == []


def test_every_error_has_its_exit_code_a_cause_and_a_fix(site: Path) -> None:
    text = words_of(site / "reference/errors.html")
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and kind is not errors.EdgeError:
            section = text.partition(f"{name}¶")[2]
            assert re.match(rf"\s*Exit code {kind.exit_code}\..+?Cause: \w+.+?Fix: \w+", section, re.DOTALL), name


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(https?:[^"]+)', page.read_text())
        assert loaded == [], page


def test_the_dashboard_asks_for_metrics_that_the_service_has() -> None:
    dashboard = json.loads((HOME / "docs/how-to/grafana.json").read_text(encoding="utf-8"))
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\bedge_[a-z_]+", target["expr"])
    }
    known = set(re.findall(r'"(edge_[a-z_]+)"', (HOME / "edge/web/metrics.py").read_text(encoding="utf-8")))
    assert asked
    assert {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in asked} <= known


def test_each_machine_has_its_table_and_plot_on_the_site(site: Path) -> None:
    text = words_of(site / "devices.html")
    known = sorted((HOME / "benchmarks/devices").glob("*.json"))
    assert "No file is there yet" in text or known
    for path in known:
        assert path.stem in text
        assert (site / f"devices/{path.stem}.svg").is_file() or "mIoU" not in text
