"""The plan: everything that a node is to have, as a pure function of config, node facts and release."""

from rke2_units import names
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.model import File, NodeFacts, Plan
from rke2_units.names import Paths, Role
from rke2_units.plan import (
    applier_settings,
    containerd,
    etcd,
    helm,
    joining,
    kubelet,
    program_settings,
    programs,
    registries,
    server_files,
    static_pods,
    sysctl,
    units,
)
from rke2_units.plan.directories import directories
from rke2_units.release import images
from rke2_units.release.model import Release


def make_plan(role: Role, config: Config, facts: NodeFacts, release: Release) -> Plan:
    """The full list of files and units of this node. ConfigurationError for values that cannot be."""
    if not joining.JOINING:
        joining.refuse(config)
    paths = Paths(derived.data_directory(config))
    node_name = derived.node_name(config, facts)
    runtime_image = images.reference(config, release, images.RUNTIME_IMAGE)
    own_content = not derived.uses_host_content(config)
    node_programs = programs.programs(config, facts, release)
    components = static_pods.components(role, config, release)
    pods = [static_pods.manifest(component, config, facts, release) for component in components]
    # Whoever has an apiserver applies manifests and charts to it.
    applies = names.KUBE_APISERVER in components
    own_helm = helm.helm(config, facts, release) if applies else helm.Helm("")
    hardened = config.text("profile") in ("cis", "etcd")

    files: list[File] = [
        *sysctl.files(config, facts),
        *containerd.files(config, facts, release),
        *registries.files(config, release),
        *kubelet.files(config, facts, release),
    ]
    if config.boolean("with-node-id"):
        files.append(File(names.NODE_ID_FILE, f"{facts.node_id}\n"))
    if role is Role.SERVER:
        files += server_files.files(config, facts, release)
    if applies:
        files.append(
            File(
                paths.applier_settings,
                applier_settings.text(config, facts, release),
                0o600,
                restarts=(names.APPLIER_UNIT,),
            )
        )
    if names.ETCD in components:
        files += etcd.files(config, facts, release)
    files += [
        File(
            paths.staged_manifest(pod.component),
            pod.text,
            0o600 if hardened else 0o644,
            restarts=(names.static_pod_unit(pod.component),),
            secret=pod.secret,
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
                containerd_socket=derived.containerd_socket(config),
                ctr=node_programs.ctr,
                pause_image=images.image(config, release, "pause-image"),
                snapshotter=config.text("snapshotter"),
                extra_registries=config.items("airgap-extra-registry"),
                static_pods=pods,
            ),
        )
    )
    files += units.files(
        paths,
        facts,
        release,
        programs=node_programs,
        own_content=own_content,
        own_helm=bool(own_helm.image),
        applier=applies,
        containerd_arguments=containerd.arguments(config, facts, release),
        kubelet_arguments=kubelet.arguments(config, facts, release),
        others=files,
    )
    etcd_owner = (facts.etcd_user or (0, 0)) if hardened else (0, 0)
    return Plan(
        role=role,
        directories=(*directories(paths, role, etcd_owner), *registries.directories(config)),
        files=tuple(files),
        units=(
            *([names.CONTENT_UNIT] if own_content else []),
            *([names.CONTAINERD_UNIT] if node_programs.containerd else []),
            names.IMAGES_UNIT,
            names.KUBELET_UNIT,
            *(names.static_pod_unit(component) for component in components),
            *([names.HELM_UNIT] if own_helm.image else []),
            *([names.APPLIER_UNIT] if applies else []),
        ),
        enabled=role.unit,
    )
