"""Results, masks, events and status to an MQTT 5 broker."""

from edge.sinks.mqtt.options import MqttOptions
from edge.sinks.mqtt.sink import MqttSink

__all__ = ["MqttOptions", "MqttSink"]
