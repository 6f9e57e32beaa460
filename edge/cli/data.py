"""The commands that look at training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.cli.shared import JsonFile, end_on_sigterm, make_progress_bar, write_json
from edge.cli.stdio import print_report
from edge.errors import DataError

data = typer.Typer(help="Look at training data.", no_args_is_help=True)


@data.callback()
def _group() -> None:
    """With a single command, typer would make the group itself that command."""


@data.command(epilog="Example: edge data check engines/road.yaml")
def check(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as engines/road.yaml.")], json_file: JsonFile = None
) -> None:
    """Read all frames and masks of a recipe: the share of each class, and all that is wrong, file by file."""
    from edge.config import load_yaml
    from edge.sinks.collisions import check_outputs
    from edge.train.check import check_data, report_json, report_text
    from edge.train.recipe import Recipe

    check_outputs([json_file], [recipe])
    loaded = load_yaml(recipe, Recipe)
    end_on_sigterm()
    bar, task = make_progress_bar(f"reading {loaded.name}", None)
    try:
        report = check_data(loaded, lambda: bar.update(task, advance=1))
    finally:
        bar.stop()
    print_report(report_text(report), json_file)
    if json_file:
        write_json(json_file, report_json(report))
    if report.problems:
        raise DataError(f"{recipe}: its data has {len(report.problems)} problem(s), listed above")
