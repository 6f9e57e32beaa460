"""What a terminal shows, as an SVG: commands that were run, and what they printed, in light and dark."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path

COLOURS = {"light": ("#f6f8fa", "#1f2328", "#59636e"), "dark": ("#161b22", "#e6edf3", "#9198a1")}  # ground, text, quiet
SIZE_PX, CELL_WH, MARGIN_PX = 13, (7.8, 19), 16
COLUMNS = 100


def environment(folder: Path) -> dict[str, str]:
    """This one, in which `edge` is this checkout's and packages in `folder`/site are found."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}/site:{Path.cwd()}",
        "COLUMNS": str(COLUMNS),
    }


def run_in_shell(script: str, folder: Path) -> None:
    """Run a page's commands; a `pip install` of theirs goes into `folder`/site."""
    pip = (
        f"""pip() {{ {sys.executable} -m pip install -q --no-deps --no-build-isolation --target "$PWD/site" "$2"; }}"""
    )
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{pip}\n{script}"], cwd=folder, env=environment(folder), check=True
    )


def shown(commands: Sequence[str], folder: Path) -> list[str]:
    """The lines of a terminal in which these commands were run: with what they print, and exit codes other than 0."""
    lines: list[str] = []
    for command in commands:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=folder,
            env=environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines += f"$ {command}".splitlines()
        lines += [row for line in done.stdout.splitlines() for row in folded(line)]
        lines += [f"exit code {done.returncode}"] if done.returncode else []
    return lines


def folded(line: str) -> list[str]:
    """A line longer than the terminal is wide, at words."""
    return [line] if len(line) <= COLUMNS else textwrap.wrap(line, COLUMNS)


def asked(command: str, answers: Sequence[str], folder: Path) -> list[str]:
    """The lines of a terminal on which a command asks, and is given these answers."""
    ours, theirs = pty.openpty()
    started = subprocess.Popen(
        ["bash", "-c", command], cwd=folder, env=environment(folder), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = ""
    for answer in answers:
        said += _until(ours, ": ")
        os.write(ours, f"{answer}\n".encode())
    said += _until(ours, None)
    if started.wait() != 0:
        raise SystemExit(f"{command}: exit code {started.returncode}: {said}")
    return [f"$ {command}", *said.replace("\r", "").splitlines()]


def _until(terminal: int, end: str | None) -> str:
    """What is printed up to a question's end, or until the program ends."""
    said = ""
    with suppress(OSError):  # Linux' word for the end of a terminal
        while end is None or not said.endswith(end):
            said += os.read(terminal, 4096).decode()
    return said


def write_terminal(lines: Sequence[str], stem: Path) -> None:
    """STEM-light.svg and STEM-dark.svg."""
    for scheme in COLOURS:
        stem.with_name(f"{stem.name}-{scheme}.svg").write_text(terminal_svg(lines, scheme), encoding="utf-8")


def terminal_svg(lines: Sequence[str], scheme: str) -> str:
    """An SVG in the reader's own monospaced font, each line as wide as its cells."""
    ground, text, quiet = COLOURS[scheme]
    cell, line_px = CELL_WH
    width, height = round(2 * MARGIN_PX + cell * max(map(len, lines))), 2 * MARGIN_PX + line_px * len(lines)
    rows = []
    for place, line in enumerate(lines):
        if not line.strip():
            continue
        style = ' font-weight="bold"' if line.startswith("$ ") else ""
        style += f' fill="{quiet}"' if line.startswith("exit code ") else ""
        at = f'x="{MARGIN_PX}" y="{MARGIN_PX + line_px * place + SIZE_PX}" textLength="{cell * len(line):.1f}"'
        cells = escape(line, quote=False).replace(" ", "\u00a0")  # spaces side by side would be one
        rows.append(f"<text {at}{style}>{cells}</text>")
    font = f'font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace" font-size="{SIZE_PX}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<rect width="100%" height="100%" rx="8" fill="{ground}"/>'
        f'<g {font} fill="{text}">\n' + "\n".join(rows) + "\n</g></svg>\n"
    )
