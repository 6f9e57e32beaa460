"""Results, masks, events and status to an MQTT 5 broker."""

from edge.sinks.mqtt.options import MqttOptions
from edge.sinks.mqtt.sink import MqttHealth, MqttSink

__all__ = ["MqttHealth", "MqttOptions", "MqttSink"]
