"""The ego lane on real drives, which have no truth: is it there, and does it jump?

    python -m benchmarks.lane $EDGE_DATA/drives/motorway-540p.mp4 $EDGE_DATA/drives/motorway-720p.mp4

The camera of each drive is found first, with the field of view and the width of the lane given. Whether the lane is
right is for the eye: `edge run DRIVE --camera-model FILE --overlay OUT.mp4` draws it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable

import edge
from edge.camera_calibration import calibrate_camera
from edge.geometry.lane import Boundary, EgoLane
from edge.geometry.model import CameraModel
from edge.report import table

AHEAD_M = (5.0, 15.0)
JUMP_M = 0.5


def row(drive: str, lanes: Iterable[EgoLane]) -> tuple[str, ...]:
    """Frames, those with both boundaries, those in which one is more than `JUMP_M` from where it was a frame before,
    the largest step, and how boundaries are painted in how many frames.
    """
    frames = both = jumps = 0
    largest, kinds = 0.0, Counter[str]()
    before: dict[str, Boundary | None] = {}
    for lane in lanes:
        now = {"left": lane.left, "right": lane.right}
        frames += 1
        both += all(now.values())
        steps = [_step_m(before.get(side), boundary) for side, boundary in now.items()]
        jumps += max(steps) > JUMP_M
        largest = max(largest, *steps)
        kinds.update(f"{side} {boundary.kind}" for side, boundary in now.items() if boundary)
        before = now
    painted = ", ".join(f"{name} {count}" for name, count in sorted(kinds.items()))
    return drive, str(frames), f"{both / frames:.1%}", f"{jumps / frames:.1%}", f"{largest:.2f} m", painted


def _step_m(before: Boundary | None, now: Boundary | None) -> float:
    if before is None or now is None:
        return 0.0
    return max(abs(now.right_at(ahead) - before.right_at(ahead)) for ahead in AHEAD_M)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drives", nargs="+")
    parser.add_argument("--hfov-deg", type=float, default=62.0)
    parser.add_argument("--lane-width-m", type=float, default=3.66)
    parser.add_argument("--markings", action="store_true")
    chosen = parser.parse_args()
    lens = CameraModel(height_m=1.3, hfov_deg=chosen.hfov_deg)
    rows = []
    for drive in chosen.drives:
        model = calibrate_camera(drive, lens, lane_width_m=chosen.lane_width_m).model
        results = edge.segment(drive, camera_model=model, outputs=("markings",) if chosen.markings else ())
        rows.append(row(drive, (result.lane for result in results if result.lane is not None)))
    print(table(("drive", "frames", "both", f"jumps > {JUMP_M} m", "largest step", "painted as, frames"), rows))


if __name__ == "__main__":
    main()
