"""What several tests need: a private cache, and small engines whose answers can be worked out by hand."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bundles import COLOUR_WH, COLOURS, STREET_WH, AsNobody, Done, Edge, MakeCard, card_of
from hypothesis import HealthCheck, settings

from edge.card import Card, Graph
from edge.classes import CAMVID, ClassTable
from edge.cli import exit_code_of
from edge.engine import MODEL_FILE, Bundle, write_bundle
from edge.frame import Image

if TYPE_CHECKING:
    from selenium import webdriver

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime reads it when it is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's threads cost nets of this size more than they save

# How long an example takes says more of the machine's other work than of ours.
settings.register_profile("edge", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("edge"), max_examples=25)  # `make quick`; `make test` tries 100
settings.load_profile("edge")


# A shell that starts tests in the background has them ignore Ctrl-C, and so the programs that they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
# What whole files and folders need; `make quick` leaves them out, with all that is marked slow in its file.
MARKS = {
    "systemd/test_faults.py": "system",
    "systemd/test_install.py": "system",
    "systemd/test_sigterm.py": "system",
    "systemd/test_split.py": "system",
    "service/test_service.py": "system",
    "sources/test_supervised.py": "system",
    "web/test_live_page.py": "system",
    "web/test_live_page_h264.py": "system",
    "train/test_own_data_cli.py": "train",
    "train/test_qat.py": "train",
    "train/test_qat_build.py": "train",
    "train/test_train.py": "train",
    "train/test_train_cli.py": "train",
    "compile/test_build.py": "slow",
    "compile/test_tensorrt_rtx.py": "slow",
    "nets/test_sizes.py": "slow",
    "nets/test_storage.py": "slow",
    "service/test_flight_service.py": "slow",
    "service/test_hung.py": "slow",
    "fuzz": "slow",
}
# Of these, what is slow runs alone: limits of time are what it tests.
ALONE = (
    "replay/test_foxglove_replay.py",
    "replay/test_terminal.py",
    "replay/test_web_page.py",
    "service",
    "sinks/test_mqtt_journal.py",
    "sinks/test_recorder.py",
    "sinks/test_ros2.py",
    "sources/test_camera.py",
    "sources/test_ros2_topic.py",
    "sources/test_stream.py",
    "test_bench.py",
    "test_gps.py",
    "web",
)
# And what tests need that take these: a net exported and compiled in every process anew, a browser, a broker.
MARKS_OF_FIXTURES = {"street_net": "slow", "driver": "slow", "make_broker": "system"}


_NUMBERS = itertools.count()  # of tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for path in (*MARKS, *ALONE):
        assert (TESTS / path).exists(), f"{path} has moved: mend MARKS and ALONE in tests/conftest.py"
    marks = {file: marks_of(file) for file in {item.path for item in items}}
    for item in items:
        for mark in marks[item.path]:
            item.add_marker(mark)
        if item.get_closest_marker("slow") and any(item.path.is_relative_to(TESTS / path) for path in ALONE):
            item.add_marker("system")
        for name in MARKS_OF_FIXTURES.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(MARKS_OF_FIXTURES[name])


def marks_of(file: Path) -> list[str]:
    return [mark for path, mark in MARKS.items() if file.is_relative_to(TESTS / path)]


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The cache directory of this test alone, for its subprocesses too; not made until something is kept in it."""
    home = tmp_path_factory.getbasetemp() / f"cache{next(_NUMBERS)}"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def edge_here(capfd: pytest.CaptureFixture[str]) -> Edge:
    """`edge_here("run", "a.mp4")` runs the program in this process, in a fifth of the time that a process of its own
    takes; what ends a process, signals and broken pipes, needs one.
    """

    def run(*words: object) -> Done:
        capfd.readouterr()
        code = exit_code_of([str(word) for word in words])
        said = capfd.readouterr()
        return Done(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def driver() -> Iterator[webdriver.Chrome]:
    """A Chromium without a window, one for all tests of a process."""
    from browser import browser

    with browser() as driver:
        yield driver


@pytest.fixture(scope="session")
def make_card() -> MakeCard:
    """A card for a graph; `make_card(model, table=..., input_wh=..., name=...)`."""

    def make(
        model: bytes, table: ClassTable = COLOURS, input_wh: tuple[int, int] = COLOUR_WH, name: str = "colours"
    ) -> Card:
        graph = Graph(MODEL_FILE, "fp32", "any", hashlib.sha256(model).hexdigest())
        return card_of(graph, table=table, input_wh=input_wh, name=name)

    return make


@pytest.fixture(scope="session")
def colour_model() -> bytes:
    """The graph of a net without weights whose logits are the mean blue, green and red of 8x8 cells.

    It is written down, and no torch asked for it, whose exporter takes seconds to load.
    """
    onnx = pytest.importorskip("onnx")
    from edge.compile.wrap import wrap

    pool = "AveragePool <kernel_shape = [8, 8], strides = [8, 8]>"
    width, height = COLOUR_WH
    net = f"mean (float[1,3,{height},{width}] input) => (float[1,3,{height // 8},{width // 8}] logits)"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {net} {{ logits = {pool} (input) }}')
    return wrap(model, COLOUR_WH).SerializeToString(deterministic=True)


@pytest.fixture
def colour_bundle(colour_model: bytes, make_card: MakeCard, tmp_path: Path) -> Bundle:
    """A bundle of that graph, which a test may damage."""
    return write_bundle(tmp_path / "colours", {MODEL_FILE: colour_model}, make_card(colour_model))


@pytest.fixture(scope="session")
def street_net() -> Any:
    """A narrow DDRNet with random weights, such that half floats hold them exactly, batch norms folded in: what its
    graph gives differs from what it gives by float32 rounding alone."""
    torch = pytest.importorskip("torch")
    from edge.nets.ddrnet import DDRNet23Slim

    torch.manual_seed(1)
    net = DDRNet23Slim(classes=11, width=8, context_width=16, head_width=16).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data = module.weight.data.half().float()
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 0.0
            module.weight.data = 2.0 ** torch.randint(-1, 2, module.weight.shape)
            module.running_var = 4.0 ** torch.randint(0, 2, module.weight.shape)
            module.running_mean = torch.randn(module.weight.shape) / 8
            module.bias.data = torch.randn(module.weight.shape) / 8
    return net


@pytest.fixture(scope="session")
def street_bundle(street_net: Any, tmp_path_factory: pytest.TempPathFactory, make_card: MakeCard) -> Bundle:
    """That net's bundle, at a size that is no multiple of its stride."""
    from edge.compile.export import export_onnx

    model = export_onnx(street_net, STREET_WH)
    card = make_card(model, table=CAMVID, input_wh=STREET_WH, name="street")
    return write_bundle(tmp_path_factory.mktemp("engines") / "street", {MODEL_FILE: model}, card)


NOBODY = 65534


@pytest.fixture
def as_nobody() -> AsNobody:
    """Root may read and write everything; within this block the process is somebody who may not."""

    @contextmanager
    def become() -> Iterator[None]:
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(user)

    return become


STRIPES = (slice(0, 8), slice(8, 40), slice(40, None))  # uneven, so that a mirrored answer is a wrong one


@pytest.fixture
def flag() -> Image:
    """uint8 (48, 64, 3) BGR: upright stripes of blue, green and red."""
    image = np.zeros((48, 64, 3), np.uint8)
    for channel, columns in enumerate(STRIPES):
        image[:, columns, channel] = 200
    return image


@pytest.fixture
def flag_classes() -> Image:
    """uint8 (48, 64): what the colour engine sees in the flag."""
    classes = np.zeros((48, 64), np.uint8)
    for index, columns in enumerate(STRIPES):
        classes[:, columns] = index
    return classes


@pytest.fixture
def lying_flag() -> Image:
    """uint8 (48, 64, 3) BGR: level stripes of blue, green and red."""
    image = np.zeros((48, 64, 3), np.uint8)
    for channel, rows in enumerate(STRIPES):
        image[rows, :, channel] = 200
    return image


@pytest.fixture
def lying_flag_classes() -> Image:
    """uint8 (48, 64): what the colour engine sees in the lying flag."""
    classes = np.zeros((48, 64), np.uint8)
    for index, rows in enumerate(STRIPES):
        classes[rows] = index
    return classes
