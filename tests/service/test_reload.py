"""A reload opens what the new config needs before the old one is let go, or changes nothing."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge.backends import open_engine
from edge.backends.shared import SharedEngines
from edge.config import parse_tree
from edge.engine import Engine
from edge.errors import ConfigError, EngineError, OutputError
from edge.service import service as service_module
from edge.service.check import probe
from edge.service.config import ServeConfig
from edge.service.control import _listen as control_listen
from edge.service.reload import Next, Reload
from edge.service.results import _listen as results_listen
from edge.sinks.jsonl import JsonLines
from edge.timing import Stages

STREET = "scene:street?seed=3&frames=100000&size=160x120&fps=20"
RUNNING = {"camera": STREET, "web": {"port": 0}}


class Reloading:
    """A config file, and the outcome of a reload of what is written to it."""

    def __init__(self, folder: Path, opens: Callable[..., Engine]) -> None:
        self._path, self.woken = folder / "edge.yaml", threading.Event()
        running = parse_tree(RUNNING, ServeConfig, "a test")
        self.reload = Reload(self._path, running, dict, self.woken.set, SharedEngines(opens))

    def write(self, settings: dict[str, Any]) -> None:
        self._path.write_text(yaml.safe_dump(settings))

    def outcome(self, settings: dict[str, Any]) -> Next | None:
        self.write(settings)
        self.reload.request()
        assert self.woken.wait(60)
        self.woken.clear()
        return self.reload.take()


class Opened(list[Engine]):
    """The engines that are open; `before` is called ahead of each."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], object] = lambda: None

    def __call__(self, *words: Any, **options: Any) -> Engine:
        self.before()
        engine = open_engine(*words, **options)
        close = engine.close
        self.append(engine)

        def close_and_forget() -> None:
            close()
            self.remove(engine)

        engine.close = close_and_forget  # type: ignore[method-assign]
        return engine


@pytest.fixture
def opened() -> Opened:
    return Opened()


@pytest.fixture
def reloading(tmp_path: Path, opened: Opened) -> Reloading:
    return Reloading(tmp_path, opened)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A folder in which another recorder writes."""
    folder = tmp_path / "held"
    folder.mkdir()
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield folder
    os.close(fd)


def wide_open(path: Path) -> Path:
    path.write_text("a" * 40 + "\n")
    path.chmod(stat.S_IRUSR | stat.S_IROTH)
    return path


def with_an_image(folder: Path) -> Path:
    folder.mkdir()
    (folder / "000000.png").touch()
    return folder


def sinks(**options: object) -> dict[str, Any]:
    return {"camera": STREET, "sinks": options}


# Each key that names something outside the process, with something that is not to be had.
MISSING: dict[str, Callable[[Path], dict[str, Any]]] = {
    "camera: a file": lambda here: {"camera": str(here / "no.mp4"), "web": {}},
    "camera: a device": lambda here: {"camera": "/dev/video987", "web": {}},
    "camera: a scene": lambda here: {"camera": "scene:strasse", "web": {}},
    "cameras: one of two": lambda here: {"cameras": {"a": STREET, "b": str(here / "no.mp4")}, "web": {}},
    "engine": lambda here: {"camera": STREET, "engine": str(here / "none"), "web": {}},
    "precision": lambda here: {"camera": STREET, "precision": "fp16", "web": {}},
    "backend": lambda here: {"camera": STREET, "backend": "tensorrt", "web": {}},
    "threads": lambda here: {"camera": STREET, "threads": 1000, "web": {}},
    "web.address": lambda here: {"camera": STREET, "web": {"address": "127.0.0.256"}},
    "web.token_file": lambda here: {"camera": STREET, "web": {"token_file": str(here / "none")}},
    "web.token_file: open to all": lambda here: {
        "camera": STREET,
        "web": {"token_file": str(wide_open(here / "token"))},
    },
    "web.certificate_file": lambda here: {
        "camera": STREET,
        "web": {"certificate_file": str(here / "a"), "key_file": str(here / "b")},
    },
    "mqtt.credentials_file": lambda here: {
        "camera": STREET,
        "mqtt": {"url": "mqtts://h", "topic": "t", "credentials_file": str(here / "none")},
    },
    "mqtt.ca_file": lambda here: {
        "camera": STREET,
        "mqtt": {"url": "mqtts://h", "topic": "t", "ca_file": str(here / "none")},
    },
    "recorder.folder": lambda here: {"camera": STREET, "recorder": {"folder": "/proc/none/at/all"}},
    "recorder.folder: of another": lambda here: {"camera": STREET, "recorder": {"folder": str(here / "held")}},
    "flight.folder": lambda here: {"camera": STREET, "flight": {"folder": "/proc/none/at/all"}},
    "flight.folder: the recorder's": lambda here: {
        "camera": STREET,
        "flight": {"folder": str(here / "x")},
        "recorder": {"folder": str(here / "x")},
    },
    "socket": lambda here: {"camera": STREET, "socket": str(here / "none" / "s")},
    "socket: a file": lambda here: {"camera": STREET, "socket": str(here / "edge.yaml")},
    "sinks: a place that cannot be": lambda here: sinks(results="/proc/none/at/all.jsonl"),
    "sinks: a folder for a file": lambda here: sinks(results=str(here / "held")),
    "sinks: a video in a file": lambda here: sinks(overlay=str(here / "edge.yaml" / "a.mp4")),
    "sinks: masks in a file": lambda here: sinks(masks=str(here / "edge.yaml")),
    "sinks: masks among others": lambda here: sinks(masks=str(with_an_image(here / "masks"))),
    "sinks: one image for many": lambda here: sinks(overlay=str(here / "a.jpg")),
    "sinks.recorder: of another": lambda here: sinks(recorder={"folder": str(here / "held")}),
    "one port for two": lambda here: {**sinks(foxglove="0.0.0.0:18431"), "web": {"port": 18431}},
    "events": lambda here: {"camera": STREET, "events": {"road_gone": {"begin": 0.1, "end": 0.5}}},
    "no output": lambda here: {"camera": STREET},
}


@pytest.mark.parametrize("key", MISSING)
def test_what_a_new_config_cannot_have_is_refused_and_leaves_no_engine_open(
    key: str, reloading: Reloading, tmp_path: Path, held: Path, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    assert reloading.outcome(MISSING[key](tmp_path)) is None
    assert "the new config is refused, the old one stays: " in caplog.text
    assert "Traceback" not in caplog.text
    assert opened == []


def test_a_port_that_another_program_has_is_refused_before_the_page_is_let_go(
    reloading: Reloading, taken: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert reloading.outcome({"camera": STREET, "web": {"port": taken}}) is None
    assert f"port {taken}" in caplog.text


def test_a_port_of_foxglove_that_another_program_has_is_refused(
    reloading: Reloading, taken: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert reloading.outcome({"camera": STREET, "sinks": {"foxglove": f"127.0.0.1:{taken}"}}) is None
    assert f"sinks.foxglove: 127.0.0.1, port {taken}: cannot be listened on" in caplog.text


@contextmanager
def listening(path: Path) -> Iterator[None]:
    """Another process takes no more than one caller there."""
    code = (
        "import socket as s, sys; o = s.socket(s.AF_UNIX); o.bind(sys.argv[1]); o.listen(0); print(flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.read(1)
        yield
        other.communicate("\n")


@pytest.mark.parametrize("key", ["socket", "control"])
def test_a_socket_on_which_another_service_listens_is_refused_and_stays_that_services(
    key: str, tmp_path: Path, reloading: Reloading, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s"
    with listening(path):
        for _ in range(3):  # more than it has room for
            assert reloading.outcome({"camera": STREET, "web": {"port": 0}, key: str(path)}) is None
        assert f"{key}: {path}: another program listens there" in caplog.text
        with pytest.raises(OutputError, match="another program listens there"):
            control_listen(path) if key == "control" else results_listen(path)
        assert path.is_socket()
    (control_listen(path) if key == "control" else results_listen(path)).close()  # which was left by the other


@pytest.mark.parametrize("web", [True, False])
def test_a_port_that_the_running_config_has_can_be_had_at_another_address_or_by_another_output(
    taken: int, *, web: bool
) -> None:
    running = parse_tree({"camera": STREET, "web": {"address": "127.0.0.1", "port": taken}}, ServeConfig, "a test")
    wish = {"web": {"address": "0.0.0.0", "port": taken}} if web else {"sinks": {"foxglove": f"0.0.0.0:{taken}"}}
    config = parse_tree({"camera": STREET, **wish}, ServeConfig, "a test")
    probe(config, running)
    with pytest.raises(ConfigError, match=f"port {taken}: cannot be listened on"):
        probe(config, parse_tree(RUNNING, ServeConfig, "a test"))


def test_a_probe_leaves_a_file_that_a_running_sink_writes(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    config = parse_tree({"camera": STREET, "sinks": {"results": str(path)}}, ServeConfig, "a test")
    sink = JsonLines(path, Stages())
    with sink:
        probe(config, config)
    assert path.exists()


@pytest.mark.slow
def test_a_config_that_is_in_order_comes_with_its_engine_open_once_for_all(
    reloading: Reloading, opened: Opened
) -> None:
    ready = reloading.outcome({"cameras": {"a": STREET, "b": STREET.replace("seed=3", "seed=4")}, "web": {}})
    assert ready is not None
    assert len(opened) == 1
    ready.close()
    assert opened == []


@pytest.mark.slow
def test_reloads_that_come_while_one_is_made_ready_are_made_once(reloading: Reloading, opened: Opened) -> None:
    goes_on, calls = threading.Event(), []

    def wait() -> None:
        calls.append(1)
        goes_on.wait(60)

    opened.before = wait
    for seed in range(20):
        reloading.write({"camera": STREET.replace("seed=3", f"seed={seed}"), "web": {}})
        reloading.reload.request()
    goes_on.set()
    outcomes = []
    for _ in range(2):
        assert reloading.woken.wait(60)
        reloading.woken.clear()
        outcomes.append(reloading.reload.take())
    assert outcomes[0] is None
    assert outcomes[1] is not None
    assert "seed=19" in (outcomes[1].config.camera or "")
    outcomes[1].close()
    assert len(calls) <= 2  # one, where all came before the first was opened


def test_where_the_old_config_fails_as_the_new_one_did_the_service_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, served = tmp_path / "edge.yaml", list[str]()
    path.write_text(yaml.safe_dump(RUNNING))

    class Failing:
        """Asked for another config at once, and unable to serve from then on."""

        is_ready = False

        def __init__(self, serving: Next, *words: object) -> None:
            self._seed = str(serving.config.camera)

        def run(self) -> Next:
            served.append(self._seed)
            assert len(served) <= 3
            if len(served) == 1:
                changed = {**RUNNING, "camera": STREET.replace("seed=3", "seed=4")}
                return Next(parse_tree(changed, ServeConfig, "a test"), {})
            raise OutputError("no room")

    monkeypatch.setattr(service_module, "Service", Failing)
    with pytest.raises(OutputError, match="no room"):
        service_module.serve(path)
    assert served == [STREET, STREET.replace("seed=3", "seed=4"), STREET]


def test_an_engine_that_does_not_open_refuses_the_config(
    reloading: Reloading, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise EngineError("a graph is damaged")

    opened.before = fail
    assert reloading.outcome(RUNNING) is None
    assert "the old one stays: a graph is damaged" in caplog.text
