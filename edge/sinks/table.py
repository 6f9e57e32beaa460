"""Every kind of sink by name, for the command line, the service and the publisher alike.

A package adds its own by an entry point of the group `edge.sinks` that names a `SinkKind`:

    [project.entry-points."edge.sinks"]
    csv = "my_package:CSV"

It is then `edge run SOURCE --sink csv=FILE`, and `sinks: {csv: FILE}` in a config file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edge.appearance import Appearance, parse_classes
from edge.card import Card
from edge.errors import ConfigError
from edge.install import install_command
from edge.paths import expanded, shown
from edge.ros2.options import Ros2Options
from edge.secrets import redacted
from edge.sinks.sink import Sink
from edge.timing import Stages

GROUP = "edge.sinks"
Texts = Mapping[str, Any]


@dataclass(frozen=True)
class SinkContext:
    """What a sink may ask about the run that it is for.

    Attributes:
        source: its name; rate_hz, frame_count: None where they are unknown.
        card: of the engine.
        stages: takes the sink's times.
        image_names: of a source of image files, the name of each one's output, without an ending.
        precision: that the engine runs in; settings: what of the configuration goes with a drive, as YAML.
        unattended: of a service: what may pass by itself, such as a port that is taken, is tried again without end, and
            files have names of their own for each start.
        live: of a service: the `edge.web.state.Live` that its page shows.
    """

    source: str
    rate_hz: float | None
    card: Card
    stages: Stages
    frame_count: int | None = None
    image_names: Mapping[str, str] = field(default_factory=dict)
    precision: str = ""
    settings: str = ""
    unattended: bool = False
    live: Any = None


@dataclass(frozen=True)
class SinkKind:
    """One kind of sink.

    Attributes:
        name: the option, and the key in a config.
        make: the sink, of its options; OutputError and ConfigError say why there can be none.
        options: a dataclass of what can be set. A text alone is the value of its first field. With a
            `__pydantic_config__`, values are checked as those of a config file are.
        modules: what must be installed, and extra: what of edge-segmentation, or which package, brings it.
        of_text: the options that a text alone stands for, where it says more than the first one.
        check: refuses options by ConfigError before a service begins, where making the sink would do more than look.
        probe: refuses by EdgeError what cannot be written now, before a service lets go of the sinks that it has; it
            leaves nothing open. Not called for a file that one of those sinks writes to.
        listens: the host and port that the sink listens on.
        of_camera: of a section that all cameras of a service share, the options of one of several, by its name and
            how many there are.
    """

    name: str
    make: Callable[[Any, SinkContext], Sink]
    options: type
    modules: tuple[str, ...] = ()
    extra: str = ""
    of_text: Callable[[str], Texts] | None = None
    check: Callable[[Any], object] | None = None
    probe: Callable[[Any, SinkContext], object] | None = None
    listens: Callable[[Any], tuple[str, int]] | None = None
    of_camera: Callable[[Any, str, int], object] | None = None


@dataclass(frozen=True, kw_only=True)
class LookOptions:
    """How an overlay looks: `edge.appearance.Appearance`."""

    style: str = "tint"
    alpha: float | None = None
    classes: Sequence[str] = ()
    legend: bool = True

    def __post_init__(self) -> None:
        """Raises ConfigError: it cannot look like that."""
        _ = self.look

    @property
    def look(self) -> Appearance:
        """Of these options."""
        classes = parse_classes(self.classes) if isinstance(self.classes, str) else tuple(self.classes)
        return Appearance(self.style, self.alpha, classes, self.legend)


@dataclass(frozen=True)
class OverlayOptions(LookOptions):
    """A video, an image, or a folder of images."""

    path: Path


@dataclass(frozen=True)
class MasksOptions:
    """A folder, and what its PNG files hold: `edge.sinks.masks.Form`."""

    folder: Path
    form: str = "ids"


@dataclass(frozen=True)
class ResultsOptions:
    """A file of JSON lines."""

    path: Path


@dataclass(frozen=True)
class FoxgloveOptions:
    """Where Foxglove finds what is seen, and how frames are coded for it.

    Attributes:
        address: HOST:PORT; this machine alone can reach 127.0.0.1.
        codec: h264, or jpeg, which is larger and where no frame needs another.
        certificate_file, key_file: PEM, for wss://.
    """

    address: str
    codec: str = "h264"
    certificate_file: str | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError: it cannot be listened there."""
        from edge.sinks.foxglove_server import Address

        Address.parse(self.address)


@dataclass(frozen=True)
class PublishOptions(LookOptions):
    """The URL of a media server (`edge.sinks.publish.targets`)."""

    url: str

    def __post_init__(self) -> None:
        """Raises ConfigError: it is no such URL, or the overlay cannot look like that."""
        from edge.sinks.publish.targets import Target

        Target.parse(self.url)
        super().__post_init__()


def _overlay(options: OverlayOptions, context: SinkContext) -> Sink:
    from edge.sinks.files import IMAGES, STDOUT

    path, look = _own_name(options.path, context), options.look
    look.table(context.card.table)  # a class that the engine does not know is refused before anything is written
    makes_images = context.frame_count == 1 if path == STDOUT else path.is_dir() or not (path.suffix or path.exists())
    if path.suffix.lower() in IMAGES or (context.image_names and makes_images):
        from edge.sinks.images import OverlayImages

        return OverlayImages(path, context, look)
    from edge.sinks.video import OverlayVideo

    return OverlayVideo(path, context.rate_hz, context.stages, look=look)


def _masks(options: MasksOptions, context: SinkContext) -> Sink:
    from edge.sinks.masks import MaskFiles

    folder = _own_name(options.folder, context)
    return MaskFiles(folder, context.stages, options.form, context.image_names, context.frame_count)


def _results(options: ResultsOptions, context: SinkContext) -> Sink:
    from edge.sinks.jsonl import JsonLines

    path = _own_name(options.path, context)
    return JsonLines(path, context.stages, names_files=bool(context.image_names), grows=context.unattended)


def _own_name(path: Path, context: SinkContext) -> Path:
    """A service starts again and again: no output of it replaces an earlier one, or mixes with it."""
    if not context.unattended:
        return path
    from edge.sinks.files import dated

    return dated(path)


def _foxglove(options: FoxgloveOptions, context: SinkContext) -> Sink:
    from edge.sinks.foxglove_live import FoxgloveSink

    return FoxgloveSink(options, context)


def _foxglove_address(options: FoxgloveOptions) -> tuple[str, int]:
    from edge.sinks.foxglove_server import Address

    address = Address.parse(options.address)
    return address.host, address.port


def _ros2(options: Ros2Options, context: SinkContext) -> Sink:
    from edge.sinks.ros2 import Ros2Sink

    return Ros2Sink(options, context)


def _publish(options: PublishOptions, context: SinkContext) -> Sink:
    from edge.sinks.publish.sink import PublishSink

    return PublishSink(options, context)


def _publish_of_camera(options: PublishOptions, camera: str, cameras: int) -> PublishOptions:
    if "{camera}" not in options.url:
        raise ConfigError(
            f"publish: {redacted(options.url)}: with several cameras, expected {{camera}} in the URL: their names"
        )
    return dataclasses.replace(options, url=options.url.replace("{camera}", camera))


BUILT_IN = {
    kind.name: kind
    for kind in (
        SinkKind("overlay", _overlay, OverlayOptions, probe=_overlay),
        SinkKind("masks", _masks, MasksOptions, probe=_masks),
        SinkKind("results", _results, ResultsOptions, probe=_results),
        SinkKind("publish", _publish, PublishOptions, of_camera=_publish_of_camera),
        SinkKind(
            "foxglove",
            _foxglove,
            FoxgloveOptions,
            ("foxglove", "foxglove_schemas_protobuf"),
            "edge-segmentation[foxglove]",
            listens=_foxglove_address,
        ),
        SinkKind(
            "ros2",
            _ros2,
            Ros2Options,
            ("zenoh", "rosbags", "xxhash"),
            "edge-segmentation[ros2]",
            Ros2Options.of_text,
        ),
    )
}


# Those that few runs need: each module's KIND.
LATER = {"mqtt": "edge.sinks.mqtt", "recorder": "edge.sinks.recorder", "flight": "edge.sinks.flight"}


def find_kind(name: str) -> SinkKind:
    """The kind of that name.

    Raises:
        ConfigError: there is no such kind, or its package cannot be loaded.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name in LATER:
        return import_module(LATER[name]).KIND
    from importlib.metadata import entry_points  # late: it reads the metadata of all packages

    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in known:
        raise ConfigError(
            f"no sink is called {redacted(name)!r}; there are: {', '.join(sorted({*BUILT_IN, *LATER, *known}))}"
        )
    try:
        kind = known[name].load()
    except Exception as error:  # whatever a module that is not ours does when it is loaded
        raise ConfigError(f"sink {name!r}: {known[name].value} cannot be loaded: {error}") from error
    if not isinstance(kind, SinkKind):
        raise ConfigError(f"sink {name!r}: expected {known[name].value} to be a SinkKind, got {type(kind).__name__}")
    return kind


def make_sink(kind: SinkKind | str, given: object, context: SinkContext) -> Sink:
    """A sink of that kind or name; `given` is a text, a mapping of options, or the options themselves.

    Raises:
        ConfigError: there is no such kind, its libraries are not installed, or its options are others.
        OutputError: it cannot write there.
    """
    if isinstance(kind, str):
        kind = find_kind(kind)
    check_libraries(kind)
    return kind.make(options_of(kind, given), context)


def check_libraries(kind: SinkKind) -> None:
    """Refuse a kind of sink whose libraries are not installed.

    Raises:
        ConfigError: one is missing, and how to install it.
    """
    if missing := [module for module in kind.modules if find_spec(module) is None]:
        raise ConfigError(
            f"sink {kind.name!r} needs the library {missing[0]}. Try: {install_command(kind.extra or missing[0])}"
        )


def options_of(kind: SinkKind, given: object) -> object:
    """The options of a sink of that kind, from a text, a mapping or the options themselves.

    Raises:
        ConfigError: one is unknown, missing or of another type. No message shows an address.
    """
    if isinstance(given, kind.options):
        return given
    by_place = sorted(
        dataclasses.fields(kind.options), key=lambda one: one.kw_only is True
    )  # those of a base come behind
    fields = {one.name: one for one in by_place}
    if isinstance(given, str) and kind.of_text is not None:
        given = kind.of_text(given)
    values = dict(given) if isinstance(given, Mapping) else {next(iter(fields)): given}
    if unknown := [key for key in values if key not in fields]:
        raise ConfigError(
            f"sink {kind.name!r}: no option {redacted(str(unknown[0]))!r}; there are: {', '.join(fields)}"
        )
    # Of a dataclass under `from __future__ import annotations`, types are texts.
    paths = {key for key, one in fields.items() if one.type in (Path, "Path")}
    for key, value in values.items():
        if key in paths and not isinstance(value, Path):
            values[key] = _path(kind, key, value)
        elif fields[key].type in (str, "str") and not isinstance(value, str):
            raise ConfigError(f"sink {kind.name!r}: {key}: expected a text, got {shown(value)}")
    if hasattr(kind.options, "__pydantic_config__"):
        return _checked(kind, values)
    try:
        return kind.options(**values)
    except TypeError as error:  # one without default is missing
        raise ConfigError(f"sink {kind.name!r}: {error}") from error


def _checked(kind: SinkKind, values: Texts) -> object:
    from pydantic import TypeAdapter, ValidationError

    try:
        # By way of JSON: only there does pydantic's strict mode take a list for a tuple.
        return TypeAdapter(kind.options).validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"sink {kind.name!r}: {where}: {first['msg']}") from None


def _path(kind: SinkKind, key: str, value: object) -> Path:
    if not isinstance(value, str):
        raise ConfigError(f"sink {kind.name!r}: {key}: expected a path, got {shown(value)}")
    return expanded(f"sink {kind.name!r}: {key}", value)
