"""How right are the camera found in a drive, and the metres made with it? On rendered streets, which know both.

    python -m benchmarks.metres --seeds 200 210

For each seed a drive of a frame a second is calibrated with its lens and height given; then the distance of each person
is compared with where the street has put it. Of people whose feet are seen: the street's own outline of them says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.backends import open_engine
from edge.camera_calibration import calibrate_camera
from edge.classes import CAMVID
from edge.geometry.ground import GroundPlane
from edge.geometry.model import CameraModel
from edge.instances import Instance
from edge.metres import place
from edge.prediction import Prediction
from edge.segmenter import Segmenter
from edge.sources.scene import SceneSource
from edge.street.truth import Placed, StreetCamera

BANDS_M = ((5.0, 15.0), (15.0, 30.0))
PEOPLE = CAMVID.ids("pedestrian")
OWN, COVERED = 0.7, 0.4  # a patch is one person: so much of it is the person's, and it has so much of the person
FEET = 0.08  # feet are seen where the outline's lower end is so near to where they stand, in heights of the outline


@dataclass(frozen=True)
class Error:
    """One person in one frame, by the mask and by the outline that the street gives; metres, and the standard error."""

    truth_m: float
    by_mask_m: float | None
    by_outline_m: float | None
    sd_m: float | None


def main() -> None:
    """Calibrate, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs=2, default=(200, 210), metavar=("FROM", "TO"))
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--engine", default="road")
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    errors: list[Error] = []
    lanes: list[float] = []
    pitches: list[float] = []
    print("seed   frames   pitch   found    error    stated")
    for seed in range(*chosen.seeds):
        uri = f"scene:street?seed={seed}&frames={chosen.frames}&size={chosen.size}&fps=1"
        with SceneSource(uri) as source:
            cameras = [source.scene.camera(index) for index in range(chosen.frames)]
            truth = float(np.median([camera.pitch_deg for camera in cameras]))
            lens = _lens(cameras)
            done = calibrate_camera(source, lens, engine=chosen.engine, frames=chosen.frames)
            off = done.model.pitch_deg - truth
            pitches.append(off)
            print(
                f"{seed:<6} {done.used:>3}/{done.frames:<3} {truth:>7.2f} {done.model.pitch_deg:>7.2f} {off:>+8.3f}"
                f" {done.pitch_se_deg:>8.3f}",
                flush=True,
            )
            errors += _errors(source, done.model, chosen.engine, lanes)
    size = np.abs(pitches)
    print(f"pitch error: median {np.median(size):.3f}, largest {size.max():.3f} degrees of {len(size)} seeds\n")
    _print_distances(errors)
    off = np.array(lanes)
    found = np.isfinite(off)
    print(
        f"\nlane: right boundary found in {found.sum()} of {len(off)} frames; its offset off by"
        f" {np.median(np.abs(off[found])):.2f} m (median), {np.mean(np.abs(off[found]) < 0.2):.0%} within 0.2 m"
    )


def _lens(cameras: list[StreetCamera]) -> CameraModel:
    """What a user would give: field of view and height, standing still."""
    height = float(np.median([camera.height_m for camera in cameras]))
    return CameraModel(height_m=round(height, 3), hfov_deg=round(cameras[0].hfov_deg, 3))


def _errors(source: SceneSource, model: CameraModel, engine: str, lanes: list[float]) -> Iterator[Error]:
    opened = open_engine(engine, side_by_side=True, source_wh=source.size_wh)
    try:
        for result in Segmenter(opened, camera_model=model).segment_all(source):
            right = result.lane.right if result.lane else None
            centre = source.scene.centre_line_m(result.frame.index)
            lanes.append(right.offset_m - centre if right else np.nan)
            yield from _of_frame(source, result)
    finally:
        opened.close()


def _of_frame(source: SceneSource, result: Prediction) -> Iterator[Error]:
    index, plane = result.frame.index, result.ground
    assert plane is not None
    _, outlines = source.truth(index)
    ids = result.letterbox.to_source(result.outputs["instances"])
    camera = source.scene.camera(index)
    for one in source.scene.places(index):
        if one.class_id not in PEOPLE or not BANDS_M[0][0] <= one.ahead_m < BANDS_M[-1][1]:
            continue
        own = outlines == one.instance
        if not own.any() or not _feet_seen(own, camera, one):
            continue
        seen = _instance_of(own, ids, result)
        yield Error(
            one.ahead_m,
            seen.distance_m if seen else None,
            _by_outline(own, plane),
            seen.distance_sd_m if seen else None,
        )


def _feet_seen(own: NDArray[np.bool_], camera: StreetCamera, one: Placed) -> bool:
    rows = np.flatnonzero(own.any(axis=1))
    stands = camera.horizon_v + camera.focal_px * camera.height_m / one.ahead_m
    tall = camera.focal_px * 1.7 / one.ahead_m
    return abs(rows[-1] + 1 - stands) < FEET * tall and rows[-1] + 1 < len(own)


def _by_outline(own: NDArray[np.bool_], plane: GroundPlane) -> float | None:
    """The distance by the street's own outline: what geometry and nodding cost without any net."""
    rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return place([Instance(1, PEOPLE[0], "Pedestrian", box, 1.0, (0.0, 0.0))], plane, 1.0)[0].distance_m


def _instance_of(own: NDArray[np.bool_], ids: NDArray[np.uint8], result: Prediction) -> Instance | None:
    """The object of the mask that is this person alone."""
    numbers = np.bincount(ids[own], minlength=256)
    numbers[0] = 0
    number = int(np.argmax(numbers))
    if numbers[number] < COVERED * own.sum() or numbers[number] < OWN * np.count_nonzero(ids == number):
        return None
    return next((one for one in result.instances or () if one.id == number and one.class_id in PEOPLE), None)


def _print_distances(errors: list[Error]) -> None:
    print("distance of people    seen  found   by the mask: median  90 %    bias  in 2 sd   by outline: median  90 %")
    for near, far in BANDS_M:
        inside = [one for one in errors if near <= one.truth_m < far]
        found = [one for one in inside if one.by_mask_m is not None and one.sd_m is not None]
        mask = np.array([(one.by_mask_m or 0) / one.truth_m - 1 for one in found])
        outline = np.array([one.by_outline_m / one.truth_m - 1 for one in inside if one.by_outline_m is not None])
        within = np.mean([abs((one.by_mask_m or 0) - one.truth_m) <= 2 * (one.sd_m or 0) for one in found])
        print(
            f"{near:>4.0f} to {far:<4.0f} m {len(inside):>12} {len(found):>6} {_shares(mask):>26}"
            f" {np.median(mask):>+7.1%} {within:>8.0%} {_shares(outline):>26}"
        )


def _shares(errors: NDArray[np.float64]) -> str:
    return f"{np.median(np.abs(errors)):.1%}  {np.quantile(np.abs(errors), 0.9):.1%}" if len(errors) else "-"


if __name__ == "__main__":
    main()
