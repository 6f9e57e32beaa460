"""Signed bundles: what a trusted key signed is opened, and nothing else."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge import signing
from edge.backends import open_engine
from edge.cli import make_app
from edge.config import parse_tree
from edge.engine import Bundle, find_bundle, load_bundle, write_bundle
from edge.errors import BundleTampered, ConfigError, EngineError, OutputError
from edge.service.check import check
from edge.service.config import ServeConfig

pytest.importorskip("cryptography", reason="install the extra sign")


@pytest.fixture
def bundle(colour_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy to sign."""
    graphs = {graph.file: colour_bundle.read(graph) for graph in colour_bundle.card.graphs}
    return write_bundle(tmp_path / "colours", graphs, colour_bundle.card).folder


@pytest.fixture
def key(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "release.key"
    return path, signing.make_key(path)


def sign(folder: Path, key: Path, valid_days: int | None = None) -> signing.Signature:
    return signing.sign(folder, (folder / "card.json").read_bytes(), key, valid_days)


def test_a_signed_bundle_is_opened_by_who_trusts_the_key(bundle: Path, key: tuple[Path, str]) -> None:
    path, public = key
    sign(bundle, path)
    with open_engine(bundle, trusted_keys=[public]) as engine:
        assert engine.card.name == "colours"


def test_an_unsigned_bundle_is_refused_with_what_to_type(bundle: Path, key: tuple[Path, str]) -> None:
    with pytest.raises(BundleTampered, match=r"is not signed, card\.sig missing.*edge sign .*colours"):
        find_bundle(bundle, [key[1]])
    load_bundle(bundle)  # opens where no signature is required


def test_a_signature_by_another_key_is_refused(bundle: Path, key: tuple[Path, str], tmp_path: Path) -> None:
    other = signing.make_key(tmp_path / "other.key")
    sign(bundle, tmp_path / "other.key")
    with pytest.raises(BundleTampered, match=re.escape(f"{other} is not trusted")):
        find_bundle(bundle, [key[1]])


def test_no_key_at_all_trusts_no_one(bundle: Path, key: tuple[Path, str]) -> None:
    sign(bundle, key[0])
    with pytest.raises(BundleTampered, match="is not trusted"):
        find_bundle(bundle, [])


def test_a_card_that_was_changed_and_sealed_anew_is_refused(bundle: Path, key: tuple[Path, str]) -> None:
    sign(bundle, key[0])
    card = dataclasses.replace(load_bundle(bundle).card, description="another")
    (bundle / "card.json").write_text(card.to_json(), encoding="utf-8")
    load_bundle(bundle)  # its own seal fits
    with pytest.raises(BundleTampered, match="is not of this card"):
        find_bundle(bundle, [key[1]])


def test_a_graph_that_was_changed_is_refused_as_ever(bundle: Path, key: tuple[Path, str]) -> None:
    sign(bundle, key[0])
    found = find_bundle(bundle, [key[1]])
    path = bundle / found.card.graphs[0].file
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(BundleTampered, match="the graph is not the one"):
        open_engine(bundle, trusted_keys=[key[1]])


@pytest.mark.parametrize("field", ["signed", "expires", "key"])
def test_time_and_key_of_a_signature_cannot_be_changed(bundle: Path, key: tuple[Path, str], field: str) -> None:
    sign(bundle, key[0], valid_days=1)
    other = base64.b64encode(bytes(range(32))).decode()
    changed = {"signed": "2020-01-01T00:00:00Z", "expires": "2999-01-01T00:00:00Z", "key": f"ed25519:{other}"}[field]
    tree = json.loads((bundle / "card.sig").read_text())
    tree["signatures"][0][field] = changed
    (bundle / "card.sig").write_text(json.dumps(tree))
    with pytest.raises(BundleTampered, match="is not of this card"):
        find_bundle(bundle, [key[1], f"ed25519:{other}"])


def test_a_signature_holds_until_it_expires_and_no_longer(bundle: Path, key: tuple[Path, str]) -> None:
    made = sign(bundle, key[0], valid_days=30)
    card = (bundle / "card.json").read_bytes()
    end = datetime.fromisoformat(str(made.expires).replace("Z", "+00:00"))
    assert end - datetime.now(timezone.utc) > timedelta(days=29)
    assert signing.verify(bundle, card, [key[1]], end - timedelta(seconds=1)).key == key[1]
    with pytest.raises(BundleTampered, match=f"expired on {made.expires}"):
        signing.verify(bundle, card, [key[1]], end)


def test_keys_rotate(bundle: Path, key: tuple[Path, str], tmp_path: Path) -> None:
    """A bundle keeps the old key's signature beside the new one's, and either key opens it."""
    old, new = key[1], signing.make_key(tmp_path / "new.key")
    sign(bundle, key[0])
    sign(bundle, tmp_path / "new.key")
    sign(bundle, tmp_path / "new.key")  # again: in place of its own
    assert len(json.loads((bundle / "card.sig").read_text())["signatures"]) == 2
    for trusted in ([old], [new], [old, new]):
        find_bundle(bundle, trusted)


def test_the_service_opens_only_what_a_trusted_key_signed(bundle: Path, key: tuple[Path, str]) -> None:
    tree = {"camera": "scene:street", "engine": str(bundle), "trusted_keys": [key[1]], "events": {}}
    tree["events"] = {"pedestrian_ahead": None, "road_gone": None}
    config = parse_tree(tree, ServeConfig, "edge.yaml")
    with pytest.raises(BundleTampered, match="is not signed"):
        check(config)
    sign(bundle, key[0])
    check(config)


@pytest.mark.parametrize("keys", [[], ["ed25519:short"], ["release.key"], [7]])
def test_a_config_with_what_is_no_key_is_refused(keys: list[object]) -> None:
    with pytest.raises(ConfigError, match=r"trusted_keys"):
        parse_tree({"camera": "0", "trusted_keys": keys}, ServeConfig, "edge.yaml")


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format": 2, "signatures": []}', '{"format": 1, "signatures": [{"key": 1}]}', "\x00"]
)
def test_a_signature_file_that_is_none_is_refused_with_its_name(bundle: Path, key: tuple[Path, str], text: str) -> None:
    (bundle / "card.sig").write_text(text)
    with pytest.raises(EngineError, match=r"card\.sig"):
        find_bundle(bundle, [key[1]])


def test_a_private_key_is_for_its_user_alone_and_never_overwritten(key: tuple[Path, str]) -> None:
    assert stat.S_IMODE(key[0].stat().st_mode) == 0o600
    with pytest.raises(OutputError, match="never overwritten"):
        signing.make_key(key[0])


def test_what_is_no_private_key_is_refused(bundle: Path, key: tuple[Path, str], tmp_path: Path) -> None:
    for path in (tmp_path / "absent", key[0].with_name("release.key.pub"), tmp_path):
        with pytest.raises(ConfigError, match=r"edge keygen FILE"):
            sign(bundle, path)


def test_the_commands_make_a_key_sign_and_verify(bundle: Path, tmp_path: Path) -> None:
    def edge(*words: str | Path) -> str:
        done = CliRunner().invoke(make_app(), [*map(str, words)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    key = tmp_path / "my.key"
    public = edge("keygen", key).splitlines()[-1]
    assert "signed by ed25519:" in edge("sign", bundle, "--key", key, "--valid-days", "9")
    assert "whole, signed by" in edge("verify", bundle, "--key", f"{key}.pub")
    assert "whole, signed by" in edge("verify", bundle, "--key", public)
