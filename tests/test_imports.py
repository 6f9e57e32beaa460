"""What an import costs: each case runs in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import edge

PACKAGE = Path(edge.__file__).parent


def modules_after(statement: str) -> set[str]:
    """The top-level packages that are loaded after it."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def modules_of(folder: str) -> list[str]:
    return [f"edge.{folder}.{path.stem}" for path in sorted((PACKAGE / folder).glob("*.py")) if path.stem != "__init__"]


# Outputs that only a config file names, which pydantic reads.
OF_THE_SERVICE = {f"edge.sinks.{name}" for name in ("events", "mqtt", "mqtt_link", "recorder")}


def test_importing_edge_loads_nothing_but_edge() -> None:
    loaded = modules_after("import edge")
    assert loaded.isdisjoint({"numpy", "cv2", "av", "openvino", "typer", "yaml", "torch"})
    assert "edge" in loaded


def test_the_command_line_loads_no_library_before_it_knows_the_command() -> None:
    loaded = modules_after("import edge.cli")
    assert loaded.isdisjoint({"numpy", "cv2", "av", "openvino", "torch", "onnx", "pydantic", "yaml"})


def test_the_frame_loop_with_all_sources_and_sinks_loads_no_training_and_no_terminal() -> None:
    modules = ["edge.pipeline", "edge.cli", *modules_of("sources"), *modules_of("sinks")]
    assert {"edge.sources.recording", "edge.sources.scene", "edge.sinks.video"} <= set(modules)
    run = [module for module in modules if module not in OF_THE_SERVICE]
    loaded = modules_after("\n".join(f"import {module}" for module in run))
    assert loaded.isdisjoint({"torch", "onnx", "onnxscript", "rich", "pydantic", "yaml", "openvino"})


def test_the_service_loads_no_training() -> None:
    loaded = modules_after("import edge.service.service, edge.sinks.events, edge.web.options")
    assert loaded.isdisjoint({"torch", "onnx", "onnxscript", "rich", "edge.compile", "edge.train", "edge.nets"})


def test_a_source_is_loaded_only_when_it_is_asked_for() -> None:
    assert modules_after("import edge.sources.open").isdisjoint({"av", "openvino"})


def test_every_public_name_is_where_it_is_said_to_be() -> None:
    for name in edge.__all__:
        assert getattr(edge, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'edge' has no attribute 'nothing'"):
        edge.nothing  # noqa: B018
