"""The command that serves the live page, of a config file or of any source."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.cli.shared import EngineName, Precision
from edge.errors import ConfigError
from edge.install import install_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.service.config import ServeConfig
    from edge.service.lan import Access

PORT = 8008
_KEYS = ("--engine", "--precision", "--port", "--loop")  # which a config file has too


def serve(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[SOURCE]", help="What to look at, as `edge run` takes it; in place of a config file."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A config file; `edge init` writes one.", show_default=False)
    ] = None,
    engine: EngineName = "road",
    precision: Precision = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0 takes any that is free.")] = PORT,
    loop: Annotated[bool, typer.Option("--loop", help="Begin a recording anew at its end.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    lan: Annotated[
        bool, typer.Option("--lan", help="For other machines too: https, a token, and a QR code of the link.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help="With --lan: this machine's IP address.", show_default=False)
    ] = None,
) -> int:
    """Serve the live page of SOURCE, or all that a config says, until SIGTERM. SIGHUP reads the config again."""
    if (source is None) == (config is None):
        raise ConfigError(
            "expected a SOURCE, such as `edge serve 0` or `edge serve drive.mp4 --loop`, or --config FILE; one of them"
        )
    import faulthandler

    from edge.sources.capture.process import prespawned

    with prespawned():
        import cv2

        from edge.service.logs import start_logging
        from edge.service.service import serve as serve_config

        faulthandler.enable()  # a watchdog's SIGABRT then leaves every thread's stack in the journal
        start_logging()
        cv2.setNumThreads(1)  # every stage has a thread of its own
        if config is not None:
            _refuse_beside_config(engine, precision, port, loop, lan, address, open_page)
            return serve_config(config)
        assert source is not None
        access = _access(lan, address)
        made = _config_of(source, engine, precision, port, loop, access)
        _check_recording(source)
        return serve_config(made, _announcer(access, open_page))


def _refuse_beside_config(
    engine: str, precision: str | None, port: int, loop: bool, lan: bool, address: str | None, open_page: bool
) -> None:
    given = {
        "--engine": engine != "road",
        "--precision": precision is not None,
        "--port": port != PORT,
        "--loop": loop,
        "--lan": lan,
        "--address": address is not None,
        "--open": open_page,
    }
    if names := [name for name, is_given in given.items() if is_given]:
        instead = "it into the file" if names[0] in _KEYS else "a SOURCE in place of --config"
        raise ConfigError(f"{names[0]} goes with a SOURCE, not with --config. Write {instead}")


def _access(lan: bool, address: str | None) -> Access | None:
    if not lan:
        if address is not None:
            raise ConfigError("--address goes with --lan: without it, the page is for this machine alone")
        return None
    from edge.service.lan import prepare_access

    return prepare_access(address)


def _config_of(
    source: str, engine: str, precision: str | None, port: int, loop: bool, access: Access | None
) -> ServeConfig:
    from edge.config import parse_tree
    from edge.engine import find_bundle
    from edge.events import untellable
    from edge.service.config import ServeConfig

    # The page watches itself for unfamiliar scenes.
    events: dict[str, None] = {**dict.fromkeys(untellable(find_bundle(engine).card.table)), "out_of_domain": None}
    web: dict[str, object] = {"port": port}
    if access is not None:
        files = ("token_file", "certificate_file", "key_file")
        web |= {"address": access.address, **{name: str(getattr(access, name)) for name in files}}
    tree = {"camera": source, "engine": engine, "precision": precision, "loop": loop, "web": web, "events": events}
    return parse_tree(tree, ServeConfig, "edge serve")


def _check_recording(source: str) -> None:
    """A camera may come later; what is missing of all else is an error now, and not waited for.

    Raises:
        SourceError: it cannot be read.
    """
    from edge.sources.open import is_supervised, open_source

    if not is_supervised(source):
        open_source(source).close()


def _announcer(access: Access | None, open_page: bool) -> Callable[[str], None]:
    def announce(url: str) -> None:
        """Print where the page is, and open it if asked to."""
        link = access.link(url) if access else url
        print(f"live page  {link}", flush=True)
        if access is not None:
            print(
                f"           for who has this link; a browser warns once of the certificate, SHA-256\n"
                f"           {access.fingerprint}",
                flush=True,
            )
            _print_qr(link)
        print("           Ctrl-C ends", flush=True)
        if open_page:
            _open_in_browser(link)

    return announce


def _print_qr(link: str) -> None:
    try:
        import segno
    except ImportError:
        print(f"           for a QR code: {install_command('edge-segmentation[serve]')}", flush=True)
        return
    segno.make(link, error="l").terminal(out=sys.stdout, compact=True)
    sys.stdout.flush()


def _open_in_browser(link: str) -> None:
    """In a thread: some browsers are waited for."""
    import threading
    import webbrowser

    def show() -> None:
        if not webbrowser.open(link):
            print("edge: no browser was found; open the address yourself", file=sys.stderr, flush=True)

    threading.Thread(target=show, name="browser", daemon=True).start()
