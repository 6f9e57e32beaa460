"""What the machine draws, where it has a meter: RAPL's energy counters, or the INA3221 of a Jetson.

    with PowerMeter() as meter:
        ...
    meter.watts  # {"package-0": 31.2}, {"VDD_IN": 9.8, "VDD_CPU_GPU_CV": 4.1}; empty where there is no meter

It is the whole machine's or processor's power, whoever draws it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

# Processors and, as "psys", what some laptops know of the whole platform. Parts of them (intel-rapl:0:0) are left out.
# Documentation/power/powercap/powercap.rst of Linux; AMD's have the same names.
_RAPL = "class/powercap/intel-rapl:[0-9]"
# NVIDIA, Jetson Linux Developer Guide, "Platform Power and Performance"; channels as Documentation/hwmon/ina3221.rst.
_INA3221 = "bus/i2c/drivers/ina3221*/*/hwmon/hwmon*"
_CHANNELS = (1, 2, 3)  # in4 to in7 are voltages of shunts
SAMPLE_S = 0.1  # the sensor itself averages over some tens of milliseconds


@dataclass(frozen=True)
class _Counter:
    """An energy counter in microjoules, which begins anew behind `range_uj`."""

    name: str
    path: Path
    range_uj: int

    def read_uj(self) -> int:
        return int(self.path.read_text())


@dataclass(frozen=True)
class _Rail:
    """A supply line with its voltage, in millivolts, and current, in milliamperes."""

    name: str
    voltage: Path
    current: Path

    def read_w(self) -> float:
        return int(self.voltage.read_text()) * int(self.current.read_text()) / 1e6


class PowerMeter:
    """The mean power between entering and leaving, by meter, of the meters that `sys` has.

    Attributes:
        watts: of each meter; empty without one.
        missing: why no meter can be read; "" where one can.
    """

    def __init__(self, sys: Path = Path("/sys"), sample_s: float = SAMPLE_S) -> None:
        self.watts: dict[str, float] = {}
        self._counters, refused = _counters(sys)
        self._rails = _rails(sys)
        self._sample_s = sample_s
        self.missing = "" if self._counters or self._rails else refused
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="power", daemon=True)
        self._sums = [0.0] * len(self._rails)
        self._samples = 0

    def __enter__(self) -> PowerMeter:
        self._start_uj = [counter.read_uj() for counter in self._counters]
        self._start_s = time.perf_counter()
        if self._rails:
            self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed_s = time.perf_counter() - self._start_s
        for counter, start_uj in zip(self._counters, self._start_uj, strict=True):
            used_uj = (counter.read_uj() - start_uj) % (counter.range_uj + 1)
            self.watts[counter.name] = round(used_uj / 1e6 / elapsed_s, 3)
        if self._rails:
            self._over.set()
            self._sampler.join()
            for rail, total in zip(self._rails, self._sums, strict=True):
                self.watts[rail.name] = round(total / max(1, self._samples), 3)

    def _sample(self) -> None:
        while True:
            with suppress(OSError, ValueError):  # a sensor that is busy: the next sample will do
                watts = [rail.read_w() for rail in self._rails]
                self._sums = [total + more for total, more in zip(self._sums, watts, strict=True)]
                self._samples += 1
            if self._over.wait(self._sample_s):
                return


def total_watts(watts: dict[str, float]) -> float | None:
    """Of all meters, the one number: the board's input or the platform where that is measured, else what adds up."""
    for whole in ("VDD_IN", "psys"):
        if whole in watts:
            return watts[whole]
    return round(sum(watts.values()), 3) if watts else None


def _counters(sys: Path) -> tuple[Sequence[_Counter], str]:
    """RAPL's counters, and why there are none."""
    zones = [_counter(zone) for zone in sorted(sys.glob(_RAPL))]
    refused = next((zone for zone in zones if isinstance(zone, str)), "no power meter that edge knows (RAPL, INA3221)")
    return [zone for zone in zones if isinstance(zone, _Counter)], refused


def _counter(zone: Path) -> _Counter | str:
    """That of a zone, or why it cannot be read."""
    energy = zone / "energy_uj"
    try:
        counter = _Counter((zone / "name").read_text().strip(), energy, int((zone / "max_energy_range_uj").read_text()))
        counter.read_uj()
    except PermissionError:  # since Linux 5.10: what others compute shows in the energy (CVE-2020-8694)
        return f"{energy}: only root may read it. Try: sudo chmod a+r {energy}"
    except (OSError, ValueError) as error:  # a zone that is switched off
        return f"{energy}: cannot be read ({error})"
    return counter


def _rails(sys: Path) -> list[_Rail]:
    found: list[_Rail] = []
    for monitor in sorted(sys.glob(_INA3221)):
        for channel in _CHANNELS:
            rail = _Rail("", monitor / f"in{channel}_input", monitor / f"curr{channel}_input")
            try:
                name = (monitor / f"in{channel}_label").read_text().strip()
                rail.read_w()
            except (OSError, ValueError):  # a channel that the board does not use
                continue
            if name != "NC":  # not connected, in the words of NVIDIA's device trees
                found.append(_Rail(name, rail.voltage, rail.current))
    return found
