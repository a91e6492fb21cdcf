"""A stand-in for the program behind the socket for requests about snapshots."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

SAVED = {"status": 200, "body": {"created": ["on-demand-one-1754906881"]}}


class Program:
    """`asked` are the requests that came; `speak` answers one, over the connection."""

    def __init__(self, path: Path) -> None:
        self.asked: list[bytes] = []
        self.speak: Callable[[socket.socket, bytes], None] = lambda connection, body: None
        self.answers(SAVED)
        self._listener = socket.socket(socket.AF_UNIX)
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def answers(self, *lines: object) -> None:
        """Lines of JSON."""
        self.says(b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    def says(self, content: bytes) -> None:
        self.speak = lambda connection, body: connection.sendall(content)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            body = b""
            while piece := connection.recv(1 << 16):
                body += piece
            self.asked.append(body)
            self.speak(connection, body)
