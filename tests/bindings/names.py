"""The names of TensorRT's Python API that edge's source uses, collected from the source itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import edge

ROOT = Path(edge.__file__).parent
SOURCES = ("backends/tensorrt.py", "compile/plan.py")

# What the variables of the source are. A new one that is not listed here is missed, so keep to these names.
CLASSES = {
    "trt": "",
    "self.trt": "",
    "severity": "ILogger.Severity",
    "flags": "NetworkDefinitionCreationFlag",
    "builder": "Builder",
    "config": "IBuilderConfig",
    "config.get_timing_cache": "ITimingCache",  # what it gives
    "parser": "OnnxParser",
    "network": "INetworkDefinition",
    "runtime": "Runtime",
    "self._runtime": "Runtime",
    "engine": "ICudaEngine",
    "self._engine": "ICudaEngine",
    "context": "IExecutionContext",
    "self._contexts[]": "IExecutionContext",  # each of them
    "inspector": "EngineInspector",
}
# What is overridden or reached by name, and the errors of a parser, whose variable is called like every exception's.
SPELLED_OTHERWISE = {
    "ILogger.log",
    "IProgressMonitor.phase_start",
    "IProgressMonitor.step_complete",
    "IProgressMonitor.phase_finish",
    "BuilderFlag.FP16",
    "BuilderFlag.INT8",
    "ParserError.desc",
    "ParserError.node",
    "ParserError.node_name",
}
# Names that are used in some versions only, behind a test of the version or of the name: (first, last) major version.
GUARDED = {
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": (10, 99),
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": (8, 9),
    "BuilderFlag.FP16": (8, 9),
    "BuilderFlag.INT8": (8, 9),
    "IProgressMonitor": (10, 99),
    "IProgressMonitor.phase_start": (10, 99),
    "IProgressMonitor.step_complete": (10, 99),
    "IProgressMonitor.phase_finish": (10, 99),
    "IBuilderConfig.progress_monitor": (10, 99),
    "ParserError.node_name": (10, 99),
}


def used_names() -> set[str]:
    """As they are reached from the module: "Builder.create_network", "BuilderFlag.TF32"."""
    found = set(SPELLED_OTHERWISE)
    for source in SOURCES:
        tree = ast.parse((ROOT / source).read_text(encoding="utf-8"))
        found.update(_names(tree))
    return {name for name in found if not name.endswith("__")}  # every class has __init__, every package __version__


def used_in(major: int) -> list[str]:
    """Those that edge relies on with a TensorRT of that major version."""
    return sorted(name for name in used_names() if (r := GUARDED.get(name, (0, 99)))[0] <= major <= r[1])


def calls() -> list[tuple[str, int, list[str]]]:
    """Each call of such a name: the name, how many arguments are given by position, and the names of the others."""
    trees = [ast.parse((ROOT / source).read_text(encoding="utf-8")) for source in SOURCES]
    return [
        (name, len(node.args), [keyword.arg or "" for keyword in node.keywords])
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for name in _names(node.func, only_itself=True)
        if not name.endswith("__init__")  # called on the class, with self
    ]


def _names(tree: ast.AST, only_itself: bool = False) -> Iterator[str]:
    for node in [tree] if only_itself else ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = _chain(node.value)
            if owner in CLASSES:
                yield ".".join(filter(None, [CLASSES[owner], node.attr]))
            elif owner is not None and owner.partition(".")[0] == "trt":
                yield f"{owner.partition('.')[2]}.{node.attr}"
            elif owner is not None and owner.startswith("self.trt."):
                yield f"{owner.removeprefix('self.trt.')}.{node.attr}"


def _chain(node: ast.expr) -> str | None:
    """Dotted, as "self._contexts[]" for any item and "config.get_timing_cache" for what its call gives; else None."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = _chain(node.value)
        return None if owner is None else f"{owner}.{node.attr}"
    if isinstance(node, ast.Subscript):
        owner = _chain(node.value)
        return None if owner is None else f"{owner}[]"
    if isinstance(node, ast.Call):
        return _chain(node.func)
    return None
