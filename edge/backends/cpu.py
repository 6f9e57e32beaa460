"""The CPU, as far as the results of arithmetic on it depend on it."""

from __future__ import annotations

import platform
import re
from pathlib import Path

# The instruction sets that INT8 and float kernels are chosen by: where these differ, rounding may.
INSTRUCTION_SETS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "i8mm", "sve", "asimddp")

# x86: with one of these, products of 8-bit numbers are added in 32 bits.
_EXACT_INT8 = {"amx_int8", "avx512_vnni", "avx_vnni"}
_CPUINFO = Path("/proc/cpuinfo")


def cpu_kind(cpuinfo: Path = _CPUINFO) -> str:
    """Architecture and instruction sets, such as "x86_64 avx512_vnni avx512f avx2"."""
    try:
        words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        words = set()  # no /proc: the architecture must do
    return " ".join([platform.machine(), *(name for name in INSTRUCTION_SETS if name in words)])


def int8_saturates(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether OpenVINO's INT8 adds pairs of products in 16 bits here, which saturate: x86 without VNNI or AMX.

    False where the instruction sets are not known.
    """
    flags = _x86_flags(cpuinfo)
    return bool(flags) and not _EXACT_INT8 & flags


def has_bf16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether this is an x86 CPU that multiplies in bf16."""
    return bool({"avx512_bf16", "amx_bf16"} & _x86_flags(cpuinfo))


def _x86_flags(cpuinfo: Path) -> set[str]:
    """The instruction sets of the first CPU; none where the system does not tell. ARM's line is called Features."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(flags[1].split()) if flags else set()


SATURATION = "this x86 CPU has no VNNI: OpenVINO's INT8 saturates here, so that masks are less accurate"
