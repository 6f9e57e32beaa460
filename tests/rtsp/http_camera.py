"""A camera that sends JPEG pictures over HTTP: python http_camera.py PORT WIDTHxHEIGHTxFPS [PEM KEY]."""

from __future__ import annotations

import socketserver
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler

import cv2
from pictures import picture


def main(certificate: list[str], port: int, width: int, height: int, fps: int) -> None:
    """`certificate`: PEM files of a certificate and its key, or none."""
    start_s = time.monotonic()

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "/secret" in self.path and self.headers.get("Authorization") is None:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
            self.end_headers()
            while True:
                index = int((time.monotonic() - start_s) * fps)
                _, jpeg = cv2.imencode(".jpg", picture(index, (width, height)), [cv2.IMWRITE_JPEG_QUALITY, 92])
                head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")
                time.sleep(max(0.0, start_s + (index + 1) / fps - time.monotonic()))

        def log_message(self, *words: object) -> None:
            pass

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

        def handle_error(self, *words: object) -> None:
            pass

    with Server(("127.0.0.1", port), Camera) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main(sys.argv[3:5], int(sys.argv[1]), *map(int, sys.argv[2].split("x")))
