"""A media server that takes WHIP (RFC 9725): python whip_server.py PORT [TOKEN].

HTTP is ours; ICE, DTLS, SRTP and the decoding of H.264 are aiortc's. Prints "frame WIDTHxHEIGHT MEAN" for each frame.
"""

from __future__ import annotations

import asyncio
import sys

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription

_PEERS: set[RTCPeerConnection] = set()


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def take(track: MediaStreamTrack) -> None:
    while True:
        frame = await track.recv()
        say(f"frame {frame.width}x{frame.height} {frame.to_ndarray(format='gray').mean():.0f}")  # type: ignore[union-attr]


async def answer_to(offer: str) -> str:
    peer = RTCPeerConnection()
    _PEERS.add(peer)
    tasks: list[asyncio.Task[None]] = []
    peer.on("track", lambda track: tasks.append(asyncio.ensure_future(take(track))))
    peer.on("connectionstatechange", lambda: say(f"peer {peer.connectionState}"))
    await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    return peer.localDescription.sdp


async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    method, path, _ = head.split(" ", 2)
    fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head.splitlines()[1:])}
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    say(f"{method} {path}")
    if token and fields.get("authorization") != f"Bearer {token}":
        answer, content = "401 Unauthorized", ""
    elif method == "POST" and fields.get("content-type") == "application/sdp":
        answer, content = "201 Created", await answer_to(body.decode())
    elif method == "DELETE":
        answer, content = "200 OK", ""
    else:
        answer, content = "405 Method Not Allowed", ""
    more = "Content-Type: application/sdp\r\nLocation: /whip/1\r\n" if content else ""
    writer.write(
        f"HTTP/1.1 {answer}\r\n{more}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n{content}".encode()
    )
    await writer.drain()
    writer.close()


async def main(port: int, token: str = "") -> None:
    server = await asyncio.start_server(lambda r, w: respond(r, w, token), "127.0.0.1", port)
    say("ready")
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:3]))
