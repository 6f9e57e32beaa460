"""What README and docs tell you to type: commands, flags, extras, modules, files and Python samples exist."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

import edge.cli

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HOME = Path(__file__).parents[1]
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "llms.txt")
PAGES = [*(HOME / name for name in TOP), *sorted((HOME / "docs").rglob("*.md"))]
EDGE: Any = typer.main.get_command(edge.cli.make_app())
PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))
ENDS = {"|", ">", ">>", "&&", "||", ";", "&", "2>", "<"}


def text_of(page: Path) -> str:
    """With lines that a backslash continues joined."""
    return re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))


def commands_in(text: str) -> list[list[str]]:
    """What follows `edge` in indented lines, code blocks and inline code, word by word."""
    lines = re.findall(r"^\s*(?:\$ |sudo )?(?:[A-Z_]+=\S+ )*(?:\S*/bin/)?edge +(.+)$", text, re.MULTILINE)
    lines += re.findall(r"`(?:\S*/bin/)?edge ([a-z][^`]*)`", text)
    found = []
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # prose with an apostrophe
            continue
        cut = next((place for place, word in enumerate(words) if word in ENDS), len(words))
        if words and words[0] in EDGE.commands:
            found.append(words[:cut])
    return found


def flags_of(command: Any) -> set[str]:
    options = [name for param in command.params for name in (*param.opts, *param.secondary_opts)]
    return {*(name for name in options if name.startswith("-")), "-h", "--help"}


def complaints(words: list[str]) -> list[str]:
    """What a command line has that edge does not."""
    command = EDGE
    while hasattr(command, "commands") and words:
        if words[0] not in command.commands:
            return [f"no command {words[0]!r} in {command.name}"]
        command, words = command.commands[words[0]], words[1:]
    given = [word.partition("=")[0] for word in words if re.match(r"--?[A-Za-z]", word)]
    flags = [part for word in given for part in word.split("/") if part.startswith("-")]
    return [f"edge {command.name} has no {flag}" for flag in flags if flag not in flags_of(command)]


COMMANDS = sorted({(page.name, *words) for page in PAGES for words in commands_in(text_of(page))})


def test_the_pages_name_commands() -> None:
    assert len(COMMANDS) > 50
    assert {"run", "evaluate", "replay", "serve", "build"} <= {command[1] for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_and_their_flags_exist(command: tuple[str, ...]) -> None:
    assert complaints(list(command[1:])) == []


def test_a_flag_that_does_not_exist_is_seen() -> None:
    assert complaints(["run", "a.mp4", "--overlay", "b.mp4", "--colour"]) == ["edge run has no --colour"]
    assert complaints(["data", "nothing"]) == ["no command 'nothing' in data"]


def test_extras_named_in_pages_and_messages_are_those_of_the_package() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    paths = [*PAGES, HOME / "Makefile", *sorted((HOME / "edge").rglob("*.py"))]
    named = {
        (path.name, extra)
        for path in paths
        for group in re.findall(r"(?:edge-segmentation|-e '?\.)\[([\w,]+)\]", path.read_text(encoding="utf-8"))
        for extra in group.split(",")
    }
    assert named
    assert {(page, extra) for page, extra in named if extra not in extras} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_modules_and_files_that_a_page_names_exist(page: Path) -> None:
    text = text_of(page)
    targets = set(re.findall(r"^([a-z]+):", (HOME / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^ {4}|`)make ([a-z]+)", text, re.MULTILINE)) <= targets
    for module in re.findall(r"python3? -m (benchmarks[\w.]*|edge[\w.]*)", text):
        assert (HOME / (module.replace(".", "/") + ".py")).exists() or (HOME / module.replace(".", "/")).is_dir(), (
            module
        )
    for path in re.findall(
        r"`((?:edge|tests|benchmarks|demo|systemd)/[\w./-]+\.(?:py|md|sh|service|yaml))(?:::\w+)?`", text
    ):
        assert (HOME / path).exists(), path
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text):
        assert (page.parent / link).exists(), link


SAMPLES = [
    pytest.param(sample, id=f"{page.name}-{number}")
    for page in PAGES
    for number, sample in enumerate(re.findall(r"^```python\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL))
]


@pytest.mark.parametrize("sample", SAMPLES)
def test_python_samples_compile_and_the_names_that_they_import_exist(sample: str) -> None:
    tree = ast.parse(sample)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edge"):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "edge":
            assert hasattr(edge, node.attr), f"edge.{node.attr}"
