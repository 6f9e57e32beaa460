#!/bin/sh
# What a service needs on a Jetson beyond its unit; called by install.sh.
#   jetson.sh dropin ROOT FILE      the GPU's device nodes under ROOT, and argus' socket, as a drop-in FILE
#   jetson.sh plan EDGE [RUN...]    build the engine's plan with the program EDGE, by RUN (the service's user);
#                                   it fails where TensorRT would not be taken
set -eu
stop() { printf '%s\n' "install.sh: $*" >&2; exit 1; }

dropin() {
    root=$1 file=$2
    mkdir -p "$(dirname "$file")"
    {
        echo '# Written by systemd/install.sh: the device nodes of this Jetson. Run it again after an update of JetPack.'
        echo '[Service]'
        for node in "$root"/dev/nvgpu/igpu*/* "$root"/dev/nvhost-* "$root"/dev/nvmap "$root"/dev/nvsciipc; do
            [ -e "$node" ] && [ ! -d "$node" ] || continue
            printf 'DeviceAllow=%s rw\n' "${node#"$root"}"
        done
        # PrivateTmp hides the socket of the daemon for `csi:` cameras; "-": it may not be there.
        echo 'BindPaths=-/tmp/argus_socket'
    } >"$file"
    chmod 0644 "$file"
}

plan() {
    edge=$1
    shift
    taken=$("$@" "$(dirname "$edge")/python" -c 'from edge.backends import choose_backend; print(choose_backend())') ||
        stop "edge cannot be started. Try: $edge doctor"
    [ "$taken" = tensorrt ] || stop "TensorRT is not taken: the masks would come from the CPU, by $taken. Try: $edge doctor"
    "$@" "$edge" plan road || stop "the plan cannot be built. Try: $* $edge plan road"
}

case "${1:-}" in
    dropin | plan) "$@" ;;
    *) stop "usage: $0 dropin ROOT FILE | plan EDGE [RUN...]" ;;
esac
