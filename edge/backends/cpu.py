"""The CPU, as far as the results of arithmetic on it depend on it."""

from __future__ import annotations

import platform
from pathlib import Path

# The instruction sets that INT8 and float kernels are chosen by: where these differ, rounding may.
INSTRUCTION_SETS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "i8mm", "sve", "asimddp")


def cpu_kind(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Architecture and instruction sets, such as "x86_64 avx512_vnni avx512f avx2"."""
    try:
        words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        words = set()  # no /proc: the architecture must do
    return " ".join([platform.machine(), *(name for name in INSTRUCTION_SETS if name in words)])
