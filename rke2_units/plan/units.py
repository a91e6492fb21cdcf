"""The units of a node, from unit_templates/, written for the systemd in front of them."""

import hmac
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from rke2_units import layout, unit_names
from rke2_units.layout import Paths
from rke2_units.model import File
from rke2_units.plan import (
    api_proxy,
    applier_settings,
    containerd,
    controllers_settings,
    kubelet,
    registries,
    supervisor_settings,
    systemd_options,
)
from rke2_units.plan.image_programs import ImageProgram
from rke2_units.plan.node import Node
from rke2_units.plan.programs import Programs
from rke2_units.plan.templates import render

# -I: neither the environment nor the working directory decides what is imported.
PYTHON = "/usr/bin/python3 -Im"
_STATIC_PODS = unit_names.static_pod_unit("")
CONTAINER_SCOPES = "cri-containerd-.scope.d/50-rke2-units.conf"
# The kubelet notifies systemd's watchdog since 1.32 (beta, on by default).
KUBELET_WATCHDOG_SINCE = (1, 32)


def digest_of(files: Iterable[File], unit: str, more: Mapping[str, str], key: str) -> str:
    """A digest over everything that a running process of this unit was started with.

    `more` holds digests of files outside the plan (certificates), by path. Anyone may read a unit, and some
    of the files hold passwords: without the `key` nobody can try which password gives this digest.
    """
    digest = hmac.new(key.encode(), digestmod="sha256")
    for file in files:
        if unit in file.restarts:
            digest.update(f"{file.path}\0{file.content}\0".encode())
    for path, value in sorted(more.items()):
        digest.update(f"{path}\0{value}\0".encode())
    return digest.hexdigest()[:32]


def files(
    node: Node, wanted: Container[str], programs: Programs, helm: ImageProgram, others: Sequence[File]
) -> list[File]:
    """All units and drop-ins but the role's own, which the package ships.

    Of units that not every node has, those that are `wanted`. `helm` is the applier's, `others` are the
    plan's other files: those that name a unit in `restarts` are part of its digest.
    """
    paths, facts = node.paths, node.facts
    kubelet_arguments = kubelet.arguments(node)
    supervisor_files = supervisor_settings.credentials(node)
    api_proxy_files = api_proxy.credentials(paths)
    common = {
        "python": PYTHON,
        "settings": systemd_options.quote(paths.program_settings),
        "content_unit": unit_names.CONTENT_UNIT,
        "containerd_unit": unit_names.CONTAINERD_UNIT,
        "kubelet_unit": unit_names.KUBELET_UNIT,
        "etcdctl_unit": unit_names.ETCDCTL_UNIT,
        "supervisor_socket": unit_names.SUPERVISOR_SOCKET,
        "own_content": unit_names.CONTENT_UNIT in wanted,
        "own_containerd": bool(programs.containerd),
        "search_path": programs.search_path,
        "release": node.release.name,
        "apiserver_unit": unit_names.static_pod_unit(unit_names.KUBE_APISERVER),
        "applier_settings": systemd_options.quote(paths.applier_settings),
        "controllers_settings": systemd_options.quote(paths.controllers_settings),
        "supervisor_settings": paths.supervisor_settings,
        "supervisor_credentials": sorted(supervisor_files.items()),
        "listen": supervisor_settings.listen(node.config),
        "server": paths.server,
        "static": paths.static,
        "etcd_data": paths.etcd_data,
        "api_proxy_config": systemd_options.quote(paths.api_proxy_config),
        "api_proxy_credentials": sorted(api_proxy_files.items()),
        "api_proxy_runtime": layout.API_PROXY_WORK.removeprefix("/run/"),
        # systemd drops a folder below another one of the list before it looks whether it is a link.
        "data_folders": [paths.data, *facts.linked_folders],
        # What those who pull images do not get to see.
        "pullers_hidden": registries.hidden(node.config),
        "state_directory": layout.STATE_DIRECTORY,
        "shared_runtime_directory": layout.RUNTIME_DIRECTORY.removeprefix("/run/"),
        "manifests": paths.manifests,
        "applier_reads": applier_settings.reads(paths),
        "applier_hidden": applier_settings.hidden(paths, helm.path),
        "runtime_directory": layout.APPLIER_WORK.removeprefix("/run/"),
        # Who pulls goes through the proxies of the node, and those of containerd before these.
        "pull_environment": (paths.kubelet_environment, paths.containerd_environment),
    }

    def unit(name: str, **values: object) -> File:
        text = render(name, **common, **values)
        return File(
            f"{layout.UNIT_DIRECTORY}/{name}", systemd_options.for_version(text, facts.systemd_version)
        )

    def process(name: str, material: Iterable[str], **values: object) -> File:
        """A unit with a digest; `material` are the files outside the plan that it reads when it starts."""
        draft = unit(name, digest="", **values)
        inputs = [*others, File(draft.path, draft.content, restarts=(name,))]
        more = {path: facts.digests.get(path, "") for path in material}
        return unit(name, digest=digest_of(inputs, name, more, facts.digest_key), **values)

    def drop_ins(*folders: str) -> list[str]:
        """The administrator's files in these folders."""
        ours = {file.path for file in others}
        return [path for path in facts.digests if path.rpartition("/")[0] in folders and path not in ours]

    def containerd_unit() -> File:
        command = systemd_options.command_line([programs.containerd, *containerd.arguments(node)])
        return process(
            unit_names.CONTAINERD_UNIT,
            drop_ins(*paths.containerd_drop_ins.values()),
            command=command,
            environment_file=paths.containerd_environment,
        )

    kubelet_unit = process(
        unit_names.KUBELET_UNIT,
        {*_kubelet_material(paths), *drop_ins(paths.kubelet_etc), *_named_by(kubelet_arguments, others)},
        command=systemd_options.command_line([programs.kubelet, *kubelet_arguments]),
        environment_file=paths.kubelet_environment,
        watchdog=node.release.kubernetes >= KUBELET_WATCHDOG_SINCE,
    )
    on_some_nodes: dict[str, Callable[[], File]] = {
        unit_names.SUPERVISOR_SOCKET: lambda: unit(unit_names.SUPERVISOR_SOCKET),
        unit_names.SUPERVISOR_UNIT: lambda: process(unit_names.SUPERVISOR_UNIT, supervisor_files.values()),
        unit_names.API_PROXY_UNIT: lambda: process(unit_names.API_PROXY_UNIT, api_proxy_files.values()),
        unit_names.CONTENT_UNIT: lambda: unit(unit_names.CONTENT_UNIT),
        unit_names.CONTAINERD_UNIT: containerd_unit,
        unit_names.ETCDCTL_UNIT: lambda: unit(unit_names.ETCDCTL_UNIT),
        unit_names.ETCD_JOIN_UNIT: lambda: unit(unit_names.ETCD_JOIN_UNIT),
        unit_names.CONTROLLERS_UNIT: lambda: process(
            unit_names.CONTROLLERS_UNIT, controllers_settings.material(paths)
        ),
        unit_names.HELM_UNIT: lambda: unit(unit_names.HELM_UNIT),
        unit_names.APPLIER_UNIT: lambda: process(
            unit_names.APPLIER_UNIT,
            applier_settings.material(paths),
            environment_file=paths.kubelet_environment,
        ),
    }
    return [
        *(make() for name, make in on_some_nodes.items() if name in wanted),
        unit(unit_names.IMAGES_UNIT),
        kubelet_unit,
        unit(_STATIC_PODS),
        File(
            f"{layout.UNIT_DIRECTORY}/{CONTAINER_SCOPES}",
            render("cri-containerd-scope.conf", **common),
        ),
    ]


def _named_by(arguments: Sequence[str], others: Sequence[File]) -> set[str]:
    """The files that arguments name, but for those of the plan."""
    named = {argument.partition("=")[2] for argument in arguments}
    return {path for path in named if path.startswith("/")} - {file.path for file in others}


def _kubelet_material(paths: Paths) -> tuple[str, ...]:
    return (
        f"{paths.agent}/client-ca.crt",
        f"{paths.agent}/serving-kubelet.crt",
        f"{paths.agent}/serving-kubelet.key",
        f"{paths.agent}/client-kubelet.crt",
        paths.kubelet_kubeconfig,
    )
