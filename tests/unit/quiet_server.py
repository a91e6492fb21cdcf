"""An HTTP server on loopback that says nothing of its clients."""

from http.server import ThreadingHTTPServer


class QuietServer(ThreadingHTTPServer):
    """Clients that end a connection early, or do not believe its certificate, are part of what is tested."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass
