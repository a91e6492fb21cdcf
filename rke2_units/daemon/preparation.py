"""From the installation and the configuration to a plan on disk: the first part of every start.

`check` finds errors that only an administrator can correct, `obtain` fetches what the node shares with its
cluster and issues its certificates, and `write` writes the plan to disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rke2_units import layout, ports, unit_names
from rke2_units.certificates.ensure import ensure
from rke2_units.certificates.node_request import make_request
from rke2_units.config import derived
from rke2_units.config.load import load
from rke2_units.controllers import settings as controllers_settings
from rke2_units.daemon import joining, servers, units
from rke2_units.daemon.joining import Ask
from rke2_units.daemon.servers import Source
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.errors import ConfigurationError
from rke2_units.join import server_list
from rke2_units.layout import Paths
from rke2_units.lean import http
from rke2_units.lean import settings as program_settings
from rke2_units.lean.settings import HealthCheck
from rke2_units.machine import kernel_parameters
from rke2_units.model import File, Plan, ServerList
from rke2_units.node import (
    apply,
    configured,
    data_directory,
    facts,
    foreign_containerd,
    installation,
    releases,
)
from rke2_units.node.apply import Change
from rke2_units.node.cluster_reset import before_start
from rke2_units.node.installation import Installation
from rke2_units.plan import addresses, api_proxy, make_plan, programs, sysctl
from rke2_units.plan.node import Node
from rke2_units.plan.node_annotations import plan_annotations
from rke2_units.unit_names import Role
from rke2_units.unit_table import PROCESSES

if TYPE_CHECKING:
    from rke2_units.doors.dbus import Systemd


@dataclass(frozen=True)
class Servers:
    """The servers that this node needs: the source of their list, the known ones, and a list's files."""

    source: Source
    known: ServerList
    files: Callable[[ServerList], Sequence[File]]


@dataclass(frozen=True)
class Prepared:
    """What the daemon needs of the plan once it is on disk."""

    plan: Plan
    paths: Paths
    content_directory: str
    # The socket of an existing containerd, "" for rke2-containerd.service.
    foreign_containerd: str
    # What is allowed in the configuration but not wise, one line each.
    warnings: tuple[str, ...]
    static_pods: tuple[str, ...]
    # The planned digest of each process that carries one (containerd, the kubelet, the helm-applier).
    digests: Mapping[str, str]
    # How components are found to be healthy.
    health_checks: Mapping[str, HealthCheck]
    # The name of the check that shows whether the API is ready.
    api: str
    node_url: str
    identity: http.Identity
    # The annotations of an agent's Node; on a server rke2-controllers writes them.
    annotations: Mapping[str, str]
    # Whether the API is on other machines, which may be away for any time.
    api_elsewhere: bool = False
    # Whether the node is ready without the API: a server with etcd alone serves API servers that join later.
    up_without_api: bool = False
    # Where the node needs other servers, None elsewhere.
    servers: Servers | None = None


def prepare(role: Role, systemd: Systemd, ask: Ask, *, taken_in: bool = False) -> Prepared:
    """Read the configuration, issue the certificates, and write the plan's files.

    `ask` asks the cluster's servers. `taken_in`: etcd's members have just added this server. Raises
    ConfigurationError for errors that only an administrator can correct, before anything is written.
    """
    installed = installation.of_role(role)
    _refuse_other_role(role, systemd)
    node = check(installed, taken_in=taken_in)
    node, warnings = obtain(node, ask)
    plan = write(node, installed, systemd)
    return _prepared(node, plan, (*configured.warnings(node.config), *warnings, *plan.warnings))


def _refuse_other_role(role: Role, systemd: Systemd) -> None:
    if systemd.state(role.other.unit).active in ("active", "activating"):
        raise ConfigurationError(
            f"{role.other.unit} runs on this node; a node has one role",
            hint=f"stop it first: systemctl disable --now {role.other.unit}",
        )


# -- check ----------------------------------------------------------------------------------------------


def check(installed: Installation, *, taken_in: bool) -> Node:
    """The configured node; ConfigurationError for an invalid configuration, before anything is written."""
    config = load(installed.role, environment=os.environ)
    if config.role is Role.SERVER:
        before_start.refuse(config)
    # Never fetched here: a start must depend neither on the network nor on the answer of a server there.
    release = releases.find(configured.release_name(config, installed.release))
    if config.role is Role.SERVER and not taken_in:
        joining.forget_invitation(config)
    node = Node(config, facts.gather(config.role, config, environment=os.environ), release)
    _plan(node)
    data_directory.refuse_others(node.paths.data)
    kernel_parameters.refuse_wrong(config)
    foreign_containerd.refuse_to_leave(Paths(installed.data_directory), derived.containerd_socket(config))
    return node


def _plan(node: Node) -> Plan:
    return make_plan(node.role, node.config, node.facts, node.release)


# -- obtain ---------------------------------------------------------------------------------------------


def obtain(node: Node, ask: Ask) -> tuple[Node, tuple[str, ...]]:
    """Fetch what the cluster's servers have for this node, and issue its certificates.

    Returns the node with the new values, and warnings.
    """
    node, warning = _join(node, ask)
    ensure(make_request(node), datetime.now(UTC))
    installation.make_digest_key()
    return _with_new_digests(node), (warning,) if warning else ()


def _join(node: Node, ask: Ask) -> tuple[Node, str | None]:
    if node.role is Role.AGENT:
        config, warning = joining.join_agent(node, ask)
        return replace(node, config=config), warning
    if node.facts.etcd_join or not derived.server_roles(node.config).etcd:
        return node, joining.join_server(node, ask)
    return node, None


def _with_new_digests(node: Node) -> Node:
    """The node with the digests and the key of the files that exist now."""
    before = node.facts
    now = facts.gather(node.role, node.config, environment=os.environ)
    # It has all files now with which a node looks registered.
    return replace(node, facts=replace(now, node_id=before.node_id, registered=before.registered))


# -- write ----------------------------------------------------------------------------------------------


def write(node: Node, installed: Installation, systemd: Systemd) -> Plan:
    """Apply the plan of the node. `installed`: the record of its installation or last start."""
    plan = _plan(node)
    # The data directory and the release may have changed since the role was installed.
    changes = apply.apply(plan, installation=configured.to_record(node))
    if node.role is Role.SERVER:
        before_start.forget(node.paths)
    if node.release.name != installed.release:
        journal.log(Level.INFO, f"the node moves from {installed.release} to {node.release.name}")
    _set_kernel_parameters(plan, changes)
    if systemd.needs_reload(plan.all_units):
        systemd.reload()
    return plan


def _set_kernel_parameters(plan: Plan, changes: Sequence[Change]) -> None:
    if any(change.path in (sysctl.MODULES_FILE, sysctl.SYSCTL_FILE) for change in changes):
        # install has done so before, but an agent's cluster may have turned out to have IPv6.
        for problem in apply.set_kernel_parameters(plan):
            journal.log(Level.WARNING, problem)
    for change in apply.tune_kernel(plan):
        journal.log(Level.INFO, change)


# -- prepared -------------------------------------------------------------------------------------------


def _prepared(node: Node, plan: Plan, warnings: tuple[str, ...]) -> Prepared:
    is_agent = node.role is Role.AGENT
    api_elsewhere = api_proxy.leads_to_apiservers(node.config)
    api = unit_names.component(unit_names.API_PROXY_UNIT) if api_elsewhere else unit_names.KUBE_APISERVER
    apiserver = addresses.url("https", addresses.LOOPBACK, ports.APISERVER_PORT)
    if api_elsewhere:
        apiserver = api_proxy.apiserver_url(node.config)
    paths = node.paths
    return Prepared(
        plan=plan,
        paths=paths,
        content_directory=programs.content_directory(node.config, node.release),
        foreign_containerd=derived.foreign_containerd(node.config),
        warnings=warnings,
        static_pods=tuple(c for c in unit_names.STATIC_PODS if unit_names.static_pod_unit(c) in plan.units),
        digests={
            unit: units.planned_digest(plan.file(f"{layout.UNIT_DIRECTORY}/{unit}").content)
            for unit in PROCESSES
            if unit in plan.units
        },
        health_checks=_health_checks(paths, api),
        api=api,
        node_url=f"{apiserver}/api/v1/nodes/{node.name}",
        identity=_identity(paths.agent, "client-kubelet")
        if is_agent
        else _identity(paths.tls, "client-admin"),
        annotations=plan_annotations(node) if is_agent else {},
        api_elsewhere=api_elsewhere,
        up_without_api=api_elsewhere and not is_agent,
        servers=_servers(node),
    )


def _health_checks(paths: Paths, api: str) -> dict[str, HealthCheck]:
    """The checks whose failures are reported; that of kube-apiserver under the name `api`."""
    planned = program_settings.read(paths.program_settings).health_checks
    names = {"kubelet": "kubelet", unit_names.ETCD: unit_names.ETCD, api: unit_names.KUBE_APISERVER}
    return {name: planned[asked] for name, asked in names.items() if asked in planned}


def _identity(folder: str, name: str) -> http.Identity:
    return http.Identity(f"{folder}/server-ca.crt", f"{folder}/{name}.crt", f"{folder}/{name}.key")


def _servers(node: Node) -> Servers | None:
    """None also for a server that has not joined etcd yet: its next plan has them."""
    if node.facts.etcd_join or not api_proxy.is_needed(node.config):
        return None
    path = node.paths.server_list

    def files(known: ServerList) -> Sequence[File]:
        return (server_list.file(path, known), api_proxy.file(node, known))

    return Servers(_source(node), server_list.read(path), files)


def _source(node: Node) -> Source:
    if node.role is Role.AGENT:
        identity = _identity(node.paths.agent, "client-rke2-controller")
        known = server_list.read(node.paths.server_list)
        return servers.of_api(
            api_proxy.apiserver_url(node.config), identity, node.config.text("server"), known
        )
    etcd = controllers_settings.read(node.paths.controllers_settings).etcd()
    has_etcd = derived.server_roles(node.config).etcd
    return servers.asking(servers.api_addresses_in(etcd) if has_etcd else servers.members_of(etcd))
