"""Power meters, over folders that look as /sys does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edge.devices.power import PowerMeter, total_watts

RANGE_UJ = 999_999_999


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")
    return path


def rapl_zone(sys: Path, zone: str, name: str, energy_uj: int) -> Path:
    """The energy counter of a zone."""
    folder = sys / "class/powercap" / zone
    write(folder / "name", name)
    write(folder / "max_energy_range_uj", str(RANGE_UJ))
    return write(folder / "energy_uj", str(energy_uj))


def rail(monitor: Path, channel: int, label: str, millivolts: int, milliamperes: int) -> None:
    write(monitor / f"in{channel}_label", label)
    write(monitor / f"in{channel}_input", str(millivolts))
    write(monitor / f"curr{channel}_input", str(milliamperes))


def test_each_processor_has_its_power_and_parts_of_one_are_left_out(tmp_path: Path) -> None:
    first = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 1_000)
    second = rapl_zone(tmp_path, "intel-rapl:1", "package-1", 2_000)
    rapl_zone(tmp_path, "intel-rapl:0:0", "core", 5)
    with PowerMeter(tmp_path) as meter:
        first.write_text("200001000")
        second.write_text("100002000")
    assert list(meter.watts) == ["package-0", "package-1"]
    assert meter.watts["package-0"] == pytest.approx(2 * meter.watts["package-1"], rel=0.01)
    assert meter.missing == ""


@pytest.mark.parametrize(("start_uj", "end_uj"), [(0, 400_000), (RANGE_UJ - 99_999, 300_000)])
def test_the_same_energy_is_the_same_power_wherever_the_counter_stands(
    tmp_path: Path, start_uj: int, end_uj: int
) -> None:
    compared = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 100)
    counter = rapl_zone(tmp_path, "intel-rapl:1", "package-1", start_uj)
    with PowerMeter(tmp_path) as meter:
        compared.write_text("400100")
        counter.write_text(str(end_uj))
    assert meter.watts["package-0"] == meter.watts["package-1"] > 0


def test_the_rails_of_a_jetson_are_volts_times_amperes_without_those_not_connected(tmp_path: Path) -> None:
    monitor = tmp_path / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    rail(monitor, 1, "VDD_IN", 5000, 2400)
    rail(monitor, 2, "VDD_CPU_GPU_CV", 4800, 1000)
    rail(monitor, 3, "NC", 5000, 9000)
    rail(monitor, 7, "sum of shunt voltages", 4000, 9000)
    with PowerMeter(tmp_path) as meter:
        pass
    assert meter.watts == {"VDD_IN": 12.0, "VDD_CPU_GPU_CV": 4.8}
    assert total_watts(meter.watts) == 12.0  # the board's input has all others in it


def test_rails_are_sampled_until_the_end(tmp_path: Path) -> None:
    monitor = tmp_path / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    rail(monitor, 1, "VDD_IN", 5000, 1000)
    meter = PowerMeter(tmp_path, sample_s=0.001)
    with meter:
        while meter._samples < 3:
            pass
        rail(monitor, 1, "VDD_IN", 5000, 3000)
        seen = meter._samples
        while meter._samples < seen + 3:
            pass
    assert 5.0 < meter.watts["VDD_IN"] < 15.0


def test_a_rail_that_cannot_be_read_for_a_moment_is_read_again(tmp_path: Path) -> None:
    monitor = tmp_path / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    rail(monitor, 1, "VDD_IN", 5000, 1000)
    meter = PowerMeter(tmp_path, sample_s=0.001)
    with meter:
        (monitor / "in1_input").write_text("")
        time.sleep(0.02)
        write(monitor / "in1_input", "5000")
        seen = meter._samples
        while meter._samples < seen + 3:
            pass
    assert meter.watts["VDD_IN"] == 5.0


def test_without_a_meter_the_reason_is_given(tmp_path: Path) -> None:
    with PowerMeter(tmp_path) as meter:
        pass
    assert (meter.watts, total_watts(meter.watts)) == ({}, None)
    assert "no power meter" in meter.missing
    (tmp_path / "class/powercap/intel-rapl:0/energy_uj").mkdir(parents=True)
    assert "energy_uj: cannot be read" in PowerMeter(tmp_path).missing


@pytest.mark.parametrize(
    ("watts", "total"), [({"package-0": 20.0, "package-1": 15.5}, 35.5), ({"package-0": 20.0, "psys": 31.0}, 31.0)]
)
def test_processors_add_up_and_a_platform_has_them_in_it(watts: dict[str, float], total: float) -> None:
    assert total_watts(watts) == total
