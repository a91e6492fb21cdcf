"""Runs on a node, before a real registry: passes requests on, and spoils the answers that it is told to.

Usage: faulty_registry.py PORT REGISTRY-PORT FAULT-FILE. The file holds one of FAULTS or nothing, and is read
at each request. Layers are known by their size: answers for blobs of more than 64 KiB.
"""

import http.client
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LAYER = 1 << 16
FAULTS = {
    "401": "every request is unauthorized",
    "404": "no manifest is known",
    "429": "too many requests",
    "500": "the manifest comes, no layer does",
    "cut": "the connection ends in the middle of each layer",
    "cut once": "the same, for the first layer that is asked for",
    "altered": "one byte in the middle of each layer is another",
    "held": "each layer stops in the middle, and the connection stays",
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry = 0
    fault_file = Path()

    def do_GET(self) -> None:
        fault = self.fault_file.read_text().strip()
        if fault == "401":
            self.refuse(401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="faulty"'})
            return
        if fault == "429":
            self.refuse(429, "TOOMANYREQUESTS", {"Retry-After": "1"})
            return
        if fault == "404" and "/manifests/" in self.path:
            self.refuse(404, "MANIFEST_UNKNOWN", {})
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.registry, timeout=60)
        # One of a kind: a client sends many of Accept.
        headers = {key: ", ".join(self.headers.get_all(key, [])) for key in set(self.headers.keys())}
        upstream.request(self.command, self.path, headers=headers)
        answer = upstream.getresponse()
        size = int(answer.headers.get("Content-Length", 0))
        is_layer = self.command == "GET" and "/blobs/" in self.path and size > LAYER
        if is_layer and fault == "500":
            self.refuse(500, "UNKNOWN", {})
            return
        self.send_response(answer.status)
        for key, value in answer.headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.pass_on(answer, size, fault if is_layer else "")
        upstream.close()

    do_HEAD = do_GET

    def pass_on(self, answer: http.client.HTTPResponse, size: int, fault: str) -> None:
        left = size
        while left:
            piece = answer.read(min(left, LAYER))
            if not piece:
                raise ConnectionError("the registry itself ended the connection")
            left -= len(piece)
            if left < size // 2 <= left + len(piece):
                if fault == "cut once":
                    self.fault_file.write_text("")
                if fault.startswith("cut"):
                    self.close_connection = True
                    return
                if fault == "held":
                    time.sleep(3600)
                if fault == "altered":
                    piece = bytes([piece[0] ^ 1]) + piece[1:]
            self.wfile.write(piece)

    def refuse(self, status: int, code: str, headers: dict[str, str]) -> None:
        body = b'{"errors": [{"code": "%s", "message": "injected"}]}' % code.encode()
        self.send_response(status)
        for key, value in {
            **headers,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def main() -> None:
    Handler.registry, Handler.fault_file = int(sys.argv[2]), Path(sys.argv[3])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
