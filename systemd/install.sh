#!/bin/sh
# Installs edge as a service, or takes it away:  sudo systemd/install.sh [--split | --uninstall]
# --split: two services, one with camera and GPU and without a network, one with the network and without devices.
# Run again, it updates program and units and leaves the configs alone.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=/opt/edge
units=/etc/systemd/system

say() { printf '%s\n' "install.sh: $*"; }
stop() { printf '%s\n' "install.sh: $*" >&2; exit 1; }

services=edge configs=edge.yaml
case "$*" in
    '' | --uninstall) ;;
    --split) services='edge-infer edge-publish' configs='infer.yaml publish.yaml' ;;
    *) stop "usage: $0 [--split | --uninstall]" ;;
esac
[ "$(id -u)" = 0 ] || stop "expected to be run by root. Try: sudo $0"
# systemctl is installed in many containers in which systemd does not run.
[ -d /run/systemd/system ] || stop "systemd does not run here, and nothing was installed. In a container: docs/containers.md. Without a service: edge serve -c systemd/edge.yaml"

remove() { # the services named, where they are installed
    for service in "$@"; do
        [ -e "$units/$service.service" ] || continue
        systemctl disable --quiet --now "$service.service"
        rm -f "$units/$service.service" "$units/$service.service.d/jetson.conf"
        rmdir "$units/$service.service.d" 2>/dev/null || true
    done
}

# What is there is taken away or begun anew only where an installation has made it.
case $here/ in
    "$target"/*) stop "this checkout is in $target, which becomes the program's own folder. Try: mv $target /opt/edge-checkout" ;;
esac
if [ -n "$(ls -A "$target" 2>/dev/null)" ] && [ ! -e "$target/pyvenv.cfg" ] && [ ! -e "$target/bin/edge" ]; then
    stop "$target holds something else than edge. Try: mv $target $target.old"
fi

if [ "${1:-}" = --uninstall ]; then
    remove edge edge-infer edge-publish
    rm -rf "$target" /etc/sysusers.d/edge.conf /etc/tmpfiles.d/edge.conf
    systemctl daemon-reload
    say "removed. Left as they are: /etc/edge, /var/lib/edge, /var/cache/edge and the users edge and edge-publish"
    exit 0
fi

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || stop "$python: expected Python 3.10 or newer. Try: PYTHON=python3.12 $0"
"$python" -c 'import ensurepip' 2>/dev/null || stop "$python: has no venv module. Try: apt install python3-venv"

# On a Jetson, TensorRT and OpenCV with GStreamer are the system's: an environment that sees them.
site= extras=serve,drives,sign
if [ -e /etc/nv_tegra_release ]; then
    extras=serve,drives,sign,tensorrt
    # pycuda is compiled here: without these TensorRT would be missing, and the masks would come from the CPU.
    PATH=$PATH:/usr/local/cuda/bin
    for program in g++ nvcc; do
        command -v "$program" >/dev/null || stop "a Jetson without $program. Try: apt install g++ cuda-nvcc-12-6 (the version of /usr/local/cuda)"
    done
    "$python" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        stop "a Jetson without Python.h. Try: apt install python3-dev"
    site=--system-site-packages
    say "a Jetson: the environment sees the system's TensorRT and OpenCV"
fi
# One that was interrupted, or whose Python the system has replaced, has no pip.
"$target/bin/python" -I -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear $site "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade "$(dirname "$here")[$extras]"

install -D -m 0644 "$here/sysusers.conf" /etc/sysusers.d/edge.conf
install -D -m 0644 "$here/tmpfiles.conf" /etc/tmpfiles.d/edge.conf
systemd-sysusers /etc/sysusers.d/edge.conf
for user in edge edge-publish; do
    case $(getent passwd "$user") in
        *nologin | */false) ;;
        *) say "the user $user can log in: whoever does sees what the service sees. Try: usermod -s /usr/sbin/nologin $user" ;;
    esac
done
install -d -m 0750 -g edge /etc/edge
for config in $configs; do
    if [ -e "/etc/edge/$config" ]; then
        say "/etc/edge/$config is kept"
    else
        install -m 0640 -g edge "$here/$config" "/etc/edge/$config"
    fi
done

# One camera cannot be held by both kinds.
case $services in
    edge) remove edge-infer edge-publish ;;
    *) remove edge ;;
esac
if [ -e /etc/nv_tegra_release ]; then
    "$here/jetson.sh" dropin '' "$units/${services%% *}.service.d/jetson.conf"
fi
for service in $services; do
    install -m 0644 "$here/$service.service" "$units/$service.service"
done
systemctl daemon-reload

if [ -e /etc/nv_tegra_release ]; then
    install -d -m 0700 -o edge -g edge /var/lib/edge /var/cache/edge
    groups=
    for group in video render; do
        if getent group "$group" >/dev/null; then groups="$groups -G $group"; fi
    done
    say "TensorRT's plan is built, which takes minutes"
    # shellcheck disable=SC2086 # groups are several words
    "$here/jetson.sh" plan "$target/bin/edge" runuser -u edge -g edge $groups -- \
        env HOME=/var/lib/edge XDG_CACHE_HOME=/var/cache/edge
fi

for device in /dev/video* /dev/nvidia0 /dev/nvmap; do
    [ -e "$device" ] || continue
    group=$(stat -c %G "$device")
    case $group$(stat -c %a "$device") in
        video* | render* | *6) ;;
        *) say "$device belongs to group $group; let the service in: systemctl edit ${services%% *}, SupplementaryGroups=$group" ;;
    esac
done
# A service that runs would load parts of the new program into the old one.
start="systemctl enable --now $services"
for service in $services; do
    if systemctl --quiet is-active "$service.service"; then start="systemctl restart $services"; fi
done
say "installed. Start it: $start    Look: journalctl -fu ${services%% *}, http://127.0.0.1:8008"
