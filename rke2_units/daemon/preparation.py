"""From what is installed and configured to a plan that is on disk: the first part of every start."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rke2_units import layout, ports, unit_names
from rke2_units.certificates.ensure import ensure
from rke2_units.certificates.node_request import certificate_request
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.config.load import load
from rke2_units.daemon import joining, readiness, servers, units
from rke2_units.daemon.health import Fact
from rke2_units.daemon.joining import Ask
from rke2_units.daemon.servers import Source
from rke2_units.doors import http, journal
from rke2_units.doors.dbus import Systemd
from rke2_units.doors.journal import Level
from rke2_units.errors import ConfigurationError
from rke2_units.join import server_list
from rke2_units.join.server_list import ServerList
from rke2_units.layout import Paths
from rke2_units.lean.etcd import Etcd
from rke2_units.machine import kernel_parameters
from rke2_units.model import File, NodeFacts, Plan
from rke2_units.node import (
    apply,
    data_directory,
    facts,
    foreign_containerd,
    installation,
    releases,
    remarks,
)
from rke2_units.node.environment import ignored_lines
from rke2_units.plan import (
    api_proxy,
    kubelet,
    make_plan,
    node_annotations,
    program_settings,
    programs,
    sysctl,
)
from rke2_units.plan.etcdctl import etcdctl
from rke2_units.release.model import Release
from rke2_units.unit_names import Role


@dataclass(frozen=True)
class Servers:
    """The servers that this node needs: who tells of them, those that are known, what is written then."""

    source: Source
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
    # Addresses to ask how components are.
    facts: Mapping[str, Fact]
    # The one of them that tells whether the API is ready.
    api: str
    node_url: str
    identity: http.Identity
    # What this node says of itself on its Node object; a server's controllers see to that.
    annotations: Mapping[str, str]
    # Whether that is on other machines, which may be away for as long as they like.
    api_elsewhere: bool = False
    # Whether the node is up without it: who has etcd alone is there for API servers that are to come.
    up_without_api: bool = False
    # Where the node needs other servers, None elsewhere.
    servers: Servers | None = None


def prepare(role: Role, systemd: Systemd, ask: Ask, *, taken_in: bool = False) -> Prepared:
    """Read the configuration, see to the certificates, and write what the plan says.

    What has to come from servers of the cluster is asked for through `ask`. `taken_in`: the members of etcd
    have taken this server in just now. Raises ConfigurationError for what only a person can mend, before
    anything is written.
    """
    installed = installation.of_role(role)
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
    data_directory.refuse_others(paths.data)
    kernel_parameters.refuse_wrong(config)
    foreign_containerd.refuse_to_leave(Paths(installed.data_directory), derived.containerd_socket(config))
    lacks_backups = derived.lacks_backups(config)
    warnings = [
        *config.warnings,
        *ignored_lines(role),
        *remarks.of_configuration(paths, lacks_backups=lacks_backups),
    ]
    if role is Role.AGENT:
        config, warning = joining.join_agent(config, gathered, ask)
        warnings += [warning] if warning else []
    elif gathered.etcd_join or not derived.server_roles(config).etcd:
        warning = joining.join_server(config, gathered, ask)
        warnings += [warning] if warning else []
    ensure(certificate_request(role, config, gathered), datetime.now(UTC))
    installation.make_digest_key()
    # Again, with the digests and the key of what is there now.
    again = facts.gather(role, config, environment=os.environ)
    # By now it has all that makes a node look registered.
    gathered = replace(again, node_id=gathered.node_id, registered=gathered.registered)
    plan = make_plan(role, config, gathered, release)
    # The data directory and the release may have moved since the role was installed.
    to_record = installation.planned(role, release.name, paths.data, kubelet.root_directory(config))
    changed = apply.apply(plan, installation=to_record)
    if release.name != installed.release:
        journal.log(Level.INFO, f"the node moves from {installed.release} to {release.name}")
    if any(change.path in (sysctl.MODULES_FILE, sysctl.SYSCTL_FILE) for change in changed):
        # install has done so before, but an agent's cluster may have turned out to have IPv6.
        for problem in apply.set_kernel_parameters(plan):
            journal.log(Level.WARNING, problem)
    for change in apply.tune_kernel(plan):
        journal.log(Level.INFO, change)
    if systemd.needs_reload(plan.units):
        systemd.reload()

    components = tuple(c for c in unit_names.STATIC_PODS if unit_names.static_pod_unit(c) in plan.units)
    is_agent = role is Role.AGENT
    api_elsewhere = api_proxy.leads_to_apiservers(config)
    proxied = api_proxy.apiserver_url(config) if api_elsewhere else ""
    apiserver = proxied or f"https://127.0.0.1:{ports.APISERVER_PORT}"
    asked = program_settings.facts(paths, proxied)
    facts_to_ask: dict[str, Fact] = {
        name: asked[name]
        for name in ("kubelet", unit_names.ETCD, unit_names.KUBE_APISERVER)
        if name == "kubelet" or name in components
    }
    api = unit_names.KUBE_APISERVER
    if api_elsewhere:
        api = readiness.component(unit_names.API_PROXY_UNIT)
        facts_to_ask[api] = asked[unit_names.KUBE_APISERVER]
    identity = _identity(paths.agent, "client-kubelet") if is_agent else _identity(paths.tls, "client-admin")
    return Prepared(
        plan=plan,
        paths=paths,
        content_directory=programs.content_directory(config, release),
        foreign_containerd=derived.foreign_containerd(config),
        warnings=(*warnings, *plan.warnings),
        static_pods=components,
        digests={
            unit: units.planned_digest(plan.file(f"{layout.UNIT_DIRECTORY}/{unit}").content)
            for unit in units.PROCESSES
            if unit in plan.units
        },
        facts=facts_to_ask,
        api=api,
        node_url=f"{apiserver}/api/v1/nodes/" + derived.node_name(config, gathered),
        identity=identity,
        annotations=node_annotations.annotations(config, gathered) if is_agent else {},
        api_elsewhere=api_elsewhere,
        up_without_api=api_elsewhere and not is_agent,
        servers=_servers(config, gathered, release) if api_proxy.is_needed(config) else None,
    )


def _identity(folder: str, name: str) -> http.Identity:
    return http.Identity(f"{folder}/server-ca.crt", f"{folder}/{name}.crt", f"{folder}/{name}.key")


def _servers(config: Config, gathered: NodeFacts, release: Release) -> Servers:
    paths = Paths(derived.data_directory(config))

    def files(known: ServerList) -> Sequence[File]:
        machine = replace(
            gathered, servers=known.servers, apiservers=known.apiservers, etcd_members=known.members
        )
        return (known.file(paths.server_list), *api_proxy.files(config, machine))

    return Servers(_source(config, paths, release), server_list.read(paths.server_list), files)


def _source(config: Config, paths: Paths, release: Release) -> Source:
    if config.role is Role.AGENT:
        identity = _identity(paths.agent, "client-rke2-controller")
        return servers.of_api(api_proxy.apiserver_url(config), identity)
    etcd = Etcd(
        etcdctl(config, release).path,
        [f"https://127.0.0.1:{ports.ETCD_CLIENT_PORT}"],
        authority=f"{paths.etcd_tls}/server-ca.crt",
        certificate=f"{paths.etcd_tls}/client.crt",
        key=f"{paths.etcd_tls}/client.key",
    )
    has_etcd = derived.server_roles(config).etcd
    return servers.asking(servers.api_addresses_in(etcd) if has_etcd else servers.members_of(etcd))
