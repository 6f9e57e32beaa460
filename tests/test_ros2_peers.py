"""What others make of it: ROS 2 Jazzy's own rclpy, and PyZeROS, whose authors run it against rmw_zenoh.

Each is installed into an environment of its own, from the package index: rclpy's wheels are for x86-64 and hold no
rmw_zenoh, so it reads messages, and PyZeROS the network.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import MakeCard
from drives import mask_of, seen

pytest.importorskip("zenoh", reason="needs the ros2 extra")

from ros import again_and_again, free_endpoint, router
from stand_in import result_of
from test_resolution import uv

from edge.geometry.ground import GroundPlane
from edge.geometry.model import CameraModel
from edge.ros2.messages import CAMERA_INFO, COMPRESSED, DIAGNOSTICS, IMAGE, WARN, Messages, typestore
from edge.ros2.options import TopicOptions
from edge.sinks.table import SinkContext, make_sink
from edge.sources.capture.ros2 import open_ros2
from edge.sources.capture.wire import CaptureRequest
from edge.timing import Stages

pytestmark = [pytest.mark.release, pytest.mark.timeout(900)]
JAZZY = ("ros-jazzy-rclpy", "ros-jazzy-rmw-fastrtps-cpp", "ros-jazzy-sensor-msgs", "ros-jazzy-diagnostic-msgs")
STAMP_NS = 1_800_000_000_123_456_789
LONG_S = 300.0  # PyZeROS compiles at its first message

RCLPY = """
import importlib, json, sys
from rclpy.serialization import deserialize_message, serialize_message
def again(name, cdr):
    package, _, short = name.split("/")
    kind = getattr(importlib.import_module(package + ".msg"), short)
    return serialize_message(deserialize_message(bytes.fromhex(cdr), kind)).hex()
json.dump({name: again(name, cdr) for name, cdr in json.load(sys.stdin).items()}, sys.stdout)
"""

PYZEROS = """
import asyncio, json, sys
import asyncio_for_robotics, pyzeros, zenoh
from ros2_pyterfaces.cyclone.sensor_msgs.msg import CompressedImage, Image
role, endpoint = sys.argv[1:]
config = zenoh.Config()
for key, value in {"mode": "peer", "listen/endpoints": ["tcp/127.0.0.1:0"], "connect/endpoints": [endpoint],
                   "scouting/multicast/enabled": False, "timestamping/enabled": True}.items():
    config.insert_json5(key, json.dumps(value))
@asyncio_for_robotics.scoped
async def listen():
    async for mask in pyzeros.Sub(Image, "/edge/mask").listen_reliable():
        break
    async for image in pyzeros.Sub(CompressedImage, "/edge/image/compressed").listen_reliable():
        break
    stamp = mask.header.stamp
    print(json.dumps({"frame_id": mask.header.frame_id, "stamp_s": stamp.sec + stamp.nanosec / 1e9,
                      "encoding": mask.encoding, "size": [mask.width, mask.height], "mask": list(mask.data),
                      "format": image.format, "begins": list(image.data[:2])}))
@asyncio_for_robotics.scoped
async def talk():
    publisher = pyzeros.Pub(Image, "camera/image")
    async for _ in asyncio_for_robotics.Rate(20).listen():
        publisher.publish(Image(width=4, height=4, encoding="bgr8", step=12, data=list(range(48))))
with zenoh.open(config) as session, pyzeros.auto_context(node="peer", zenoh_session=session, namespace="/demo"):
    asyncio.run({"listen": listen, "talk": talk}[role]())
"""


def environment_of(folder: Path, *packages: str) -> Path:
    """The interpreter of a new environment with these packages."""
    uv("venv", "--python", sys.executable, folder, cwd=folder.parent)
    python = folder / "bin/python"
    uv("pip", "install", "--python", python, *packages, cwd=folder.parent)
    return python


@pytest.fixture(scope="module")
def jazzy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if platform.machine() != "x86_64":
        pytest.skip("ROS 2's wheels are for x86-64")
    return environment_of(tmp_path_factory.mktemp("ros") / "jazzy", *JAZZY)


@pytest.fixture(scope="module")
def pyzeros(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.version_info < (3, 11):
        pytest.skip("PyZeROS needs Python 3.11")
    return environment_of(tmp_path_factory.mktemp("ros") / "pyzeros", "pyzeros>=0.1,<0.2", "setuptools")


def sent() -> Mapping[str, bytes | bytearray]:
    messages = Messages("jazzy", "camera")
    lens = CameraModel(height_m=1.3, focal_px=50.0, image_wh=(64, 48), distortion=(-0.1, 0.01, 0.0, 0.001))
    return {
        IMAGE: messages.image(STAMP_NS, "mono8", mask_of(5)),
        COMPRESSED: messages.compressed(STAMP_NS, "jpeg", np.arange(9, dtype=np.uint8)),
        CAMERA_INFO: messages.camera_info(STAMP_NS, GroundPlane(lens, (64, 48))),
        DIAGNOSTICS: messages.diagnostics(STAMP_NS, "edge: a", "camera", WARN, "3 frames dropped", {"rate_hz": "30.0"}),
    }


def test_rclpy_reads_each_message_and_writes_the_same_again(jazzy: Path) -> None:
    packages = next((jazzy.parents[1] / "lib").glob("python3*/site-packages"))
    folders = {str(path.parent) for path in packages.glob("**/*.so*")}
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(sorted(folders)), "AMENT_PREFIX_PATH": str(packages)}
    given = {name: cdr.hex() for name, cdr in sent().items()}
    done = subprocess.run(
        [jazzy, "-c", RCLPY], input=json.dumps(given), env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    store = typestore("ROS2_JAZZY")
    for name, cdr in json.loads(done.stdout).items():  # bytes between fields are padding, which Fast CDR leaves unset
        again, before = (store.deserialize_cdr(one, name) for one in (bytes.fromhex(cdr), sent()[name]))
        assert repr(again) == repr(before)
        assert len(cdr) == len(given[name])


def test_the_hashes_of_types_are_those_of_jazzy(jazzy: Path) -> None:
    messages = Messages("jazzy", "camera")
    for name in (IMAGE, COMPRESSED, CAMERA_INFO, DIAGNOSTICS):
        description = json.loads((jazzy.parents[1] / f"share/{name}.json").read_text())
        hashes = {one["type_name"]: one["hash_string"] for one in description["type_hashes"]}
        assert messages.topic("/x", name).hash == hashes[name]


def test_pyzeros_hears_the_sink(pyzeros: Path, make_card: MakeCard, tmp_path: Path) -> None:
    endpoint, image = free_endpoint(), seen(5).frame.image
    context = SinkContext("test", 10, make_card(b"graph"), Stages())
    with router(endpoint), make_sink("ros2", endpoint, context) as sink:

        def write() -> None:
            sink.write(result_of(5, mask_of(5), image=image, captured_ns=time.monotonic_ns()), 0)

        with again_and_again(write):
            command = [pyzeros, "-c", PYZEROS, "listen", endpoint]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LONG_S)
    assert done.returncode == 0, done.stderr
    heard: dict[str, Any] = json.loads(done.stdout)
    assert abs(heard.pop("stamp_s") - time.time()) < 60
    assert heard == {
        "frame_id": "camera",
        "encoding": "mono8",
        "size": [16, 12],
        "mask": mask_of(5).ravel().tolist(),
        "format": "jpeg",
        "begins": [0xFF, 0xD8],
    }


def test_pyzeros_is_a_camera(pyzeros: Path, tmp_path: Path) -> None:
    endpoint = free_endpoint()
    request = CaptureRequest("ros2", TopicOptions("/demo/camera/image", endpoint).pack())
    with router(endpoint), subprocess.Popen([pyzeros, "-c", PYZEROS, "talk", endpoint], cwd=tmp_path) as talker:
        try:
            with open_ros2(request, LONG_S) as reader:
                shot = next(iter(reader))
                slot = bytearray(shot.format.slot_bytes)
                shot.write(memoryview(slot))
        finally:
            talker.kill()
    assert (shot.format.width, shot.format.height) == (4, 4)
    assert list(slot) == list(range(48))
