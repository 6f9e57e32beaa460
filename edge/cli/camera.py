"""The commands about a camera's place and lens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.shared import EngineName, JsonFile, end_on_sigterm, progress_report, write_json
from edge.cli.stdio import print_report
from edge.errors import ConfigError

if TYPE_CHECKING:
    from edge.geometry.model import CameraModel

camera = typer.Typer(help="Where a camera is and looks.", no_args_is_help=True)
_ASSUMED_M = 1.35  # while the height is unknown: the pitch does not hang on it


@camera.callback()
def _group() -> None:
    """With a single command, typer would make the group itself that command."""


@camera.command(epilog="Example: edge camera calibrate drive.mp4 --hfov-deg 62 --height-m 1.35 --overlay look.jpg")
def calibrate(
    drive: Annotated[str, typer.Argument(help="What `edge run` takes: a video, a recorded drive, scene:street.")],
    hfov_deg: Annotated[float | None, typer.Option(help="Horizontal field of view in degrees.")] = None,
    focal_px: Annotated[float | None, typer.Option(help="Or the focal length in pixels of the drive's frames.")] = None,
    lens: Annotated[Path | None, typer.Option(help="Or a camera model whose lens, roll and height are kept.")] = None,
    height_m: Annotated[float | None, typer.Option(help="Of the lens above the road.")] = None,
    lane_width_m: Annotated[float | None, typer.Option(help="Or of the lane that the car drives in.")] = None,
    roll_deg: Annotated[float | None, typer.Option(help="How far the camera is turned clockwise; default 0.")] = None,
    to: Annotated[Path, typer.Option(help="The file for --camera-model and the config.")] = Path("camera.yaml"),
    overlay: Annotated[
        Path | None, typer.Option(help="Horizon and a grid in metres over a frame, to judge by eye: .jpg, .png.")
    ] = None,
    frames: Annotated[int, typer.Option(min=5, help="How many frames are looked at, spread over the drive.")] = 80,
    engine: EngineName = "road",
    json_file: JsonFile = None,
) -> None:
    """Find a camera's pitch and yaw in a drive, by where road edges and markings meet; its height by a lane's width."""
    from edge.camera_calibration import calibrate_camera, write_model, write_overlay
    from edge.sinks.collisions import check_outputs
    from edge.sources.open import open_source

    check_outputs([to, overlay, json_file], [drive, lens], [engine])
    end_on_sigterm()
    with open_source(drive) as source:
        given = {"hfov_deg": hfov_deg, "focal_px": focal_px, "height_m": height_m, "roll_deg": roll_deg}
        model = _lens(lens, given, lane_width_m, source.size_wh)
        with progress_report() as report:
            found = calibrate_camera(
                source,
                model,
                lane_width_m=lane_width_m,
                engine=engine,
                frames=frames,
                on_frame=lambda done, count: report("looking at frames", done, count),
            )
    write_model(to, found)
    if overlay:
        write_overlay(overlay, found)
    written = " and ".join(str(path) for path in (to, overlay) if path)
    look = "" if overlay else ". Judge it by eye: --overlay look.jpg"
    print_report(f"{found}\n\nwritten  {written}{look}", json_file)
    if json_file:
        write_json(json_file, found.as_json())


def _lens(
    file: Path | None, given: dict[str, float | None], lane_width_m: float | None, size_wh: tuple[int, int]
) -> CameraModel:
    """The model to begin with.

    Raises:
        ConfigError: lens or height are missing, or given twice.
    """
    from edge.config import parse_tree
    from edge.geometry.model import CameraFile, load_camera_model

    known: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    lenses = [name for name in ("hfov_deg", "focal_px") if name in known]
    if len(lenses) + (file is not None) != 1:
        raise ConfigError("expected --hfov-deg, --focal-px or --lens, one of them: the lens cannot be found in a drive")
    if lane_width_m is not None and not 1.5 <= lane_width_m <= 10:
        raise ConfigError(f"--lane-width-m {lane_width_m:g}: expected 1.5 to 10 metres, such as 3.5")
    if "height_m" in known and lane_width_m is not None:
        raise ConfigError("expected --height-m or --lane-width-m, not both")
    if file is None and "height_m" not in known and lane_width_m is None:
        raise ConfigError("expected --height-m (of the lens above the road) or --lane-width-m")
    base: dict[str, Any] = {"height_m": _ASSUMED_M}
    if file is not None:
        base = load_camera_model(file).model_dump(mode="json", exclude_defaults=True)
    if "focal_px" in known:
        base["image_wh"] = list(size_wh)
    return parse_tree({"geometry": base | known}, CameraFile, "edge camera calibrate").geometry
