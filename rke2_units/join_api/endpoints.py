"""Every endpoint: path, method, who may ask, and which handler answers. docs/supervisor-api.md shows it."""

from dataclasses import dataclass
from enum import Enum

from rke2_units.join_api.connection import LARGEST_BODY
from rke2_units.join_api.identity import AGENT_GROUPS, SERVER_GROUPS

# What a request for another program may hold; a client of RKE2 sends some hundred bytes.
LARGEST_RELAYED_BODY = 1 << 20


class Access(Enum):
    """Who may ask; the value is what the documentation says."""

    ANYONE = "anyone"
    AGENT = "agent level"
    NODE = "agent level, with the node's password"
    SERVER = "rke2:server"
    REVIEWED = "whoever kube-apiserver lets read `/metrics`"

    @property
    def groups(self) -> frozenset[str]:
        """One of these is needed; none for ANYONE, and others decide on REVIEWED."""
        nobody: frozenset[str] = frozenset()
        return {
            Access.ANYONE: nobody,
            Access.REVIEWED: nobody,
            Access.SERVER: SERVER_GROUPS,
        }.get(self, AGENT_GROUPS)


@dataclass(frozen=True)
class Endpoint:
    """`handler` is a method of handlers.Handlers, `answer` what the documentation says of its answer.

    `relayed`: another program answers, and may work for minutes.
    """

    path: str
    method: str
    access: Access
    handler: str
    answer: str
    relayed: bool = False

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def signs(self) -> bool:
        """Whether the body is a certificate request."""
        return self.writes and self.path.endswith(".crt")

    @property
    def largest_body(self) -> int:
        return LARGEST_RELAYED_BODY if self.relayed else LARGEST_BODY


_PREFIX = "/v1-rke2"
_LEAF = "PEM: the certificate, then its issuer's bundle"

ENDPOINTS = (
    Endpoint("/cacerts", "GET", Access.ANYONE, "server_ca", "PEM of the server authority"),
    Endpoint("/ping", "GET", Access.ANYONE, "ping", "`pong`"),
    Endpoint("/static/{path}", "GET", Access.ANYONE, "static", "a file below `server/static`"),
    Endpoint(f"{_PREFIX}/config", "GET", Access.AGENT, "config", "JSON: the cluster's configuration"),
    Endpoint(f"{_PREFIX}/client-ca.crt", "GET", Access.AGENT, "client_ca", "PEM of the client authority"),
    Endpoint(f"{_PREFIX}/server-ca.crt", "GET", Access.AGENT, "server_ca", "PEM of the server authority"),
    Endpoint(f"{_PREFIX}/serving-kubelet.crt", "POST", Access.NODE, "serving_kubelet", _LEAF),
    Endpoint(f"{_PREFIX}/client-kubelet.crt", "POST", Access.NODE, "client_kubelet", _LEAF),
    Endpoint(f"{_PREFIX}/client-kube-proxy.crt", "POST", Access.AGENT, "client_kube_proxy", _LEAF),
    Endpoint(f"{_PREFIX}/client-rke2-controller.crt", "POST", Access.AGENT, "client_rke2_controller", _LEAF),
    Endpoint(f"{_PREFIX}/apiservers", "GET", Access.AGENT, "apiservers", "JSON: a list of `address:port`"),
    Endpoint(
        f"{_PREFIX}/readyz", "GET", Access.AGENT, "readyz", "`ok` when this server's apiserver is ready"
    ),
    Endpoint(
        f"{_PREFIX}/server-bootstrap", "GET", Access.SERVER, "server_bootstrap", "JSON: authorities and keys"
    ),
    Endpoint("/db/info", "GET", Access.SERVER, "db_info", "JSON: `members`, those of etcd"),
    Endpoint(
        "/db/snapshot",
        "POST",
        Access.SERVER,
        "db_snapshot",
        "JSON: what became of a request about etcd's snapshots; 404 on a server without etcd",
        relayed=True,
    ),
    Endpoint(
        "/metrics",
        "GET",
        Access.REVIEWED,
        "metrics",
        "Prometheus' text format; 404 without supervisor-metrics",
    ),
)
