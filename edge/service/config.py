"""The service's config file, `edge.yaml`; every key with unit and default is in systemd/edge.yaml."""

from __future__ import annotations

import logging
import stat
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from edge.backends import BACKENDS
from edge.card import Card
from edge.config import Model, StrictModel, load_yaml
from edge.engine import Bundle, find_bundle
from edge.errors import ConfigError
from edge.events import EventOptions
from edge.geometry.model import CameraModel
from edge.gps import GpsOptions
from edge.ladder import LadderOptions
from edge.outputs import CONFIDENCE
from edge.paths import expanded, open_folder
from edge.sinks.flight import FlightOptions
from edge.sinks.mqtt.options import MqttOptions
from edge.sinks.recorder import RecorderOptions
from edge.web.options import WebOptions

log = logging.getLogger(__name__)

# It becomes a folder, a part of topics and of addresses.
CameraName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
_DEVICES = 64  # /dev/video0 to /dev/video63, as V4L2 counts them


def _device_name(value: Any) -> Any:
    """`camera: 0` is the device that `edge run 0` takes."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number and 0 <= value < _DEVICES else value


CameraSource = Annotated[str, Field(min_length=1), BeforeValidator(_device_name)]


def _known_backend(name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"expected {', '.join(BACKENDS)}")
    return name


Backend = Annotated[str, AfterValidator(_known_backend)]


def _public_key(text: str) -> str:
    from edge.signing import check_key

    return check_key(text)  # ConfigError is a ValueError


PublicKey = Annotated[str, AfterValidator(_public_key)]


class ShadowOptions(StrictModel):
    """A second engine that is tried beside the first.

    Attributes:
        engine, precision: as those of the config.
        every: it runs on one frame in so many.
        worst: a frame of which a larger share of pixels has another class is worth a drive of the flight recorder.
    """

    engine: str
    precision: Literal["int8", "f32", "bf16", "fp16"] | None = None
    every: int = Field(default=10, ge=1, le=100_000)
    worst: float = Field(default=0.2, gt=0, le=1)


class SwapOptions(StrictModel):
    """The trial of an engine that follows another one in the running service (edge/service/swap.py).

    Attributes:
        trial_s: how long it lasts; within it, the former engine comes back where a limit is passed.
        age: of the p99 of masks' ages, as a multiple of what it was.
        disagreement: of the share of pixels to which the two engines give another class, mean over the trial.
        unlike: how much more unlike its training data the scene may look to the new engine (`edge.domain.ood_score`).
        every: both engines run on one frame in so many.
    """

    trial_s: float = Field(default=60.0, gt=0, le=86_400)
    age: float = Field(default=1.5, ge=1, le=100)
    disagreement: float = Field(default=0.1, gt=0, le=1)
    unlike: float = Field(default=0.3, gt=0, le=1000)
    every: int = Field(default=10, ge=1, le=100_000)


class ServeConfig(StrictModel):
    """One camera or several, an engine for each, and where results go.

    Attributes:
        camera: the only one, as `edge run` takes it.
        cameras: several by name, in its place: {front: /dev/video0, rear: /dev/video2}. Each has its part of the page,
            its metrics, its topics (TOPIC/front/...) and its folder of recordings (FOLDER/front).
        loop: a recording begins anew at its end; else the service ends with it.
        engine, precision, backend, threads: as `edge run` takes them; several cameras share one engine.
        trusted_keys: public keys such as `ed25519:...`, of which one must have signed the engine (docs/signing.md);
            without it, any engine is opened.
        confidence: also compute how sure the engine is of each pixel, for all outputs.
        instances: also people, cyclists and vehicles one by one, for all outputs (docs/instances.md).
        markings: also lane markings and curbs, for all outputs (docs/instances.md).
        steady: hold back changes of class that the engine is not sure of; by default where it tells how sure it is.
        geometry: where the only camera is and looks: people, vehicles and the free road ahead in metres, for all
            outputs (docs/metres.md).
        geometries: of several cameras, by name.
        gps: a gpsd, whose position and speed go with all results (docs/service.md).
        ladder: under overload, a smaller image; without it, only frames are dropped.
        shadow: a second engine, tried beside the first on some frames; its masks go nowhere.
        swap: what an engine that follows another one is held to.
        control: a Unix socket for `edge swap`; without it, nothing listens.
        events: what is looked for in the masks, and reported in the log; without it, nothing.
        mqtt: results, masks and events to a broker.
        recorder: what was seen, in segments of video within a quota, which several cameras share evenly.
        flight: the last seconds in memory, of which a drive is made when something happens.
        web: the live page; without it, nothing listens.
        publish: URLs of media servers that get the overlay as a live stream (docs/live.md), or mappings of
            `edge.sinks.table.PublishOptions`; with several cameras, {camera} in a URL stands for the camera's name.
        sinks: more outputs, by the name of their kind (edge.sinks.table), such as a package's own; of several cameras,
            {camera} in a text stands for the camera's name, and an option may be a mapping by camera. Files and folders
            get the time of each start in their names.
        socket: of the split service: where its publisher fetches the results of the only camera.
    """

    camera: CameraSource | None = None
    cameras: dict[CameraName, CameraSource] = Field(default_factory=dict)
    loop: bool = False
    engine: str = "road"
    precision: Literal["int8", "f32", "bf16", "fp16"] | None = None
    backend: Backend | None = None
    threads: int | None = Field(default=None, ge=1)
    trusted_keys: tuple[PublicKey, ...] | None = Field(default=None, min_length=1)
    confidence: bool = False
    instances: bool = False
    markings: bool = False
    steady: bool | None = None
    geometry: CameraModel | None = None
    geometries: dict[CameraName, CameraModel] = Field(default_factory=dict)
    gps: GpsOptions | None = None
    ladder: LadderOptions | None = None
    shadow: ShadowOptions | None = None
    swap: SwapOptions = SwapOptions()
    control: str | None = Field(default=None, min_length=1)
    events: EventOptions | None = None
    mqtt: MqttOptions | None = None
    recorder: RecorderOptions | None = None
    flight: FlightOptions | None = None
    web: WebOptions | None = None
    publish: list[Annotated[str, Field(min_length=1)] | dict[str, Any]] = Field(default_factory=list)
    sinks: dict[str, str | dict[str, Any]] = Field(default_factory=dict)
    socket: str | None = Field(default=None, min_length=1)

    def bundle(self) -> Bundle:
        """The engine's bundle.

        Raises:
            EngineError: it is missing or not in order, or no trusted key has signed it.
            ConfigError: signatures are asked for, and the library for them is not installed.
        """
        return find_bundle(self.engine, self.trusted_keys)

    def asked(self, card: Card) -> tuple[str, ...]:
        """The outputs to compute besides the engine's default ones, and what steps are to do."""
        can_be_steady = any(output.name == CONFIDENCE.name for output in card.outputs)
        wishes = {
            "confidence": self.confidence,
            "instances": self.instances or self.geometry is not None or bool(self.geometries),
            "markings": self.markings,
            "steady": can_be_steady if self.steady is None else self.steady,
        }
        return tuple(name for name, wished in wishes.items() if wished)

    @field_validator("geometries", mode="before")
    @classmethod
    def _are_sections(cls, value: Any) -> Any:
        if isinstance(value, dict) and not all(isinstance(one, dict) for one in cast("dict[Any, Any]", value).values()):
            raise ValueError("expected a section for each camera, such as {front: {height_m: 1.35, hfov_deg: 62}}")
        return value

    def geometry_of(self, camera: str) -> CameraModel | None:
        """The camera model of a camera by its name in `sources`."""
        return self.geometries.get(camera) if camera else self.geometry

    @property
    def sources(self) -> dict[str, str]:
        """Each camera by its name; the name of an only one is empty.

        Raises:
            ConfigError: no camera is named, or there are two ways in which they are named. No message shows a source.
        """
        if (self.camera is None) == (not self.cameras):
            raise ConfigError("expected `camera: SOURCE`, or `cameras: {NAME: SOURCE, ...}`, one of them")
        if len(set(self.cameras.values())) < len(self.cameras):
            raise ConfigError("cameras: two of them are the same one")
        return self.cameras if self.camera is None else {"": self.camera}


def load_config(path: Path, model: type[Model]) -> Model:
    """A service's config file, with the zones that were saved on the page in place. A file of both that every user may
    change is warned of: whoever does decides what is watched.

    Raises:
        ConfigError: it cannot be read or does not fit; all misfits are listed, a line each.
    """
    config = load_yaml(path, model)
    events = getattr(config, "events", None)
    if isinstance(events, EventOptions) and events.zones_file is not None:
        from edge.service.zones import with_saved

        config = config.model_copy(update={"events": with_saved(events)})
        if (zones := expanded("events.zones_file", events.zones_file)).exists():
            _warn_if_open(zones)
    _warn_if_open(path)
    return config


def _warn_if_open(path: Path) -> None:
    if path.stat().st_mode & stat.S_IWOTH:
        log.warning("%s: every user of this machine may change it. Run: chmod o-w %s", path, path)
    elif (folder := open_folder(path)) is not None:
        log.warning("%s: every user of this machine may replace it. Run: chmod o-w %s", path, folder)
