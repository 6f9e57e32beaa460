"""How right are the camera found in a drive, and the metres made with it? On rendered streets, which know both.

    python -m benchmarks.metres --seeds 200 210

For each seed a drive of a frame a second is calibrated with its lens and height given; then it is evaluated with the
camera that was found, as `edge evaluate` does. `--markings` asks for the net's markings and curbs, for the lane.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.camera_calibration import CalibratedCamera, calibrate_camera
from edge.evaluate.drives import Drive
from edge.evaluate.figures import report_of
from edge.evaluate.metres import street_model
from edge.evaluate.metres_figures import metres_text
from edge.evaluate.run import EvaluationConfig, table_of
from edge.evaluate.schedule import evaluate_drives, one_by_one
from edge.geometry.model import CameraModel
from edge.sources.scene import SceneSource


def main() -> None:
    """Calibrate, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs=2, default=(200, 210), metavar=("FROM", "TO"))
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--engine", default="road")
    parser.add_argument("--markings", action="store_true")
    parser.add_argument("--json", type=Path, help="the figures in metres, and the errors of the pitch")
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    print("seed   frames   pitch   found    error    stated")
    drives: list[Drive] = []
    pitches: list[float] = []
    for seed in range(*chosen.seeds):
        uri = f"scene:street?seed={seed}&frames={chosen.frames}&size={chosen.size}&fps=1"
        done, truth = _calibrated(uri, chosen.engine, chosen.frames)
        off = done.model.pitch_deg - truth
        pitches.append(off)
        drives.append(Drive(uri, uri, camera_model=done.model))
        print(
            f"{seed:<6} {done.used:>3}/{done.frames:<3} {truth:>7.2f} {done.model.pitch_deg:>7.2f} {off:>+8.3f}"
            f" {done.pitch_se_deg:>8.3f}",
            flush=True,
        )
    size = np.abs(pitches)
    print(f"pitch error: median {np.median(size):.3f}, largest {size.max():.3f} degrees of {len(size)} seeds\n")
    report = _evaluated(drives, chosen.engine, ("markings",) if chosen.markings else ())
    print("\n\n".join(metres_text(report)))
    if chosen.json:
        chosen.json.write_text(json.dumps({"pitch_errors_deg": pitches, "metres": report["metres"]}, indent=1))


def _calibrated(uri: str, engine: str, frames: int) -> tuple[CalibratedCamera, float]:
    """What is found in a street, given what a user would give: field of view and height; and the true pitch."""
    with SceneSource(uri) as source:
        true = street_model([source.scene.camera(index) for index in range(frames)])
        lens = CameraModel(height_m=true.height_m, hfov_deg=true.hfov_deg)
        return calibrate_camera(source, lens, engine=engine, frames=frames), true.pitch_deg


def _evaluated(drives: list[Drive], engine: str, outputs: tuple[str, ...]) -> dict[str, Any]:
    config = EvaluationConfig(engine, outputs=outputs)
    return report_of(evaluate_drives(drives, one_by_one(config)), table_of(config))


if __name__ == "__main__":
    main()
