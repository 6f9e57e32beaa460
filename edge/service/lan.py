"""What the page needs to be seen from another machine: a certificate and a token of this machine's own, made once."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import ssl
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from edge.errors import ConfigError, OutputError

VALID_DAYS = 397  # browsers refuse certificates that last longer
_RENEW_S = 7 * 24 * 3600
_NOWHERE = ("192.0.2.1", 9)  # RFC 5737; asked for a route, and nothing is sent


@dataclass(frozen=True)
class Access:
    """The files by which the page is opened, each readable by this user alone."""

    address: str
    token_file: Path
    certificate_file: Path
    key_file: Path

    def link(self, url: str) -> str:
        """The page's address with the token behind #, which a browser sends to no server and writes into no log."""
        return f"{url.rstrip('/')}/login#token={self.token_file.read_text().strip()}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as browsers show it."""
        der = ssl.PEM_cert_to_DER_cert(self.certificate_file.read_text())
        return hashlib.sha256(der).digest().hex(":").upper()


def prepare_access(address: str | None = None, folder: Path | None = None) -> Access:
    """Certificate, key and token for the page on that address, by default this machine's own on the network; those of
    an earlier time are taken where they are good.

    Raises:
        ConfigError: the address is not one of this machine's, or openssl is missing.
        OutputError: the folder cannot be written.
    """
    address = _checked(address) if address else lan_address()
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    place = (folder or home / "edge" / "lan") / address.replace(":", "-")
    access = Access(address, place / "token", place / "certificate.pem", place / "key.pem")
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.chmod(0o700)
        if not access.token_file.exists():
            _write_private(access.token_file, secrets.token_urlsafe(24) + "\n")
        if not _is_valid(access):
            _make_certificate(access)
    except OSError as error:
        raise OutputError(f"{error.filename or place}: cannot be written: {error.strerror or error}") from error
    return access


def lan_address() -> str:
    """This machine's address on its network.

    Raises:
        ConfigError: it is on none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_NOWHERE)
            address = str(probe.getsockname()[0])
        except OSError as error:
            raise ConfigError(
                f"--lan: this machine is on no network: {error.strerror}. Name it: --address IP"
            ) from error
    if ip_address(address).is_loopback:
        raise ConfigError("--lan: this machine is on no network. Name its address: --address IP")
    return address


def _checked(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        raise ConfigError(f"--address {address}: expected an IP address of this machine, such as 192.168.1.5") from None
    if found.is_unspecified:
        raise ConfigError(f"--address {address}: is every interface. Name one, such as 192.168.1.5")
    return str(found)


def _is_valid(access: Access) -> bool:
    """Whether there is a certificate that does not end within a week."""
    if not (access.certificate_file.exists() and access.key_file.exists()):
        return False
    check = ["x509", "-noout", "-checkend", str(_RENEW_S), "-in", str(access.certificate_file)]
    return _openssl(check).returncode == 0


def _make_certificate(access: Access) -> None:
    host = socket.gethostname() or "edge"
    for path in (access.key_file, access.certificate_file):
        _write_private(path, "")  # openssl keeps the mode of a file that is there
    made = _openssl(
        [
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", str(VALID_DAYS), "-subj", "/CN=edge live page"),
            *("-addext", f"subjectAltName=IP:{access.address},DNS:localhost{_as_name(host)}"),
            *("-addext", "extendedKeyUsage=serverAuth"),
            *("-keyout", str(access.key_file), "-out", str(access.certificate_file)),
        ]
    )
    if made.returncode:
        access.certificate_file.unlink(missing_ok=True)
        raise ConfigError(f"--lan: openssl makes no certificate: {(made.stderr.strip().splitlines() or ['?'])[-1]}")


def _as_name(host: str) -> str:
    is_name = host.isascii() and all(part and part.replace("-", "").isalnum() for part in host.split("."))
    return f",DNS:{host}" if is_name else ""


def _openssl(words: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["openssl", *words], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise ConfigError(
            "--lan: makes a certificate with openssl, which is missing. Run: apt-get install openssl"
        ) from None


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
