"""The installer's part for a Jetson, on a tree of files that has a Jetson's names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "systemd" / "jetson.sh"
NODES = ("dev/nvgpu/igpu0/ctrl", "dev/nvgpu/igpu0/tsg", "dev/nvhost-vic", "dev/nvhost-ctrl-gpu", "dev/nvmap")


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", SCRIPT, *map(str, words)], capture_output=True, text=True, check=False, timeout=60)


def test_the_drop_in_allows_the_gpu_nodes_that_exist_and_binds_argus_socket(tmp_path: Path) -> None:
    for name in (*NODES, "dev/video0"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    file = tmp_path / "etc/systemd/system/edge.service.d/jetson.conf"
    assert run("dropin", tmp_path, file).returncode == 0
    comment, *lines = file.read_text().splitlines()
    assert comment.startswith("#")
    assert lines[0] == "[Service]"
    assert {line for line in lines if line.startswith("DeviceAllow=")} == {f"DeviceAllow=/{name} rw" for name in NODES}
    assert "BindPaths=-/tmp/argus_socket" in lines


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Stands for /opt/edge/bin/edge; it writes down what it is called with."""
    edge = tmp_path / "edge"
    edge.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    edge.chmod(0o755)
    return edge


def choose(program: Path, backend: str) -> None:
    python = program.with_name("python")
    python.write_text(f"#!/bin/sh\necho {backend}\n")
    python.chmod(0o755)


def test_the_plan_is_built_by_the_service_s_user(program: Path) -> None:
    choose(program, "tensorrt")
    assert run("plan", program, "env", "HOME=/var/lib/edge").returncode == 0
    assert program.with_name("calls").read_text() == "plan road\n"


def test_an_installation_that_would_not_take_tensorrt_fails(program: Path) -> None:
    program.with_name("python").symlink_to(sys.executable)
    done = run("plan", program, "env", f"PYTHONPATH={os.pathsep.join(sys.path)}", "CUDA_VISIBLE_DEVICES=")
    assert done.returncode == 1
    assert "TensorRT is not taken: the masks would come from the CPU, by openvino" in done.stderr
    assert not program.with_name("calls").exists()


def test_a_plan_that_cannot_be_built_fails_the_installation(program: Path) -> None:
    choose(program, "tensorrt")
    program.write_text("#!/bin/sh\nexit 69\n")
    assert "the plan cannot be built" in run("plan", program, "env").stderr
