"""Runs outside all nodes: misbehaves towards a supervisor's port, and prints what came of it as JSON.

Usage: attacker.py KIND ADDRESS PORT COUNT SECONDS. Most kinds never say all of a valid request: printed are
how many of COUNT connections the other side has ended, and the status lines that it has sent. Those in
LASTING go on for so many seconds over their COUNT connections or beside them: printed is how many there
were.
"""

import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import suppress

_BLOCK = bytes(65536)
_LARGE_BODY = 100 * 1024 * 1024
# A ClientHello whose record announces more than ever comes.
_PART_OF_A_HANDSHAKE = bytes.fromhex("160301020001")
_PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
_LARGE_FILE = b"GET /static/attacks/large HTTP/1.1\r\nHost: x\r\n\r\n"
_STEP = 0.02


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


def idle(address: str, port: int) -> socket.socket:
    """Has got an answer, and says nothing more."""
    made = encrypted(address, port)
    made.sendall(_PING)
    made.recv(4096)
    return made


def knock(made: list[socket.socket], address: str, port: int) -> None:
    """Another connection that never says anything, beside those there are."""
    made.append(connect(address, port))


def unfetched(address: str, port: int) -> socket.socket:
    """Does not read the answer, which is large, and sends further requests."""
    made = encrypted(address, port)
    made.sendall(_LARGE_FILE + _PING * 500)
    return made


def half_an_end(address: str, port: int) -> socket.socket:
    """Does not read the answer, and sends all but the last line end of another request."""
    made = encrypted(address, port)
    made.sendall(_LARGE_FILE + b"GET / HTTP/1.1\r\n")
    return made


def end_and_begin(made: list[socket.socket], address: str, port: int) -> None:
    """Ends each of the requests, and begins the next."""
    for each in made:
        _send(each, lambda sent: b"\r\nGET / HTTP/1.1\r\n", 1)


def rest(made: list[socket.socket], address: str, port: int) -> None:
    """Nothing."""


def guess(address: str, port: int) -> socket.socket:
    """A token that is none, without waiting for what comes of it."""
    made = encrypted(address, port)
    guessed = f"GET /v1-rke2/config HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {os.urandom(3).hex()}."
    made.sendall(f"{guessed}{os.urandom(8).hex()}\r\n\r\n".encode())
    return made


def guess_again(made: list[socket.socket], address: str, port: int) -> None:
    made.append(guess(address, port))


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


Meanwhile = Callable[[list[socket.socket], str, int], None]
# How each connection begins, and what is done all the time once they are there.
LASTING: dict[str, tuple[Callable[[str, int], socket.socket], Meanwhile]] = {
    "knocking_beside_idle_connections": (idle, knock),
    "unfetched_answers": (unfetched, rest),
    "headers_across_records": (half_an_end, end_and_begin),
    "guesses_at_once": (guess, guess_again),
}


def last(kind: str, address: str, port: int, count: int, seconds: float) -> None:
    """Prints how many connections there were."""
    begin, meanwhile = LASTING[kind]
    made = []
    for _ in range(count):
        with suppress(OSError):
            made.append(begin(address, port))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError):
            meanwhile(made, address, port)
        time.sleep(_STEP)
    json.dump({"made": len(made)}, sys.stdout)


def main() -> None:
    kind, address, port, count, seconds = sys.argv[1:]
    if kind in LASTING:
        last(kind, address, int(port), int(count), float(seconds))
        return
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
