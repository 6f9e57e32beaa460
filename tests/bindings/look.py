"""Run with one version's bindings: says which of the names on standard input they do not have, and uses those parts of
edge that call TensorRT only by inheriting from it.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from types import SimpleNamespace
from typing import Any

import tensorrt as trt

from edge.backends import tensorrt as backend
from edge.compile import plan


def lacks(name: str) -> bool:
    found: Any = trt
    for part in name.split("."):
        if not hasattr(found, part):
            return True
        found = getattr(found, part)
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
    report = {
        "version": backend.version(backend.import_tensorrt()),
        "lacking": [name for name in json.load(sys.stdin) if lacks(name)],
        "logger": said_by_the_logger(),
        "monitor": told_by_the_monitor(),
        "uint8": trt.DataType.UINT8.name.lower(),
        "timing cache": trt.IBuilderConfig.set_timing_cache.__doc__,
    }
    json.dump(report, sys.stdout)


main()
