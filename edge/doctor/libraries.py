"""What the probes of the libraries mean: GPU driver, TensorRT, OpenVINO, OpenCV, FFmpeg, and the engines themselves."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from edge.backends.cpu import SATURATION, int8_saturates
from edge.backends.layers import layers_text, mostly_in
from edge.doctor.finding import Finding, Host, in_virtual_environment
from edge.doctor.probe import Facts

NVIDIA_PCI_VENDOR = "0x10de"
DISPLAY_PCI_CLASS = "0x03"
# CUresult of cuda.h, and what one does about it.
_CUINIT_FIXES = {
    100: "nvidia-smi  # the driver sees no device",
    802: "sudo systemctl restart nvidia-fabricmanager",
    803: "sudo reboot  # the driver's library and kernel module are of different versions",
    804: "sudo reboot  # the driver's library and kernel module are of different versions",
    999: "sudo modprobe nvidia_uvm",
}
# What makes 8-bit convolutions quick, by the processor's own names in /proc/cpuinfo.
_INT8_FLAGS = {
    "amx_int8": "AMX",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "i8mm": "I8MM",
    "asimddp": "dot",
}

_INSTALL_ORT = "pip install onnxruntime"


def check_python(host: Host) -> Iterator[Finding]:
    """Version and word size: OpenVINO and TensorRT have no 32-bit builds."""
    version, bits = platform.python_version(), 64 if sys.maxsize > 2**32 else 32
    where = "in a virtual environment" if in_virtual_environment() else "of the system"
    found = f"{version}, {bits} bit, {platform.machine()}, {where}"
    if bits == 32:
        yield Finding("Python", found, "problem", "uname -m  # OpenVINO and TensorRT need a 64-bit system: install one")
    else:
        yield Finding("Python", found)


# --------------------------------------------------------------------------------------------------------- NVIDIA


def check_driver(host: Host) -> Iterator[Finding]:
    """NVIDIA's driver as it answers through cuInit, and the GPUs that it lists."""
    facts = host.facts["cuda"]
    if "error" in facts:
        yield _driver_problem(host, facts)
        return
    kernel = re.search(r"Kernel Module\D*([\d.]+)", host.text("/proc/driver/nvidia/version"))
    version = f"{kernel[1]}, " if kernel else ""
    yield Finding("NVIDIA driver", f"{version}CUDA up to {facts['cuda']}")
    for number, device in enumerate(facts["devices"]):
        memory = "shares the machine's memory" if device["integrated"] else f"{device['memory_bytes'] / 2**30:.0f} GiB"
        yield Finding(f"GPU {number}", f"{device['name']}, compute capability {_capability(device)}, {memory}")
    if not facts["devices"]:
        yield Finding("GPU", "the driver lists no device", "problem", _CUINIT_FIXES[100])


def _driver_problem(host: Host, facts: Facts) -> Finding:
    if not facts.get("missing"):
        fix = _CUINIT_FIXES.get(facts.get("code", 0), "nvidia-smi; sudo dmesg | grep -i nvrm")
        return Finding("NVIDIA driver", facts["error"], "problem", fix)
    if not _has_nvidia_gpu(host):
        return Finding("NVIDIA driver", "no NVIDIA GPU: engines run on the CPU")
    if host.in_container:
        fix = "docker run --gpus all …  # on a Jetson: --runtime nvidia"
    else:
        fix = "sudo apt install nvidia-jetpack" if host.is_jetson else "sudo ubuntu-drivers install && sudo reboot"
    return Finding("NVIDIA driver", "there is an NVIDIA GPU, but no driver (libcuda.so.1)", "note", fix)


def _has_nvidia_gpu(host: Host) -> bool:
    cards = (path.parent for path in host.glob("/sys/bus/pci/devices/*/vendor") if host.text(path) == NVIDIA_PCI_VENDOR)
    return host.is_jetson or any(host.text(card / "class").startswith(DISPLAY_PCI_CLASS) for card in cards)


def _capability(device: Facts) -> str:
    return f"{device['major']}.{device['minor']}"


def check_cuda_toolkit(host: Host) -> Iterator[Finding]:
    """Needed to build pycuda; and what it builds must not be newer than the driver."""
    if not _gpu_works(host):
        return
    stated = re.search(r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"([\d.]+)', host.text("/usr/local/cuda/version.json"))
    if stated is None:
        if "error" in host.facts["pycuda"]:
            yield Finding("CUDA toolkit", "none in /usr/local/cuda; pycuda is built with it", "note", _toolkit(host))
        return
    found, supported = stated[1], host.facts["cuda"]["cuda"]
    if _major(found) > _major(supported):
        text = f"{found}, newer than the driver, which goes up to {supported}"
        yield Finding("CUDA toolkit", text, "problem", "sudo ubuntu-drivers install && sudo reboot")
    else:
        yield Finding("CUDA toolkit", f"{found} in /usr/local/cuda")


def check_tensorrt(host: Host) -> Iterator[Finding]:
    """Needed only where a GPU works; one that the system has and this virtual environment does not see is reported."""
    facts = host.facts["tensorrt"]
    if "error" not in facts:
        yield Finding("TensorRT", f"{facts['version']} in {Path(facts['file']).parent}")
    elif not _gpu_works(host):
        yield Finding("TensorRT", "not needed without an NVIDIA GPU")
    elif unseen := _system_tensorrt(host):
        yield _unseen_tensorrt(*unseen)
    else:
        fix = "sudo apt install nvidia-jetpack" if host.is_jetson else f"pip install tensorrt-cu{_driver_major(host)}"
        level = "note" if facts.get("missing") else "problem"
        yield Finding("TensorRT", f"cannot be imported: {facts['error']}", level, fix)


def check_pycuda(host: Host) -> Iterator[Finding]:
    """Reported as missing only where a GPU works."""
    facts = host.facts["pycuda"]
    if "error" not in facts:
        yield Finding("pycuda", f"{facts['version']}, built with CUDA {facts['cuda']}")
    elif _gpu_works(host):
        fix = "PATH=/usr/local/cuda/bin:$PATH pip install pycuda"
        level = "note" if facts.get("missing") else "problem"
        yield Finding("pycuda", f"cannot be imported: {facts['error']}", level, fix)


def _system_tensorrt(host: Host) -> tuple[str, str] | None:
    """Version of a TensorRT among the system's packages, such as JetPack's, and of the Python it was built for."""
    for package in host.glob("/usr/lib/python3*/dist-packages/tensorrt"):
        version = next((_version_of(path) for path in host.glob(f"{package}-*.dist-info")), "")
        python = package.parts[3].removeprefix("python")
        return version, python if "." in python else platform.python_version().rpartition(".")[0]
    return None


def _version_of(dist_info: Path) -> str:
    return dist_info.name.removeprefix("tensorrt-").removesuffix(".dist-info")


def _unseen_tensorrt(version: str, python: str) -> Finding:
    folder = f"/usr/lib/python{python}/dist-packages"
    found = f"{version} is in {folder}, but this Python does not see it".lstrip()
    fix = f"python{python} -m venv --system-site-packages .venv && .venv/bin/pip install edge-segmentation"
    return Finding("TensorRT", found, "note", fix)


def _gpu_works(host: Host) -> bool:
    return bool(host.facts["cuda"].get("devices"))


def _driver_major(host: Host) -> int:
    return _major(host.facts["cuda"]["cuda"])


def _toolkit(host: Host) -> str:
    return (
        "sudo apt install nvidia-jetpack" if host.is_jetson else f"sudo apt install cuda-toolkit-{_driver_major(host)}"
    )


def _major(version: str) -> int:
    return int(version.partition(".")[0])


# ------------------------------------------------------------------------------------------ OpenVINO, OpenCV, FFmpeg


def check_openvino(host: Host) -> Iterator[Finding]:
    """OpenVINO, the precisions that it has on this CPU, and whether that has 8-bit instructions."""
    facts = host.facts["openvino"]
    if facts.get("slow"):
        yield _slow("OpenVINO", facts)
        return
    if "error" in facts:
        yield Finding("OpenVINO", facts["error"], "problem", "pip install --force-reinstall openvino")
        return
    yield Finding("OpenVINO", f"{facts['version'].partition('-')[0]}, devices {', '.join(facts['devices'])}")
    precisions = [
        name for name in ("int8", "bf16", "f32") if name.replace("f32", "fp32").upper() in facts["capabilities"]
    ]
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", host.text("/proc/cpuinfo"), re.MULTILINE)
    fast = [name for flag, name in _INT8_FLAGS.items() if flags and flag in flags[1].split()]
    found = f"{facts['cpu']}: {', '.join(precisions)}; {host.cores} threads"
    if fast:
        yield Finding("CPU", f"{found}; 8-bit arithmetic by {', '.join(fast)}")
    elif int8_saturates(host.path("/proc/cpuinfo")):
        fix = f"edge run VIDEO --precision {'bf16' if 'bf16' in precisions else 'f32'}  # as docs/results.md says"
        yield Finding("CPU", f"{found}; {SATURATION}", "note", fix)
    else:
        yield Finding("CPU", f"{found}; no 8-bit dot products, INT8 gains less here", "note", "edge bench")


def check_onnxruntime(host: Host) -> Iterator[Finding]:
    """ONNX Runtime and its providers: needed only where neither TensorRT nor OpenVINO runs, or to adopt a net."""
    facts = host.facts["onnxruntime"]
    if facts.get("slow"):
        yield _slow("ONNX Runtime", facts)
    elif "error" not in facts:
        providers = ", ".join(name.removesuffix("ExecutionProvider") for name in facts["providers"])
        yield Finding("ONNX Runtime", f"{facts['version']}, providers {providers}")
    elif not facts.get("missing"):
        fix = "pip install --force-reinstall onnxruntime"
        yield Finding("ONNX Runtime", f"cannot be imported: {facts['error']}", "problem", fix)
    elif "error" in host.facts["openvino"]:
        yield Finding("ONNX Runtime", "not installed; it could run engines in OpenVINO's place", "note", _INSTALL_ORT)
    else:
        yield Finding("ONNX Runtime", "not installed; not needed to run engines, which OpenVINO does")


def check_opencv(host: Host) -> Iterator[Finding]:
    """Which of windows, V4L2, GStreamer and FFmpeg this build has, and what is missed for want of them."""
    facts = host.facts["opencv"]
    if facts.get("slow"):
        yield _slow("OpenCV", facts)
        return
    if "error" in facts:
        yield Finding("OpenCV", facts["error"], "problem", _opencv_fix(facts["error"]))
        return
    build = build_features(facts["build"])
    window = "headless" if build["GUI"].startswith("NONE") else "with windows"
    having = ", ".join(f"{name} {'yes' if _is_in(build[name]) else 'no'}" for name in ("V4L2", "GStreamer", "FFmpeg"))
    found = f"{facts['version']}, {window}; {having}"
    if not _is_in(build["V4L2"]):
        fix = "pip install --force-reinstall opencv-python-headless"
        yield Finding("OpenCV", f"{found}: USB cameras cannot be opened", "problem", fix)
    elif host.is_jetson and not _is_in(build["GStreamer"]):
        fix = "see docs/cameras.md, 'An OpenCV with GStreamer'"
        yield Finding("OpenCV", f"{found}: CSI cameras need GStreamer, which JetPack's own OpenCV has", "note", fix)
    else:
        yield Finding("OpenCV", found)


def _opencv_fix(error: str) -> str:
    """What to type where OpenCV does not load: JetPack's and Debian's are built for NumPy 1."""
    if re.search(r"numpy|_ARRAY_API", error):
        return "pip install 'numpy<2'  # this OpenCV was built for NumPy 1"
    return "pip install --force-reinstall opencv-python-headless"


def build_features(build: str) -> dict[str, str]:
    """What OpenCV's `getBuildInformation()` says of windows and video inputs; "" for what it does not mention."""
    names = {"GUI": "GUI", "V4L2": "v4l/v4l2", "GStreamer": "GStreamer", "FFmpeg": "FFMPEG"}
    lines = dict(re.findall(r"^\s+([^:\n]+):[ \t]*(.*)$", build, re.MULTILINE))
    return {name: lines.get(label, "").strip() for name, label in names.items()}


def _is_in(feature: str) -> bool:
    return feature.startswith("YES")


def check_av(host: Host) -> Iterator[Finding]:
    """PyAV, and whether its FFmpeg has libx264, which overlays and recordings are written with."""
    facts = host.facts["av"]
    if facts.get("slow"):
        yield _slow("PyAV", facts)
        return
    fix = "pip install --force-reinstall --only-binary av 'av<19'"
    if "error" in facts:
        yield Finding("PyAV", facts["error"], "problem", fix)
    elif not facts["libx264"]:
        text = f"{facts['version']}, FFmpeg {facts['ffmpeg']}, without libx264: no overlay video can be written"
        yield Finding("PyAV", text, "problem", fix)
    else:
        yield Finding("PyAV", f"{facts['version']}, FFmpeg {facts['ffmpeg']}, encoder libx264")


# -------------------------------------------------------------------------------------------------------- engines


def check_engines(host: Host) -> Iterator[Finding]:
    """Every bundle that is installed: whether its graphs are its card's."""
    facts = host.facts["engines"]
    if facts.get("slow"):
        yield _slow("engines", facts)
        return
    if "error" in facts:
        yield Finding("engines", facts["error"], "problem", "pip install --force-reinstall edge-segmentation")
        return
    for name, bundle in facts["bundles"].items():
        yield _bundle_finding(name, bundle)
    if not facts["bundles"]:
        yield Finding("engines", "none", "problem", "pip install --force-reinstall edge-segmentation")


def _bundle_finding(name: str, bundle: Facts) -> Finding:
    if "error" in bundle:
        return Finding(f"engine {name}", bundle["error"], "problem", f"edge inspect {name}")
    graphs, sizes = ", ".join(bundle["graphs"]), bundle["sizes"]
    found = f"{bundle['precision']} by default; card and graphs in order: {graphs}"
    return Finding(f"engine {name}", found + (f"; {sizes} input sizes" if sizes > 1 else ""))


def check_default_engine(host: Host) -> Iterator[Finding]:
    """Whether one frame went through the engine that `edge run` takes, and on what."""
    facts, about = host.facts["default engine"], "default engine"
    if facts.get("slow"):
        yield _slow(about, facts)
    elif "error" in facts:
        yield Finding(about, f"cannot run: {facts['error']}", "problem", _command_in(facts["error"]) or "edge inspect")
    elif facts["obstacle"]:
        yield _default_on_cpu(about, facts)
    else:
        yield Finding(about, f"{facts['name']} ran in {facts['precision']} by TensorRT")


def _default_on_cpu(about: str, facts: Facts) -> Finding:
    """Why not by TensorRT, and whether most layers run in the precision asked for, which on ARM CPUs they may not."""
    precision, layers = facts["precision"], facts.get("layers", {})
    inner = layers_text(precision, layers)
    ran = f"{facts['name']} ran in {precision} on the CPU" + (f" ({inner})" if inner else "")
    found, command = f"{ran}; not by TensorRT: {facts['obstacle']}", _command_in(facts["obstacle"])
    if not command and not mostly_in(precision, layers):
        command = "edge bench  # another precision may be as fast, and more exact"
    return Finding(about, found, "note" if command else "ok", command)


def _slow(about: str, facts: Facts) -> Finding:
    """For what hangs in no driver: no answer then says nothing about the library."""
    return Finding(about, f"not known, {facts['error']}: this machine is slow, or busy", "note", "uptime")


def _command_in(error: str) -> str:
    """Errors of edge end in the command to type; "" where they do not."""
    command = re.search(r"\bedge (?:build|export|inspect|plan) .*$", error)
    return command[0] if command else ""


def default_engine_runs(host: Host) -> bool:
    """Whether a frame went through the default engine here, in time."""
    return "error" not in host.facts["default engine"]
