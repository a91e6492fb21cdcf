"""From what is installed and configured to a plan that is on disk: the first part of every start."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rke2_units import names
from rke2_units.certificates.ensure import ensure
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.config.load import load
from rke2_units.daemon import joining, judgement, units
from rke2_units.daemon.joining import Ask
from rke2_units.daemon.probes import Fact
from rke2_units.doors import http, journal
from rke2_units.doors.dbus import Systemd
from rke2_units.doors.journal import Level
from rke2_units.errors import ConfigurationError
from rke2_units.join import server_list
from rke2_units.join.server_list import ServerList
from rke2_units.model import File, NodeFacts, Plan
from rke2_units.names import Paths, Role
from rke2_units.node import apply, facts, foreign_containerd, installation, releases
from rke2_units.node.certificate_request import certificate_request
from rke2_units.node.installation import Installation
from rke2_units.plan import api_proxy, make_plan, node_annotations, program_settings, programs


@dataclass(frozen=True)
class Servers:
    """The servers that an agent knows of: where the API is, who asks it for them, what is written then."""

    url: str
    identity: http.Identity
    known: ServerList
    files: Callable[[ServerList], Sequence[File]]


@dataclass(frozen=True)
class Prepared:
    """What the daemon needs of the plan, after everything of it is on disk."""

    plan: Plan
    paths: Paths
    content_directory: str
    # The socket of a containerd that is there already, "" for our own.
    foreign_containerd: str
    # What is allowed in the configuration but not wise, one line each.
    warnings: tuple[str, ...]
    static_pods: tuple[str, ...]
    # The planned digest of each process that carries one (containerd, the kubelet, the helm-applier).
    digests: Mapping[str, str]
    # The files that were not yet as the plan says.
    changed: frozenset[str]
    # Addresses to ask how components are.
    facts: Mapping[str, Fact]
    # The one of them that tells whether the API is ready.
    api: str
    node_url: str
    identity: http.Identity
    # What this node says of itself on its Node object; a server's controllers see to that.
    annotations: Mapping[str, str]
    # On an agent that joins servers: its way to them, None elsewhere.
    servers: Servers | None = None


def prepare(role: Role, systemd: Systemd, ask: Ask, *, taken_in: bool = False) -> Prepared:
    """Read the configuration, see to the certificates, and write what the plan says.

    What has to come from servers of the cluster is asked for through `ask`. `taken_in`: the members of etcd
    have taken this server in just now. Raises ConfigurationError for what only a person can mend, before
    anything is written.
    """
    installed = installation.read()
    if installed is None or installed.role != role:
        raise ConfigurationError(
            f"this node is not installed as {role}" + (f" but as {installed.role}" if installed else ""),
            hint=f"run: rke2-units install --role {role}",
        )
    if systemd.state(role.other.unit).active in ("active", "activating"):
        raise ConfigurationError(
            f"{role.other.unit} runs on this node; a node has one role",
            hint=f"stop it first: systemctl disable --now {role.other.unit}",
        )
    config = load(role, environment=os.environ)
    # Never fetched here: a start must not depend on the network, nor on who answers there.
    release = releases.find(config.text("release") or installed.release)
    paths = Paths(derived.data_directory(config))
    if role is Role.SERVER and not taken_in:
        joining.forget_invitation(config)
    gathered = facts.gather(role, config, environment=os.environ)
    make_plan(role, config, gathered, release)  # Nonsense is found before anything is made.
    foreign_containerd.refuse_to_leave(Paths(installed.data_directory), derived.containerd_socket(config))
    warnings = list(config.warnings)
    if role is Role.AGENT:
        config, warning = joining.join_agent(config, gathered, ask)
        warnings += [warning] if warning else []
    elif gathered.etcd_join:
        warning = joining.join_server(config, gathered, ask)
        warnings += [warning] if warning else []
    ensure(certificate_request(role, config, gathered), datetime.now(UTC))
    installation.make_digest_key()
    # Again, with the digests and the key of what is there now.
    again = facts.gather(role, config, environment=os.environ)
    gathered = replace(again, node_id=gathered.node_id)
    plan = make_plan(role, config, gathered, release)
    # The data directory and the release may have moved since the role was installed.
    changed = apply.apply(plan, installation=Installation(role, release.name, paths.data))
    if release.name != installed.release:
        journal.log(Level.INFO, f"the node moves from {installed.release} to {release.name}")
    if systemd.needs_reload(plan.units):
        systemd.reload()

    components = tuple(c for c in names.STATIC_PODS if names.static_pod_unit(c) in plan.units)
    is_agent = role is Role.AGENT
    proxied = api_proxy.apiserver_url(config) if is_agent else ""
    apiserver = proxied or f"https://127.0.0.1:{names.APISERVER_PORT}"
    asked = program_settings.facts(paths, proxied)
    facts_to_ask: dict[str, Fact] = {
        name: asked[name]
        for name in ("kubelet", names.ETCD, names.KUBE_APISERVER)
        if name == "kubelet" or name in components
    }
    api = names.KUBE_APISERVER
    if is_agent:
        api = judgement.component(names.API_PROXY_UNIT)
        facts_to_ask[api] = asked[names.KUBE_APISERVER]
    identity = _identity(paths.agent, "client-kubelet") if is_agent else _identity(paths.tls, "client-admin")
    return Prepared(
        plan=plan,
        paths=paths,
        content_directory=programs.content_directory(config, release),
        foreign_containerd=derived.foreign_containerd(config),
        warnings=tuple(warnings),
        static_pods=components,
        digests={
            unit: units.planned_digest(plan.file(f"{names.UNIT_DIRECTORY}/{unit}").content)
            for unit in units.PROCESSES
            if unit in plan.units
        },
        changed=frozenset(change.path for change in changed),
        facts=facts_to_ask,
        api=api,
        node_url=f"{apiserver}/api/v1/nodes/" + derived.node_name(config, gathered),
        identity=identity,
        annotations=node_annotations.annotations(config, gathered) if is_agent else {},
        servers=_servers(config, gathered, apiserver) if is_agent else None,
    )


def _identity(folder: str, name: str) -> http.Identity:
    return http.Identity(f"{folder}/server-ca.crt", f"{folder}/{name}.crt", f"{folder}/{name}.key")


def _servers(config: Config, gathered: NodeFacts, apiserver: str) -> Servers:
    paths = Paths(derived.data_directory(config))

    def files(known: ServerList) -> Sequence[File]:
        proxy = api_proxy.text(config, gathered, known.servers, known.apiservers)
        return (known.file(paths.server_list), File(paths.api_proxy_config, proxy))

    identity = _identity(paths.agent, "client-rke2-controller")
    return Servers(apiserver, identity, server_list.read(paths.server_list), files)
