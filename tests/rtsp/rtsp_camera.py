"""A camera that speaks RTSP (gst-rtsp-server): python rtsp_camera.py PORT WIDTHxHEIGHTxFPS[xKEY_EVERY] [PEM KEY]."""

from __future__ import annotations

import sys
import threading
import time

import gi
from pictures import picture

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtspServer  # noqa: E402

_ANYONE = "anyone, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"


def main(certificate: list[str], port: int, width: int, height: int, fps: int, key_every: int = 15) -> None:
    """`certificate`: PEM files of a certificate and its key, or none."""
    Gst.init(None)
    start_s = time.monotonic()

    def push(source: Gst.Element, wanted: threading.Event) -> None:
        # Before it plays it has no clock, and a picture without a time keeps all others back: for clients that were
        # there at the first moment, one opening of twenty gave no data.
        wanted.wait()
        while True:
            index = int((time.monotonic() - start_s) * fps)
            buffer = Gst.Buffer.new_wrapped(picture(index, (width, height)).tobytes())
            if source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                return
            time.sleep(max(0.0, start_s + (index + 1) / fps - time.monotonic()))

    def configure(_: object, media: GstRtspServer.RTSPMedia) -> None:
        source = media.get_element().get_by_name_recurse_up("source")
        wanted = threading.Event()
        source.connect("need-data", lambda *_: wanted.set())
        threading.Thread(target=push, args=[source, wanted], daemon=True).start()

    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_shared(True)
    factory.set_launch(
        "( appsrc name=source is-live=true format=time do-timestamp=true max-bytes=10000000"
        f" caps=video/x-raw,format=BGR,width={width},height={height},framerate={fps}/1 ! videoconvert"
        " ! video/x-raw,format=I420"
        f" ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={key_every} bitrate=3000"
        " ! rtph264pay name=pay0 pt=96 config-interval=1 )"
    )
    factory.connect("media-configure", configure)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    if certificate:
        auth = GstRtspServer.RTSPAuth()
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(*certificate))
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "anyone")
        auth.set_default_token(token)
        factory.add_role_from_structure(Gst.Structure.from_string(_ANYONE)[0])
        server.set_auth(auth)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(sys.argv[3:5], int(sys.argv[1]), *map(int, sys.argv[2].split("x")))
