"""Signatures of bundles: who made an engine, and until when it may be opened. docs/signing.md.

`card.sig` beside `card.json` holds one signature or several, each Ed25519 over the hash of the card's bytes, the time
of signing and that of expiry. The card holds the hashes of all graphs, so one signature covers the bundle; the graphs'
bytes are compared with them when they are read (`edge.engine.Bundle.read`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import BundleTampered, ConfigError, EngineError, OutputError
from edge.install import install_command
from edge.regular import open_regular, read_regular
from edge.strict_json import Reader, parse_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE_FILE = "card.sig"
LIMIT_BYTES = 1 << 16
KEY_WANTED = "a public key such as ed25519:AbC…= (44 characters of base64), which `edge keygen` prints"
_KEY = re.compile(r"ed25519:[A-Za-z0-9+/]{43}=")
_TIME = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z"


@dataclass(frozen=True)
class Signature:
    """One signature of a card.

    Attributes:
        key: the public key that it is made with, `ed25519:` and base64.
        signed, expires: UTC such as 2026-11-29T18:00:00Z; without `expires`, it holds without end.
        signature: base64 of the 64 bytes.
    """

    key: str
    signed: str
    expires: str | None
    signature: str = ""

    def message(self, card: bytes) -> bytes:
        """The bytes that are signed."""
        about = {"card_sha256": hashlib.sha256(card).hexdigest(), "expires": self.expires, "signed": self.signed}
        return b"edge bundle signature 1\n" + json.dumps(about, sort_keys=True, separators=(",", ":")).encode()

    def problem(self, card: bytes, now: datetime) -> str | None:
        """Why it does not vouch for the card at that time, or None."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            raw = base64.b64decode(self.key.removeprefix("ed25519:"), validate=True)
            Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(self.signature), self.message(card))
        except (InvalidSignature, ValueError):
            return f"the signature by {self.key} is not of this card"
        if self.expires is not None and now >= _parsed(self.expires):
            return f"the signature by {self.key} expired on {self.expires}"
        return None


def make_key(path: Path) -> str:
    """Write a new private key (PKCS8, PEM, for this user alone) and its public key beside it as PATH.pub; the latter is
    returned.

    Raises:
        OutputError: a file is there already, or cannot be written.
    """
    need_cryptography()
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    public = _public_of(key)
    _write_new(path, pem, 0o600)
    _write_new(path.with_name(f"{path.name}.pub"), f"{public}\n".encode(), 0o644)
    return public


def sign(folder: Path, card: bytes, key_path: Path, valid_days: int | None = None) -> Signature:
    """Sign a card, the bytes of its file in that folder; a signature by the same key is replaced, others stay.

    Raises:
        ConfigError: the key cannot be read, or is not one.
        EngineError: the signatures that are there cannot be read.
        OutputError: the signature cannot be written.
    """
    need_cryptography()
    key = _read_private(key_path)
    now = datetime.now(timezone.utc)
    until = None if valid_days is None else _shown(now + timedelta(days=valid_days))
    plain = Signature(_public_of(key), _shown(now), until)
    made = Signature(plain.key, plain.signed, plain.expires, base64.b64encode(key.sign(plain.message(card))).decode())
    others = [one for one in _read(folder) if one.key != made.key]
    _replace(folder / SIGNATURE_FILE, [*others, made])
    return made


def verify(folder: Path, card: bytes, trusted_keys: Collection[str], now: datetime | None = None) -> Signature:
    """The signature by one of the keys that vouches for these bytes of `card.json`.

    Raises:
        ConfigError: a key is not one, or the library cryptography is not installed.
        BundleTampered: no signature does; the message says why of each.
    """
    need_cryptography()
    for key in trusted_keys:
        check_key(key)
    found = _read(folder)
    if not found:
        raise BundleTampered(
            f"{folder}: is not signed, {SIGNATURE_FILE} missing. Sign it: edge sign {folder} --key FILE"
        )
    reasons = []
    for one in found:
        if one.key not in trusted_keys:
            reasons.append(f"{one.key} is not trusted")
        elif reason := one.problem(card, now or datetime.now(timezone.utc)):
            reasons.append(reason)
        else:
            return one
    raise BundleTampered(f"{folder}: no signature by a trusted key that holds: {'; '.join(reasons)}")


def check_key(text: str) -> str:
    """The text, if it is a public key.

    Raises:
        ConfigError: it is not one.
    """
    if not _KEY.fullmatch(text):
        raise ConfigError(f"expected {KEY_WANTED}, got {len(text)} characters")
    return text


def read_public(text: str) -> str:
    """A public key, given itself or as a file that holds one.

    Raises:
        ConfigError: it is neither.
    """
    return check_key(text if text.startswith("ed25519:") else _content(Path(text)).decode(errors="replace").strip())


def need_cryptography() -> None:
    """Raises ConfigError where the library is missing."""
    from importlib.util import find_spec

    if find_spec("cryptography") is None:
        raise ConfigError(
            f"signatures need the library cryptography. Try: {install_command('edge-segmentation[sign]')}"
        )


def _public_of(key: Ed25519PrivateKey) -> str:
    return f"ed25519:{base64.b64encode(key.public_key().public_bytes_raw()).decode()}"


def _read_private(path: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_content(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it has a password
        raise ConfigError(f"{path}: is no unencrypted private key in PEM. Make one: edge keygen FILE") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: expected an Ed25519 key, got another kind. Make one: edge keygen FILE")
    return key


def _content(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(LIMIT_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be read: {error.strerror}. Make one: edge keygen FILE") from error


def _read(folder: Path) -> list[Signature]:
    """The signatures beside a card; none where there is no such file."""
    path = folder / SIGNATURE_FILE
    try:
        text = read_regular(path, LIMIT_BYTES).decode("utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from error
    reader = Reader(parse_json(text, str(path)))
    reader.whole("format", 1, 1)
    found = [_read_one(part) for part in reader.parts("signatures")]
    reader.no_more()
    if reader.problems:
        raise EngineError("\n  ".join([f"{path}: {len(reader.problems)} problem(s)", *reader.problems]))
    return found


def _read_one(reader: Reader) -> Signature:
    one = Signature(
        key=reader.matching("key", KEY_WANTED, _KEY.pattern),
        signed=reader.matching("signed", "a time as 2026-12-31T12:00:00Z", _TIME),
        expires=None if reader.null("expires") else reader.take("expires", "a time as 2026-12-31T12:00:00Z", _as_time),
        signature=reader.matching("signature", "64 bytes in base64", "[A-Za-z0-9+/]{86}=="),
    )
    reader.no_more()
    return one


def _as_time(value: Any) -> str | None:
    try:
        return value if isinstance(value, str) and re.fullmatch(_TIME, value) and _parsed(value) else None
    except ValueError:
        return None


def _parsed(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def _shown(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except FileExistsError:
        raise OutputError(f"{path}: exists already, and a key is never overwritten. Name another file") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def _replace(path: Path, signatures: list[Signature]) -> None:
    text = json.dumps({"format": 1, "signatures": [asdict(one) for one in signatures]}, indent=1) + "\n"
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
