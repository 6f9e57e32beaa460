"""The street seen from the car: one frame after another, each from its number alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.classes import CAMVID
from edge.street import materials
from edge.street.canvas import Canvas, Paint
from edge.street.cast import Cast
from edge.street.film import Film
from edge.street.ground import Ground
from edge.street.light import Light, make_sky
from edge.street.markings import MarkingMap
from edge.street.memory import Scratch, frame_arrays, stored
from edge.street.place import BICYCLIST, CAR, PEDESTRIAN, make_optics, make_path, make_place, rng_of
from edge.street.scenery import Scenery
from edge.street.shadows import ShadowMap
from edge.street.sky import Backdrop
from edge.street.traffic import Traffic
from edge.street.truth import Placed, StreetCamera, StreetLane
from edge.street.view import View, make_view
from edge.street.wet import Wet
from edge.street.world import Block, World

_SMALL_PX = 400
assert CAR < PEDESTRIAN < BICYCLIST == len(CAMVID) - 1


@dataclass(frozen=True)
class Rendered:
    """One frame: image uint8 (H, W, 3) BGR; classes uint8 (H, W), CamVid ids; instances uint16 (H, W), 0 for none.

    Every car, cyclist and walker keeps its instance id for as long as it is in view. The arrays are the caller's.
    """

    image: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    instances: NDArray[np.uint16]


class StreetScene:
    """A drive through the street of a seed.

    >>> scene = StreetScene(7, (320, 180))
    >>> scene.render(0).image.shape
    (180, 320, 3)
    """

    def __init__(self, seed: int, size_wh: tuple[int, int] = (1280, 720), rate_hz: float = 30.0) -> None:
        self.seed, self.size_wh, self.rate_hz = seed, size_wh, rate_hz
        self._place = make_place(seed)
        self._path = make_path(seed, self._place)
        self._optics = make_optics(seed)
        self._sky = make_sky(seed)
        self._world = World(seed, self._place)
        self._ground = Ground(seed, self._place, self._world)
        self._scenery = Scenery(seed, self._place, self._sky.weather.lamps)
        self._cast = Cast(seed, Traffic(seed, self._place, self._path))
        # Small images are drawn twice as large and reduced, as cameras and data sets do.
        self._times = 2 if size_wh[1] <= _SMALL_PX else 1
        drawn_wh = (size_wh[0] * self._times, size_wh[1] * self._times)
        self._drawn_wh = drawn_wh
        self._backdrop = Backdrop(seed, self._sky, drawn_wh, self._optics)
        self._scratch = Scratch(drawn_wh)
        self._weave = stored(materials.weave(rng_of(seed, 51), drawn_wh))
        self._wet = Wet(seed, drawn_wh) if self._sky.weather.rain else None
        self._film = Film(seed, self._optics, size_wh, soften=self._times == 1)

    def render(self, index: int) -> Rendered:
        """Frame `index`; it depends on seed, size, rate and index, and on nothing drawn before."""
        time_s = index / self.rate_hz
        light = self._sky.at(time_s)
        view = self._view(index)
        canvas = Canvas(*frame_arrays(self._drawn_wh), self._scratch, self._weave)
        self._backdrop.draw(canvas, view, light, time_s)
        self._ground.draw(canvas, view, light)
        blocks = self._world.blocks_near(view.s)
        shadows = ShadowMap(canvas, view, light)
        self._shade_scenery(shadows, view, light, blocks)
        paints = self._cast.at(time_s, canvas, view, light, shadows, blocks)
        paints += self._paints(canvas, view, light, blocks)
        shadows.apply()
        for _, paint in sorted(paints, key=lambda pair: -pair[0]):
            paint()
        canvas.settle(first_instanced=CAR)
        if self._wet:
            self._wet.mirror(canvas, view)
            self._wet.fall(canvas.image, index)
        return self._reduced(canvas, light, index)

    def camera(self, index: int) -> StreetCamera:
        """The camera of frame `index`, in pixels of the image."""
        view, times = self._view(index), self._times
        pixels = (view.focal_px / times, view.centre_u / times, view.horizon_v / times)
        return StreetCamera(*pixels, view.height_m, self.size_wh)

    def speed_m_s(self, index: int) -> float:
        """How fast the car goes in frame `index`."""
        time_s = index / self.rate_hz
        return (self._path.car_s(time_s + 0.05) - self._path.car_s(time_s - 0.05)) / 0.1

    def markings(self, index: int, classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 (H, W): 1 where a marking of the road is seen in frame `index`, 2 where a kerb is, else 0; `classes`
        are those that it was rendered with.
        """
        return self._marks.seen(self._label_view(index), classes)

    def lane(self, index: int, classes: NDArray[np.uint8]) -> StreetLane:
        """The lane that the car drives in, on the left of the street, and how much of it frame `index` shows."""
        return self._marks.lane(self._label_view(index), classes)

    def places(self, index: int) -> list[Placed]:
        """Where everybody is in frame `index` who may be in view, hidden ones too."""
        view = self._view(index)
        return self._cast.places(index / self.rate_hz, view, self._world.blocks_near(view.s))

    @cached_property
    def _marks(self) -> MarkingMap:
        return MarkingMap(self._ground)

    def _label_view(self, index: int) -> View:
        return make_view(self.size_wh, self._optics, self._path, index / self.rate_hz)

    def _view(self, index: int) -> View:
        return make_view(self._drawn_wh, self._optics, self._path, index / self.rate_hz)

    def _reduced(self, canvas: Canvas, light: Light, index: int) -> Rendered:
        """The canvas at the size that was asked for, as the camera takes it."""
        image, classes, instances = canvas.image, canvas.classes, canvas.instances
        if self._times > 1:
            image = cv2.resize(image, self.size_wh, interpolation=cv2.INTER_AREA)
            labels = (slice(1, None, self._times), slice(1, None, self._times))
            classes, instances = np.ascontiguousarray(classes[labels]), np.ascontiguousarray(instances[labels])
        return Rendered(self._film.developed(image, light, index), classes, instances)

    def _shade_scenery(self, shadows: ShadowMap, view: View, light: Light, blocks: list[Block]) -> None:
        for block in blocks:
            if block.s0 - view.s > 85:
                continue
            for thing in (*block.buildings, *block.barriers, *block.standing):
                self._scenery.shade(shadows, view, light, thing)

    def _paints(self, canvas: Canvas, view: View, light: Light, blocks: list[Block]) -> list[Paint]:
        """Everything that stands still: its distance along the road, and how to paint it."""
        scenery = self._scenery
        scenery.keep(blocks)
        paints: list[Paint] = []
        for block in blocks:
            paints += [(one.s1, partial(scenery.building, canvas, view, light, one)) for one in block.buildings]
            paints += [(one.s + 0.5, partial(scenery.side_row, canvas, view, light, one)) for one in block.side_rows]
            paints += [(one.s1 - 0.5, partial(scenery.barrier, canvas, view, light, one)) for one in block.barriers]
            paints += [(one.s, partial(scenery.upright, canvas, view, light, one)) for one in block.standing]
        return paints
