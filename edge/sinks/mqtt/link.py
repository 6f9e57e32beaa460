"""One connection to an MQTT 5 broker, through paho, worked by the thread that made it.

paho keeps what it was given for the next connection, without bound or order of worth. So it is given a message only
when the broker has room for it, and a connection that ended is never used again: what is to be sent is in the outbox.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge.errors import OutputError

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessageInfo
    from paho.mqtt.reasoncodes import ReasonCode

CONNECT_S = 3.0  # for the connection, for TLS, and for the broker's word, each
KEEPALIVE_S = 5  # the broker takes 1.5 times that for our end, and we notice its end within twice that
INCOMING_MAX_BYTES = 65_536  # of one packet from the broker
_READ_BYTES, _PUBLISH = 4096, 0x30
WINDOW = 16  # messages on their way at once; Mosquitto takes 20
# How the end of a connection over one message sounds: from the broker, or from paho, which finds the answer malformed
# where Mosquitto refuses a size (message_size_limit) in a way that MQTT 5 does not have.
_TOO_LARGE = ("Packet too large", "Protocol error")
_OVERHEAD_BYTES = 64  # of a PUBLISH packet around topic and payload: 5 + 2 + 2 + 1, and the properties we set


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is, and how we show who we are."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """What is published. `expiry_s`: the broker forgets it after so long."""

    kind: str
    topic: str
    payload: bytes
    seq: int = 0
    retain: bool = False
    expiry_s: int | None = None

    @property
    def size_bytes(self) -> int:
        """Of its packet, at most."""
        return len(self.topic.encode()) + len(self.payload) + _OVERHEAD_BYTES


class LinkLost(OutputError):
    """There is no connection.

    Attributes:
        refused: the broker does not want us as we are; to ask at once again does not help.
        too_large: it may well be that a message on its way was too large for the broker.
    """

    def __init__(self, reason: str, *, refused: bool = False, too_large: bool = False) -> None:
        super().__init__(reason)
        self.refused, self.too_large = refused, too_large


Acknowledge = Callable[[Message, "str | None"], None]


class Link:
    """A connection from its beginning to its end.

    Attributes:
        in_flight: sent and not acknowledged, by message id, with when it was sent (monotonic ns).
        most_bytes: what the broker takes as one packet.
        window: how many messages it takes before it has acknowledged one.
    """

    def __init__(self, address: Address, client_id: str, will: Message, on_acknowledged: Acknowledge) -> None:
        """Connects. `on_acknowledged(message, refusal)` is called when the broker takes a message, or says why not.

        Raises:
            LinkLost: there is no broker, or it does not want us.
        """
        self.in_flight: dict[int, tuple[Message, int]] = {}
        self.most_bytes, self.window = 268_435_455, WINDOW  # MQTT 5, 1.5.5
        self._on_acknowledged = on_acknowledged
        self._accepted = False
        self._ended: LinkLost | None = None
        self._client = self._make_client(address, client_id, will)
        try:
            self._connect(address)
        except BaseException:  # Ctrl-C too: no other owner could close the connection
            self.drop()
            raise

    def _make_client(self, address: Address, client_id: str, will: Message) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        link = self

        class BoundedClient(Client):
            """Reads little at a time, and refuses what no broker has to send to a client that subscribes to nothing."""

            def _sock_recv(self, bufsize: int) -> bytes:
                packet = self._in_packet
                is_publish, length = packet["command"] & 0xF0 == _PUBLISH, packet["remaining_length"]
                if is_publish or length > INCOMING_MAX_BYTES:
                    what = "a message, which was not subscribed to" if is_publish else f"a packet of {length} bytes"
                    link._ended = LinkLost(f"the broker sends {what}", refused=True)
                    raise link._ended  # which paho takes for a broken connection
                return super()._sock_recv(min(bufsize, _READ_BYTES))

        client = BoundedClient(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        client.connect_timeout = CONNECT_S
        client.max_inflight_messages_set(0)  # the window is kept here
        if address.tls is not None:
            client.tls_set_context(address.tls)
        if address.user is not None:
            client.username_pw_set(address.user, address.password)
        client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        client.on_connect, client.on_publish, client.on_disconnect = (
            self._connected,
            self._published,
            self._disconnected,
        )
        return client

    def _connect(self, address: Address) -> None:
        with _translated(address):
            self._client.connect(address.host, address.port, KEEPALIVE_S)
        deadline_s = time.monotonic() + CONNECT_S
        while not self._accepted:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise LinkLost(f"{address.host} takes connections and says nothing for {CONNECT_S:.0f} s")
            self.work(left_s)

    # -- paho calls these from within `work` and `publish`, in our thread

    def _connected(self, client: Client, data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if reason.is_failure:
            self._ended = LinkLost(f"the broker refuses us: {reason}", refused=True)
            return
        self._accepted = True
        self.most_bytes = getattr(properties, "MaximumPacketSize", self.most_bytes)
        self.window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))

    def _published(self, client: Client, data: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        message, _ = self.in_flight.pop(mid)
        self._on_acknowledged(message, str(reason) if reason.is_failure else None)

    def _disconnected(self, client: Client, data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if self._ended is None:
            by_broker = f"the broker ended the connection: {reason}"
            what = by_broker if flags.is_disconnect_packet_from_server else f"the connection broke: {reason}"
            self._ended = LinkLost(what, too_large=str(reason) in _TOO_LARGE)

    # -- what the owner calls

    @property
    def has_room(self) -> bool:
        """One more message may be sent: the broker awaits it, and the last one is out of the house."""
        return len(self.in_flight) < self.window and not self._client.want_write()

    def publish(self, message: Message) -> None:
        """Send it, QoS 1. It is acknowledged later.

        Raises:
            LinkLost: the connection has ended.
        """
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.PUBLISH)
        if message.expiry_s is not None:
            properties.MessageExpiryInterval = message.expiry_s
        sent: MQTTMessageInfo = self._client.publish(message.topic, message.payload, 1, message.retain, properties)
        self.in_flight[sent.mid] = (message, time.monotonic_ns())
        self._check()

    def work(self, timeout_s: float, wake_fd: int | None = None) -> None:
        """Read and write what there is to; wait for it up to `timeout_s`, or until `wake_fd` can be read.

        Raises:
            LinkLost: the connection has ended.
        """
        line = self._client.socket()
        if line is None:
            self._check()
            raise LinkLost("the connection broke")
        decrypted = isinstance(line, ssl.SSLSocket) and line.pending() > 0  # is there, and poll does not see it
        ready = self._poll(line, 0.0 if decrypted else timeout_s, wake_fd)
        try:
            if decrypted or ready.get(line.fileno(), 0) & ~select.POLLOUT:
                self._client.loop_read()
            if self._client.want_write():
                self._client.loop_write()
            self._client.loop_misc()
        except LinkLost:
            raise
        except Exception as error:  # paho's readers raise many kinds where a packet is not as it should be
            raise LinkLost(f"the broker's answer cannot be read: {error!r}", too_large=bool(self.in_flight)) from error
        self._check()

    def _poll(self, line: socket.socket, timeout_s: float, wake_fd: int | None) -> dict[int, int]:
        """What can be read or written, by file descriptor. Not `select`, which takes no descriptor above 1023."""
        poll = select.poll()
        poll.register(line, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        if wake_fd is not None:
            poll.register(wake_fd, select.POLLIN)
        ready = dict(poll.poll(timeout_s * 1e3))
        if wake_fd is not None and wake_fd in ready:
            os.read(wake_fd, 8)
        return ready

    def _check(self) -> None:
        if self._ended is not None:
            raise self._ended

    def oldest_ns(self) -> int | None:
        """When the message was sent that has waited longest for the broker's word; None if none waits."""
        return min((sent_ns for _, sent_ns in self.in_flight.values()), default=None)

    def leave(self) -> None:
        """End the connection in peace: the broker forgets the will."""
        with suppress(LinkLost, OSError):
            self._client.disconnect()
            self.work(0.0)
        self.drop()

    def drop(self) -> None:
        """End it at once, which to the broker is a broken line."""
        self._client.on_disconnect = None
        line = self._client.socket()
        if line is not None:
            line.close()


@contextmanager
def _translated(address: Address) -> Iterator[None]:
    """What goes wrong on the way to a broker, as who reads it at 3 a.m. wants it."""
    place = f"{address.host}:{address.port}"
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise LinkLost(
            f"{place}: its certificate is not to be trusted: {error.verify_message}", refused=True
        ) from error
    except ssl.SSLError as error:
        raise LinkLost(f"{place}: speaks no TLS that we do: {error.reason or error}", refused=True) from error
    except socket.gaierror as error:
        raise LinkLost(f"{address.host}: no such host: {error.strerror}") from error
    except TimeoutError as error:
        raise LinkLost(f"{place}: does not answer within {CONNECT_S:.0f} s") from error
    except (OSError, ValueError) as error:
        raise LinkLost(f"{place}: cannot be reached: {getattr(error, 'strerror', None) or error}") from error
