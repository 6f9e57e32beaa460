"""The page of the command line, from the program itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

import edge.cli

HEAD = """# Commands

Made from the program (`edge --help`). Exit codes are in [Errors](errors.md).
"""


def commands_page() -> str:
    """Markdown: every command with its arguments and options."""
    program: Any = typer.main.get_command(edge.cli.make_app())
    return "\n".join([HEAD, *_command("edge", program)]) + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    if hasattr(command, "commands"):
        for word, part in command.commands.items():
            yield from _command(f"{name} {word}", part)
        return
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option"]
    usage = " ".join([name, *(_metavar(one, command) for one in arguments), "[OPTIONS]"])
    yield f"## {name}\n\n    {usage}\n\n{_plain(command.help or '')}\n"
    if command.epilog:
        yield f"{command.epilog.replace('Example: ', 'Example: `')}`\n"
    rows = [_row(param, command) for param in (*arguments, *options)]
    if rows:
        yield "| name | value | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _row(param: Any, command: Any) -> str:
    names = [*param.opts, *param.secondary_opts] if param.param_type_name == "option" else [_metavar(param, command)]
    is_flag = getattr(param, "is_flag", False)
    value = "" if is_flag or param.param_type_name == "argument" else _range(param)
    shown = "" if param.default is None or is_flag or callable(param.default) else f"`{param.default}`"
    if param.required:
        shown = "required"
    return f"| {', '.join(f'`{name}`' for name in names)} | {value} | {shown} | {_plain(param.help or '')} |"


def _range(param: Any) -> str:
    kind = param.type
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    bounds = [f"≥ {low}" if low is not None else "", f"≤ {high}" if high is not None else ""]
    return " ".join([kind.name.replace("|", "\\|"), *filter(None, bounds)])


def _metavar(param: Any, command: Any) -> str:
    return str(param.make_metavar(command.make_context("edge", [], resilient_parsing=True))).upper()


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
