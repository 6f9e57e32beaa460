"""Tutorials and how-tos: the blocks marked `sh` are run as they stand, one page after the other in one shell each."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
PAGES = [
    pytest.param(page, id=page.stem, marks=pytest.mark.train if page.stem in ("own-net", "bring-a-net") else ())
    for folder in ("tutorials", "how-to")
    for page in sorted((HOME / "docs" / folder).glob("*.md"))
]
# `pip install FOLDER` of a page goes into a folder beside the page's files, never into this environment.
PIP = f"""pip() {{ {sys.executable} -m pip install -q --no-deps --no-build-isolation --target "$PWD/site" "$2"; }}"""
LEAVE = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"


def script_of(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


@pytest.mark.release
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_do_what_it_says(page: Path, tmp_path: Path) -> None:
    script = script_of(page)
    if not script:
        pytest.skip("nothing on this page can be run here; it says why")
    script = "\n".join(["set -euo pipefail", PIP, LEAVE, script.replace("8008", free_port())])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": f"{tmp_path}/site:{tmp_path}"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stderr
