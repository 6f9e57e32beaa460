"""What /proc and /sys say of the machine: processors and what a container leaves of them, clocks, heat, power, time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from edge.doctor.finding import Finding, Host

MEMORY_NEEDED = 400 << 20  # a 720p overlay takes 239 MB (docs/results.md), compiling an engine more for a moment
SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies")  # reading them takes a microsecond or more
RELEASED_S = 1_763_769_600  # 2025-11-22: no clock that is right shows less
NEAR_C = 5.0  # so close to throttling, a warm day is enough


def check_processors(host: Host) -> Iterator[Finding]:
    """The cores this process may run on, and how much of them a container or service may use."""
    quota = cpu_quota(host)
    if quota is None or quota >= host.cores:
        yield Finding("processors", f"{host.cores} to run on, no lower limit")
        return
    found = f"{host.cores} to run on, but no more than {quota:g} of their time"
    if quota < 1:
        fix = "docker run --cpus 2 …  # a service: CPUQuota=200%"
        yield Finding("processors", f"{found}: each frame waits until there is more", "problem", fix)
    else:
        fix = f"edge run --threads {int(quota)} …"
        yield Finding("processors", f"{found}: as many threads as cores would stall each other", "note", fix)


def cpu_quota(host: Host) -> float | None:
    """Processors' worth of time that the tightest control group around this process allows; None without a limit."""
    quotas: list[float] = []
    for group in _control_groups(host, "cpu"):
        quota, _, period = host.text(group / "cpu.max").partition(" ")  # version 2: "50000 100000" or "max 100000"
        if quota.isdecimal() and period.isdecimal() and int(period):
            quotas.append(int(quota) / int(period))
        quota_us, period_us = host.number(group / "cpu.cfs_quota_us"), host.number(group / "cpu.cfs_period_us")
        if quota_us and period_us and quota_us > 0:  # version 1: -1 is no limit
            quotas.append(quota_us / period_us)
    return min(quotas, default=None)


def _control_groups(host: Host, controller: str) -> list[Path]:
    """The folders of this process's control groups that count for a controller, and of all above them."""
    folders: list[Path] = []
    for controllers, group in re.findall(r"^\d+:([^:\n]*):(.*)$", host.text("/proc/self/cgroup"), re.MULTILINE):
        if controllers and controller not in controllers.split(","):
            continue
        mount = Path("/sys/fs/cgroup", controllers)  # version 2 has no controllers here
        below = Path(group.lstrip("/"))
        folders += [mount / part for part in (below, *below.parents)]
    return folders


def check_memory(host: Host) -> Iterator[Finding]:
    """What is free, of the machine's memory or of the control group's limit, whichever is less."""
    sizes = {
        name: int(kb) << 10 for name, kb in re.findall(r"^(\w+):\s+(\d+) kB", host.text("/proc/meminfo"), re.MULTILINE)
    }
    if "MemTotal" not in sizes:
        return
    total, available = sizes["MemTotal"], sizes.get("MemAvailable", sizes["MemTotal"])
    limit = memory_limit(host)
    found = f"{_mb(total)}, {_mb(available)} free"
    if limit is not None and limit < total:
        found += f", a limit of {_mb(limit)} for this process"
        available = min(available, limit)
    if available < MEMORY_NEEDED:
        fix = (
            "docker run --memory 1g …  # a service: MemoryMax=1G" if available == limit else "ps aux --sort -rss | head"
        )
        yield Finding("memory", f"{found}; {_mb(MEMORY_NEEDED)} are needed", "problem", fix)
    else:
        yield Finding("memory", found)


def memory_limit(host: Host) -> int | None:
    """Bytes that the tightest control group around this process allows; None without a limit."""
    files = ("memory.max", "memory.limit_in_bytes")
    limits = [host.number(group / file) for group in _control_groups(host, "memory") for file in files]
    return min(
        (limit for limit in limits if limit is not None and limit < 1 << 60), default=None
    )  # v1: 2**63: no limit


def check_governor(host: Host) -> Iterator[Finding]:
    """How the processor's clock follows its load."""
    governors = {host.text(path) for path in host.glob("/sys/devices/system/cpu/cpufreq/policy*/scaling_governor")} - {
        ""
    }
    if not governors:
        return
    driver = host.text("/sys/devices/system/cpu/cpufreq/policy0/scaling_driver")
    found = f"governor {', '.join(sorted(governors))} ({driver or 'driver unknown'})"
    # These two drivers call "powersave" what follows the load; elsewhere it is the lowest clock, always.
    if "powersave" in governors and not driver.startswith(("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")):
        fix = "echo schedutil | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
        yield Finding("CPU clock", f"{found}: always the lowest clock", "problem", fix)
    else:
        yield Finding("CPU clock", found)


def check_heat(host: Host) -> Iterator[Finding]:
    """The warmest thermal zone, and those that are so warm that clocks are held back, or soon will be."""
    zones = list(_zones(host))
    if not zones:
        return
    for name, celsius, limit in zones:
        if limit is not None and celsius >= limit - NEAR_C:
            over = celsius >= limit
            state = "clocks are held back" if over else "clocks are held back soon"
            fix = (
                "sudo nvpmodel -q  # cool it: fan, heat sink, airflow, a lower power mode"
                if host.is_jetson
                else "sensors"
            )
            text = f"{celsius:.0f} °C, limit {limit:.0f} °C: {state}"
            yield Finding(f"heat {name}", text, "problem" if over else "note", fix)
    name, celsius, _ = max(zones, key=lambda zone: zone[1])
    yield Finding("heat", f"{len(zones)} zones, the warmest is {name} with {celsius:.0f} °C")


def _zones(host: Host) -> Iterator[tuple[str, float, float | None]]:
    """Name, temperature and the temperature from which clocks are held back, in °C, of each zone that answers."""
    for zone in host.glob("/sys/class/thermal/thermal_zone*"):
        millidegrees = host.number(zone / "temp")
        if millidegrees is None or not 0 < millidegrees < 200_000:  # a zone whose part is switched off
            continue
        trips = [path for path in host.glob(f"{zone}/trip_point_*_type") if host.text(path) == "passive"]
        limits = [host.number(str(path).removesuffix("_type") + "_temp") for path in trips]
        limit = min((limit for limit in limits if limit and limit > 0), default=None)
        yield host.text(zone / "type") or zone.name, millidegrees / 1e3, limit / 1e3 if limit else None


def check_jetson(host: Host) -> Iterator[Finding]:
    """Board, system and power mode of a Jetson; nothing elsewhere."""
    if not host.is_jetson:
        return
    release = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", host.text("/etc/nv_tegra_release"))
    system = f"L4T {release[1]}.{release[2]}" if release else "L4T unknown"
    yield Finding("Jetson", f"{host.text('/proc/device-tree/model') or 'model unknown'}, {system}")
    yield from _power_mode(host)
    yield from _pinned_clocks(host)


def _power_mode(host: Host) -> Iterator[Finding]:
    names = dict(
        re.findall(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", host.text("/etc/nvpmodel.conf"), re.MULTILINE)
    )
    chosen = re.search(r"pmode:0*(\d+)", host.text("/var/lib/nvpmodel/status"))
    if not chosen:
        yield Finding("power mode", "unknown", "note", "sudo nvpmodel -q")
        return
    found = f"{names.get(chosen[1], 'unnamed')} (mode {chosen[1]})"
    # Neither the highest nor the lowest number is the fastest mode; its name is MAXN or MAXN_SUPER.
    fastest = max((name for name in names.values() if name.startswith("MAXN")), default=None)
    if fastest is None or names.get(chosen[1], "") == fastest:
        yield Finding("power mode", found)
        return
    number = next(number for number, name in names.items() if name == fastest)
    yield Finding("power mode", f"{found}; {fastest} is faster", "note", f"sudo nvpmodel -m {number}")


def _pinned_clocks(host: Host) -> Iterator[Finding]:
    """Whether `jetson_clocks` holds GPU and processor at their highest clock: then the least is the greatest."""
    cpus = [
        (path / "scaling_min_freq", path / "scaling_max_freq")
        for path in host.glob("/sys/devices/system/cpu/cpufreq/policy*")
    ]
    gpus = [
        (path / "min_freq", path / "max_freq")
        for pattern in ("*gpu*", "*.ga10b", "*.gv11b")
        for path in host.glob(f"/sys/class/devfreq/{pattern}")
    ]
    bounds = [(host.number(least), host.number(greatest)) for least, greatest in cpus + gpus]
    if bounds and all(least is not None and least == greatest for least, greatest in bounds):
        yield Finding("jetson_clocks", "on: CPU and GPU stay at their highest clock")
    elif bounds:
        found = "off: clocks follow the load, so masks get older after a pause"
        yield Finding("jetson_clocks", found, "note", "sudo jetson_clocks")


def check_time(host: Host) -> Iterator[Finding]:
    """The clock that frames are stamped with, and whether the calendar is right."""
    source = host.text("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    if source in SLOW_CLOCKS:
        fix = "cat /sys/devices/system/clocksource/clocksource0/available_clocksource; sudo dmesg | grep -i clocksource"
        yield Finding("time source", f"{source}, slow to read: every frame is stamped several times", "note", fix)
    elif source:
        yield Finding("time source", source)
    if time.time() < RELEASED_S:
        found = f"{time.strftime('%Y-%m-%d')} cannot be right; ages are, they do not depend on it"
        yield Finding("calendar", found, "note", "sudo timedatectl set-ntp true")


def _mb(size: int) -> str:
    return f"{size / 2**20:.0f} MB" if size < 10 << 30 else f"{size / 2**30:.0f} GB"
