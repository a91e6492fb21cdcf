"""Runs on a node: a chart repository, files over HTTP, or over HTTPS to those with a password.

Usage: chart_repository.py PORT FOLDER [CERTIFICATE KEY USER:PASSWORD]
"""

import base64
import functools
import ssl
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Handler(SimpleHTTPRequestHandler):
    # What the Authorization header has to say; nothing is asked for when it is empty.
    authorization = ""

    def do_GET(self) -> None:
        if self.authorization and self.headers.get("Authorization") != self.authorization:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="charts"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        super().do_GET()


def main() -> None:
    port, folder, *private = sys.argv[1:]
    handler = functools.partial(Handler, directory=folder)
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), handler)
    if private:
        certificate, key, credentials = private
        Handler.authorization = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
