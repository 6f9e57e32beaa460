#!/bin/sh
# Installs edge as a service, or takes it away:  sudo systemd/install.sh [--uninstall]
# Run again, it updates program and unit and leaves the config alone.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=/opt/edge

say() { printf '%s\n' "install.sh: $*"; }
stop() { printf '%s\n' "install.sh: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || stop "root is wanted. Try: sudo $0"
command -v systemctl >/dev/null || stop "this machine has no systemd"

if [ "${1:-}" = --uninstall ]; then
    systemctl disable --now edge.service 2>/dev/null || true
    rm -rf "$target" /etc/systemd/system/edge.service /etc/sysusers.d/edge.conf
    systemctl daemon-reload
    say "removed. Left as they are: /etc/edge, /var/lib/edge, /var/cache/edge and the user edge"
    exit 0
fi
[ $# = 0 ] || stop "usage: $0 [--uninstall]"

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || stop "$python: Python 3.10 or newer is wanted. Try: PYTHON=python3.12 $0"
"$python" -c 'import ensurepip' 2>/dev/null || stop "$python: has no venv module. Try: apt install python3-venv"

# On a Jetson, TensorRT and OpenCV with GStreamer are the system's: an environment that sees them.
site=
if [ -e /etc/nv_tegra_release ]; then
    site=--system-site-packages
    say "a Jetson: the environment sees the system's TensorRT and OpenCV"
fi
[ -x "$target/bin/python" ] || "$python" -m venv $site "$target"
"$target/bin/pip" install --quiet --disable-pip-version-check --upgrade "$(dirname "$here")[serve]"

install -D -m 0644 "$here/sysusers.conf" /etc/sysusers.d/edge.conf
systemd-sysusers /etc/sysusers.d/edge.conf
install -d -m 0750 -g edge /etc/edge
if [ -e /etc/edge/edge.yaml ]; then
    say "/etc/edge/edge.yaml is kept"
else
    install -m 0640 -g edge "$here/edge.yaml" /etc/edge/edge.yaml
fi
install -m 0644 "$here/edge.service" /etc/systemd/system/edge.service
systemctl daemon-reload

for device in /dev/video*; do
    [ -e "$device" ] || continue
    group=$(stat -c %G "$device")
    case $group in
        video | render) ;;
        *) say "$device belongs to group $group; let the service in: systemctl edit edge, SupplementaryGroups=$group" ;;
    esac
done
say "installed. Start it: systemctl enable --now edge    Look: journalctl -fu edge, http://127.0.0.1:8008"
