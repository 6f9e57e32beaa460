"""Results, masks, events and status to an MQTT 5 broker."""

from edge.sinks.mqtt.options import MqttOptions, check_mqtt, mqtt_of_camera
from edge.sinks.mqtt.sink import MqttSink
from edge.sinks.table import SinkKind, Texts

__all__ = ["KIND", "MqttOptions", "MqttSink"]


def _of_text(text: str) -> Texts:
    """Of mqtt://HOST[:PORT]/TOPIC."""
    scheme, _, rest = text.partition("://")
    host, _, topic = rest.partition("/")
    return {"url": f"{scheme}://{host}", "topic": topic}


KIND = SinkKind(
    "mqtt",
    lambda options, context: MqttSink(options, context.card, context.stages),
    MqttOptions,
    of_text=_of_text,
    check=check_mqtt,
    of_camera=mqtt_of_camera,
)
