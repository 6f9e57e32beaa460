"""A camera model as a config file says it: how high the camera is, where it looks and how wide."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from edge.config import StrictModel, load_yaml

DISTORTION_LENGTHS = (4, 5, 8)  # k1 k2 p1 p2 [k3 [k4 k5 k6]], as OpenCV orders them
_UNDONE_PX = 0.5  # how far a pixel at the image's border may be from where distortion, undone and done again, puts it
Side = Annotated[int, Field(ge=16, le=16384)]


class CameraModel(StrictModel):
    """A pinhole camera above a flat road. Angles turn as seen by whoever sits in the car.

    Attributes:
        height_m: of the lens above the road.
        hfov_deg: horizontal field of view, from the left to the right border of the image; or
        focal_px, image_wh: the focal length in pixels, of images of that size. Frames of another size are scaled.
        pitch_deg: how far the camera looks down; negative: up.
        roll_deg: how far it is turned clockwise: the horizon's right end is then higher in the image.
        yaw_deg: how far it looks to the right of where the car goes.
        centre_px: the principal point in images of `image_wh`, as OpenCV's calibration gives it; default: the middle.
        distortion: OpenCV's k1, k2, p1, p2, k3, k4, k5, k6; 4, 5 or 8 of them.
        bonnet_share: of the image's height, at its bottom, that shows the car itself: there is no road to see.
        height_sd_m, pitch_sd_deg: standard errors. That of the pitch has the nodding of the car in it.
    """

    height_m: float = Field(ge=0.1, le=20)
    hfov_deg: float | None = Field(default=None, ge=5, le=150)
    focal_px: float | None = Field(default=None, gt=0, le=100_000)
    image_wh: tuple[Side, Side] | None = None
    pitch_deg: float = Field(default=0.0, ge=-45, le=60)
    roll_deg: float = Field(default=0.0, ge=-45, le=45)
    yaw_deg: float = Field(default=0.0, ge=-60, le=60)
    centre_px: tuple[float, float] | None = None
    distortion: tuple[float, ...] = ()
    bonnet_share: float = Field(default=0.0, ge=0, le=0.5)
    height_sd_m: float = Field(default=0.03, ge=0, le=5)
    pitch_sd_deg: float = Field(default=0.3, ge=0, le=10)

    @model_validator(mode="after")
    def _is_whole(self) -> CameraModel:
        if (self.focal_px is None) == (self.hfov_deg is None):
            raise ValueError("expected hfov_deg, or focal_px with image_wh: one of them")
        for name in ("focal_px", "centre_px", "distortion"):
            if getattr(self, name) and self.image_wh is None:
                raise ValueError(f"{name}: expected image_wh beside it, the size in pixels that it was measured at")
        if self.centre_px and self.image_wh and not _inside(self.centre_px, self.image_wh):
            raise ValueError(f"centre_px: expected a point in the image of {_wh(self.image_wh)}, got {self.centre_px}")
        if self.distortion:
            self._check_distortion()
        return self

    def _check_distortion(self) -> None:
        from edge.geometry.ground import GroundPlane

        if len(self.distortion) not in DISTORTION_LENGTHS:
            lengths = " or ".join(map(str, DISTORTION_LENGTHS))
            raise ValueError(f"distortion: expected {lengths} numbers in OpenCV's order, got {len(self.distortion)}")
        assert self.image_wh is not None
        off_px = GroundPlane(self, self.image_wh).undistortion_error_px()
        if not off_px <= _UNDONE_PX:
            raise ValueError(
                f"distortion: cannot be undone at the image's border (off by {off_px:.3g} px): expected a lens of which"
                " every pixel has one place. Crop the image, or calibrate with fewer coefficients"
            )

    def focal_of(self, size_wh: tuple[int, int], pixel_aspect: float = 1.0) -> tuple[float, float]:
        """The focal length in pixels, across and down, in frames of that size whose pixels have that width over height.

        Raises:
            ValueError: the frames are of another shape than `image_wh`: cropped, not scaled.
        """
        if self.focal_px is None:
            assert self.hfov_deg is not None
            across = size_wh[0] / 2 / math.tan(math.radians(self.hfov_deg) / 2)
            return across, across * pixel_aspect
        across, down = self.scale_of(size_wh, pixel_aspect)
        return self.focal_px * across, self.focal_px * down

    def scale_of(self, size_wh: tuple[int, int], pixel_aspect: float = 1.0) -> tuple[float, float]:
        """Pixels of such frames per pixel of `image_wh`, across and down; 1 where that is not given.

        Raises:
            ValueError: the frames are of another shape.
        """
        if self.image_wh is None:
            return 1.0, 1.0
        across, down = size_wh[0] / self.image_wh[0], size_wh[1] / self.image_wh[1]
        if abs(across * pixel_aspect / down - 1) > 0.02:
            raise ValueError(
                f"the camera model is of images of {_wh(self.image_wh)}, the frames are {_wh(size_wh)}"
                f"{'' if pixel_aspect == 1 else f' with pixels of {pixel_aspect:.3g}:1'}: expected the same shape."
                " Set image_wh, focal_px and pitch_deg to what the frames show"
            )
        return across, down


class CameraFile(StrictModel):
    """A file with a camera model, as `edge camera calibrate` writes it: what stands in a config may stand here."""

    geometry: CameraModel


def load_camera_model(path: Path) -> CameraModel:
    """The camera model in a YAML file, under `geometry:`.

    Raises:
        ConfigError: the file cannot be read or does not fit; all misfits are listed, a line each.
    """
    return load_yaml(path, CameraFile).geometry


def _inside(point: tuple[float, float], wh: tuple[int, int]) -> bool:
    return 0 <= point[0] <= wh[0] and 0 <= point[1] <= wh[1]


def _wh(wh: tuple[int, int]) -> str:
    return f"{wh[0]}x{wh[1]}"
