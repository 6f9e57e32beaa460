"""Resident memory while a 720p drive runs, sampled ten times a second, and its peak.

python -m benchmarks.memory [--overlay] [--frames 300]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.drive import street_720p


def resident_mb(pid: int) -> float:
    """Resident set of a process in MB; 0 once it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--overlay", action="store_true")
    parser.add_argument("--frames", type=int, default=300)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("edge")), "run", str(street_720p(wish.frames)), "--quiet"]
        if wish.overlay:
            command += ["--overlay", f"{folder}/overlay.mp4"]
        process = subprocess.Popen(command)
        samples: list[float] = []
        while process.poll() is None:
            samples.append(resident_mb(process.pid))
            time.sleep(0.1)
    running = sorted(samples[len(samples) // 4 :])  # past the start
    print(f"{' '.join(command[1:])}")
    print(f"resident: median {running[len(running) // 2]:.0f} MB, peak {max(samples):.0f} MB, {len(samples)} samples")


if __name__ == "__main__":
    main()
