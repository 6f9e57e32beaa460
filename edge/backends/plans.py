"""Where TensorRT's plans are kept on the device that built them, and when one may be used.

A plan is machine code in effect: whoever can write it runs what they like. So the folder is the owner's alone, a file
is opened once, its owner looked at on the open file, and its digest checked over the very bytes that are handed on.
Losing the cache costs minutes, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path

from edge.backends.cuda import Description

PLAN_REVISION = 1  # raise it when edge.compile makes another plan of the same graph
KEPT_PLANS = 16
LIMIT_BYTES = 1 << 31

log = logging.getLogger(__name__)
_DIGEST_BYTES = hashlib.sha256().digest_size


def plan_path(graph_sha256: str, precision: str, tensorrt: str, device: Description) -> Path:
    """The plan of a bundle's graph in a precision, for this TensorRT on this device."""
    return _folder() / f"{_key(graph_sha256, precision, tensorrt, _identity(device))}.plan"


def timings_path(tensorrt: str, device: Description) -> Path:
    """How long each way to compute a layer took, which makes the next build quicker."""
    return _folder() / f"{_key(tensorrt, _identity(device))}.timings"


def read(path: Path) -> bytes | None:
    """What `write` put there; None, with the reason logged, if there is nothing that can be trusted."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not _is_private(status) or not _is_private(path.parent.stat()):
                log.warning("%s: is not yours alone to write, so it is not used; look at its owner and mode", path)
                return None
            sealed = file.read(LIMIT_BYTES)
        os.utime(path)  # most recently used
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s: cannot be read: %s", path, error.strerror)
        return None
    content, digest = sealed[:-_DIGEST_BYTES], sealed[-_DIGEST_BYTES:]
    if digest != _digest(path, content):
        log.warning("%s: is damaged, so it is not used", path)
        return None
    return content


def write(path: Path, content: bytes) -> None:
    """Keep it for the owner alone, as a whole or not at all.

    Raises:
        OSError: it cannot be kept.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(part, "wb") as file:
            file.write(content)
            file.write(_digest(path, content))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def forget_oldest() -> None:
    """Delete the plans that were not used for longest, beyond KEPT_PLANS, and what lies beside them."""
    by_age = sorted(_folder().glob("*.plan"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_age[KEPT_PLANS:]:
        path.unlink(missing_ok=True)
        layers_path(path).unlink(missing_ok=True)


def layers_path(plan: Path) -> Path:
    """The table of a plan's layers, JSON, beside it."""
    return plan.with_suffix(".layers.json")


def _folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(root) if Path(root).is_absolute() else Path("~/.cache").expanduser()
    return home / "edge" / "tensorrt"


def _identity(device: Description) -> list[object]:
    return [device.name, device.uuid, device.compute, device.driver, PLAN_REVISION]


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _is_private(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _digest(path: Path, content: bytes) -> bytes:
    """Over the file's name too, which is a hash of all the plan depends on: no plan is taken for another."""
    digest = hashlib.sha256(path.name.encode())
    digest.update(content)
    return digest.digest()
