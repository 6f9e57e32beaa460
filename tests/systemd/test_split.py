"""Inference without a network, publishing without devices: two services under a real systemd."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from container import Container
from unit import Unit, install

pytest.importorskip("uvicorn", reason="the live page needs the serve extra")

CAMERA = 'camera: "scene:street?seed=3&frames=100000&size=320x180&fps=15"\n'
SOCKET = "socket: /run/edge/results.sock\n"


@pytest.fixture(scope="module")
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def installed(container: Container) -> tuple[Unit, Unit]:
    install(container, "--split")
    publish = Unit(container, "edge-publish", "publish.yaml", program=None)
    return Unit(container, "edge-infer", "infer.yaml", program=None), publish


@pytest.fixture
def units(installed: tuple[Unit, Unit], port: int) -> Iterator[tuple[Unit, Unit]]:
    infer, publish = installed
    infer.begin(CAMERA + SOCKET)
    publish.begin(f"{SOCKET}web: {{port: {port}}}\n")
    yield installed
    for unit in installed:
        assert "Traceback" not in unit.journal()


def status(port: int) -> int:
    """Of /readyz: 200 where masks come."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_masks_come_from_a_service_without_network_through_one_without_devices(
    units: tuple[Unit, Unit], port: int
) -> None:
    infer, publish = units
    assert status(port) == 200
    networks = infer.container.sh(f"tail -n +3 /proc/{infer.show()['MainPID']}/net/dev")
    assert [line.split(":")[0].strip() for line in networks.splitlines()] == ["lo"]
    root = f"/proc/{publish.show()['MainPID']}/root"
    assert infer.container.sh(f"find {root}/dev -type b") == ""
    assert infer.container.sh("stat -c '%a %U %G' /run/edge /run/edge/results.sock") == (
        "750 edge edge\n660 edge edge\n"
    )


def test_a_publisher_that_dies_leaves_inference_alone(units: tuple[Unit, Unit], port: int) -> None:
    infer, publish = units
    before = infer.show()
    publish.befall("kill -9 $PID")
    assert status(port) == 200
    assert infer.show()["MainPID"] == before["MainPID"]


def test_inference_that_dies_is_said_and_shown_again_when_it_is_back(units: tuple[Unit, Unit], port: int) -> None:
    infer, publish = units
    before = publish.show()
    infer.befall("kill -9 $PID")
    publish.await_line("the inference service is away: it ended")
    publish.await_state(lambda state: "camera ok" in state["StatusText"])
    assert publish.show()["MainPID"] == before["MainPID"]
