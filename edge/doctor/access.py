"""What this user may open: cameras, GPU devices, the cache directory."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from edge.cache import is_private
from edge.doctor.finding import Finding, Host

# linux/videodev2.h
VIDIOC_QUERYCAP = 0x80685600
_CAPABILITY = struct.Struct("=16s32s32sIII12x")  # driver, card, bus, version, capabilities, those of this node
_CAN_CAPTURE = 0x00000001 | 0x00001000  # one plane, several planes
_HAS_NODE_CAPABILITIES = 0x80000000

CACHE_NEEDED = 512 << 20
GPU_NODES = (
    "/dev/nvidiactl",
    "/dev/nvidia0",
    "/dev/nvidia-uvm",
    "/dev/nvmap",
    "/dev/nvhost-gpu",
    "/dev/nvgpu/igpu0/ctrl",
)


def check_cameras(host: Host) -> Iterator[Finding]:
    """Every /dev/video node: whether this user may use it, and whether it captures. None streams."""
    nodes = host.glob("/dev/video[0-9]*")
    if not nodes:
        fix = "docker run --device /dev/video0 …" if host.in_container else "lsusb  # is it plugged in?"
        yield Finding("camera", "none; videos, images and scene:street need none", "note", fix)
    for node in nodes:
        yield from _camera(host, node)


def _camera(host: Host, node: Path) -> Iterator[Finding]:
    about, name = f"camera {node.name}", host.text(f"/sys/class/video4linux/{node.name}/name") or "without a name"
    if not _may_use(host, node):
        yield Finding(about, f"{name}: this user may not use it", "problem", _permission_fix(host, node))
        return
    try:
        driver, captures = query_capture(host.path(node))
    except OSError as error:
        busy = error.errno == errno.EBUSY
        fix = f"fuser -v {node}" if busy else f"sudo dmesg | grep -i -e uvc -e video; ls -l {node}"
        yield Finding(about, f"{name}: cannot be asked: {error.strerror}", "problem", fix)
        return
    if captures:
        yield Finding(about, f"{name} ({driver}), edge run {node.name.removeprefix('video')} --live")
    else:
        yield Finding(about, f"{name} ({driver}), gives no frames: metadata, output or codec")


def query_capture(path: Path) -> tuple[str, bool]:
    """A V4L2 device's driver, and whether this node of it captures video. No stream is opened.

    Raises:
        OSError: it cannot be opened, or is no V4L2 device.
    """
    file = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        answer = fcntl.ioctl(file, VIDIOC_QUERYCAP, bytes(_CAPABILITY.size))
    finally:
        os.close(file)
    driver, _, _, _, device, node = _CAPABILITY.unpack(answer)
    capabilities = node if device & _HAS_NODE_CAPABILITIES else device
    return driver.rstrip(b"\0").decode(errors="replace"), bool(capabilities & _CAN_CAPTURE)


def check_gpu_nodes(host: Host) -> Iterator[Finding]:
    """GPU device files that are there and that this user may not open."""
    nodes = [Path(node) for node in GPU_NODES if host.exists(node)]
    for node in nodes:
        if not _may_use(host, node):
            yield Finding(f"GPU {node}", "this user may not use it", "problem", _permission_fix(host, node))


def _may_use(host: Host, node: Path) -> bool:
    return os.access(host.path(node), os.R_OK | os.W_OK, effective_ids=True)


def _permission_fix(host: Host, node: Path) -> str:
    """Join the group that owns the file, if that group may use it."""
    status = host.path(node).stat()
    group = _group_name(host, status.st_gid)
    if host.in_container:
        return f"docker run --device {node} --group-add {status.st_gid} …"
    if group in ("", "root") or not status.st_mode & stat.S_IRGRP or not status.st_mode & stat.S_IWGRP:
        return f"ls -l {node}  # neither its owner nor a group to join lets this user in: see udev's rules"
    return f"sudo usermod -aG {group} $USER  # then log in again"


def _group_name(host: Host, number: int) -> str:
    rows = (line.split(":") for line in host.text("/etc/group").splitlines())
    return next((row[0] for row in rows if len(row) > 2 and row[2] == str(number)), "")


def check_cache(host: Host) -> Iterator[Finding]:
    """Where compiled engines are kept, so that the second start is a quick one."""
    folder = cache_folder(host)
    nearest = next(path for path in (folder, *folder.parents) if host.exists(path))
    if not os.access(host.path(nearest), os.W_OK | os.X_OK, effective_ids=True) or not host.path(nearest).is_dir():
        fix = "export XDG_CACHE_HOME=/var/tmp/$USER  # or any place that this user may write to"
        yield Finding("cache", f"{folder} cannot be written: every start compiles its engine again", "problem", fix)
    elif open_to_others := [path for path in _folders(host, folder) if not is_private(host.path(path).stat())]:
        names = ", ".join(map(str, open_to_others))
        fix = f"sudo chown -R $USER {folder} && chmod -R go-w {folder}"
        yield Finding("cache", f"{names}: others may write there, so nothing in it is used", "problem", fix)
    else:
        yield _cache_size(host, folder, nearest)


def _cache_size(host: Host, folder: Path, nearest: Path) -> Finding:
    sizes = [path.stat().st_size for path in host.path(folder).rglob("*") if path.is_file()]
    free = shutil.disk_usage(host.path(nearest)).free
    found = f"{folder}: {len(sizes)} files, {sum(sizes) / 2**20:.0f} MB; {free / 2**30:.1f} GB free on its disk"
    if free < CACHE_NEEDED:
        return Finding("cache", f"{found}, too little for compiled engines", "problem", f"df -h {nearest}")
    return Finding("cache", found)


def cache_folder(host: Host) -> Path:
    """As the backends have it: $XDG_CACHE_HOME/edge, or ~/.cache/edge."""
    stated = Path(host.environment.get("XDG_CACHE_HOME", ""))
    home = stated if stated.is_absolute() else Path(host.environment.get("HOME", "/root"), ".cache")
    return home / "edge"


def _folders(host: Host, folder: Path) -> list[Path]:
    """The cache and its folders, as far as they are there."""
    return [path for path in (folder, *host.glob(f"{folder}/*")) if host.path(path).is_dir()]
