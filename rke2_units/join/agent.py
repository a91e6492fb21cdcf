"""Fetches what an agent needs from a server: CAs, certificates for its own keys, the cluster's values.

Everything is fetched and checked before the first file is written. No private key leaves this machine.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rke2_units.certificates import kubeconfig, requesting, table
from rke2_units.certificates.request import Request
from rke2_units.certificates.requesting import Held, Issuer
from rke2_units.certificates.token import Token
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.join import candidates, cluster_config, server_list, validate
from rke2_units.join.http import Busy, Connection, Refused, Unreachable
from rke2_units.join.validate import Trusted
from rke2_units.model import File

_API = "/v1-rke2"
# The kubelet's certificate, with which the node identifies itself after its first start.
_OWN_CERTIFICATE = "client-kubelet"
_CERTIFICATES = ("serving-kubelet", _OWN_CERTIFICATE, "client-kube-proxy", "client-rke2-controller")


@dataclass(frozen=True)
class Agent:
    """The node that joins. `apiserver_url`, for its kubeconfigs, is its own proxy to all API servers."""

    request: Request
    token: Token
    node_password: str
    apiserver_url: str


@dataclass(frozen=True)
class Fetched:
    """`files` in the order in which they are put in place; `values` are the cluster's, by key."""

    files: tuple[File, ...]
    values: Mapping[str, tuple[str, ...]]


def fetch(urls: Sequence[str], agent: Agent, now: datetime) -> Fetched:
    """Fetches everything from the first of these servers that answers. Nothing is written.

    Raises Refused if a server rejected the node and no other accepted it, else Unreachable. For a node that
    can start without a server, Refused requires that all servers rejected it.
    """
    complete = is_complete(agent.request)
    return candidates.first(urls, lambda url: _fetch(url, agent, now), all_refuse=complete)


def is_complete(request: Request) -> bool:
    """Whether the files of an earlier fetch are complete, so that the node can start without a server."""
    paths = request.paths
    wanted = [f"{paths.agent}/{name}.crt" for name in (table.CLIENT_CA, table.SERVER_CA)]
    wanted += [f"{paths.agent}/{name}.{end}" for name in _CERTIFICATES for end in ("crt", "key")]
    wanted += [paths.kubelet_kubeconfig, paths.kube_proxy_kubeconfig, paths.controller_kubeconfig]
    return all(os.path.exists(path) for path in [*wanted, paths.server_list, paths.cluster_config])


def _fetch(url: str, agent: Agent, now: datetime) -> Fetched:
    server = validate.trust(url, agent.token)
    try:
        try:
            with validate.connect(server, agent.token) as connection:
                return _ask(connection, url, agent, now)
        except (Refused, Busy) as refusal:
            # A token may have expired or been replaced since the node joined with it.
            denied = isinstance(refusal, Busy) or refusal.status == 401
            if not denied or (known := _as_known_node(server, agent)) is None:
                raise
            try:
                with known as connection:
                    return _ask(connection, url, agent, now)
            except Refused:
                raise refusal from None
    except (ConfigurationError, Unreachable):
        raise
    except UserError as error:
        # This server's answer is invalid; another server's may be valid.
        raise Unreachable(f"{url}: {error.message}") from None


def _as_known_node(server: Trusted, agent: Agent) -> Connection | None:
    base = f"{agent.request.paths.agent}/{_OWN_CERTIFICATE}"
    try:
        return validate.with_certificate(server, f"{base}.crt", f"{base}.key")
    except OSError:
        return None


def _ask(connection: Connection, url: str, agent: Agent, now: datetime) -> Fetched:
    request = agent.request
    # A server whose apiserver is not ready knows only itself.
    connection.get(f"{_API}/readyz")
    values = cluster_config.values(cluster_config.parse(connection.get(f"{_API}/config")))
    issuers = {name: _issuer(connection, name) for name in (table.CLIENT_CA, table.SERVER_CA)}
    made = [
        File(f"{request.paths.agent}/{name}.crt", issuer.bundle, 0o600) for name, issuer in issuers.items()
    ]
    for leaf in table.AGENT_LEAVES:
        held = requesting.held(leaf, request, issuers[leaf.authority], now)
        text = held.certificate or _certificate(connection, leaf, held, agent, issuers[leaf.authority])
        made += requesting.with_issuer(held, text, issuers[leaf.authority])
    made += _kubeconfigs(agent)
    known = server_list.of_apiservers(_json(connection.get(f"{_API}/apiservers")))
    known = known if known.servers else server_list.of_url(url)
    made.append(server_list.file(request.paths.server_list, known))
    # Last: if this file exists, all others do.
    made.append(cluster_config.file(request.paths.cluster_config, values))
    return Fetched(tuple(made), values)


def _issuer(connection: Connection, name: str) -> Issuer:
    answer = connection.get(f"{_API}/{name}.crt")
    return requesting.issuer(answer.decode(errors="replace"), f"{_API}/{name}.crt")


def _certificate(connection: Connection, leaf: table.Leaf, held: Held, agent: Agent, issuer: Issuer) -> str:
    headers = {"rke2-Node-Name": agent.request.node_name, "rke2-Node-Password": agent.node_password}
    if leaf.names is not table.Names.NONE:
        headers["rke2-Node-IP"] = ",".join(agent.request.node_ips)
    body = requesting.signing_request(held.key)
    answer = connection.ask("POST", f"{_API}/{leaf.name}.crt", body, headers)
    return requesting.issued(answer.decode(errors="replace"), held, issuer)


def _kubeconfigs(agent: Agent) -> list[File]:
    paths = agent.request.paths
    authority = f"{paths.agent}/{table.SERVER_CA}.crt"
    clients = {
        paths.kubelet_kubeconfig: _OWN_CERTIFICATE,
        paths.kube_proxy_kubeconfig: "client-kube-proxy",
        paths.controller_kubeconfig: "client-rke2-controller",
    }
    return [
        File(path, kubeconfig.with_paths(agent.apiserver_url, authority, f"{paths.agent}/{name}"), 0o600)
        for path, name in clients.items()
    ]


def _json(answer: bytes) -> object:
    try:
        parsed: object = json.loads(answer)
    except ValueError:
        raise UserError(f"{_API}/apiservers is not JSON") from None
    return parsed


def node_password(directory: str) -> str:
    """The node's password in this directory, as it is sent to servers: without the final newline."""
    return (files.read_text(f"{directory}/password") or "").strip()
