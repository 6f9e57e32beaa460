"""Weather and time of day: where the sun is, what colour the light and the air have, and how they drift."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge.street.place import Floats, rng_of

Bgr = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """The light of one moment. Colours are BGR; gains multiply an albedo that is right under a full, white light."""

    to_sun: Floats
    direct: Floats
    ambient: Floats
    air: Floats
    visibility_m: float
    zenith: Floats
    horizon: Floats
    clouds: float
    cloud_shade: float
    exposure: float
    lamps: float
    remembered: dict[tuple[float, float, float], Floats] = field(default_factory=dict, repr=False, compare=False)

    def gain(self, normal: Floats, in_sun: float | Floats = 1.0) -> Floats:
        """BGR gains, (..., 3), of surfaces with unit normals (..., 3) as (X, Y, S)."""
        normal = np.asarray(normal)
        sun, ambient, direct = (colour.astype(normal.dtype) for colour in (self.to_sun, self.ambient, self.direct))
        facing = np.maximum(normal @ sun, 0) * in_sun
        # Open sky above, ground light below: surfaces that look up get the full ambient light.
        openness = normal[..., 1] * 0.14 + 0.86
        return openness[..., None] * ambient + facing[..., None] * direct

    @property
    def ground_gain(self) -> Floats:
        """BGR (3,): how bright level ground in the sun is."""
        return self.facing(0.0, 1.0, 0.0)

    @property
    def shadow_ratio(self) -> Floats:
        """BGR (3,): how much darker the ground is where the sun does not reach it."""
        return self.ambient / self.ground_gain

    def clear(self, depth_m: Floats) -> Floats:
        """The share of a thing's own light that comes through the air."""
        return np.exp(-np.maximum(depth_m, 0.0) / self.visibility_m)

    def tone(self, depth_m: float, gain: Floats) -> NDArray[np.float64]:
        """float64 (3, 4) for cv2.transform: an albedo image lit by `gain`, seen through the air."""
        clear = math.exp(-max(depth_m, 0.0) / self.visibility_m)
        (b, g, r), (air_b, air_g, air_r), dim = gain.tolist(), self.air.tolist(), 1 - clear
        rows = (
            (b * clear, 0.0, 0.0, air_b * dim),
            (0.0, g * clear, 0.0, air_g * dim),
            (0.0, 0.0, r * clear, air_r * dim),
        )
        return np.array(rows)

    def facing(self, x: float, y: float, s: float) -> Floats:
        """BGR gain, (3,), of a surface with that normal; remembered, as most walls face one of a few ways."""
        if (x, y, s) not in self.remembered:
            self.remembered[x, y, s] = self.gain(np.array([x, y, s]))
        return self.remembered[x, y, s]


@dataclass(frozen=True)
class Weather:
    """What the weather of a seed is like; one row of the table below, then varied."""

    name: str
    sun: float
    ambient: float
    elevation_deg: tuple[float, float]
    visibility_m: tuple[float, float]
    zenith: Bgr
    horizon: Bgr
    clouds: tuple[float, float]
    cloud_shade: float
    exposure: tuple[float, float]
    rain: float = 0.0
    lamps: float = 0.0


WEATHERS = (
    Weather("sunny", 0.85, 0.50, (24, 55), (420, 900), (208, 164, 118), (236, 226, 212), (0.1, 0.5),
        0.25, (0.92, 1.08)),
    Weather("low sun", 0.80, 0.46, (11, 22), (260, 600), (206, 168, 128), (228, 226, 222), (0.1, 0.5),
        0.3, (0.85, 1.1)),
    Weather("white", 0.16, 0.86, (35, 60), (240, 500), (244, 240, 236), (250, 248, 246), (0.5, 0.9),
        0.05, (0.85, 1.05)),
    Weather("overcast", 0.06, 0.82, (35, 60), (200, 420), (196, 188, 180), (226, 222, 218), (0.8, 1.0),
        0.4, (0.75, 0.95)),
    Weather(
        "dusk", 0.05, 0.66, (6, 10), (200, 400), (150, 134, 122), (198, 190, 186), (0.7, 1.0), 0.55, (0.42, 0.66),
        lamps=1.0
    ),
    Weather("haze", 0.30, 0.74, (20, 40), (110, 190), (226, 218, 206), (236, 232, 226), (0.1, 0.4), 0.1, (0.9, 1.0)),
    Weather(
        "rain", 0.03, 0.76, (30, 50), (150, 260), (178, 172, 168), (208, 205, 202), (0.9, 1.0), 0.4, (0.62, 0.85),
        rain=1.0, lamps=0.4,
    ),
)  # fmt: skip
_SHARES = (0.24, 0.15, 0.17, 0.14, 0.12, 0.09, 0.09)


@dataclass(frozen=True)
class Sky:
    """The weather of a seed with its chosen figures; `at` gives the light of a moment."""

    weather: Weather
    azimuth_rad: float
    elevation_rad: float
    visibility_m: float
    clouds: float
    exposure: float
    phases: tuple[float, float, float]
    periods_s: tuple[float, float, float]

    def at(self, time_s: float) -> Light:
        """The light at a time: clouds pass before the sun, and the camera's exposure follows slowly."""
        w = self.weather
        slow, mid, fast = (np.sin(2 * np.pi * time_s / p + a) for p, a in zip(self.periods_s, self.phases, strict=True))
        veil = 1.0 - 0.55 * self.clouds * max(0.0, mid) ** 2
        sun = w.sun * veil
        azimuth, elevation = self.azimuth_rad + 0.12 * slow, self.elevation_rad + 0.02 * slow
        to_sun = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
        low = np.clip(1.0 - np.degrees(self.elevation_rad) / 40, 0, 1)
        blue = 0.10 * min(1.0, w.sun)
        return Light(
            to_sun=to_sun,
            direct=sun * np.array([1 - 0.22 * low, 1 - 0.05 * low, 1 + 0.06 * low]),
            ambient=(w.ambient + 0.06 * (1 - veil)) * np.array([1 + blue, 1.0, 1 - blue]),
            air=np.asarray(w.horizon) * 0.93,
            visibility_m=self.visibility_m * (1 + 0.15 * float(slow)),
            zenith=np.asarray(w.zenith),
            horizon=np.asarray(w.horizon),
            clouds=self.clouds,
            cloud_shade=w.cloud_shade,
            exposure=self.exposure * (1 + 0.03 * float(slow) + 0.012 * float(fast) + 0.05 * (1 - veil)),
            lamps=w.lamps,
        )


def make_sky(seed: int) -> Sky:
    """The weather, sun and sight of a street."""
    rng = rng_of(seed, 4)
    weather = WEATHERS[int(rng.choice(len(WEATHERS), p=_SHARES))]
    return Sky(
        weather=weather,
        azimuth_rad=rng.uniform(0, 2 * np.pi),
        elevation_rad=np.radians(rng.uniform(*weather.elevation_deg)),
        visibility_m=rng.uniform(*weather.visibility_m),
        clouds=rng.uniform(*weather.clouds),
        exposure=rng.uniform(*weather.exposure),
        phases=tuple(rng.uniform(0, 2 * np.pi, 3)),
        periods_s=(rng.uniform(90, 160), rng.uniform(40, 80), rng.uniform(5, 9)),
    )
