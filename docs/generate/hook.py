"""What mkdocs runs: pages made from the code, those of the repository's root, and the files that pages link to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # mkdocs loads this file by its path

from commands import commands_page
from configs import configs_page
from device_pages import PLOTS, devices_tables, front_of, known_devices
from errors import errors_page
from links import HOME, ROOT_PAGES, rewrite, site_of, targets
from mkdocs.structure.files import File, Files

import edge

PYTHON = "# Python\n\nNames of `edge`; all else may change.\n\n" + "".join(
    f"::: edge.{name}\n\n" for name in edge.__all__
)
MADE = {
    "reference/python.md": lambda: PYTHON,
    "reference/commands.md": lambda: rewrite(commands_page(), "docs/reference/commands.md"),
    "reference/configs.md": lambda: rewrite(configs_page(), "docs/reference/configs.md"),
    "reference/errors.md": errors_page,
}


def on_files(files: Files, config: Any) -> Files:
    """Add what is not a file of docs/."""
    for name, make in MADE.items():
        files.append(File.generated(config, name, content=make()))
    for device in known_devices():
        if (svg := front_of(device)) is not None:
            files.append(File.generated(config, f"{PLOTS}/{device.stem}.svg", content=svg))
    pages = {HOME / "docs" / file.src_uri for file in files.documentation_pages() if file.src_uri not in MADE}
    for name, page in ROOT_PAGES.items():
        text = (HOME / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=rewrite(text, name)))
        pages.add(HOME / name)
    linked = {
        target
        for page in pages
        for target in targets(page.read_text(encoding="utf-8"), page.relative_to(HOME).as_posix())
    }
    for target in sorted(linked):
        if not target.startswith("docs/") and target not in ROOT_PAGES and (HOME / target).exists():
            _bring(files, config, target)
    return files


def _bring(files: Files, config: Any, target: str) -> None:
    """A file of the repository as it is; of a folder, its files and a page that lists them."""
    place, here = HOME / target, []
    for path in sorted(place.iterdir()) if place.is_dir() else [place]:
        if path.is_file():
            site = f"files/{path.relative_to(HOME).as_posix()}"
            here.append(path.name)
            if files.get_file_from_path(site) is None:
                files.append(File.generated(config, site, abs_src_path=str(path)))
    if place.is_dir():
        rows = "\n".join(f"- [{name}]({name})" for name in here)
        files.append(File.generated(config, site_of(target), content=f"# {target}\n\n{rows}\n"))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of a page of docs/; those of the root were made true as they were read."""
    if page.file.generated_by is not None:
        return markdown
    if page.file.src_uri == "devices.md":
        markdown += devices_tables()
    return rewrite(markdown, f"docs/{page.file.src_uri}")
