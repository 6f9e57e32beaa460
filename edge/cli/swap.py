"""The command that changes a running service's engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.cli.names import complete_engine, engine_and_precision
from edge.errors import ConfigError

INSTALLED = Path("/etc/edge/edge.yaml")


def swap(
    engine: Annotated[
        str,
        typer.Argument(help="The engine that follows, NAME or NAME:PRECISION.", autocompletion=complete_engine),
    ],
    config: Annotated[Path, typer.Option("--config", "-c", help="The running service's config file.")] = INSTALLED,
) -> None:
    """Change a running service's engine between two frames, on trial: it goes back by itself if masks get worse."""
    from edge.config import load_yaml
    from edge.service.config import ServeConfig
    from edge.service.control import ask_swap

    served = load_yaml(config, ServeConfig)
    if served.control is None:
        raise ConfigError(
            f"{config}: names no control socket. Add `control: /run/edge/control.sock` and reload; or change"
            " `engine:` and reload: systemctl reload edge"
        )
    name, precision = engine_and_precision(engine)
    print(ask_swap(served.control, name or engine, precision))
