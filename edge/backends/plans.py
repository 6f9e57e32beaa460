"""Where TensorRT's plans are kept on the device that built them, and when one may be used.

A plan is machine code in effect: a file is opened once, its owner looked at on the open file, and its seal checked over
the very bytes that are handed on. Losing the cache costs minutes, nothing else.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from edge import cache
from edge.backends.cuda import Description

PLAN_REVISION = 1  # raise it when edge.compile makes another plan of the same graph
KEPT_PLANS = 16
LIMIT_BYTES = 1 << 31

log = logging.getLogger(__name__)


def plan_path(
    graph_sha256: str, precision: str, tensorrt: str, device: Description, tensors: tuple[str, ...] = ()
) -> Path:
    """The plan of a bundle's graph in a precision, for this TensorRT on this device. `tensors` are the outputs that it
    computes, () for all.
    """
    return _folder() / f"{cache.key_of(graph_sha256, precision, tensorrt, _identity(device), *tensors)}.plan"


def timings_path(tensorrt: str, device: Description) -> Path:
    """How long each way to compute a layer took, which makes the next build quicker."""
    return _folder() / f"{cache.key_of(tensorrt, _identity(device))}.timings"


def read(path: Path) -> bytes | None:
    """What `write` put there; None, with the reason logged, if there is nothing that can be trusted."""
    try:
        with path.open("rb") as file:
            if not cache.may_be_trusted(file, path):
                log.warning("%s: is not yours alone to write, so it is not used; look at its owner and mode", path)
                return None
            sealed = file.read(LIMIT_BYTES)
        os.utime(path)  # most recently used
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s: cannot be read: %s", path, error.strerror)
        return None
    content, seal = sealed[: -cache.SEAL_BYTES], sealed[-cache.SEAL_BYTES :]
    if seal != cache.seal_of(path, content):
        log.warning("%s: is damaged, so it is not used", path)
        return None
    return content


def write(path: Path, content: bytes) -> None:
    """Keep it for the owner alone, as a whole or not at all.

    Raises:
        OSError: it cannot be kept.
    """
    with cache.replacing(path) as file:
        file.write(content)
        file.write(cache.seal_of(path, content))
        file.flush()
        os.fsync(file.fileno())


def evict_lru() -> None:
    """Delete the plans that were not used for longest, beyond KEPT_PLANS, and what lies beside them."""
    for path in cache.evict_lru(_folder(), ".plan", KEPT_PLANS):
        layers_path(path).unlink(missing_ok=True)


def layers_path(plan: Path) -> Path:
    """The table of a plan's layers, JSON, beside it."""
    return plan.with_suffix(".layers.json")


def _folder() -> Path:
    return cache.cache_folder("tensorrt")


def _identity(device: Description) -> list[object]:
    return [device.name, device.uuid, device.compute, device.driver, PLAN_REVISION]
