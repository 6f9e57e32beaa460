"""The one way out of the process, whatever its threads are doing."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from typing import NoReturn


def leave(code: int, others: set[threading.Thread]) -> NoReturn:
    """End the process with this exit code; `others` are the threads that were there before the command began.

    A background thread may still be inside a native library, such as a compiler that is opening an engine. Python's
    shutdown would destroy that library's threads while they run, and C++ then aborts the process (exit code 134). So
    where a daemon thread is alive, output is flushed and the kernel ends the process.
    """
    if not any(thread.daemon for thread in threading.enumerate() if thread not in others):
        sys.exit(code)
    with contextlib.suppress(OSError, ValueError):  # closed, or a pipe whose reader is gone
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    logging.shutdown()
    os._exit(code)
