"""The unit, its config and its installer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.config import load_yaml
from edge.events import EventOptions
from edge.ladder import LadderOptions
from edge.service.config import ServeConfig
from edge.web.options import WebOptions

HOME = Path(__file__).parents[2] / "systemd"


def test_the_config_that_is_installed_is_in_order() -> None:
    config = load_yaml(HOME / "edge.yaml", ServeConfig)
    assert config.web is not None
    assert config.web.address == "127.0.0.1"


@pytest.mark.parametrize(
    "key",
    [*ServeConfig.model_fields, *WebOptions.model_fields, *EventOptions.model_fields, *LadderOptions.model_fields],
)
def test_the_config_that_is_installed_shows_every_key(key: str) -> None:
    assert re.search(rf"^ *#? *{key}:", (HOME / "edge.yaml").read_text(), re.MULTILINE)


@pytest.mark.parametrize(("unit", "most"), [("edge", 1.4), ("edge-infer", 0.6), ("edge-publish", 0.9)])
def test_the_units_expose_little(unit: str, most: float) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd)")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(HOME / f"{unit}.service")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    level = re.search(rf"exposure level for {unit}\.service: ([0-9.]+)", said.stdout)
    if level is None:
        pytest.skip(f"this systemd-analyze cannot look at a file: {said.stderr.strip()}")
    assert float(level[1]) <= most


def test_the_installer_brings_what_each_section_of_the_config_needs() -> None:
    extras = set(re.findall(r"extras=([\w,]+)", (HOME / "install.sh").read_text()))
    assert extras
    assert all({"serve", "drives"} <= set(each.split(",")) for each in extras)  # `flight:` too


@pytest.mark.parametrize(("unit", "first"), [("edge", True), ("edge-infer", True), ("edge-publish", False)])
def test_the_masks_come_before_other_work(unit: str, *, first: bool) -> None:
    lines = (HOME / f"{unit}.service").read_text().splitlines()
    assert ("Nice=-10" in lines, "CPUWeight=1000" in lines) == (first, first)


def test_the_installer_is_a_shell_script_that_wants_root() -> None:
    script = str(HOME / "install.sh")
    assert subprocess.run(["sh", "-n", script]).returncode == 0
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed (Debian: util-linux)")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh"]
    # By standard input: nobody may not read the folder that the checkout lies in.
    said = subprocess.run(nobody, input=Path(script).read_text(), capture_output=True, text=True, cwd="/")
    assert said.returncode == 1
    assert "expected to be run by root" in said.stderr


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="takes root and unshare")
def test_the_installer_begins_nothing_where_systemd_is_installed_but_does_not_run() -> None:
    # Without /run no systemd is found; `false` for Python stops an installer that goes on all the same.
    words = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /run && PYTHON=false sh "$0"', str(HOME / "install.sh")]
    done = subprocess.run(words, capture_output=True, text=True)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no mount of its own here: {done.stderr}")
    assert "systemd does not run here, and nothing was installed" in done.stderr
