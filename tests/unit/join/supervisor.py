"""A supervisor on loopback, with a server's key material and TLS; each test may spoil its answers."""

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from rke2_units.certificates import authority, bootstrap, signing, table, token
from rke2_units.certificates.ensure import ensure
from rke2_units.certificates.request import Request
from rke2_units.layout import Paths
from tests.unit.quiet_server import QuietServer

PASSWORD = "a secret"
RANGES = {"cluster": "10.44.0.0", "service": "10.45.0.0"}
MASK = base64.b64encode(bytes([255, 255, 0, 0])).decode()

Answer = tuple[int, bytes]


def now() -> datetime:
    return datetime.now(UTC)


def config() -> dict[str, object]:
    """As RKE2 answers, some of it."""
    pods, services = ({"IP": RANGES[name], "Mask": MASK} for name in ("cluster", "service"))
    return {
        "ClusterIPRange": pods,
        "ClusterIPRanges": [pods],
        "ServiceIPRange": services,
        "ServiceIPRanges": [services],
        "ClusterDNS": "10.45.0.10",
        "ClusterDNSs": ["10.45.0.10"],
        "ClusterDomain": "cluster.example",
        "DisableKubeProxy": False,
        "DisableCCM": True,
        "EgressSelectorMode": "agent",
        "EncryptSecrets": True,
        "IPSECPSK": "never kept",
        "Skips": None,
        "VLevel": 0,
    }


@dataclass
class Supervisor:
    """`seen` are the requests that came: method, path, headers. `spoil` changes an answer, by path."""

    request: Request
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    config: dict[str, object] = field(default_factory=config)
    spoil: dict[str, Callable[[Answer], Answer]] = field(default_factory=dict)
    # Retry-After of every answer.
    retry_after: str = ""
    passwords: set[str] = field(default_factory=lambda: {f"node:{PASSWORD}", f"server:{PASSWORD}"})
    # etcd's, as /db/info has them.
    members: list[dict[str, object]] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        ensure(self.request, now())

    def path(self, name: str) -> Path:
        return Path(self.request.paths.server, name)

    @property
    def authority(self) -> bytes:
        return self.path("tls/server-ca.crt").read_bytes()

    def token(self, user: str = "node") -> token.Token:
        return token.Token(token.authority_hash(self.authority), user, PASSWORD)

    def spoils(self, path: str, status: int = 200, body: bytes = b"") -> None:
        self.spoil[path] = lambda answer: (status, body)

    def paths_seen(self) -> list[str]:
        return [path for _, path, _ in self.seen]

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes, name: str) -> Answer:
        if path == "/cacerts":
            return 200, self.authority
        kind, _, credentials = headers.get("authorization", "").partition(" ")
        known = kind == "Basic" and base64.b64decode(credentials).decode() in self.passwords
        if not known and name != "system:node:agent-1":
            return 401, b'{"kind": "Status", "message": "not authorized", "reason": "Unauthorized"}'
        match path:
            case "/v1-rke2/readyz":
                return 200, b"ok"
            case "/v1-rke2/config":
                return 200, json.dumps(self.config).encode()
            case "/v1-rke2/client-ca.crt" | "/v1-rke2/server-ca.crt" if method == "GET":
                return 200, self.path(f"tls/{path.rpartition('/')[2]}").read_bytes()
            case "/v1-rke2/apiservers":
                return 200, b'["192.0.2.1:6443","192.0.2.2:6443"]'
            case "/v1-rke2/server-bootstrap":
                return 200, bootstrap.pack(self.shared(), now())
            case "/db/info":
                return 200, json.dumps({"members": self.members}).encode()
        if method == "POST":
            return 200, self.sign(path.rpartition("/")[2].removesuffix(".crt"), headers, body).encode()
        return 404, b"404 page not found"

    def shared(self) -> dict[str, bytes]:
        return {name: self.path(place).read_bytes() for name, place in bootstrap.FILES.items()}

    def sign(self, name: str, headers: dict[str, str], body: bytes) -> str:
        issuer = "server-ca" if name == "serving-kubelet" else "client-ca"
        bundle, key = (self.path(f"tls/{issuer}.{end}").read_text() for end in ("crt", "key"))
        addresses = tuple(text for text in headers.get("rke2-node-ip", "").split(",") if text)
        signer = signing.authority_of(issuer, bundle, key)
        return signing.for_agent(
            name, headers["rke2-node-name"], addresses, signing.requested_key(body), signer, now()
        )


def request(root: Path, name: str = "one") -> Request:
    return Request(
        Paths(str(root / "data")),
        node_name=name,
        node_ips=("127.0.0.1",),
        names=("localhost", "127.0.0.1", name),
        token=PASSWORD,
        kubeconfig_path=str(root / "etc/rke2.yaml"),
        node_directory=str(root / "node"),
    )


@contextmanager
def running(supervisor: Supervisor, certificate: str = "") -> Iterator[Supervisor]:
    """The supervisor, answering at its `url` with its certificate or another (path without suffix)."""
    tls = supervisor.request.paths.tls
    serving = certificate or f"{tls}/serving-supervisor"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{serving}.crt", f"{serving}.key")
    context.load_verify_locations(f"{tls}/client-ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    with listening(supervisor, context) as url:
        supervisor.url = url
        yield supervisor


@contextmanager
def listening(supervisor: Supervisor, context: ssl.SSLContext) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def _answer(self, method: str) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", "0")))
            supervisor.seen.append((method, self.path, headers))
            assert isinstance(self.connection, ssl.SSLSocket)
            certificate: Any = self.connection.getpeercert() or {}
            subject = dict(pair for part in certificate.get("subject", ()) for pair in part)
            answer = supervisor.answer(method, self.path, headers, body, subject.get("commonName", ""))
            spoil = supervisor.spoil.get(self.path)
            status, content = spoil(answer) if spoil else answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if supervisor.retry_after:
                self.send_header("Retry-After", supervisor.retry_after)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = QuietServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def other_authority() -> bytes:
    """Another cluster's server-ca.crt."""
    made = authority.ensure(table.AUTHORITIES[1], "/nowhere", [], now(), (0, 0))
    return made.bundle.encode()
