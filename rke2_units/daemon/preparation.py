"""From what is installed and configured to a plan that is on disk: the first part of every start."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rke2_units import names
from rke2_units.certificates.ensure import ensure
from rke2_units.config import derived
from rke2_units.config.load import load
from rke2_units.daemon import units
from rke2_units.daemon.probes import Fact
from rke2_units.doors import http, journal
from rke2_units.doors.dbus import Systemd
from rke2_units.doors.journal import Level
from rke2_units.errors import ConfigurationError
from rke2_units.model import Plan
from rke2_units.names import Paths, Role
from rke2_units.node import apply, facts, foreign_containerd, installation, releases
from rke2_units.node.certificate_request import certificate_request
from rke2_units.node.installation import Installation
from rke2_units.plan import make_plan, program_settings, programs


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
    node_url: str
    identity: http.Identity


def prepare(role: Role, systemd: Systemd) -> Prepared:
    """Read the configuration, see to the certificates, and write what the plan says.

    Raises ConfigurationError for what only a person can mend, before anything is written.
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
    gathered = facts.gather(role, config, environment=os.environ)
    make_plan(role, config, gathered, release)  # Nonsense is found before anything is made.
    foreign_containerd.refuse_to_leave(Paths(installed.data_directory), derived.containerd_socket(config))
    ensure(certificate_request(role, config, gathered), datetime.now(UTC))
    installation.make_digest_key()
    # Again, with the digests and the key of what is there now.
    again = facts.gather(role, config, environment=os.environ)
    gathered = replace(again, node_id=gathered.node_id)
    plan = make_plan(role, config, gathered, release)
    # The data directory and the release may have moved since the role was installed.
    apply.apply(plan, installation=Installation(role, release.name, paths.data))
    if release.name != installed.release:
        journal.log(Level.INFO, f"the node moves from {installed.release} to {release.name}")
    if systemd.needs_reload(plan.units):
        systemd.reload()

    components = tuple(c for c in names.STATIC_PODS if names.static_pod_unit(c) in plan.units)
    asked = program_settings.facts(paths)
    tls = paths.tls
    return Prepared(
        plan=plan,
        paths=paths,
        content_directory=programs.content_directory(config, release),
        foreign_containerd=derived.foreign_containerd(config),
        warnings=config.warnings,
        static_pods=components,
        digests={
            unit: units.planned_digest(plan.file(f"{names.UNIT_DIRECTORY}/{unit}").content)
            for unit in (names.CONTAINERD_UNIT, names.KUBELET_UNIT, names.APPLIER_UNIT)
            if unit in plan.units
        },
        facts={
            name: asked[name]
            for name in ("kubelet", names.ETCD, names.KUBE_APISERVER)
            if name == "kubelet" or name in components
        },
        node_url=f"https://127.0.0.1:{names.APISERVER_PORT}/api/v1/nodes/"
        + derived.node_name(config, gathered),
        identity=http.Identity(f"{tls}/server-ca.crt", f"{tls}/client-admin.crt", f"{tls}/client-admin.key"),
    )
