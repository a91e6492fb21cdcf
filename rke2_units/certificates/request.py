"""What the node's key material depends on."""

from dataclasses import dataclass, field

from rke2_units.layout import KUBECONFIG, NODE_DIRECTORY, Paths
from rke2_units.ports import APISERVER_PORT
from rke2_units.unit_names import Role


@dataclass(frozen=True)
class Request:
    """Everything `ensure` needs to know; addresses and names are plain texts.

    `names` is RKE2's list of subject alternative names for the apiserver and etcd: tls-san, the loopback
    names, the node's name and addresses, the advertised address, the first service address.
    """

    paths: Paths
    node_name: str
    node_ips: tuple[str, ...]
    names: tuple[str, ...]
    role: Role = Role.SERVER
    cluster_domain: str = "cluster.local"
    # As configured: a password or a K10 token; empty: keep the one on disk, or make one.
    token: str = field(default="", repr=False)
    # As configured; empty: agents use the server's.
    agent_token: str = field(default="", repr=False)
    # Whether this server runs an etcd member.
    etcd: bool = True
    # User and group of the etcd pod's files (profiles cis and etcd).
    etcd_owner: tuple[int, int] = (0, 0)
    # aescbc or secretbox; only the first start asks.
    secrets_encryption_provider: str = "aescbc"
    kubeconfig_path: str = KUBECONFIG
    kubeconfig_mode: int = 0o600
    # A group's name or number; empty: root's.
    kubeconfig_group: str = ""
    # The name of context, cluster and user.
    kubeconfig_name: str = "default"
    node_directory: str = NODE_DIRECTORY

    @property
    def apiserver_url(self) -> str:
        """The local apiserver, over IPv6 where the node's first address is one."""
        host = "[::1]" if self.node_ips and ":" in self.node_ips[0] else "127.0.0.1"
        return f"https://{host}:{APISERVER_PORT}"
