"""Streams of the network through FFmpeg: decoded planes, as the camera sends them."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from urllib.parse import urlsplit

import av
from av.codec.context import Flags
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from edge.limits import max_pixels
from edge.sources.capture.clock import CameraClock, CameraPace
from edge.sources.capture.shot import CaptureError, Shot, jpeg_problem
from edge.sources.capture.wire import CaptureRequest, Format
from edge.sources.jpegscan import STRICT

_READ_S = 1.0
_LATEST_NS = 1_000_000_000  # a backlog as long as this is thrown away, by connecting again
_PROBE_BYTES = 200_000
_WAITED_NS = 2_000_000  # a packet that takes so long was on its way, and not kept from the probe
# No file, whatever a playlist says. analyzeduration in microseconds: frames are for us, not for the probe. Not
# fflags=nobuffer: it throws away what was probed, and so the key frame that the others need (half a second lost).
_OPTIONS = {
    "protocol_whitelist": "rtsp,rtp,http,https,httpproxy,tcp,udp,tls,crypto",
    "analyzeduration": "100000",
    "probesize": str(_PROBE_BYTES),
}
_RTSP_OPTIONS = {"rtsp_transport": "tcp"}
_TLS_PORTS = {"rtsps": 322, "https": 443}
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"  # where Python does not know better
_PLANAR_420 = ("yuv420p", "yuvj420p")
# libavutil/pixfmt.h: BT709, BT470BG, SMPTE170M, BT2020_NCL, BT2020_CL; as in edge.sources.planes
_AVCOL_SPC_IS_BT709 = {1: True, 5: False, 6: False, 9: True, 10: True}
_AVCOL_RANGE_MPEG, _AVCOL_RANGE_JPEG = 1, 2
_SWS_CS_BT709, _SWS_CS_BT601 = 1, 5  # libswscale/swscale.h
_TIMELESS = ("mpjpeg", "mjpeg", "h264", "hevc")  # formats without times of their own; FFmpeg makes them up
_ARRIVALS = 64  # packets whose frames may still be on their way through the decoder


class Stream:
    """An RTSP or HTTP stream, which has so many seconds to open."""

    def __init__(self, request: CaptureRequest, patience_s: float) -> None:
        options = _OPTIONS | (_RTSP_OPTIONS if request.target.startswith("rtsp") else {})
        verifies = request.target.startswith(tuple(_TLS_PORTS)) and request.verify_tls
        if verifies:
            options |= {"tls_verify": "1", "ca_file": _trusted_certificates()}
        start_s = time.monotonic()
        try:
            self._container = av.open(request.target, options=options, timeout=(patience_s, _READ_S))
        except FFmpegError as error:
            if time.monotonic() - start_s >= patience_s:  # RTSP makes "invalid data" of the interrupt
                raise CaptureError(f"cannot be opened within {patience_s:g} s") from error
            distrust = _distrust(request.target, patience_s) if verifies else None
            raise distrust or _unknown_host(request.target) or _capture_error(error) from error
        try:
            if time.monotonic() - start_s >= patience_s:  # it answered, and what the probe waited for did not come
                raise CaptureError(f"gave nothing for {patience_s:g} s")
            self._prepare(request.target)
        except BaseException:  # Ctrl-C too: no other owner could close the stream
            self._container.close()
            raise

    def _prepare(self, url: str) -> None:
        if url.startswith("http") and self._container.duration:
            length_s = self._container.duration / av.time_base
            raise CaptureError(f"is a recording of {length_s:.1f} s, not a camera. Download it first: curl -O", True)
        if not self._container.streams.video:
            raise CaptureError("holds no video", permanent=True)
        self._stream = self._container.streams.video[0]
        codec = self._stream.codec_context
        if codec is None:
            raise CaptureError("is coded in a way that this FFmpeg does not know", permanent=True)
        # As in edge.sources.recording: frame threads hold frames back, and H.264's slice threads hide damage.
        codec.thread_type = "SLICE"
        if codec.name == "h264":
            codec.thread_count = 1
        codec.flags |= Flags.low_delay
        self._is_jpeg = codec.name == "mjpeg"
        codec.options = {"max_pixels": str(max_pixels()), **(STRICT if self._is_jpeg else {})}
        self._has_times = self._container.format.name not in _TIMELESS
        self._kept_up = True
        self._rate_hz = float(self._stream.average_rate or 0) if self._has_times else 0.0
        self._clock = CameraClock() if self._has_times else CameraPace()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Shot]:
        packets, probed = self._container.demux(self._stream), _Probed()
        arrivals: OrderedDict[int | None, int | None] = OrderedDict()
        while True:
            asked_ns = time.monotonic_ns()
            packet = _next(packets)
            arrived_ns = time.monotonic_ns()
            self._kept_up = arrived_ns - asked_ns > _WAITED_NS
            arrivals[packet.pts] = None if probed.holds(packet.size, arrived_ns - asked_ns) else arrived_ns
            for decoded, damaged in self._decoded(packet):
                decode_ns = time.monotonic_ns() - arrived_ns
                came_ns = arrivals.pop(decoded.pts if decoded else packet.pts, arrived_ns)
                if came_ns is not None:
                    yield self._shot(decoded, came_ns, decode_ns, damaged)
            while len(arrivals) > _ARRIVALS:
                arrivals.popitem(last=False)

    def _decoded(self, packet: Packet) -> list[tuple[VideoFrame | None, bool]]:
        """Frames, and whether they are damaged; None for a packet that does not decode at all.

        A JPEG is looked at before: a decoder fills what is missing, and takes memory for any size.
        """
        if self._is_jpeg and jpeg_problem(bytes(packet)):
            return [(None, True)]
        try:
            return [(decoded, decoded.is_corrupt) for decoded in packet.decode() if isinstance(decoded, VideoFrame)]
        except FFmpegError:
            return [(None, True)]

    def _shot(self, decoded: VideoFrame | None, came_ns: int, decode_ns: int, damaged: bool) -> Shot:
        if decoded is None:
            return Shot(Format(1, 1, bgr=False), came_ns, 0, decode_ns, True, lambda slot: None)
        media_ns = round((decoded.pts or 0) * Fraction(decoded.time_base or 0) * 1_000_000_000)
        late_ns = self._clock.late_ns(came_ns, media_ns, self._kept_up)
        if late_ns > _LATEST_NS:
            raise CaptureError(f"fell {late_ns / 1e9:.1f} s behind: its frames come faster than they can be decoded")
        planar, bt709, full_range = _planar(decoded)
        layout = Format(planar.width, planar.height, False, bt709, full_range, self._rate_hz)
        return Shot(layout, came_ns - late_ns, late_ns, decode_ns, damaged, partial(_write, planar))


class _Probed:
    """Tells the packets that were read while the stream was opened: they come at once, and are no more than the probe
    reads. The frames after them need theirs, but when these were taken is unknown: they are not handed on.
    """

    def __init__(self) -> None:
        self._left_bytes = _PROBE_BYTES

    def holds(self, size_bytes: int, waited_ns: int) -> bool:
        if waited_ns > _WAITED_NS:
            self._left_bytes = 0
        is_held = self._left_bytes > 0
        self._left_bytes -= size_bytes
        return is_held


def _next(packets: Iterator[Packet]) -> Packet:
    try:
        packet = next(packets, None)
    except FFmpegError as error:
        raise _capture_error(error) from error
    if packet is None or not packet.size:
        raise CaptureError("ended the stream")
    return packet


def _planar(decoded: VideoFrame) -> tuple[VideoFrame, bool, bool]:
    """The frame as 4:2:0 planes, whether by BT.709, and whether of full range: as edge.sources.recording has it,
    whose import would bring OpenCV into this process.
    """
    name, colour_range = decoded.format.name, int(decoded.color_range)
    bt709 = bool(_AVCOL_SPC_IS_BT709.get(int(decoded.colorspace), decoded.height > 576))
    full_range = name.startswith("yuvj") or colour_range == _AVCOL_RANGE_JPEG
    if name in _PLANAR_420:
        return decoded, bt709, full_range
    if decoded.format.is_rgb or decoded.format.has_palette:
        matrix = _SWS_CS_BT709 if bt709 else _SWS_CS_BT601
        planar = decoded.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=_AVCOL_RANGE_MPEG)
        return planar, bt709, False
    if name.startswith("gray"):  # libswscale takes every grey for full range, whatever its tag
        level, full_range = _AVCOL_RANGE_JPEG, colour_range != _AVCOL_RANGE_MPEG
    else:
        level = _AVCOL_RANGE_JPEG if full_range else _AVCOL_RANGE_MPEG
    return decoded.reformat(format="yuv420p", src_color_range=level, dst_color_range=level), bt709, full_range


def _write(decoded: VideoFrame, slot: memoryview) -> None:
    at = 0
    for place, plane in enumerate(decoded.planes):
        shrink = 1 if place else 0
        width, height = (decoded.width + shrink) >> shrink, (decoded.height + shrink) >> shrink
        _write_plane(plane, slot[at : at + width * height], width, height)
        at += width * height


def _write_plane(plane: VideoPlane, target: memoryview, width: int, height: int) -> None:
    rows, stride = memoryview(plane).cast("B"), plane.line_size
    if stride == width:
        target[:] = rows[: width * height]
        return
    for row in range(height):
        target[row * width : (row + 1) * width] = rows[row * stride : row * stride + width]


def _trusted_certificates() -> str:
    """Whom this machine trusts, or the file that SSL_CERT_FILE names."""
    import ssl  # here: it takes longer than most streams need to open

    return ssl.get_default_verify_paths().cafile or _CERTIFICATES


def _distrust(url: str, patience_s: float) -> CaptureError | None:
    """What is wrong with the certificate that is shown there: FFmpeg says "Input/output error" for it."""
    import socket
    import ssl

    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _TLS_PORTS[parts.scheme]
    context = ssl.create_default_context(cafile=_trusted_certificates())
    try:
        with (
            socket.create_connection((host, port), patience_s) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        return CaptureError(
            f"shows a certificate that is not trusted ({error.verify_message.rstrip('.')}). Name who signed it with"
            " SSL_CERT_FILE, or do without the check: add tls=unverified behind the address's ?",
            permanent=True,
        )
    except OSError:  # whatever else it is, FFmpeg has met it too
        return None


def _unknown_host(url: str) -> CaptureError | None:
    """That the host's name is not known, for which FFmpeg says "Input/output error"; None where it is.

    It may be known once there is a network.
    """
    import socket

    if "http_proxy" in os.environ:  # it looks the name up in its own network
        return None
    try:
        socket.getaddrinfo(urlsplit(url).hostname, None)
    except OSError:
        return CaptureError("no machine of that name is known here (is the name right, and is there a network?)")
    return None


_PERMANENT = {
    "HTTPUnauthorizedError": "refuses the user name or password (401)",
    "HTTPForbiddenError": "does not let this user in (403)",
    "HTTPNotFoundError": "has no stream of that name (404)",
    "HTTPBadRequestError": "does not understand the request (400)",
    "ProtocolNotFoundError": "is of a kind that this FFmpeg cannot open",
}
_TRANSIENT = {
    "InvalidDataError": "sends something that is no video",
    "ExitError": f"gave nothing for {_READ_S:g} s",  # PyAV's interrupt
    "TimeoutError": "does not answer",
    "ConnectionRefusedError": "refuses the connection (is it on, and is the port right?)",
    "ConnectionResetError": "broke off the connection",
    "BrokenPipeError": "broke off the connection",
    "EOFError": "broke off the connection",
    "OSError": "broke off the connection",  # EIO, what FFmpeg makes of an HTTP server that is gone
}


def _capture_error(error: FFmpegError) -> CaptureError:
    """FFmpeg's error in our words, which name no address: it may hold a password."""
    kind = type(error).__name__
    if kind in _PERMANENT:
        return CaptureError(_PERMANENT[kind], permanent=True)
    return CaptureError(_TRANSIENT.get(kind) or f"cannot be read ({error.strerror})")
