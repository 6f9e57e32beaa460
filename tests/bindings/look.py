"""Run with one version's bindings: says which of the names on standard input they do not have and which calls they do
not take, and uses those parts of edge that call TensorRT only by inheriting from it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from types import SimpleNamespace
from typing import Any

import tensorrt as trt

from edge.backends import tensorrt as backend
from edge.compile import plan


def find(name: str) -> Any:
    """What a dotted name of TensorRT's stands for, or None."""
    found: Any = trt
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def takes(name: str, positional: int, keywords: list[str]) -> bool:
    """Whether a call has as many arguments as one of the signatures that the bindings write into their docstrings."""
    found = find(name)
    text = (found.__init__ if isinstance(found, type) else found).__doc__ or ""
    for signature in re.findall(r"\w+\((self: .*)\) -> ", text):
        parameters = re.findall(r"(\w+): [^=]*?(?:( = )[^,]*)?(?:, (?=\w+: )|$)", signature)[1:]
        required = [name for name, default in parameters if not default]
        given = [name for name, _ in parameters][:positional] + keywords
        if positional <= len(parameters) and set(required) <= set(given) <= {name for name, _ in parameters}:
            return True
    return False


def said_by_the_logger() -> list[str]:
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(f"{record.levelname} {record.getMessage()}")
    backend.log.addHandler(handler)
    backend.log.setLevel(logging.DEBUG)
    logger = backend.logger()
    for severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INFO, trt.ILogger.Severity.VERBOSE):
        logger.log(severity, severity.name)
    return [*said, logger.last_error, str(isinstance(logger, trt.ILogger))]


def told_by_the_monitor() -> Any:
    told: list[Any] = []
    stop, config = threading.Event(), SimpleNamespace()
    monitor = plan.watch_progress(trt, config, lambda *step: told.append(step), stop)
    if monitor is None:
        return None
    assert isinstance(config.progress_monitor, trt.IProgressMonitor)
    monitor.phase_start("tactics", None, 2)
    told.append(monitor.step_complete("tactics", 0))
    stop.set()
    told.append(monitor.step_complete("tactics", 1))
    monitor.phase_finish("tactics")
    return told


def main() -> None:
    wanted = json.load(sys.stdin)
    report = {
        "version": backend.version(backend.import_library()),
        "lacking": [name for name in wanted["names"] if find(name) is None],
        "misfits": [call for call in wanted["calls"] if find(call[0]) is not None and not takes(*call)],
        "logger": said_by_the_logger(),
        "monitor": told_by_the_monitor(),
        "uint8": trt.DataType.UINT8.name.lower(),
    }
    json.dump(report, sys.stdout)


main()
