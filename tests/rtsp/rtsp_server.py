"""A media server that takes a stream by RTSP (RECORD): python rtsp_server.py PORT FOLDER [USER PASSWORD].

Each stream that is published to /live becomes a file of H.264 in the folder: 0.h264, 1.h264, ...
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

_USER = "user, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"


def main(port: str, folder: Path, user: str = "", password: str = "") -> None:
    Gst.init(None)
    numbers = count()

    def configure(_: object, media: GstRtspServer.RTSPMedia) -> None:
        sink = media.get_element().get_by_name_recurse_up("sink")
        sink.set_property("location", str(folder / f"{next(numbers)}.h264"))

    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
    parsed = "h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream"
    factory.set_launch(f"( rtph264depay name=depay0 ! {parsed} ! filesink name=sink buffer-mode=2 sync=false )")
    factory.connect("media-configure", configure)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    if user:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        factory.add_role_from_structure(Gst.Structure.from_string(_USER)[0])
        server.set_auth(auth)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
