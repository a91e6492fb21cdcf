"""The plan: everything that a node is to have, as a pure function of config, node facts and release."""

from collections.abc import Sequence

from rke2_units import layout, unit_names
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.layout import Paths
from rke2_units.model import File, NodeFacts, Plan
from rke2_units.plan import (
    api_proxy,
    applier_settings,
    containerd,
    controllers_settings,
    etcd,
    helm,
    kubelet,
    program_settings,
    programs,
    registries,
    server_files,
    soundness,
    static_pods,
    supervisor_settings,
    sysctl,
    units,
)
from rke2_units.plan.directories import directories
from rke2_units.plan.etcdctl import etcdctl
from rke2_units.plan.programs import Programs
from rke2_units.plan.templates import render
from rke2_units.release import images
from rke2_units.release.model import Release
from rke2_units.unit_names import Role


def make_plan(role: Role, config: Config, facts: NodeFacts, release: Release) -> Plan:
    """The full list of files and units of this node. ConfigurationError for values that cannot be."""
    warnings = soundness.check(config, facts, release)
    paths = Paths(derived.data_directory(config))
    node_name = derived.node_name(config, facts)
    runtime_image = images.reference(config, release, images.RUNTIME_IMAGE)
    node_programs = programs.programs(config, facts, release)
    # As long as this server is no member of the cluster's etcd, an etcd of its own would be another cluster.
    components = () if facts.etcd_join else static_pods.components(role, config, release)
    pods = [static_pods.manifest(component, config, facts, release) for component in components]
    # Whoever has an apiserver applies manifests and charts to it.
    applies = unit_names.KUBE_APISERVER in components
    own_helm = helm.helm(config, facts, release) if applies else helm.Helm("")
    wanted = _units(role, config, facts, node_programs, components, own_helm)
    own_etcdctl = etcdctl(config, release) if unit_names.ETCDCTL_UNIT in wanted else None
    hardened = config.text("profile") in ("cis", "etcd")

    files: list[File] = [
        *sysctl.files(config, facts),
        *containerd.files(config, facts, release),
        *registries.files(config, release),
        *kubelet.files(config, facts, release),
    ]
    if config.boolean("with-node-id"):
        files.append(File(layout.NODE_ID_FILE, f"{facts.node_id}\n"))
    if role is Role.SERVER:
        files += server_files.files(config, facts, release)
    if applies:
        files.append(
            File(
                paths.applier_settings,
                applier_settings.text(config, facts, release),
                0o600,
                restarts=(unit_names.APPLIER_UNIT,),
            )
        )
    files += _joining_files(wanted, paths, config, facts, release)
    if unit_names.ETCD in components:
        files += etcd.files(config, facts, release)
    files += [
        File(
            paths.staged_manifest(pod.component),
            pod.text,
            0o600 if hardened else 0o644,
            restarts=(unit_names.static_pod_unit(pod.component),),
        )
        for pod in pods
    ]
    files.append(
        File(
            paths.program_settings,
            program_settings.text(
                paths,
                node_name=node_name,
                release=release,
                runtime_image=runtime_image,
                runtime_image_to_pull=images.image(config, release, images.RUNTIME_IMAGE),
                content_directory=programs.content_directory(config, release),
                helm_image=own_helm.image,
                helm_image_to_pull=own_helm.pull,
                etcdctl=own_etcdctl,
                etcd_join=etcd.join_settings(config, facts, release) if facts.etcd_join else {},
                containerd_socket=derived.containerd_socket(config),
                ctr=node_programs.ctr,
                pause_image=images.image(config, release, "pause-image"),
                snapshotter=config.text("snapshotter"),
                extra_registries=config.items("airgap-extra-registry"),
                static_pods=pods,
                proxied=api_proxy.apiserver_url(config) if api_proxy.leads_to_apiservers(config) else "",
                member=etcd.member_name(config, facts),
                registered={name: config.items(name) for name in soundness.ONLY_WHEN_IT_REGISTERS},
                lacks_backups=derived.lacks_backups(config),
            ),
        )
    )
    files += units.files(
        paths,
        facts,
        release,
        wanted=wanted,
        programs=node_programs,
        helm=own_helm.path,
        pullers_hidden=registries.hidden(config),
        listen=supervisor_settings.listen(config),
        containerd_arguments=containerd.arguments(config, facts, release),
        kubelet_arguments=kubelet.arguments(config, facts, release),
        others=files,
    )
    etcd_owner = (facts.etcd_user or (0, 0)) if hardened else (0, 0)
    return Plan(
        role=role,
        directories=(*directories(paths, role, etcd_owner), *registries.directories(config)),
        files=tuple(files),
        units=wanted,
        enabled=role.unit,
        warnings=warnings,
        kernel_parameters=sysctl.conntrack(config, facts),
    )


def _units(
    role: Role,
    config: Config,
    facts: NodeFacts,
    node_programs: Programs,
    components: Sequence[str],
    own_helm: helm.Helm,
) -> tuple[str, ...]:
    """The units that the node daemon starts, in starting order."""
    applies = unit_names.KUBE_APISERVER in components
    serves = role is Role.SERVER
    wanted = {
        unit_names.SUPERVISOR_SOCKET: serves,
        unit_names.SUPERVISOR_UNIT: serves,
        unit_names.API_PROXY_UNIT: api_proxy.is_needed(config),
        unit_names.CONTENT_UNIT: not derived.uses_host_content(config),
        unit_names.CONTAINERD_UNIT: bool(node_programs.containerd),
        unit_names.IMAGES_UNIT: True,
        unit_names.ETCDCTL_UNIT: serves,
        unit_names.ETCD_JOIN_UNIT: facts.etcd_join,
        unit_names.KUBELET_UNIT: not facts.etcd_join,
        **{unit_names.static_pod_unit(component): True for component in components},
        # One without an apiserver sees to its own node; it finds the others' through the proxy.
        unit_names.CONTROLLERS_UNIT: serves and not facts.etcd_join,
        unit_names.HELM_UNIT: bool(own_helm.image),
        unit_names.APPLIER_UNIT: applies,
    }
    return tuple(unit for unit, is_wanted in wanted.items() if is_wanted)


def _joining_files(
    wanted: Sequence[str], paths: Paths, config: Config, facts: NodeFacts, release: Release
) -> list[File]:
    """What the units by which nodes join each other have to know."""
    files: list[File] = []
    if unit_names.SUPERVISOR_UNIT in wanted:
        text = supervisor_settings.text(config, facts, release)
        files.append(File(paths.supervisor_settings, text, 0o600, restarts=(unit_names.SUPERVISOR_UNIT,)))
    if unit_names.CONTROLLERS_UNIT in wanted:
        restarts = (unit_names.CONTROLLERS_UNIT,)
        text = controllers_settings.text(config, facts, release)
        files.append(File(paths.controllers_settings, text, 0o600, restarts=restarts))
        files.append(File(paths.rbac, render("rbac.yaml"), 0o600, restarts=restarts))
    if unit_names.API_PROXY_UNIT in wanted:
        files += api_proxy.files(config, facts)
    return files
