"""The plan: everything that a node is to have, as a pure function of config, node facts and release."""

from collections.abc import Sequence

from rke2_units import layout, unit_names
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.model import File, NodeFacts, Plan
from rke2_units.plan import (
    api_proxy,
    applier_settings,
    containerd,
    controllers_settings,
    etcd,
    image_programs,
    kubelet,
    program_settings,
    programs,
    registries,
    server_files,
    snapshot_settings,
    soundness,
    static_pods,
    supervisor_settings,
    sysctl,
    units,
)
from rke2_units.plan.directories import plan_directories
from rke2_units.plan.image_programs import ImageProgram
from rke2_units.plan.node import Node
from rke2_units.plan.templates import render
from rke2_units.release.model import Release
from rke2_units.unit_names import Role
from rke2_units.unit_table import UNITS, Start, Traits


def make_plan(role: Role, config: Config, facts: NodeFacts, release: Release) -> Plan:
    """The full list of files and units of this node. ConfigurationError for values that cannot be."""
    node = Node(config, facts, release)
    paths = node.paths
    warnings = soundness.check(node)
    own_programs = programs.choose_programs(node)
    # As long as this server is no member of the cluster's etcd, an etcd of its own would be another cluster.
    components = () if facts.etcd_join else static_pods.components(config, release)
    pods = [static_pods.manifest(component, node) for component in components]
    # Whoever has an apiserver applies manifests and charts to it.
    applies = unit_names.KUBE_APISERVER in components
    helm = image_programs.helm(node) if applies else ImageProgram(image_programs.HELM, "")
    traits = Traits(
        is_server=role is Role.SERVER,
        joins_etcd=facts.etcd_join,
        components=components,
        needs_proxy=api_proxy.is_needed(config),
        has_own_content=not derived.uses_host_content(config),
        has_own_containerd=bool(own_programs.containerd),
        takes_helm_from_image=bool(helm.image),
        has_schedule=not config.boolean("etcd-disable-snapshots"),
    )
    own_units = [unit for unit in UNITS if unit.has(traits)]
    all_units = tuple(unit.name for unit in own_units if unit.start is not Start.INSTANCES)

    files: list[File] = [
        *sysctl.files(node),
        *containerd.files(node),
        *registries.files(config, release),
        *kubelet.files(node),
    ]
    if config.boolean("with-node-id"):
        files.append(File(layout.NODE_ID_FILE, f"{facts.node_id}\n"))
    if role is Role.SERVER:
        files += server_files.files(node)
    if applies:
        restarts = (unit_names.APPLIER_UNIT,)
        files.append(File(paths.applier_settings, applier_settings.text(node), 0o600, restarts=restarts))
    files += _joining_files(all_units, node)
    if unit_names.ETCD in components:
        files += etcd.files(node)
        files.append(File(paths.snapshot_settings, snapshot_settings.text(node), 0o600))
    files += [
        File(
            paths.staged_manifest(pod.component),
            pod.text,
            0o600 if derived.has_profile(config) else 0o644,
            restarts=(unit_names.static_pod_unit(pod.component),),
        )
        for pod in pods
    ]
    from_images = [helm] if unit_names.HELM_UNIT in all_units else []
    if unit_names.ETCDCTL_UNIT in all_units:
        from_images.append(image_programs.etcdctl(node))
    settings = program_settings.text(node, own_programs, from_images, pods)
    files.append(File(paths.program_settings, settings))
    files += units.files(node, own_units, own_programs, helm, files)
    return Plan(
        role=role,
        directories=(*plan_directories(node, etcd.owner(node)), *registries.directories(config)),
        files=tuple(files),
        units=tuple(unit.name for unit in own_units if unit.is_started(traits)),
        enabled=role.unit,
        warnings=warnings,
        kernel_parameters=sysctl.conntrack(node),
        all_units=all_units,
    )


def _joining_files(own_units: Sequence[str], node: Node) -> list[File]:
    """What the units by which nodes join each other have to know."""
    paths = node.paths
    files: list[File] = []
    if unit_names.SUPERVISOR_UNIT in own_units:
        text = supervisor_settings.text(node)
        files.append(File(paths.supervisor_settings, text, 0o600, restarts=(unit_names.SUPERVISOR_UNIT,)))
    if unit_names.CONTROLLERS_UNIT in own_units:
        restarts = (unit_names.CONTROLLERS_UNIT,)
        text = controllers_settings.text(node)
        files.append(File(paths.controllers_settings, text, 0o600, restarts=restarts))
        files.append(File(paths.rbac, render("rbac.yaml"), 0o600, restarts=restarts))
    if unit_names.API_PROXY_UNIT in own_units:
        files.append(api_proxy.file(node, node.facts.known_servers))
    return files
