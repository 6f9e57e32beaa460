"""Frames through the engine on emulated arm64, and how many pixels of their masks are those of this machine.

    python -m benchmarks.arm64 [--source demo/street.mp4] [--frames 3] [--precisions f32,int8,fp16] [--room out/arm64]

In the room, made once and used again: an arm64 Debian 12 (debootstrap; unpacked and not configured, so nothing of it
is run but Python 3.11), and edge's wheel with the aarch64 wheels of what it needs. QEMU's user mode runs `edge run` in
it. Slow: minutes a precision on two cores. Its times say nothing about an ARM.
You need root and: apt-get install qemu-user-static debootstrap.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge.backends.cpu import cpu_kind
from edge.report import table

Masks = list[npt.NDArray[np.uint8]]

HOME = Path(__file__).parents[1]
SUITE, MIRROR, PYTHON = "bookworm", "http://deb.debian.org/debian", "3.11"
CPU = "cortex-a76"  # with fp16 and 8-bit dot products, as the Cortex-A78AE of an Orin has them; QEMU 7.2 lacks that one
TOOLS = {"qemu-aarch64-static": "qemu-user-static", "debootstrap": "debootstrap", "dpkg-deb": "dpkg"}
# OpenVINO's wheels are for glibc 2.35; pip takes a wheel for an older one only where its name is given, too.
GLIBC = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_31", "manylinux_2_35")


def missing_tools() -> list[str]:
    """The Debian packages to install before this can run."""
    return [package for tool, package in TOOLS.items() if shutil.which(tool) is None]


def make_root(root: Path) -> None:
    """An arm64 Debian with Python, unpacked. Nothing is done where there is one."""
    if (root / f"usr/bin/python{PYTHON}").exists():
        return
    packages = "--include=python3"
    run("debootstrap", "--foreign", "--arch=arm64", "--variant=minbase", packages, SUITE, str(root), MIRROR)
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        run("dpkg-deb", "-x", str(package), str(root))


def make_site(site: Path) -> None:
    """This checkout's wheel, and what it needs for aarch64. Delete the folder to have it made again."""
    if site.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", folder, str(HOME))
        (wheel,) = Path(folder).glob("*.whl")
        platforms = [word for name in GLIBC for word in ("--platform", f"{name}_aarch64")]
        target = ("--target", folder + "/site", "--only-binary", ":all:", "--python-version", PYTHON)
        run(sys.executable, "-m", "pip", "install", "--quiet", *target, *platforms, str(wheel))
        shutil.move(folder + "/site", site)


def run(*command: str) -> None:
    """Run it, or end with its name: its own words are above."""
    if (code := subprocess.run(command).returncode) != 0:
        raise SystemExit(f"arm64: exit code {code} of: {' '.join(command)}")


def masks_of(python: Sequence[str], site: Path, wish: argparse.Namespace, precision: str) -> Masks:
    """uint8 (H, W) class ids of each frame, as `edge run --masks` of this Python writes them."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--engine", wish.engine, "--backend", "openvino", "--precision", precision, "--threads", "1"]
        options += ["--max-frames", str(wish.frames), "--masks", folder + "/masks", "--quiet"]
        environment = {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": folder}
        command = [*python, "-m", "edge.cli", "run", str(wish.source.resolve()), *options]
        subprocess.run(command, env=environment, cwd=folder, check=True)
        files = sorted(Path(folder, "masks").glob("*.png"))
        return [np.asarray(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), np.uint8) for file in files]


def agreement(ours: Masks, theirs: Masks) -> tuple[float, float]:
    """Share of equal pixels, 0 to 1: over all frames, and in the worst frame."""
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"expected as many masks of both, and one at least; got {len(ours)} and {len(theirs)}")
    shares = [float(np.mean(one == other)) for one, other in zip(ours, theirs, strict=True)]
    return float(np.mean(shares)), min(shares)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=HOME / "demo/street.mp4")
    parser.add_argument("--engine", default="road")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--precisions", default="f32,int8,fp16")
    parser.add_argument("--room", type=Path, default=HOME / "out/arm64")
    wish = parser.parse_args()
    if missing := missing_tools():
        raise SystemExit(f"arm64: tools are missing. Install them: sudo apt-get install {' '.join(missing)}")
    root, site = (wish.room.resolve() / name for name in ("root", "site"))
    wish.room.mkdir(parents=True, exist_ok=True)
    make_root(root)
    make_site(site)
    emulated = ["qemu-aarch64-static", "-cpu", CPU, "-L", str(root), str(root / f"usr/bin/python{PYTHON}")]
    here = {name: masks_of([sys.executable], HOME, wish, name) for name in ("f32", "int8")}
    print(
        f"{wish.source.name}, {wish.frames} frames, {wish.engine}; {CPU} by QEMU on {cpu_kind()} ({platform.machine()})"
    )
    rows = [row("x86-64 int8", here["int8"], "f32", here["f32"])]
    for precision in wish.precisions.split(","):
        there = masks_of(emulated, site, wish, precision)
        for other in dict.fromkeys((precision, "f32")):
            if other in here:
                rows.append(row(f"arm64 {precision}", there, other, here[other]))
                print(*rows[-1], flush=True)  # an hour's work is not lost with what follows
    print("\n" + table(("masks of", "against", "pixels equal", "worst frame"), rows))


def row(name: str, masks: Masks, against: str, others: Masks) -> tuple[str, str, str, str]:
    """Of the table: what was compared, and how many pixels are equal."""
    mean, worst = agreement(masks, others)
    return name, f"x86-64 {against}", f"{mean:.3%}", f"{worst:.3%}"


if __name__ == "__main__":
    main()
