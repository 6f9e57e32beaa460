"""What an import costs, each case in a fresh interpreter, and that imports go down."""

from __future__ import annotations

import ast
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = Path(edge.__file__).parent
PROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
LAYERS = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
MODULES = ["edge", *(module.name for module in pkgutil.walk_packages(edge.__path__, "edge."))]


def modules_after(statement: str) -> set[str]:
    """The top-level packages that are loaded after it."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def modules_of(*rooms: str) -> list[str]:
    return [module for module in MODULES if module.startswith(tuple(f"edge.{room}." for room in rooms))]


# Outputs that only a config file names, which pydantic reads.
OF_THE_SERVICE = ("edge.sinks.events", "edge.sinks.mqtt", "edge.sinks.recorder")


def test_importing_edge_loads_nothing_but_edge() -> None:
    loaded = modules_after("import edge")
    assert loaded.isdisjoint({"numpy", "cv2", "av", "openvino", "typer", "yaml", "torch"})
    assert "edge" in loaded


def test_the_command_line_loads_no_library_before_it_knows_the_command() -> None:
    loaded = modules_after("import edge.cli")
    assert loaded.isdisjoint({"numpy", "cv2", "av", "openvino", "torch", "onnx", "pydantic", "yaml"})


@pytest.mark.slow
def test_modules_that_two_threads_load_import_av_before_what_is_in_it() -> None:
    """`edge run` loads modules in a thread of its own, too. Where one thread begins with av and the other with a module
    of it, each waits for the other; Python breaks that off with an error in one, and the other finds no av.
    """
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        nodes = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if "av" in imported_packages(node)]
        if nodes and isinstance(nodes[0], ast.ImportFrom) and nodes[0].module != "av":
            wrong.append(str(path.relative_to(PACKAGE)))
    assert not wrong


def imported_packages(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").partition(".")[0]}
    return {alias.name.partition(".")[0] for alias in node.names} if isinstance(node, ast.Import) else set()


@pytest.mark.slow
def test_the_frame_loop_with_all_sources_and_sinks_loads_no_training_and_no_terminal() -> None:
    modules = ["edge.pipeline", "edge.cli", *modules_of("sources", "sinks")]
    assert {"edge.sources.recording", "edge.sources.capture.child", "edge.sinks.video", *OF_THE_SERVICE} <= set(modules)
    run = [module for module in modules if not module.startswith(OF_THE_SERVICE)]
    loaded = modules_after("\n".join(f"import {module}" for module in run))
    assert loaded.isdisjoint({"torch", "onnx", "onnxscript", "rich", "pydantic", "yaml", "openvino"})


@pytest.mark.slow
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


def layer_of(module: str) -> int:
    """Its number in pyproject.toml, 0 the highest; -1 for `edge` itself, which imports its names at first use."""
    if module == "edge":
        return -1
    (number,) = [number for number, rooms in enumerate(LAYERS) if ".".join(module.split(".")[:2]) in rooms.split(" | ")]
    return number


def named_in(module: str) -> Iterator[str]:
    """The modules that it names in text, as tables of what is imported at first use do: "edge.room.module:name"."""
    base = PACKAGE.joinpath(*module.split(".")[1:])
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = re.fullmatch(r"(edge(?:\.\w+)+)(?::\w+)?", node.value)
            if name and name[1] in MODULES:
                yield name[1]


def test_every_module_has_a_layer() -> None:
    assert all(layer_of(module) is not None for module in MODULES)


@pytest.mark.slow
def test_imports_by_name_go_down_too() -> None:
    """Import-linter sees imports within functions; a module named in a text it cannot see."""
    named = {(module, name) for module in MODULES for name in named_in(module)}
    assert ("edge.cli", "edge.pipeline") in named
    assert {
        pair
        for pair in named
        if pair[0].split(".")[1:2] != pair[1].split(".")[1:2] and layer_of(pair[0]) >= layer_of(pair[1])
    } == set()


def test_a_command_loads_no_other_one() -> None:
    script = "import sys; from edge.cli import make_app; make_app(['run']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    others = {"evaluate", "make", "replay", "record", "serve", "init", "camera", "data"}
    assert not {f"edge.cli.{name}" for name in others} & set(loaded)
