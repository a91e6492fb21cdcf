"""The units of a node, from unit_templates/, written for the systemd in front of them."""

import hmac
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from rke2_units import layout, unit_names
from rke2_units.config import cron, derived
from rke2_units.layout import Paths
from rke2_units.model import File
from rke2_units.plan import (
    api_proxy,
    applier_settings,
    containerd,
    controllers_settings,
    kubelet,
    registries,
    snapshot_settings,
    supervisor_settings,
    sysctl,
    systemd_options,
)
from rke2_units.plan.image_programs import ImageProgram
from rke2_units.plan.node import Node
from rke2_units.plan.programs import Programs
from rke2_units.plan.templates import render
from rke2_units.unit_table import UNITS, Start, Unit

# -I: neither the environment nor the working directory decides what is imported.
PYTHON = "/usr/bin/python3 -Im"
_ANY_STATIC_POD = next(unit for unit in UNITS if unit.start is Start.POD)
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
    node: Node, units: Sequence[Unit], programs: Programs, helm: ImageProgram, others: Sequence[File]
) -> list[File]:
    """The files of these units and the drop-ins, but not the role's own unit, which the package ships.

    `helm` is the applier's, `others` are the plan's other files: those that name a unit in `restarts` are
    part of its digest.
    """
    # A unit of a static pod is needed as long as there is a pod for it to remove, whatever the plan has.
    rendered = {unit.template: unit for unit in (*units, _ANY_STATIC_POD)}.values()
    values, material = _values(node, programs, helm), _material(node, others)

    def file(unit: Unit) -> File:
        told = {name: values[name]() for name in unit.values}

        def with_digest(**digest: str) -> File:
            text = systemd_options.for_version(
                render(unit.template, **told, **digest), node.facts.systemd_version
            )
            return File(f"{layout.UNIT_DIRECTORY}/{unit.template}", text)

        if unit.start is not Start.PROCESS:
            return with_digest()
        draft = replace(with_digest(digest=""), restarts=(unit.name,))
        more = {path: node.facts.digests.get(path, "") for path in material[unit.name]()}
        digest = digest_of([*others, draft], unit.name, more, node.facts.digest_key)
        return with_digest(digest=digest)

    return [
        *(file(unit) for unit in rendered),
        File(
            f"{layout.UNIT_DIRECTORY}/{CONTAINER_SCOPES}",
            render("cri-containerd-scope.conf", kubelet_unit=unit_names.KUBELET_UNIT),
        ),
    ]


def _values(node: Node, programs: Programs, helm: ImageProgram) -> dict[str, Callable[[], object]]:
    """What templates are told, by the names that the table of units has for it."""
    paths, quote, command_line = node.paths, systemd_options.quote, systemd_options.command_line
    return {
        "python": lambda: PYTHON,
        "settings": lambda: quote(paths.program_settings),
        "content_unit": lambda: unit_names.CONTENT_UNIT,
        "containerd_unit": lambda: unit_names.CONTAINERD_UNIT,
        "kubelet_unit": lambda: unit_names.KUBELET_UNIT,
        "etcdctl_unit": lambda: unit_names.ETCDCTL_UNIT,
        "apiserver_unit": lambda: unit_names.static_pod_unit(unit_names.KUBE_APISERVER),
        "etcd_unit": lambda: unit_names.static_pod_unit(unit_names.ETCD),
        "verify_unit": lambda: unit_names.SNAPSHOT_VERIFY_UNIT,
        "snapshot_socket_unit": lambda: unit_names.SNAPSHOT_REQUEST_SOCKET,
        "supervisor_socket": lambda: unit_names.SUPERVISOR_SOCKET,
        "own_content": lambda: not derived.uses_host_content(node.config),
        "own_containerd": lambda: bool(programs.containerd),
        "release": lambda: node.release.name,
        "search_path": lambda: programs.search_path,
        "containerd_command": lambda: command_line([programs.containerd, *containerd.arguments(node)]),
        "containerd_environment": lambda: paths.containerd_environment,
        "modules": lambda: sysctl.all_modules(node),
        "kubelet_command": lambda: command_line([programs.kubelet, *kubelet.arguments(node)]),
        "kubelet_environment": lambda: paths.kubelet_environment,
        "watchdog": lambda: node.release.kubernetes >= KUBELET_WATCHDOG_SINCE,
        # Units that pull use containerd's proxy settings, else those of the node.
        "pull_environment": lambda: (paths.kubelet_environment, paths.containerd_environment),
        "pullers_hidden": lambda: registries.hidden(node.config),
        # systemd removes a folder below another one of the list before it checks whether that is a link.
        "data_folders": lambda: [paths.data, *node.facts.linked_folders],
        "state_directory": lambda: layout.STATE_DIRECTORY,
        "shared_runtime_directory": lambda: layout.RUNTIME_DIRECTORY.removeprefix("/run/"),
        "server": lambda: paths.server,
        "static": lambda: paths.static,
        "manifests": lambda: paths.manifests,
        "etcd_data": lambda: paths.etcd_data,
        "listen": lambda: supervisor_settings.listen(node.config),
        "supervisor_settings": lambda: paths.supervisor_settings,
        "supervisor_credentials": lambda: sorted(supervisor_settings.credentials(node).items()),
        "api_proxy_config": lambda: quote(paths.api_proxy_config),
        "api_proxy_credentials": lambda: sorted(api_proxy.credentials(paths).items()),
        "api_proxy_runtime": lambda: layout.API_PROXY_WORK.removeprefix("/run/"),
        "controllers_settings": lambda: quote(paths.controllers_settings),
        "stopping_lock": lambda: layout.STOPPING_LOCK,
        "private_directory": lambda: posixpath.dirname(layout.REQUESTS),
        "requests": lambda: layout.REQUESTS,
        "supervisor_requests": lambda: layout.SUPERVISOR_REQUESTS,
        "snapshot_socket": lambda: layout.SNAPSHOT_SOCKET,
        # A server that has yet to join has neither etcd nor the socket.
        "takes_snapshots": lambda: derived.server_roles(node.config).etcd and not node.facts.etcd_join,
        "snapshot_settings": lambda: quote(paths.snapshot_settings),
        "snapshot_writes": lambda: snapshot_settings.writes(node.config),
        "foreign_directory": lambda: snapshot_settings.foreign_directory(node.config),
        "snapshot_seconds": lambda: snapshot_settings.seconds(node.config),
        "schedule": lambda: cron.timer_lines(node.config.text("etcd-snapshot-schedule-cron")),
        "reconcile_seconds": lambda: int(node.config.seconds("etcd-snapshot-reconcile-interval")),
        "verifies": lambda: node.config.boolean("etcd-snapshot-verify"),
        "applier_settings": lambda: quote(paths.applier_settings),
        "applier_reads": lambda: applier_settings.reads(paths),
        "applier_hidden": lambda: applier_settings.hidden(paths, helm.path),
        "applier_runtime": lambda: layout.APPLIER_WORK.removeprefix("/run/"),
    }


def _material(node: Node, others: Sequence[File]) -> dict[str, Callable[[], Iterable[str]]]:
    """The files outside the plan that each process reads when it starts."""
    paths = node.paths
    planned = {file.path for file in others}

    def drop_ins(*folders: str) -> list[str]:
        """The administrator's files in these folders."""
        return [
            path for path in node.facts.digests if path.rpartition("/")[0] in folders and path not in planned
        ]

    def kubelets() -> set[str]:
        named = _named_by(kubelet.arguments(node)) - planned
        return {*_kubelet_material(paths), *drop_ins(paths.kubelet_etc), *named}

    return {
        unit_names.SUPERVISOR_UNIT: lambda: supervisor_settings.credentials(node).values(),
        unit_names.API_PROXY_UNIT: lambda: api_proxy.credentials(paths).values(),
        unit_names.CONTAINERD_UNIT: lambda: drop_ins(*paths.containerd_drop_ins.values()),
        unit_names.KUBELET_UNIT: kubelets,
        unit_names.CONTROLLERS_UNIT: lambda: controllers_settings.material(paths),
        unit_names.APPLIER_UNIT: lambda: applier_settings.material(paths),
    }


def _named_by(arguments: Sequence[str]) -> set[str]:
    """The files that arguments name."""
    named = {argument.partition("=")[2] for argument in arguments}
    return {path for path in named if path.startswith("/")}


def _kubelet_material(paths: Paths) -> tuple[str, ...]:
    return (
        f"{paths.agent}/client-ca.crt",
        f"{paths.agent}/serving-kubelet.crt",
        f"{paths.agent}/serving-kubelet.key",
        f"{paths.agent}/client-kubelet.crt",
        paths.kubelet_kubeconfig,
    )
