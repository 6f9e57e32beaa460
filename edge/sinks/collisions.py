"""An output that is also an input is refused before any work: the source would be gone, without a word."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.engine import bundle_folder
from edge.errors import OutputError
from edge.pattern import is_pattern, matching
from edge.secrets import redacted
from edge.sinks.files import IMAGES, STDOUT, open_descriptor

_READ = IMAGES | {".mcap", ".bag", ".db3", ".zstd", ".yaml", ".yml", ".csv"}  # what a folder can be a source by
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(?=/)")  # a Path has one slash of two
_WISHES = re.compile(r"[?#].*")  # behind a name: ?topic=/camera, #stream=1


def check_outputs(
    outputs: Iterable[Path | None], inputs: Iterable[str | Path | None], engines: Iterable[str | Path | None] = ()
) -> None:
    """Refuse outputs that would overwrite what is read, or each other. A link or hard link is what it stands for.

    `inputs` are named as sources are: files, folders, patterns of images; cameras and scenes cannot be overwritten.
    `engines` are named as for `edge.engine.find_bundle`: every file in their folders is read.

    Raises:
        OutputError: with the output that collides.
    """
    named = [path for path in outputs if path is not None]
    for path in named:
        _check_no_address(path)
    _check_distinct(named)
    if not named:
        return
    files = [file for engine in engines if engine is not None for file in _files_of_engine(engine)]
    read = _Inputs.of([str(name) for name in (*inputs, *files) if name is not None])
    for path in named:
        if open_descriptor(path) is None:
            read.refuse(path)


def check_replaced(folder: Path, inputs: Iterable[Path | None]) -> None:
    """Refuse a folder that is made anew, with all that is in it, where what is read is in it.

    Raises:
        OutputError: with what would be lost.
    """
    for path in inputs:
        if path is not None and folder.resolve() in (path.resolve(), *path.resolve().parents):
            raise OutputError(f"{folder}: is made anew, and {path}, which is read, would be lost. Name another folder.")


def _check_no_address(path: Path) -> None:
    if (scheme := _SCHEME.match(str(path))) and not Path(scheme[0]).is_dir():
        shown = redacted(str(path).replace(":/", "://", 1))
        raise OutputError(
            f"{shown}: is an address, expected a file or folder. Images go to an address by --publish, results by"
            " --sink: edge run --help"
        )


def _check_distinct(outputs: Sequence[Path]) -> None:
    seen: dict[object, Path] = {}
    for path in outputs:
        key = open_descriptor(path) or os.path.realpath(path)
        if key in seen and key != os.devnull:
            raise OutputError(f"{path}: is named for two outputs. Name another file for one of them.")
        seen[key] = path


@dataclass(frozen=True)
class _Inputs:
    """`files` and `folders` are what the names stand for; `image_folders` hold images that were named one by one."""

    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    image_folders: frozenset[Path]

    @classmethod
    def of(cls, names: Iterable[str]) -> _Inputs:
        found = [path for name in names for path in _named_by(name)]
        files = [path for path in found if path.is_file()]
        times = [path.with_suffix(".times.csv") for path in files]
        return cls(
            (*files, *filter(Path.exists, times)),
            tuple(path for path in found if path.is_dir()),
            frozenset(path.parent for path in files if path.suffix.lower() in IMAGES),
        )

    def refuse(self, output: Path) -> None:
        """Raises OutputError: writing it would destroy what is read."""
        partial = output.with_name(f".{output.name}.part")  # which is begun anew
        if any(_same(place, file) for place in (output, partial) for file in self.files):
            raise OutputError(f"{output}: is read as well, and would be lost. Name another file.")
        if any(_same(output, folder) for folder in (*self.folders, *self.image_folders)):
            raise OutputError(f"{output}: is the folder of the source, whose files would be lost. Name another folder.")
        is_read = output.suffix.lower() in _READ and output.is_file()
        if is_read and any(_same(parent, folder) for folder in self.folders for parent in output.resolve().parents):
            raise OutputError(f"{output}: is a file of the source, which would be lost. Name another file.")


def _named_by(name: str) -> list[Path]:
    """The files and folders that a source's name stands for; none for a camera or a scene."""
    for place in (name, _WISHES.sub("", name)):
        if os.path.exists(place):  # noqa: PTH110 Path.exists raises for what can be no file's name
            return [Path(place)]
    if is_pattern(name):
        return matching(name)
    return []


def _files_of_engine(name: str | Path) -> list[Path]:
    folder = bundle_folder(name)
    try:
        return list(folder.iterdir()) if folder is not None else []
    except OSError:  # opening the engine will say why
        return []


def _same(one: Path, other: Path) -> bool:
    try:
        return one != STDOUT and one.samefile(other)
    except OSError:  # one of them is not there
        return False
