"""A running supervisor: its process as systemd starts it, before an apiserver that the tests speak for."""

import base64
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from rke2_units.certificates import keys, leaf, signing, table
from rke2_units.certificates.ensure import Request, ensure
from rke2_units.join_api.handlers import BOOTSTRAP_CREDENTIALS
from rke2_units.layout import Paths

from ..kubernetes_api import ApiServer, Reply, Store, served
from ..kubernetes_api import Request as ApiRequest

ROOT = Path(__file__).resolve().parents[3]
SERVER_PASSWORD, AGENT_PASSWORD = "the-servers", "the-agents"
NODE_PASSWORD = "the-nodes"
# As systemd does: the socket is descriptor 3, and LISTEN_PID the process itself.
STARTER = textwrap.dedent(
    """
    import os, sys
    descriptor = int(sys.argv[2])
    if descriptor != 3:
        os.dup2(descriptor, 3)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
    exec(sys.argv[3])
    sys.argv = ["rke2_units.join_api", "--settings", sys.argv[1]]
    from rke2_units.join_api.__main__ import main
    sys.exit(main())
    """
)


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Api:
    """The apiserver: objects by path, and whether it answers at all."""

    server: ApiServer
    store: Store = field(default_factory=Store)
    ready: bool = True
    nodes: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.answer = self.answer

    def answer(self, request: ApiRequest) -> Reply:
        if not self.ready:
            return Reply(cut=True)
        if request.path == "/readyz":
            return Reply(body=b"ok")
        if request.path == "/api/v1/nodes":
            metadata = {"resourceVersion": "1"}
            return Reply(body={"kind": "NodeList", "metadata": metadata, "items": self.nodes})
        return self.store(request)


@dataclass
class Supervisor:
    """The process, and how to ask it."""

    directory: Path
    api: Api
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def credentials(self) -> Path:
        return self.directory / "credentials"

    @property
    def journal(self) -> str:
        return (self.directory / "journal").read_text()

    def tls(self, client: str = "") -> ssl.SSLContext:
        """A client's side; `client` names a certificate in the directory."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.credentials / "server-ca.crt")
        if client:
            context.load_cert_chain(self.directory / f"{client}.crt", self.directory / f"{client}.key")
        return context

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        user: str = "",
        token: str = "",
        client: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """One request over a connection of its own; `user` has its right password, or comes with one."""
        given = dict(headers or {})
        if user:
            passwords = {"server": SERVER_PASSWORD, "node": AGENT_PASSWORD}
            pair = user if ":" in user else f"{user}:{passwords[user]}"
            given["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        if token:
            given["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=20, context=self.tls(client)
        )
        try:
            connection.request(method, path, body, given)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """`source`: the address of loopback's network that it comes from."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20, source_address=(source, 0))

    def speak(self, source: str = "127.0.0.1") -> ssl.SSLSocket:
        """A connection without a certificate, its handshake done."""
        return self.tls().wrap_socket(self.connect(source), server_hostname="127.0.0.1")

    def memory(self) -> int:
        """PSS in bytes."""
        assert self.process is not None
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))


def request_for(key: keys.PrivateKey) -> bytes:
    """The request that agents send: a key, and nothing else."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, keys.signature_hash(key)).public_bytes(serialization.Encoding.DER)


def node_headers(name: str, password: str = NODE_PASSWORD, ips: str = "192.0.2.9") -> dict[str, str]:
    return {"rke2-Node-Name": name, "rke2-Node-Password": password, "rke2-Node-IP": ips}


def make_credentials(directory: Path) -> None:
    """What systemd hands over, and client certificates beside it."""
    paths = Paths(str(directory / "data"))
    now = datetime.now(UTC)
    ensure(
        Request(
            paths,
            node_name="one",
            node_ips=("192.0.2.5",),
            names=("localhost", "127.0.0.1", "one", "192.0.2.5", "cluster.example"),
            token=SERVER_PASSWORD,
            agent_token=AGENT_PASSWORD,
            kubeconfig_path=str(directory / "rke2.yaml"),
            node_directory=str(directory / "node"),
        ),
        now,
    )
    target = directory / "credentials"
    target.mkdir()
    tls = Path(paths.tls)
    sources = {
        name: tls / (name.replace("etcd-", "etcd/") if name.startswith("etcd-") else name)
        for name in BOOTSTRAP_CREDENTIALS.values()
        if name.endswith((".crt", ".key"))
    }
    for name in ("passwd", "ipsec.psk", "encryption-config.json", "encryption-state.json"):
        sources[name] = Path(paths.credentials) / name
    for suffix in ("crt", "key"):
        sources[f"client.{suffix}"] = tls / f"client-supervisor.{suffix}"
        sources[f"etcd-client.{suffix}"] = tls / "etcd" / f"client.{suffix}"
    for name, source in sources.items():
        (target / name).write_bytes(source.read_bytes())
    server, client = (
        signing.authority_of(name, (tls / f"{name}.crt").read_text(), (tls / f"{name}.key").read_text())
        for name in ("server-ca", "client-ca")
    )
    both = (table.Usage.SERVER,), (table.Usage.CLIENT,)
    wanted = {
        target / "serving": (server, leaf.Wanted("rke2", "rke2", both[0], ("127.0.0.1", "cluster.example"))),
        directory / "node-two": (client, leaf.Wanted("system:node:two", "system:nodes", both[1], ())),
        directory / "masters": (client, leaf.Wanted("system:admin", "system:masters", both[1], ())),
        directory / "pretender": (client, leaf.Wanted("somebody", "rke2:server", both[1], ())),
    }
    for base, (issuer, certificate) in wanted.items():
        key = keys.make()
        text = leaf.sign(certificate, key.public_key(), issuer, issuer.signing_key(""), str(base), now)
        base.with_suffix(".crt").write_text(text + issuer.bundle)
        base.with_suffix(".key").write_text(keys.text(key))


@contextmanager
def running(directory: Path, api: Api, before: str = "", **changes: object) -> Iterator[Supervisor]:
    """`before`: Python that its process runs first; `changes`: settings."""
    settings = {
        "node_name": "one",
        "node_ips": ["192.0.2.5"],
        "kubernetes": {"url": api.server.url},
        "config": {
            "ClusterDomain": "cluster.local",
            "SupervisorMetrics": True,
            "ClusterIPRange": {"IP": "10.42.0.0", "Mask": "//8AAA=="},
        },
        "min_tls_version": "VersionTLS12",
        "cipher_suites": ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
        "etcdctl": "",
        "etcd_url": "https://127.0.0.1:2379",
        "static": str(directory / "static"),
        "apiservers_fallback": ["192.0.2.5:6443"],
        "connections": 256,
        "requests": str(directory / "requests"),
        **changes,
    }
    file = directory / "settings.json"
    file.write_text(json.dumps(settings))
    supervisor = Supervisor(directory, api)
    with (
        socket.create_server(("127.0.0.1", 0), backlog=256) as listener,
        (directory / "journal").open("wb") as journal,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
    ):
        address = f"\0rke2-units-test-{os.getpid()}-{listener.getsockname()[1]}"
        notify.bind(address)
        notify.settimeout(20)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "CREDENTIALS_DIRECTORY": str(supervisor.credentials),
            "NOTIFY_SOCKET": f"@{address[1:]}",
        }
        arguments = [str(file), str(listener.fileno()), before]
        command = [sys.executable, "-Wdefault", "-c", STARTER, *arguments]
        supervisor.port = listener.getsockname()[1]
        supervisor.process = subprocess.Popen(
            command, env=environment, stderr=journal, pass_fds=[listener.fileno()]
        )
        try:
            assert b"READY=1" in notify.recv(4096), supervisor.journal
            yield supervisor
        finally:
            supervisor.process.send_signal(signal.SIGTERM)
            supervisor.process.wait(10)


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("supervisor")
    make_credentials(directory)
    (directory / "static" / "charts").mkdir(parents=True)
    (directory / "static" / "charts" / "a.tgz").write_bytes(b"chart")
    (directory / "static" / "link").symlink_to("/etc/passwd")
    (directory / "secret").write_text("secret")
    return directory


@pytest.fixture
def api() -> Iterator[Api]:
    with served() as server:
        yield Api(server)


@pytest.fixture
def supervisor(material: Path, api: Api) -> Iterator[Supervisor]:
    with running(material, api) as started:
        yield started


@pytest.fixture(scope="module")
def module_api() -> Iterator[Api]:
    with served() as server:
        yield Api(server)


def bootstrap_token(**changes: str) -> tuple[str, dict[str, Any]]:
    """Path and Secret of the token abcdef.0123456789abcdef, with some of its data changed."""
    data = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:rke2:default-node-token",
        "expiration": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        **changes,
    }
    name = "bootstrap-token-abcdef"
    secret = {
        "metadata": {"name": name, "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }
    return f"/api/v1/namespaces/kube-system/secrets/{name}", secret
