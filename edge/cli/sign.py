"""The commands about who made an engine: keygen, sign, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Bundle = Annotated[str, typer.Argument(help="An engine's name, or a bundle's folder.")]


def keygen(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Of the private key; FILE.pub is the public one.")],
) -> None:
    """Make a pair of keys to sign engines with."""
    from edge.signing import make_key

    public = make_key(path)
    print(f"{path}: the private key, for the machine that signs alone\n{public}")


def sign(
    bundle: Bundle,
    key: Annotated[Path, typer.Option(help="The private key that `edge keygen` made.")],
    valid_days: Annotated[
        int | None, typer.Option(min=1, max=36500, help="Days until it expires; without it, never.")
    ] = None,
) -> None:
    """Sign an engine: card.sig beside its card. Other keys' signatures stay; one by the same key is replaced."""
    from edge.signing import SIGNATURE_FILE
    from edge.signing import sign as sign_card

    folder, card = _whole(bundle)
    made = sign_card(folder, card, key, valid_days)
    until = f"until {made.expires}" if made.expires else "without end"
    print(f"{folder / SIGNATURE_FILE}: signed by {made.key}, {until}")


def verify(
    bundle: Bundle,
    key: Annotated[list[str], typer.Option(help="A public key, or its file; repeatable.")],
) -> None:
    """Check that an engine is whole and signed by one of the keys. Exit code 70 if not."""
    from edge.signing import read_public
    from edge.signing import verify as verify_card

    folder, card = _whole(bundle)
    one = verify_card(folder, card, [read_public(text) for text in key])
    until = f"until {one.expires}" if one.expires else "without end"
    print(f"{folder}: whole, signed by {one.key} on {one.signed}, {until}")


def _whole(name: str) -> tuple[Path, bytes]:
    """A bundle's folder and its card, once every graph was compared with it."""
    from edge.engine import CARD_FILE, find_bundle
    from edge.regular import read_regular

    bundle = find_bundle(name)
    for graph in bundle.card.graphs:
        bundle.read(graph)
    return bundle.folder, read_regular(bundle.folder / CARD_FILE)
