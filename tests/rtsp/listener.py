"""FFmpeg as the receiver of a stream: python listener.py URL FORMAT [OPTION=VALUE ...]; prints "frame WIDTHxHEIGHT"."""

from __future__ import annotations

import sys

import av


def main(url: str, container_format: str, *options: str) -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    pairs = dict(option.split("=", 1) for option in options)
    with av.open(url, "r", format=container_format, options=pairs) as container:
        for frame in container.decode(video=0):
            sys.stdout.write(f"frame {frame.width}x{frame.height}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
