"""The table of RKE2's authorities and certificates, with issuer, subject, usage and names. Only data."""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from rke2_units.certificates.request import Request
from rke2_units.cluster_names import SUPERVISOR_SUBJECT

AUTHORITY_VALIDITY = timedelta(days=3650)
LEAF_VALIDITY = timedelta(days=365)
# A certificate that expires within this time is renewed at a start.
RENEWAL_WINDOW = timedelta(days=120)


class Usage(Enum):
    """Extended key usages."""

    CLIENT = auto()
    SERVER = auto()


class Names(Enum):
    """Which subject alternative names a certificate carries."""

    NONE = auto()
    LOOPBACK = auto()
    APISERVER = auto()
    ETCD = auto()
    KUBELET = auto()
    SUPERVISOR = auto()


@dataclass(frozen=True)
class Authority:
    """`name` is the path below tls/ without its suffix."""

    name: str
    prefix: str
    # The controller-manager signs with this one, so its key must be on disk.
    key_needed: bool = False
    # The controller-manager wants the first certificate alone (`*.nochain.crt`).
    nochain: bool = False


@dataclass(frozen=True)
class Leaf:
    """`name` is the path without its suffix, below tls/ or agent/."""

    name: str
    authority: str
    # `{node_name}` stands for the node's name.
    common_name: str
    organization: str = ""
    usages: tuple[Usage, ...] = (Usage.CLIENT,)
    names: Names = Names.NONE
    # Only on servers that run an etcd member; mounted in its pod and so owned by its user.
    etcd_member: bool = False


CLIENT_CA = "client-ca"
SERVER_CA = "server-ca"
REQUEST_HEADER_CA = "request-header-ca"
ETCD_SERVER_CA = "etcd/server-ca"
ETCD_PEER_CA = "etcd/peer-ca"

AUTHORITIES = (
    Authority(CLIENT_CA, "rke2-client", key_needed=True, nochain=True),
    Authority(SERVER_CA, "rke2-server", key_needed=True, nochain=True),
    Authority(REQUEST_HEADER_CA, "rke2-request-header"),
    Authority(ETCD_SERVER_CA, "etcd-server"),
    Authority(ETCD_PEER_CA, "etcd-peer"),
)

_BOTH = (Usage.SERVER, Usage.CLIENT)
_SERVER = (Usage.SERVER,)

# Below server/tls; mode of the certificate 0644, of the key 0600.
SERVER_LEAVES = (
    Leaf("client-admin", CLIENT_CA, "system:admin", "system:masters"),
    Leaf("client-supervisor", CLIENT_CA, "system:rke2-supervisor", "system:masters"),
    Leaf("client-controller", CLIENT_CA, "system:kube-controller-manager"),
    Leaf("client-scheduler", CLIENT_CA, "system:kube-scheduler"),
    Leaf("client-kube-apiserver", CLIENT_CA, "system:apiserver", "system:masters"),
    Leaf("client-kube-proxy", CLIENT_CA, "system:kube-proxy"),
    Leaf("client-rke2-controller", CLIENT_CA, "system:rke2-controller"),
    Leaf("client-rke2-cloud-controller", CLIENT_CA, "rke2-cloud-controller-manager"),
    Leaf("client-auth-proxy", REQUEST_HEADER_CA, "system:auth-proxy"),
    Leaf("serving-kube-apiserver", SERVER_CA, "kube-apiserver", usages=_SERVER, names=Names.APISERVER),
    Leaf("kube-scheduler/kube-scheduler", SERVER_CA, "kube-scheduler", usages=_SERVER, names=Names.LOOPBACK),
    Leaf(
        "kube-controller-manager/kube-controller-manager",
        SERVER_CA,
        "kube-controller-manager",
        usages=_SERVER,
        names=Names.LOOPBACK,
    ),
    Leaf("etcd/client", ETCD_SERVER_CA, "etcd-client"),
    Leaf("etcd/server-client", ETCD_SERVER_CA, "etcd-server", "", _BOTH, Names.ETCD, etcd_member=True),
    Leaf("etcd/peer-server-client", ETCD_PEER_CA, "etcd-peer", "", _BOTH, Names.ETCD, etcd_member=True),
    # RKE2 keeps one for all servers in a Secret and adds names that clients connect to. Here each server has
    # its own, with the configured names. Nodes recognize a server by the subject.
    Leaf(
        "serving-supervisor",
        SERVER_CA,
        SUPERVISOR_SUBJECT,
        SUPERVISOR_SUBJECT,
        usages=_SERVER,
        names=Names.SUPERVISOR,
    ),
)

# Keys without a certificate: the supervisor signs for agents that send no request of their own with them.
SHARED_KEYS = ("client-kubelet", "serving-kubelet")

# Below agent/; mode 0600. RKE2 issues these again at every start. Here they follow the rule of all others,
# so that a start without changes writes no file, and restarts no pod and no kubelet.
AGENT_LEAVES = (
    Leaf("serving-kubelet", SERVER_CA, "{node_name}", usages=_SERVER, names=Names.KUBELET),
    Leaf("client-kubelet", CLIENT_CA, "system:node:{node_name}", "system:nodes"),
    Leaf("client-kube-proxy", CLIENT_CA, "system:kube-proxy"),
    Leaf("client-rke2-controller", CLIENT_CA, "system:rke2-controller"),
)


def alternative_names(names: Names, request: Request) -> tuple[str, ...]:
    """The DNS names and addresses, each once."""
    match names:
        case Names.NONE:
            found: tuple[str, ...] = ()
        case Names.LOOPBACK:
            found = ("localhost", "127.0.0.1", "::1")
        case Names.APISERVER:
            service = "kubernetes.default.svc"
            short = ("kubernetes", "kubernetes.default", service)
            found = (*short, f"{service}.{request.cluster_domain}", *request.names)
        case Names.ETCD:
            found = ("kine.sock", *request.names)
        case Names.KUBELET:
            found = (request.node_name, *request.node_ips)
        case Names.SUPERVISOR:
            found = request.names
    return tuple(dict.fromkeys(found))
