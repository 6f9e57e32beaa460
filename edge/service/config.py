"""The service's config file, `edge.yaml`; every key with unit and default is in systemd/edge.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edge.config import StrictModel
from edge.events import EventOptions
from edge.ladder import LadderOptions
from edge.serve.options import WebOptions
from edge.sinks.mqtt.options import MqttOptions
from edge.sinks.recorder import RecorderOptions


class ServeConfig(StrictModel):
    """One camera, one engine, and where results go.

    Attributes:
        camera: as `edge run` takes it.
        engine, precision, backend, threads: as `edge run` takes them.
        ladder: under overload, a smaller picture; without it, only frames are dropped.
        events: what is looked for in the masks, and told in the log; without it, nothing.
        mqtt: results, masks and events to a broker.
        recorder: what was seen, in segments of video within a quota.
        web: the live page; without it, nothing listens.
    """

    camera: str = Field(min_length=1)
    engine: str = "road"
    precision: Literal["int8", "f32", "bf16", "fp16"] | None = None
    backend: Literal["openvino", "tensorrt"] | None = None
    threads: int | None = Field(default=None, ge=1)
    ladder: LadderOptions | None = None
    events: EventOptions | None = None
    mqtt: MqttOptions | None = None
    recorder: RecorderOptions | None = None
    web: WebOptions | None = None
