"""The command that writes a config file for `edge serve`."""

from __future__ import annotations

import glob
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from edge.cli.names import complete_engine
from edge.errors import ConfigError, OutputError

_KINDS = {
    "camera": ("A camera: a device's number, or an address such as rtsp://user:password@camera/1", "0"),
    "video": ("A video file, a folder of images or a recorded drive", None),
    "street": ("Nothing yet: a rendered street", "scene:street?seed=7&frames=0&size=1280x720&fps=30"),
}

_TEMPLATE = """\
# What `edge serve --config {name}` does. SIGHUP has it read again: a file that is not in order changes nothing.

# As `edge run` takes it: 0 is /dev/video0; "rtsp://user:password@camera/1"; a file; "scene:street".
camera: {source}

# A recording begins anew at its end; without it the service ends there. A camera has no end.
loop: {loop}

# An engine's name (road, small, open), or the folder that `edge build` wrote. `edge inspect NAME` shows what it sees.
engine: {engine}

# int8, f32, bf16 (OpenVINO) or fp16 (TensorRT). Default: the engine's own.
#precision: int8

# People, cyclists and vehicles one by one, with ids that last.
#instances: true

# Pedestrian ahead, road gone, scene unlike the training data: each is logged as it begins and ends.
events: {events}

# Under overload, or when the machine runs hot, the engine's next smaller input.
#ladder:
#  deadline_ms: 50.0

# The live page, for this machine alone. For others too: `edge serve SOURCE --lan`.
web:
  address: 127.0.0.1
  port: {port}

# What was seen, as video in segments that survive a power cut.
{recorder}
"""
_RECORDER = """\
{mark}recorder:
{mark}  folder: {folder} # for nothing else
{mark}  quota_gb: 10.0 # 1e9 bytes; beyond it the oldest segment goes
{mark}  overlay: true # with the masks painted in; else as the camera gave it"""


def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="The config file; never overwritten.")] = Path(
        "edge.yaml"
    ),
    source: Annotated[
        str | None, typer.Option(help="Camera, address, file or scene:street, as `edge run` takes it.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", "-e", help="An engine's name or folder.", autocompletion=complete_engine)
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Of the live page. [default: 8008]")] = None,
    record: Annotated[Path | None, typer.Option(help="Record what was seen into this folder.")] = None,
    loop: Annotated[bool | None, typer.Option("--loop/--no-loop", help="Begin a recording anew at its end.")] = None,
) -> None:
    """Write a config that runs. Asks what you have, on a terminal; elsewhere options say it."""
    if path.exists() or path.is_symlink():
        raise OutputError(f"{path}: exists already and is never overwritten. Name another file: edge init FILE")
    asks = sys.stdin.isatty()
    if source is None:
        source = _ask_source(asks)
    if engine is None:
        engine = typer.prompt("Engine: a name, or a folder that `edge build` wrote", default="road") if asks else "road"
    if port is None:
        port = typer.prompt("Port of the live page", default=8008, type=int) if asks else 8008
    text = _text(path, source, engine, port, record, loop)
    _check(path, text)
    _write(path, text)
    print(f"wrote {path}. Run: edge serve --config {path}")
    _warn_of_missing(source)


def _warn_of_missing(source: str) -> None:
    """Report a file that does not exist yet. It may be copied later, so that is no reason to refuse."""
    from edge.paths import is_path, no_such_file
    from edge.sources.open import is_camera

    if not is_camera(source) and is_path(source) and not glob.has_magic(source) and not Path(source).exists():
        print(f"edge: {no_such_file(Path(source))}", file=sys.stderr)


def _ask_source(asks: bool) -> str:
    if not asks:
        raise ConfigError("--source is missing, and there is no terminal to ask at. Try: edge init --source 0")
    for place, (kind, (what, _)) in enumerate(_KINDS.items(), 1):
        print(f"{place}  {kind:7} {what}")
    kinds = list(_KINDS)
    chosen = typer.prompt("What do you have", default=1, type=int)
    if not 1 <= chosen <= len(kinds):
        raise ConfigError(f"expected 1 to {len(kinds)}, got {chosen}")
    kind = kinds[chosen - 1]
    default = _KINDS[kind][1]
    return str(default) if kind == "street" else str(typer.prompt(f"Which {kind}", default=default))


def _text(path: Path, source: str, engine: str, port: int, record: Path | None, loop: bool | None) -> str:
    """The file's content: names in the double quotes that JSON and YAML share, paths that any folder can run."""
    from edge.engine import find_bundle
    from edge.events import untellable
    from edge.sources.open import is_camera

    place, missing = Path(source), untellable(find_bundle(engine).card.table)
    is_recording = not is_camera(source)
    return _TEMPLATE.format(
        name=path,
        source=json.dumps(str(place.absolute()) if place.exists() else source),
        loop=str(is_recording if loop is None else loop).lower(),
        engine=json.dumps(str(Path(engine).absolute()) if Path(engine).is_dir() else engine),
        events="{" + ", ".join(f"{event}: null" for event in missing) + "}",
        port=port,
        recorder=_RECORDER.format(
            mark="" if record else "#", folder=json.dumps(str((record or Path("recordings")).absolute()))
        ),
    )


def _check(path: Path, text: str) -> None:
    """Refuse what `edge serve` would refuse, before anything is written."""
    import yaml

    from edge.config import parse_tree
    from edge.service.check import check
    from edge.service.config import ServeConfig

    check(parse_tree(yaml.safe_load(text), ServeConfig, str(path)))


def _write(path: Path, text: str) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)  # for this user alone: an address may hold a password
    except FileExistsError:
        raise OutputError(
            f"{path}: exists already and is never overwritten. Name another file: edge init FILE"
        ) from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
