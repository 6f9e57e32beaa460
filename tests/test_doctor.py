"""`edge doctor`: real probes of real libraries, broken drivers built for the purpose, and trees of machines we lack."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import pytest
from bundles import AsNobody
from hypothesis import given
from hypothesis import strategies as st

from edge.doctor import check_all, doctor, report_text
from edge.doctor.access import VIDIOC_QUERYCAP, check_cache, check_cameras, check_gpu_nodes
from edge.doctor.finding import Finding, Host
from edge.doctor.libraries import (
    build_features,
    check_av,
    check_cuda_toolkit,
    check_default_engine,
    check_driver,
    check_engines,
    check_onnxruntime,
    check_opencv,
    check_openvino,
    check_pycuda,
    check_tensorrt,
    default_engine_runs,
)
from edge.doctor.machine import (
    check_governor,
    check_heat,
    check_jetson,
    check_memory,
    check_processors,
    check_time,
    cpu_quota,
    memory_limit,
)
from edge.doctor.probe import PROBES, ask

ABSENT = {"error": "No module named 'x'", "missing": True}
NO_DRIVER = {"error": "libcuda.so.1: cannot open shared object file", "missing": True}
ORIN = {"name": "Orin", "major": 8, "minor": 7, "integrated": 1, "memory_bytes": 8 << 30}
RTX = {"name": "NVIDIA RTX A2000", "major": 8, "minor": 6, "integrated": 0, "memory_bytes": 12 << 30}
OPENCV = {"version": "4.12.0", "file": "/x/cv2/__init__.py"}
BUILD = "  GUI:  NONE\n  Video I/O:\n    FFMPEG:  YES\n    GStreamer:  NO\n    v4l/v4l2:  YES (linux/videodev2.h)\n"

MakeHost = Callable[..., Host]


@pytest.fixture
def make_host() -> Iterator[MakeHost]:
    """A machine of these files, in a folder that everybody may look into; `facts` by probe, all libraries absent."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)

        def make(files: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None, **facts: Any):
            for name, text in (files or {}).items():
                path = root / name.lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            given = {name.replace("_", " "): value for name, value in facts.items()}
            return Host(root, {**dict.fromkeys(PROBES, ABSENT), "cuda": NO_DRIVER, **given}, environment or {})

        yield make


def only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


def by_name(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.about: finding for finding in findings}


# ------------------------------------------------------------------------------------------------------- all of it


@pytest.mark.slow
def test_this_machine_runs_the_default_engine_and_nothing_is_left_behind(cache_home: Path) -> None:
    found = doctor()
    report = json.loads(json.dumps(found.as_json()))
    levels = {finding["about"]: finding["level"] for finding in report["findings"]}
    assert report["default_engine_runs"]
    assert [levels[name] for name in ("default engine", "engine road", "OpenVINO", "OpenCV", "PyAV")] == ["ok"] * 5
    assert "The default engine can run here" in str(found)
    assert not cache_home.exists()


def test_without_a_runtime_the_default_engine_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = dict.fromkeys(PROBES, ABSENT)
    monkeypatch.setattr("edge.doctor.probe_all", lambda: nothing)
    assert not doctor().default_engine_runs


def test_a_check_that_fails_or_hangs_is_a_finding_among_the_others(make_host: MakeHost) -> None:
    def check_fine(host: Host) -> Iterator[Finding]:
        yield Finding("fine", "it is")

    def check_odd_file(host: Host) -> Iterator[Finding]:
        raise ValueError("seven legs")

    def check_dead_disk(host: Host) -> Iterator[Finding]:
        time.sleep(60)
        yield Finding("dead disk", "answered")

    findings = check_all(make_host(), (check_odd_file, check_dead_disk, check_fine), limit_s=0.2)
    assert [(finding.about, finding.level) for finding in findings] == [
        ("odd file", "problem"),
        ("dead disk", "problem"),
        ("fine", "ok"),
    ]
    assert "seven legs" in findings[0].found


def test_a_report_has_a_line_per_finding_and_the_command_below_it() -> None:
    text = report_text([Finding("camera", "none", "note", "lsusb"), Finding("PyAV", "18")], runs=False)
    assert text.splitlines() == [
        "note     camera  none",
        "                 → lsusb",
        "ok       PyAV    18",
        "",
        "The default engine cannot run here. 0 problem(s), 1 note(s).",
    ]


def test_every_check_looks_at_an_empty_machine_without_failing(make_host: MakeHost) -> None:
    findings = check_all(make_host())
    assert not [finding for finding in findings if "could not be looked at" in finding.found]
    assert all(finding.fix for finding in findings if finding.level != "ok")


# ---------------------------------------------------------------------------------------------------------- probes

DRIVER = """
#include <string.h>
#include <unistd.h>
int cuInit(unsigned flags) { %s }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Orin", size); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 8ul << 30; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18; return 0; }
"""


@pytest.fixture
def install_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Build a libcuda.so.1 whose cuInit does that, and put it where child processes find it."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler")

    def install(cu_init: str) -> None:
        source = tmp_path / "driver.c"
        source.write_text(DRIVER % cu_init)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", source], check=True)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))

    return install


def test_a_driver_and_its_devices_are_read(
    install_driver: Callable[[str], None], make_host: MakeHost, tmp_path: Path
) -> None:
    install_driver("return 0;")
    facts = ask("cuda", str(tmp_path))
    assert facts == {"cuda": "12.6", "devices": [ORIN]}
    found = by_name(check_driver(make_host(cuda=facts)))
    assert found["NVIDIA driver"].found == "CUDA up to 12.6"
    assert found["GPU 0"].found == "Orin, compute capability 8.7, shares the machine's memory"


def test_a_driver_that_crashes_is_a_finding(
    install_driver: Callable[[str], None], make_host: MakeHost, tmp_path: Path
) -> None:
    install_driver("return *(volatile int *)0;")
    finding = only(check_driver(make_host(cuda=ask("cuda", str(tmp_path)))))
    assert (finding.found, finding.level) == ("crashed (Segmentation fault)", "problem")


@pytest.mark.slow
def test_a_driver_that_hangs_is_a_finding(install_driver: Callable[[str], None], tmp_path: Path) -> None:
    install_driver("sleep(60); return 0;")
    assert ask("cuda", str(tmp_path), limit_s=2) == {"error": "no answer within 2 s", "slow": True}


def test_a_driver_of_another_version_than_its_module_asks_for_a_restart(
    install_driver: Callable[[str], None], make_host: MakeHost, tmp_path: Path
) -> None:
    install_driver("return 803;")
    finding = only(check_driver(make_host(cuda=ask("cuda", str(tmp_path)))))
    assert finding.fix.startswith("sudo reboot")


@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("__version__ = '10.3.0'", None),
        ("raise RuntimeError('libnvinfer is of another version')", "libnvinfer is of another version"),
        ("import os; os._exit(3)", "ended without an answer"),
        ("import os; os.abort()", "crashed (Aborted)"),
        ("import os; os.write(1, b'\\xff\\n'); os._exit(0)", "ended without an answer"),
        ("import no_such_part", "No module named 'no_such_part'"),
    ],
)
def test_a_library_is_asked_in_a_process_of_its_own(
    module: str, error: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text(f"print('a banner')\n{module}\n")
    monkeypatch.syspath_prepend(tmp_path)
    facts = ask("tensorrt", str(tmp_path))
    assert facts.get("error") == error
    assert error or facts["version"] == "10.3.0"


# ---------------------------------------------------------------------------------------------------------- NVIDIA


def test_a_machine_without_nvidia_needs_no_driver(make_host: MakeHost) -> None:
    host = make_host({"/sys/bus/pci/devices/0000:00:02.0/vendor": "0x8086\n"})
    assert only(check_driver(host)).level == "ok"
    assert only(check_tensorrt(host)).level == "ok"
    assert not [*check_pycuda(host), *check_cuda_toolkit(host)]


def test_a_gpu_without_a_driver_is_told_what_to_install(make_host: MakeHost) -> None:
    card = "/sys/bus/pci/devices/0000:01:00.0"
    files = {f"{card}/vendor": "0x10de\n", f"{card}/class": "0x030000\n"}
    finding = only(check_driver(make_host(files)))
    assert (finding.level, finding.fix) == ("note", "sudo ubuntu-drivers install && sudo reboot")
    inside = only(check_driver(make_host({**files, "/.dockerenv": ""})))
    assert "--gpus all" in inside.fix


def test_a_pc_with_a_driver_and_no_tensorrt_is_told_which_one_to_install(make_host: MakeHost) -> None:
    module = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  560.35.03  Fri Aug 16 21:39:15 UTC 2024\n"
    host = make_host({"/proc/driver/nvidia/version": module}, cuda={"cuda": "12.6", "devices": [RTX]})
    drivers = by_name(check_driver(host))
    assert drivers["NVIDIA driver"].found == "560.35.03, CUDA up to 12.6"
    assert drivers["GPU 0"].found == "NVIDIA RTX A2000, compute capability 8.6, 12 GiB"
    assert only(check_tensorrt(host)).fix == "pip install tensorrt-cu12"
    assert only(check_cuda_toolkit(host)).fix == "sudo apt install cuda-toolkit-12"
    assert "pip install pycuda" in only(check_pycuda(host)).fix


@pytest.mark.parametrize(("toolkit", "level"), [("12.4.1", "ok"), ("13.0.2", "problem")])
def test_a_toolkit_newer_than_the_driver_is_a_problem(toolkit: str, level: str, make_host: MakeHost) -> None:
    stated = json.dumps({"cuda": {"name": "CUDA SDK", "version": toolkit}})
    host = make_host({"/usr/local/cuda/version.json": stated}, cuda={"cuda": "12.6", "devices": [RTX]})
    assert only(check_cuda_toolkit(host)).level == level


# ---------------------------------------------------------------------------------------------------------- Jetson

MODES = "".join(f"< POWER_MODEL ID={n} NAME={m} >\nA B 1\n" for n, m in enumerate(("15W", "25W", "MAXN_SUPER", "7W")))
JETSON = {
    "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "/proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "/etc/nvpmodel.conf": MODES,
    "/var/lib/nvpmodel/status": "pmode:0001\n",
    "/sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "115200\n",
    "/sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "1728000\n",
    "/sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
    "/sys/class/devfreq/17000000.gpu/max_freq": "1020000000\n",
    "/usr/lib/python3.10/dist-packages/tensorrt/__init__.py": "",
    "/usr/lib/python3.10/dist-packages/tensorrt-10.3.0.dist-info/METADATA": "",
}
JETSON_DRIVER = {"cuda": "12.6", "devices": [ORIN]}


def test_a_jetson_is_known_with_its_power_mode_and_clocks(make_host: MakeHost) -> None:
    found = by_name(check_jetson(make_host(JETSON)))
    assert found["Jetson"].found.endswith("Developer Kit Super, L4T 36.4.3")
    assert found["power mode"].found == "25W (mode 1); MAXN_SUPER is faster"
    assert found["power mode"].fix == "sudo nvpmodel -m 2"
    assert found["jetson_clocks"].fix == "sudo jetson_clocks"


def test_a_jetson_at_its_fastest_needs_nothing(make_host: MakeHost) -> None:
    files = {
        **JETSON,
        "/var/lib/nvpmodel/status": "pmode:0002\n",
        "/sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "1728000\n",
        "/sys/class/devfreq/17000000.gpu/min_freq": "1020000000\n",
    }
    assert {finding.level for finding in check_jetson(make_host(files))} == {"ok"}


def test_jetpacks_tensorrt_that_an_environment_does_not_see_is_pointed_to(make_host: MakeHost) -> None:
    finding = only(check_tensorrt(make_host(JETSON, cuda=JETSON_DRIVER)))
    assert finding.found.startswith("10.3.0 is in /usr/lib/python3.10/dist-packages")
    assert finding.fix.startswith("python3.10 -m venv --system-site-packages .venv")


def test_a_jetson_without_jetpacks_parts_is_told_their_package(make_host: MakeHost) -> None:
    bare = {name: text for name, text in JETSON.items() if "dist-packages" not in name}
    assert only(check_driver(make_host(bare))).fix == "sudo apt install nvidia-jetpack"
    assert only(check_tensorrt(make_host(bare, cuda=JETSON_DRIVER))).fix == "sudo apt install nvidia-jetpack"


def test_csi_cameras_need_an_opencv_with_gstreamer(make_host: MakeHost) -> None:
    with_gstreamer = BUILD.replace("GStreamer:  NO", "GStreamer:  YES (1.20.3)")
    assert "GStreamer" in only(check_opencv(make_host(JETSON, opencv={**OPENCV, "build": BUILD}))).found
    assert only(check_opencv(make_host(JETSON, opencv={**OPENCV, "build": BUILD}))).level == "note"
    assert only(check_opencv(make_host(JETSON, opencv={**OPENCV, "build": with_gstreamer}))).level == "ok"


# -------------------------------------------------------------------------------------- OpenVINO, OpenCV and engines


def test_the_installed_opencv_is_read_as_it_is() -> None:
    features = build_features(cv2.getBuildInformation())
    assert features["V4L2"].startswith("YES")
    assert features["GUI"] == "NONE"
    assert set(features) == {"GUI", "V4L2", "GStreamer", "FFmpeg"}


def test_an_opencv_without_v4l2_is_a_problem(make_host: MakeHost) -> None:
    build = BUILD.replace("v4l/v4l2:  YES (linux/videodev2.h)", "v4l/v4l2:  NO")
    finding = only(check_opencv(make_host(opencv={**OPENCV, "build": build})))
    assert (finding.level, "pip install" in finding.fix) == ("problem", True)


@pytest.mark.parametrize(
    ("cpuinfo", "level", "means"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni amx_int8\n", "ok", "AMX, AVX-512 VNNI"),
        ("Features\t: fp asimd asimddp\n", "ok", "dot"),
        ("flags\t\t: fpu avx2\n", "note", "no VNNI: OpenVINO's INT8 saturates here"),
        ("flags\t\t: fpu avx2 avx512f\n", "note", "no VNNI: OpenVINO's INT8 saturates here"),
        ("Features\t: fp asimd\n", "note", "no 8-bit dot products"),
    ],
)
def test_what_makes_int8_quick_is_named(cpuinfo: str, level: str, means: str, make_host: MakeHost) -> None:
    facts = {"version": "2026.4.1-1-x", "devices": ["CPU"], "cpu": "EPYC", "capabilities": ["FP32", "INT8", "BIN"]}
    found = by_name(check_openvino(make_host({"/proc/cpuinfo": cpuinfo}, openvino=facts)))
    assert found["OpenVINO"].found == "2026.4.1, devices CPU"
    assert found["CPU"].level == level
    assert means in found["CPU"].found
    assert "EPYC: int8, f32;" in found["CPU"].found


def test_where_int8_saturates_another_precision_is_what_to_type(make_host: MakeHost) -> None:
    files = {"/proc/cpuinfo": "flags\t\t: fpu avx2\n"}
    for capabilities, precision in ((["FP32", "INT8"], "f32"), (["FP32", "BF16", "INT8"], "bf16")):
        facts = {"version": "2026.4.1", "devices": ["CPU"], "cpu": "EPYC", "capabilities": capabilities}
        finding = by_name(check_openvino(make_host(files, openvino=facts)))["CPU"]
        assert f"--precision {precision} " in finding.fix


@pytest.mark.parametrize(
    ("facts", "openvino", "level", "found"),
    [
        ({"version": "1.32.0", "providers": ["CUDAExecutionProvider"]}, {}, "ok", "1.32.0, providers CUDA"),
        ({"error": "not installed", "missing": True}, {}, "ok", "not needed to run engines"),
        ({"error": "not installed", "missing": True}, ABSENT, "note", "in OpenVINO's place"),
        ({"error": "libstdc++.so.6: too old", "missing": False}, {}, "problem", "cannot be imported: libstdc++"),
    ],
)
def test_onnx_runtime_is_a_finding_installed_or_not(
    facts: dict[str, Any], openvino: dict[str, Any], level: str, found: str, make_host: MakeHost
) -> None:
    finding = only(check_onnxruntime(make_host(onnxruntime=facts, openvino=openvino)))
    assert finding.level == level
    assert found in finding.found
    assert bool(finding.fix) is (level != "ok")


def test_the_installed_onnx_runtime_answers_with_version_and_providers(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    facts = ask("onnxruntime", str(tmp_path), 60)
    assert "CPUExecutionProvider" in facts["providers"]
    assert facts["version"][0].isdigit()


@pytest.mark.parametrize(("int8", "level"), [(54, "ok"), (8, "note")])
def test_layers_that_fell_back_to_another_precision_are_counted(int8: int, level: str, make_host: MakeHost) -> None:
    facts = {"name": "road", "precision": "int8", "obstacle": "no GPU", "layers": {"int8": int8, "f32": 55 - int8}}
    finding = only(check_default_engine(make_host(default_engine=facts)))
    assert f"({int8} of 55 layers in int8, {55 - int8} in f32)" in finding.found
    assert (finding.level, finding.fix.startswith("edge bench")) == (level, level == "note")


def test_a_bundle_that_is_not_in_order_is_a_problem_beside_one_that_is(make_host: MakeHost) -> None:
    bundles = {
        "road": {"precision": "int8", "graphs": ["fp32 for any", "int8 for openvino"], "sizes": 4},
        "mine": {"error": "mine/model.onnx: the graph is not the one its card was made for"},
    }
    found = by_name(check_engines(make_host(engines={"bundles": bundles})))
    assert found["engine road"].found.endswith("in order: fp32 for any, int8 for openvino; 4 input sizes")
    assert (found["engine mine"].level, found["engine mine"].fix) == ("problem", "edge inspect mine")


@pytest.mark.parametrize(
    ("facts", "level", "found"),
    [
        ({"obstacle": "no NVIDIA driver"}, "ok", "road ran in int8 on the CPU; not by TensorRT: no NVIDIA driver"),
        ({"obstacle": None}, "ok", "road ran in int8 by TensorRT"),
        ({"error": "crashed (SIGSEGV)"}, "problem", "cannot run: crashed (SIGSEGV)"),
    ],
)
def test_the_default_engine_runs_where_a_frame_went_through_it(
    facts: dict[str, Any], level: str, found: str, make_host: MakeHost
) -> None:
    host = make_host(default_engine={"name": "road", "precision": "int8", **facts})
    finding = only(check_default_engine(host))
    assert (finding.level, finding.found) == (level, found)
    assert default_engine_runs(host) is (level == "ok")


def test_the_command_that_an_error_ends_in_is_what_to_type(make_host: MakeHost) -> None:
    error = "engine road: no int8 plan was built yet for this Orin. Build it: edge build /e/road --precision int8"
    finding = only(check_default_engine(make_host(default_engine={"error": error})))
    assert finding.fix == "edge build /e/road --precision int8"


# --------------------------------------------------------------------------------------------- containers and limits


def test_half_a_processor_is_a_problem(make_host: MakeHost) -> None:
    finding = only(
        check_processors(make_host({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "50000 100000"}))
    )
    assert finding.level == "problem"
    assert "no more than 0.5" in finding.found


def test_a_quota_below_get_cores_asks_for_fewer_threads(make_host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    host = make_host({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "250000 100000"})
    finding = only(check_processors(host))
    assert (finding.level, finding.fix) == ("note", "edge run --threads 2 …")


def test_the_tightest_of_nested_groups_counts(make_host: MakeHost) -> None:
    group = "/sys/fs/cgroup/system.slice"
    files = {
        "/proc/self/cgroup": "0::/system.slice/edge.service\n",
        f"{group}/edge.service/cpu.max": "max 100000",
        f"{group}/edge.service/memory.max": "1073741824",
        f"{group}/cpu.max": "150000 100000",
        f"{group}/memory.max": "268435456",
    }
    host = make_host(files)
    assert (cpu_quota(host), memory_limit(host)) == (1.5, 256 << 20)


def test_limits_of_the_first_version_of_control_groups_count_too(make_host: MakeHost) -> None:
    files = {
        "/proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n0::/\n",
        "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
        "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    }
    host = make_host(files)
    assert (cpu_quota(host), memory_limit(host)) == (0.5, None)


@pytest.mark.slow
@given(group=st.text(max_size=30), limit=st.text(max_size=20))
def test_no_limit_file_is_too_odd_to_be_read(group: str, limit: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in {"proc/self/cgroup": f"0::/\n{group}", "sys/fs/cgroup/cpu.max": limit}.items():
            Path(folder, name).parent.mkdir(parents=True)
            Path(folder, name).write_text(text, encoding="utf-8", errors="replace")
        quota = cpu_quota(Host(Path(folder)))
        assert quota is None or quota >= 0


@pytest.mark.parametrize(("limit", "level"), [("max", "ok"), ("134217728", "problem")])
def test_too_little_memory_for_this_process_is_a_problem(limit: str, level: str, make_host: MakeHost) -> None:
    files = {
        "/proc/meminfo": "MemTotal: 8000000 kB\nMemFree: 100 kB\nMemAvailable: 6000000 kB\n",
        "/proc/self/cgroup": "0::/\n",
        "/sys/fs/cgroup/memory.max": limit,
    }
    assert only(check_memory(make_host(files))).level == level


# ----------------------------------------------------------------------------------------------- heat, clocks, time


def zone(number: int, name: str, temperature: str, passive: str) -> dict[str, str]:
    folder = f"/sys/class/thermal/thermal_zone{number}"
    return {
        f"{folder}/type": name,
        f"{folder}/temp": temperature,
        f"{folder}/trip_point_0_type": "active",
        f"{folder}/trip_point_0_temp": "40000",
        f"{folder}/trip_point_1_type": "passive",
        f"{folder}/trip_point_1_temp": passive,
    }


def test_zones_are_held_against_the_temperature_that_throttles_them(make_host: MakeHost) -> None:
    files = {
        **zone(0, "cpu-thermal", "99500\n", "99000\n"),
        **zone(1, "gpu-thermal", "95000\n", "99000\n"),
        **zone(2, "soc0-thermal", "61250\n", "99000\n"),
        **zone(10, "cv0-thermal", "-256000\n", "99000\n"),
    }
    found = by_name(check_heat(make_host(files)))
    assert {name: finding.level for name, finding in found.items()} == {
        "heat cpu-thermal": "problem",
        "heat gpu-thermal": "note",
        "heat": "ok",
    }
    assert found["heat"].found == "3 zones, the warmest is cpu-thermal with 100 °C"


@pytest.mark.parametrize(
    ("governor", "driver", "level"),
    [("powersave", "acpi-cpufreq", "problem"), ("powersave", "intel_pstate", "ok"), ("schedutil", "tegra194", "ok")],
)
def test_a_governor_that_keeps_the_lowest_clock_is_a_problem(
    governor: str, driver: str, level: str, make_host: MakeHost
) -> None:
    folder = "/sys/devices/system/cpu/cpufreq/policy0"
    host = make_host({f"{folder}/scaling_governor": governor, f"{folder}/scaling_driver": driver})
    assert only(check_governor(host)).level == level


@pytest.mark.parametrize(("source", "level"), [("tsc\n", "ok"), ("arch_sys_counter\n", "ok"), ("hpet\n", "note")])
def test_a_clock_that_is_slow_to_read_is_noted(source: str, level: str, make_host: MakeHost) -> None:
    host = make_host({"/sys/devices/system/clocksource/clocksource0/current_clocksource": source})
    assert only(check_time(host)).level == level


def test_a_calendar_before_this_program_was_written_is_noted(
    make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 86400.0)
    assert only(check_time(make_host())).fix == "sudo timedatectl set-ntp true"


# ------------------------------------------------------------------------------------------------ cameras and cache

CAMERA = {"/sys/class/video4linux/video0/name": "C920\n", "/dev/video0": ""}


def capability(device: int, node: int) -> bytes:
    return struct.pack("=16s32s32sIII12x", b"uvcvideo", b"C920", b"usb-1", 0x060600, device, node)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (capability(0x84A00001, 0x04200001), "C920 (uvcvideo), edge run 0 --live"),
        (capability(0x84A00001, 0x04A00000), "C920 (uvcvideo), gives no frames: metadata, output or codec"),
        (capability(0x04001000, 0), "C920 (uvcvideo), edge run 0 --live"),
    ],
)
def test_the_node_of_a_camera_that_gives_pictures_is_told_from_the_others(
    answer: bytes, found: str, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ioctl(file: int, request: int, argument: bytes) -> bytes:
        assert (request, len(argument)) == (VIDIOC_QUERYCAP, 104)
        return answer

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    finding = only(check_cameras(make_host(CAMERA)))
    assert (finding.about, finding.found) == ("camera video0", found)


def test_a_file_that_is_no_camera_is_a_problem(make_host: MakeHost) -> None:
    finding = only(check_cameras(make_host(CAMERA)))
    assert (finding.level, "cannot be asked" in finding.found) == ("problem", True)


def test_a_camera_that_this_user_may_not_use_names_the_group_to_join(make_host: MakeHost, as_nobody: AsNobody) -> None:
    host = make_host(CAMERA)
    node = host.path("/dev/video0")
    if os.geteuid() == 0:
        os.chown(node, -1, 44)  # nobody keeps root's groups in this block
    host.path("/etc").mkdir()
    host.path("/etc/group").write_text(f"tape:x:99999:\nvideo:x:{node.stat().st_gid}:\n")
    node.chmod(0o060)
    with as_nobody():
        finding = only(check_cameras(host))
    assert finding.found == "C920: this user may not use it"
    assert finding.fix.startswith("sudo usermod -aG video $USER")


def test_gpu_devices_that_no_group_may_use_are_looked_at_by_hand(make_host: MakeHost, as_nobody: AsNobody) -> None:
    host = make_host({"/dev/nvmap": "", "/dev/nvidiactl": ""})
    host.path("/dev/nvmap").chmod(0o000)
    host.path("/dev/nvidiactl").chmod(0o666)
    with as_nobody():
        finding = only(check_gpu_nodes(host))
    assert (finding.about, finding.fix.startswith("ls -l /dev/nvmap")) == ("GPU /dev/nvmap", True)


def test_a_container_without_a_camera_is_told_how_to_get_one(make_host: MakeHost) -> None:
    assert only(check_cameras(make_host({"/.dockerenv": ""}))).fix.startswith("docker run --device /dev/video0")


def test_a_cache_that_is_not_there_yet_is_fine(make_host: MakeHost) -> None:
    host = make_host(environment={"HOME": "/home/me"})
    host.path("/home/me").mkdir(parents=True)
    finding = only(check_cache(host))
    assert (finding.level, finding.found.startswith("/home/me/.cache/edge: 0 files")) == ("ok", True)


def test_a_cache_is_counted(make_host: MakeHost) -> None:
    host = make_host({"/c/edge/openvino/a.blob": "x" * (3 << 20)}, environment={"XDG_CACHE_HOME": "/c"})
    assert only(check_cache(host)).found.startswith("/c/edge: 1 files, 3 MB; ")


def test_a_read_only_cache_is_a_problem(make_host: MakeHost, as_nobody: AsNobody) -> None:
    host = make_host(environment={"XDG_CACHE_HOME": "/c"})
    host.path("/c/edge").mkdir(parents=True, mode=0o555)
    with as_nobody():
        finding = only(check_cache(host))
    assert (finding.level, "XDG_CACHE_HOME" in finding.fix) == ("problem", True)


def test_a_cache_that_others_may_write_to_is_a_problem(make_host: MakeHost) -> None:
    host = make_host({"/c/edge/openvino/a.blob": ""}, environment={"XDG_CACHE_HOME": "/c"})
    host.path("/c/edge/openvino").chmod(0o777)
    finding = only(check_cache(host))
    assert finding.found.startswith("/c/edge/openvino: others may write there")
    assert "chmod -R go-w /c/edge" in finding.fix


# ------------------------------------------------------------------------------------------------ slow, not broken


@pytest.mark.parametrize(
    ("check", "probe"),
    [
        (check_default_engine, "default engine"),
        (check_engines, "engines"),
        (check_openvino, "openvino"),
        (check_opencv, "opencv"),
        (check_av, "av"),
    ],
)
def test_no_answer_in_time_is_called_slow_and_no_problem(
    check: Callable[[Host], Iterator[Finding]], probe: str, make_host: MakeHost
) -> None:
    finding = only(check(make_host(**{probe: {"error": "no answer within 60 s", "slow": True}})))
    assert (finding.level, "slow, or busy" in finding.found) == ("note", True)


def test_an_opencv_for_numpy_1_is_told_with_what_to_type(make_host: MakeHost) -> None:
    finding = only(check_opencv(make_host(opencv={"error": "numpy.core.multiarray failed to import"})))
    assert (finding.level, finding.fix.split("#")[0].strip()) == ("problem", "pip install 'numpy<2'")


@pytest.mark.slow
def test_an_opencv_that_lacks_what_a_run_asks_it_for_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("__version__ = '3.4.0'")
    command = "from edge.doctor.probe import ask; print(ask('opencv', '', 30)['error'])"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert "has no attribute" in done.stdout


def test_a_plan_that_was_not_built_is_asked_for_and_not_built(make_host: MakeHost) -> None:
    facts = {
        "name": "road",
        "precision": "int8",
        "obstacle": "no int8 plan was built yet. It takes minutes: edge plan road",
    }
    finding = only(check_default_engine(make_host(**{"default engine": facts})))
    assert (finding.level, finding.fix) == ("note", "edge plan road")
