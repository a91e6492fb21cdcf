"""Runs outside all nodes: misbehaves towards a supervisor's port, and prints what came of it as JSON.

Usage: attacker.py KIND ADDRESS PORT COUNT SECONDS. No kind says all of a valid request. Printed are how many
of COUNT connections the other side has ended, and the status lines that it has sent.
"""

import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Callable

_BLOCK = bytes(65536)
_LARGE_BODY = 100 * 1024 * 1024
# A ClientHello whose record announces more than ever comes.
_PART_OF_A_HANDSHAKE = bytes.fromhex("160301020001")


def connect(address: str, port: int) -> socket.socket:
    return socket.create_connection((address, port), timeout=10)


def encrypted(address: str, port: int) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connect(address, port))


def silent(address: str, port: int) -> socket.socket:
    """Says nothing."""
    return connect(address, port)


def half_a_handshake(address: str, port: int) -> socket.socket:
    made = connect(address, port)
    made.sendall(_PART_OF_A_HANDSHAKE)
    return made


def garbage(address: str, port: int) -> socket.socket:
    """What is no TLS."""
    made = connect(address, port)
    made.sendall(os.urandom(4096))
    return made


def half_a_request(address: str, port: int) -> socket.socket:
    made = encrypted(address, port)
    made.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    return made


def large_header(address: str, port: int) -> socket.socket:
    made = encrypted(address, port)
    made.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n")
    return _send(made, lambda sent: b"X-%d: %s\r\n" % (sent, b"a" * 4000), 4 * 1024 * 1024)


def large_body(address: str, port: int) -> socket.socket:
    made = encrypted(address, port)
    head = "POST /v1-rke2/client-kubelet.crt HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n"
    made.sendall(head.format(_LARGE_BODY).encode())
    return _send(made, lambda sent: _BLOCK, _LARGE_BODY)


def large_chunked_body(address: str, port: int) -> socket.socket:
    """A body that does not say how large it is."""
    made = encrypted(address, port)
    made.sendall(
        b"POST /v1-rke2/client-kubelet.crt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"%x\r\n%s\r\n" % (len(_BLOCK), _BLOCK)
    return _send(made, lambda sent: chunk, _LARGE_BODY)


def _send(made: socket.socket, block: Callable[[int], bytes], size: int) -> socket.socket:
    """As much of it as the other side takes."""
    sent = 0
    try:
        while sent < size:
            data = block(sent)
            made.sendall(data)
            sent += len(data)
    except OSError:
        pass
    return made


def outcome(made: socket.socket, deadline: float) -> tuple[bool, str]:
    """Whether the other side has ended the connection by then, and the first line that it sent."""
    said = b""
    try:
        while (left := deadline - time.monotonic()) > 0:
            made.settimeout(left)
            received = made.recv(4096)
            if not received:
                break
            said += received
        else:
            return False, _first_line(said)
    except TimeoutError:
        return False, _first_line(said)
    except OSError:
        pass
    return True, _first_line(said)


def _first_line(said: bytes) -> str:
    line = said.split(b"\r\n")[0]
    return line.decode(errors="replace") if line.startswith(b"HTTP/") else ""


KINDS = {
    kind.__name__: kind
    for kind in (
        silent,
        half_a_handshake,
        garbage,
        half_a_request,
        large_header,
        large_body,
        large_chunked_body,
    )
}


def main() -> None:
    kind, address, port, count, seconds = sys.argv[1:]
    made = []
    refused = 0
    for _ in range(int(count)):
        try:
            made.append(KINDS[kind](address, int(port)))
        except OSError:
            # Ended while it was still busy with this.
            refused += 1
    deadline = time.monotonic() + float(seconds)
    found = [outcome(each, deadline) for each in made]
    answers = sorted({line for _, line in found if line})
    json.dump({"ended": refused + sum(ended for ended, _ in found), "answers": answers}, sys.stdout)


if __name__ == "__main__":
    main()
