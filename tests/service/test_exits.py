"""Each way out of the process while an engine opens in native threads: its own exit code, and no abort."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Opens engines without an end, each in OpenVINO's own threads: whatever ends the process does so while one is opened.
PROGRAM = """
import edge.backends.shared as shared
from edge.cli import main

opens = shared.open_engine

def open_one_after_another(*words, **options):
    while True:
        print("opening", flush=True)
        opens(*words, **options).close()

shared.SharedEngines.__init__.__defaults__ = (open_one_after_another,)
{fault}
main()
"""
STREET = "scene:street?seed=3&frames=100000&size=160x120&fps=20"
RAISE = """
import edge.service.service as service

def fail(*words):
    import time
    time.sleep(1)
    raise {error}

service.Service._attend = fail
"""

WAYS_OUT = {
    "a scene with an unknown key": ("camera: 'scene:street?sede=3'\nweb: {port: 0}\n", "", 78),
    "an address that is none": ("camera: 'rtsp://'\nweb: {port: 0}\n", "", 78),
    "two cameras with a socket": (f"cameras: {{a: '{STREET}', b: '{STREET}1'}}\nsocket: SOCKET\n", "", 78),
    "a socket that cannot be made": (f"camera: '{STREET}'\nsocket: /proc/none/s\n", "", 78),
    "a source that is damaged": (
        "camera: DAMAGED\nweb: {port: 0}\n",
        RAISE.format(error="service.EdgeError('the source broke off')"),
        1,
    ),
    "a fault in edge itself": (f"camera: '{STREET}'\nweb: {{port: 0}}\n", RAISE.format(error="ZeroDivisionError()"), 1),
}


def serve(tmp_path: Path, config: str, fault: str = "") -> subprocess.Popen[str]:
    (tmp_path / "edge.yaml").write_text(config.replace("SOCKET", str(tmp_path / "results.sock")))
    command = [sys.executable, "-c", PROGRAM.format(fault=fault), "serve", "-c", str(tmp_path / "edge.yaml")]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "NOTIFY_SOCKET": ""},
    )


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS_OUT)
def test_an_error_while_an_engine_opens_ends_the_process_with_its_own_exit_code(tmp_path: Path, way: str) -> None:
    config, fault, code = WAYS_OUT[way]
    with serve(tmp_path, config, fault) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "terminate called" not in said
    assert "Fatal Python error" not in said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_an_engine_opens_ends_the_process_in_good_order(tmp_path: Path, number: int) -> None:
    with serve(tmp_path, f"camera: '{STREET}'\nweb: {{port: 0}}\n") as process:
        assert process.stdout is not None
        while "opening" not in (line := process.stdout.readline()):
            assert line, "it ended before an engine was opened"
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "terminate called" not in said
