from __future__ import annotations

import importlib.util
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import bindings.names as names
import bindings.wheels as wheels
import fake_cuda.harness as harness
import pytest

from edge.backends import cuda, plans
from edge.backends import tensorrt as backend
from edge.backends.cuda import Description
from edge.engine import Bundle
from edge.errors import EngineError

OVER_THE_FAKE = Path(harness.HERE, "over_fake_tensorrt.py")
ORIN = Description("Orin", "ab" * 16, (8, 7), True, "CUDA 12.6; R36 (release), REVISION: 4.3")


# ------------------------------------------------------------------------------------------------------------- the ring


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return harness.outcomes(OVER_THE_FAKE, tmp_path_factory.mktemp("tensorrt"))


@pytest.mark.slow
@pytest.mark.parametrize("sentence", harness.sentences(OVER_THE_FAKE))
def test_over_pycuda_the_fake_driver_and_a_stand_in(sentence: str, outcomes: dict[str, list[str]]) -> None:
    assert outcomes[sentence] == []


# ---------------------------------------------------------------------------------------------- TensorRT's own bindings


@pytest.fixture(scope="module", params=wheels.WHEELS)
def look(request: pytest.FixtureRequest) -> tuple[int, dict[str, Any]]:
    """A major version, and what its bindings say of edge."""
    major = int(request.param.partition(".")[0])
    wanted = json.dumps({"names": names.used_in(major), "calls": names.calls()})
    done = wheels.run_with(request.param, Path(wheels.HERE, "look.py"), wanted)
    assert done.returncode == 0, done.stderr
    return major, json.loads(done.stdout)


@pytest.mark.slow
def test_every_name_that_edge_uses_is_there(look: tuple[int, dict[str, Any]]) -> None:
    assert look[1]["lacking"] == []
    assert look[1]["version"][0] == look[0]


@pytest.mark.slow
def test_every_call_has_the_arguments_that_its_function_takes(look: tuple[int, dict[str, Any]]) -> None:
    assert look[1]["misfits"] == []


def test_the_names_are_read_off_the_source() -> None:
    used = names.used_names()
    assert {"IExecutionContext.execute_async_v3", "ITimingCache.serialize", "BuilderFlag.TF32"} <= used
    assert set(names.GUARDED) <= used
    assert ("IBuilderConfig.set_timing_cache", 1, ["ignore_mismatch"]) in names.calls()
    assert ("IExecutionContext.execute_async_v3", 1, []) in names.calls()


def test_the_logger_is_one_that_tensorrt_takes(look: tuple[int, dict[str, Any]]) -> None:
    assert look[1]["logger"] == ["ERROR TensorRT: ERROR", "DEBUG TensorRT: INFO", "ERROR", "True"]


def test_progress_is_watched_where_tensorrt_can_and_stops_the_build_when_told(look: tuple[int, dict[str, Any]]) -> None:
    major, report = look
    told = [["tactics", 0, 2], ["tactics", 1, 2], True, ["tactics", 2, 2], False, ["tactics", 2, 2]]
    assert report["monitor"] == (told if major >= 10 else None)


def test_bytes_are_called_uint8(look: tuple[int, dict[str, Any]]) -> None:
    assert look[1]["uint8"] == "uint8"


# ---------------------------------------------------------------------------------------------------------- why not


def test_a_missing_tensorrt_is_named_after_cuda_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "unavailable_reason", lambda: "no NVIDIA driver is installed")
    assert backend.unavailable_reason() == "no NVIDIA driver is installed"
    monkeypatch.setattr(cuda, "unavailable_reason", lambda: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "TensorRT is not installed. On a Jetson it comes with JetPack" in str(backend.unavailable_reason())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert backend.unavailable_reason() is None


def test_an_engine_that_cannot_run_here_says_why(make_card: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "unavailable_reason", lambda: "no NVIDIA driver is installed")
    with pytest.raises(EngineError, match="TensorRT cannot run here: no NVIDIA driver is installed"):
        backend.TensorRtEngine(Bundle(Path("nowhere"), make_card(b"")))


@pytest.mark.parametrize(
    ("text", "version"),
    [("8.6.1", (8, 6, 1)), ("10.13.3.9", (10, 13, 3)), ("10.3.0.post1", (10, 3, 0)), ("11.4.0.106", (11, 4, 0))],
)
def test_versions_are_read_as_numbers(text: str, version: tuple[int, ...]) -> None:
    class Module:
        __version__ = text

    assert backend.version(Module) == version


# ----------------------------------------------------------------------------------------------------------- the cache


def plan_path(**changes: Any) -> Path:
    parts: dict[str, Any] = {"graph_sha256": "a" * 64, "precision": "int8", "tensorrt": "10.3.0", "device": ORIN}
    return plans.plan_path(**{**parts, **changes})


def test_a_plan_is_kept_whole_and_for_its_owner_alone(cache_home: Path) -> None:
    path = plan_path()
    plans.write(path, b"plan")
    assert plans.read(path) == b"plan"
    assert path.parent == cache_home / "edge" / "tensorrt"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "changes",
    [
        {"graph_sha256": "b" * 64},
        {"precision": "fp16"},
        {"tensorrt": "10.3.1"},
        {"device": Description("Orin", "cd" * 16, (8, 7), True, ORIN.driver)},
        {"device": Description("Orin", ORIN.uuid, (8, 7), True, "CUDA 12.6; R36 (release), REVISION: 4.4")},
        {"device": Description("Thor", ORIN.uuid, (11, 0), True, ORIN.driver)},
    ],
)
def test_a_plan_of_anything_else_is_another(changes: dict[str, Any]) -> None:
    assert plan_path(**changes) != plan_path()


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "of another key"])
def test_a_damaged_plan_is_not_handed_on(damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = plan_path()
    plans.write(path, b"plan" * 100)
    sound = path.read_bytes()
    if damage == "of another key":
        plans.write(plan_path(precision="fp16"), b"other")
        plan_path(precision="fp16").replace(path)
    else:
        path.write_bytes({"truncated": sound[:200], "empty": b"", "flipped": b"P" + sound[1:]}[damage])
    assert plans.read(path) is None
    assert f"{path}: is damaged, so it is not used" in caplog.text


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_is_not_trusted(mode: int, caplog: pytest.LogCaptureFixture) -> None:
    path = plan_path()
    plans.write(path, b"plan")
    path.parent.chmod(mode)
    assert plans.read(path) is None
    assert "is not yours alone to write" in caplog.text


def test_a_plan_of_another_owner_is_not_trusted(caplog: pytest.LogCaptureFixture) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    path = plan_path()
    plans.write(path, b"plan")
    os.chown(path, 65534, 65534)
    assert plans.read(path) is None
    assert "is not yours alone to write" in caplog.text


def test_a_plan_that_is_not_there_is_no_plan_and_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert plans.read(plan_path()) is None
    assert not caplog.records


def test_a_plan_that_cannot_be_kept_leaves_nothing_behind(cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    plans.write(plan_path(), b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        plans.write(plan_path(), b"new")
    assert plans.read(plan_path()) == b"old"
    assert list(plan_path().parent.iterdir()) == [plan_path()]


def test_the_plans_not_used_for_longest_are_forgotten_with_their_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "KEPT_PLANS", 2)
    paths = [plan_path(precision=str(age)) for age in range(3)]
    for age, path in enumerate(paths):
        plans.write(path, b"plan")
        plans.layers_path(path).write_text("{}")
        os.utime(path, (1e9 - age, 1e9 - age))
    assert plans.read(paths[2]) == b"plan"  # and with that the youngest
    plans.evict_lru()
    assert set(paths[0].parent.iterdir()) == {
        p for path in (paths[0], paths[2]) for p in (path, plans.layers_path(path))
    }
