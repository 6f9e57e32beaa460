"""What the machine or a limit did not give: memory, threads, processes, open files. To install something anew does not
help against that, so whoever would advise it looks here first.
"""

from __future__ import annotations

import errno
import re
import resource
from pathlib import Path

from edge.errors import ResourceError

_MEMORY = re.compile(
    r"failed to map segment|cannot map zero-fill pages|cannot allocate memory(?! in static TLS)|out of memory|bad_alloc"
    r"|insufficient memory|failed to allocate",
    re.IGNORECASE,
)
_FILES = re.compile(r"too many open files", re.IGNORECASE)
_THREADS = re.compile(r"can't start new thread|resource temporarily unavailable", re.IGNORECASE)
_OPENCV_NO_MEMORY = -4  # cv::Error::StsNoMem
_TIGHT_BYTES = 1 << 29


def shortage(error: BaseException) -> str:
    """What was not given, and what to type; "" where the error has another cause."""
    text, number = str(error), error.errno if isinstance(error, OSError) else None
    is_opencvs = type(error).__module__.startswith("cv2") and getattr(error, "code", 0) == _OPENCV_NO_MEMORY
    if isinstance(error, MemoryError) or is_opencvs or number == errno.ENOMEM or _MEMORY.search(text):
        what = getattr(error, "err", "") or text
        return f"out of memory{f' ({what})' if what else ''}. See what is free, and your limit: free -h; ulimit -v"
    if number in (errno.EMFILE, errno.ENFILE) or _FILES.search(text):
        return f"no further file could be opened ({text}). See the limit, and raise it: ulimit -n; ulimit -n 1024"
    if number == errno.EAGAIN or _THREADS.search(text):
        return "no further thread or process could be started. See the limits on memory and both: ulimit -v; ulimit -u"
    return ""


def check_shortage(error: BaseException) -> None:
    """Raises ResourceError: that is what the error comes from."""
    if lacking := shortage(error):
        raise ResourceError(lacking) from error


def tight_limit() -> str:
    """A limit on address space that leaves less than libraries need, in words that go behind an error; "" if none does.

    Native libraries do not say that it was memory that they lacked.
    """
    limit_bytes, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit_bytes == resource.RLIM_INFINITY:
        return ""
    used_bytes = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    left_bytes = limit_bytes - used_bytes
    return f". The limit on memory leaves {left_bytes >> 20} MB: ulimit -v" if left_bytes < _TIGHT_BYTES else ""
