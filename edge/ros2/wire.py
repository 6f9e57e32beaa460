"""Names and bytes as rmw_zenoh_cpp has them on Zenoh: key expressions, liveliness tokens, QoS, attachments.

From its docs/design.md and its liveliness_utils.cpp, attachment_helpers.cpp and qos.cpp, at
https://github.com/ros2/rmw_zenoh. The attachment is that of rmw_zenoh since April 2025, of Humble since 0.1.2.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import NamedTuple

from edge.errors import ConfigError
from edge.paths import shown

LIVELINESS = "@ros2_lv"
NO_HASH = "TypeHashNotSupported"  # what Humble, which knows no type hashes, has in their place
MOST_DOMAIN = 232  # as with DDS: rmw_zenoh takes more, other middleware of the same robot does not
_ATTACHMENT = struct.Struct("<qqB16s")  # Zenoh's serialization: integers little-endian, arrays with their length
_NAME = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")
_TYPE = re.compile(r"(\w+)::msg::dds_::(\w+)_")
# rmw/types.h: RMW_QOS_POLICY_RELIABILITY_BEST_EFFORT, _DURABILITY_TRANSIENT_LOCAL; qos.cpp: the default depth.
_BEST_EFFORT, _TRANSIENT_LOCAL, _DEFAULT_DEPTH = "2", "1", 42


@dataclass(frozen=True, slots=True)
class Qos:
    """Keeps the last `depth` messages; the other policies are rmw_zenoh's defaults."""

    depth: int
    reliable: bool = True
    transient_local: bool = False

    def __str__(self) -> str:
        """Its part of a liveliness token: what is as rmw_zenoh's default is left out."""
        reliability = "" if self.reliable else _BEST_EFFORT
        durability = _TRANSIENT_LOCAL if self.transient_local else ""
        depth = "" if self.depth == _DEFAULT_DEPTH else self.depth
        return f"{reliability}:{durability}:,{depth}:,:,:,,"


class Topic(NamedTuple):
    """A topic's fully qualified name, the type of its messages ("sensor_msgs/msg/Image"), and the type's hash."""

    name: str
    type: str
    hash: str

    def key(self, domain: int) -> str:
        """The key expression of its messages."""
        return f"{domain}/{self.name.strip('/')}/{dds_type(self.type)}/{self.hash}"

    @classmethod
    def of_key(cls, key: str) -> Topic | None:
        """The topic of such a key expression; None of any other."""
        parts = key.split("/")
        type_name = ros_type(parts[-2]) if len(parts) > 3 else None
        return None if type_name is None else cls("/" + "/".join(parts[1:-2]), type_name, parts[-1])


@dataclass(frozen=True, slots=True)
class NodeName:
    """A node in the graph: its ROS domain, Zenoh's id of its session, its namespace and name."""

    domain: int
    session: str
    namespace: str
    name: str

    def token(self) -> str:
        """The key expression of the liveliness token that announces it."""
        return f"{self._begin(0, 'NN')}"

    def endpoint_token(self, number: int, kind: str, topic: Topic, qos: Qos) -> str:
        """The same of its publisher ("MP") or subscription ("MS") of a topic; numbers from 1 are for one each."""
        named = f"{_mangled(topic.name)}/{dds_type(topic.type)}/{topic.hash}"
        return f"{self._begin(number, kind)}/{named}/{qos}"

    def _begin(self, number: int, kind: str) -> str:
        # Enclaves are of secured ROS; without, "%" stands for none.
        place = f"{LIVELINESS}/{self.domain}/{self.session}/0/{number}/{kind}"
        return f"{place}/%/{_mangled(self.namespace or '/')}/{self.name}"


def topic_of_token(token: str) -> Topic | None:
    """The topic of a publisher's or subscription's token; None of any other."""
    parts = token.split("/")
    if len(parts) != 13 or parts[0] != LIVELINESS or parts[5] not in ("MP", "MS"):
        return None
    type_name = ros_type(parts[10])
    return None if type_name is None else Topic(parts[9].replace("%", "/"), type_name, parts[11])


def dds_type(name: str) -> str:
    """The name of a type in key expressions: "sensor_msgs::msg::dds_::Image_" of "sensor_msgs/msg/Image"."""
    package, kind, short = name.split("/")
    return f"{package}::{kind}::dds_::{short}_"


def ros_type(name: str) -> str | None:
    """The other way round; None where it is no message's."""
    match = _TYPE.fullmatch(name)
    return f"{match[1]}/msg/{match[2]}" if match else None


def gid_of(token: str) -> bytes:
    """The 16 bytes by which a graph knows an endpoint: XXH3-128 of its token, low half first, little-endian."""
    import xxhash

    return xxhash.xxh3_128_digest(token.encode())[::-1]


def attachment(number: int, stamp_ns: int, gid: bytes) -> bytes:
    """What goes with a message: its number from 1 on, when it was sent (ns since 1970), and who sent it."""
    return _ATTACHMENT.pack(number, stamp_ns, len(gid), gid)


def checked_name(what: str, name: str) -> str:
    """A topic or namespace with one slash before it; "" of an empty one.

    Raises:
        ConfigError: ROS takes no such name.
    """
    if name in ("", "/"):
        return ""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{what}: expected a ROS name: words of letters, digits and _ with / between them, such as /car/front;"
            f" got {shown(name)}"
        )
    return "/" + name.lstrip("/")


def checked_domain(what: str, value: object) -> int:
    """A ROS domain.

    Raises:
        ConfigError: there is no such domain.
    """
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdecimal() or int(text) > MOST_DOMAIN:
        raise ConfigError(f"{what}: expected ROS_DOMAIN_ID, 0 to {MOST_DOMAIN}, got {shown(value)}")
    return int(text)


def _mangled(name: str) -> str:
    return name.replace("/", "%")
