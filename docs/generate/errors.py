"""The page of errors: exit codes, each class with cause and fix, and every message that the code raises."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from links import HOME

from edge import errors
from edge.cli import IO_FAILED
from edge.cli.shared import INTERRUPTED

HEAD = """# Errors

An error is one line: what happened, to which thing, and what to type next. Its class decides the exit code. To find
yours, search this page for words of its message; `…` stands for names and figures.

| exit code | meaning |
|---|---|
"""
_OTHERS = {
    0: "done",
    1: "a fault in edge: report it, with the traceback",
    2: "wrong usage: an option or command that does not exist, or a value of another type",
    3: "a gate of `edge evaluate` does not hold",
    IO_FAILED: "the terminal or pipe is gone",
    INTERRUPTED: "interrupted by Ctrl-C or SIGTERM; files are complete",
}


def errors_page() -> str:
    """Markdown: the table of exit codes, then a section for each class."""
    kinds = list(_tree(errors.EdgeError))
    branches = {
        kind.exit_code: f"`{kind.__name__}`: {_text(kind)[0]}" for kind in kinds if errors.EdgeError in kind.__bases__
    }
    table = [f"| {code} | {text} |" for code, text in sorted({**_OTHERS, **branches}.items())]
    sections = [line for kind in kinds if kind is not errors.EdgeError for line in _section(kind)]
    return "\n".join([HEAD + "\n".join(table), "", *sections]) + "\n"


def _tree(kind: type[errors.EdgeError]) -> Iterator[type[errors.EdgeError]]:
    yield kind
    for name in [name for name in vars(errors) if isinstance(vars(errors)[name], type)]:
        if kind in vars(errors)[name].__bases__:
            yield from _tree(vars(errors)[name])


def _text(kind: type) -> tuple[str, str, str]:
    """What the class means, its cause, and its fix."""
    lines = " ".join((kind.__doc__ or "").split())
    found = re.fullmatch(r"(.*?) Cause: (.*?) Fix: (.*)", lines)
    return (found[1], found[2], found[3]) if found else (lines, "", "")


def _section(kind: type[errors.EdgeError]) -> Iterator[str]:
    meaning, cause, fix = _text(kind)
    yield f"## {kind.__name__}\n\nExit code {kind.exit_code}. {meaning}\n\n**Cause**: {cause}\n\n**Fix**: {fix}\n"
    rows = sorted(_messages().get(kind.__name__, ()))
    if rows:
        yield "| message | raised in |\n|---|---|"
        yield from (f"| {_cell(message)} | `{place}` |" for message, place in rows)
        yield ""


def _cell(message: str) -> str:
    return "<code>" + re.sub(r"[&<>|*_`\[\]]", lambda match: f"&#{ord(match[0])};", message) + "</code>"


@cache
def _messages() -> dict[str, set[tuple[str, str]]]:
    """By the name of the class: each message with the file that raises it. One without words of its own is left out."""
    found: dict[str, set[tuple[str, str]]] = {}
    for path in sorted((HOME / "edge").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
                continue
            name = ast.unparse(node.exc.func).rpartition(".")[2]
            message = " ".join(_words(node.exc.args[0]).split())
            if re.search(r"\w{3}", message):
                found.setdefault(name, set()).add((message, path.relative_to(HOME).as_posix()))
    return found


def _words(node: ast.expr) -> str:
    """The text of an expression, with … for what is only known when it is raised."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _words(node.left) + _words(node.right)
    return "…"
