"""Who we are to a peer of WebRTC: a key and its certificate, whose hash goes with the offer."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from edge.errors import ConfigError

_WAIT_S = 30.0


class Identity:
    """A new key on P-256 and its certificate, in files that are gone with this object.

    FFmpeg would make its own; the one that it makes with GnuTLS, as in PyAV's wheels, is refused by peers with OpenSSL
    (alert "illegal parameter" at its signature).
    """

    def __init__(self) -> None:
        """Raises ConfigError: openssl is missing, or makes none."""
        self._folder = tempfile.TemporaryDirectory(prefix="edge-whip-")  # for this user alone
        folder = Path(self._folder.name)
        self.options = {"cert_file": str(folder / "certificate.pem"), "key_file": str(folder / "key.pem")}
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        words += ["-days", "3650", "-subj", "/CN=edge", "-out", self.options["cert_file"]]
        words += ["-keyout", self.options["key_file"]]
        try:
            made = subprocess.run(words, capture_output=True, text=True, timeout=_WAIT_S, check=False)
        except FileNotFoundError as error:
            raise ConfigError(
                "publish: WHIP makes a certificate with openssl, which is missing. Run: apt-get install openssl"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ConfigError(f"publish: openssl makes no certificate within {_WAIT_S:g} s") from error
        if made.returncode:
            reason = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ConfigError(f"publish: openssl makes no certificate: {reason}")

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()
