"""An agent's way to its servers: haproxy on loopback, to every kube-apiserver and every supervisor."""

from collections.abc import Sequence

from rke2_units.config import derived, grammar
from rke2_units.config.config import Config
from rke2_units.model import File, NodeFacts
from rke2_units.names import Paths
from rke2_units.plan import addresses
from rke2_units.plan.templates import render


def credentials(paths: Paths) -> dict[str, str]:
    """The files that systemd hands to the proxy, by name: it asks servers how they are as the kubelet."""
    return {
        "server-ca.crt": f"{paths.agent}/server-ca.crt",
        "client.crt": f"{paths.agent}/client-kubelet.crt",
        "client.key": f"{paths.agent}/client-kubelet.key",
    }


def apiserver_url(config: Config) -> str:
    """An agent's way to the API servers, for everything of the node."""
    return addresses.url("https", addresses.LOOPBACK, derived.apiserver_proxy_port(config))


def text(config: Config, facts: NodeFacts, servers: Sequence[str], apiservers: Sequence[str]) -> str:
    """The proxy's configuration. `servers` and `apiservers` are HOST:PORT, IPv6 addresses in brackets.

    It holds no secret, and is read by a user of its own: mode 0644.
    """
    has_ipv6 = any(grammar.address(ip).version == 6 for ip in derived.node_ips(config, facts))
    return render(
        "haproxy.cfg",
        loopback=[addresses.LOOPBACK, *(["[::1]"] if has_ipv6 else [])],
        ways=[
            ("apiservers", derived.apiserver_proxy_port(config), "/readyz", apiservers),
            ("supervisors", derived.supervisor_proxy_port(config), "/v1-rke2/readyz", servers),
        ],
    )


def files(config: Config, facts: NodeFacts) -> list[File]:
    """The configuration with the servers that are known; a change is a reload, not a restart."""
    paths = Paths(derived.data_directory(config))
    return [File(paths.api_proxy_config, text(config, facts, facts.servers, facts.apiservers))]
