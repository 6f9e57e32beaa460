"""The command that installs a package into the environment that edge runs in."""

from __future__ import annotations

import json
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

EDGE = "edge-segmentation"


def install_command(package: str) -> str:
    """What to type: with this environment's own pip, and for edge from the folder that it was installed from.

    Args:
        package: as an index names it, such as "pyarrow" or "edge-segmentation[serve]".
    """
    name, bracket, extra = package.partition("[")
    folder, editable = _origin()
    # A folder's bare name would be looked up on the index.
    own = ("." if folder == Path.cwd() else str(folder)) if folder else EDGE
    wanted = _quoted(f"{own}{bracket}{extra}" if name == EDGE else package)
    if "archive-v0" in Path(sys.prefix).parts:  # uvx: such an environment is uv's cache
        return f"uvx --from {wanted} edge …" if name == EDGE else f"uvx --from {_quoted(own)} --with {wanted} edge …"
    return f"{pip()} install{' -e' if editable and name == EDGE else ''} {wanted}"


def _origin() -> tuple[Path | None, bool]:
    """The folder that edge was installed from, as PEP 610 records it, if it is still there; whether it is editable."""
    from importlib.metadata import PackageNotFoundError, distribution  # late: slow to load

    try:
        origin = json.loads(distribution(EDGE).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None, False
    folder = Path(unquote(urlsplit(origin.get("url", "")).path))
    is_there = "dir_info" in origin and (folder / "pyproject.toml").is_file()
    return (folder, bool(origin["dir_info"].get("editable"))) if is_there else (None, False)


def pip() -> str:
    """The pip of the environment that edge runs in, as it is typed in the current folder."""
    import shutil  # late: it loads every compressor

    if Path(sys.prefix, "pipx_metadata.json").is_file():
        return f"pipx runpip {Path(sys.prefix).name}"
    own = Path(sys.prefix, "bin", "pip")
    if own.is_file():
        first = shutil.which("pip")
        return "pip" if first and Path(first) == own else _quoted(_short(own))
    if find_spec("pip") is not None:  # in a folder that environments share
        return f"{_quoted(_short(Path(sys.executable)))} -m pip"
    return f"VIRTUAL_ENV={_quoted(_short(Path(sys.prefix)))} uv pip"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _quoted(text: str) -> str:
    return f"'{text}'" if "[" in text else shlex.quote(text)
