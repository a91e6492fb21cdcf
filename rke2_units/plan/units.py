"""The units of a node, from unit_templates/, written for the systemd in front of them."""

import hmac
from collections.abc import Iterable, Mapping, Sequence

from rke2_units import names
from rke2_units.model import File, NodeFacts
from rke2_units.names import Paths
from rke2_units.plan import applier_settings, systemd_options
from rke2_units.plan.programs import Programs
from rke2_units.plan.templates import render
from rke2_units.release.model import Release

# -I: neither the environment nor the working directory decides what is imported.
PYTHON = "/usr/bin/python3 -Im"
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
    paths: Paths,
    facts: NodeFacts,
    release: Release,
    *,
    programs: Programs,
    own_content: bool,
    own_helm: bool,
    applier: bool,
    containerd_arguments: Sequence[str],
    kubelet_arguments: Sequence[str],
    others: Sequence[File],
) -> list[File]:
    """All units and drop-ins but the role's own, which the package ships.

    `own_content`: the programs come out of the runtime image; `own_helm`: helm comes out of an image;
    `applier`: this node applies manifests and charts. `others` are the plan's other files: those
    that name a unit in `restarts` are part of its digest.
    """
    own_containerd = bool(programs.containerd)
    common = {
        "python": PYTHON,
        "settings": systemd_options.quote(paths.program_settings),
        "content_unit": names.CONTENT_UNIT,
        "containerd_unit": names.CONTAINERD_UNIT,
        "kubelet_unit": names.KUBELET_UNIT,
        "own_content": own_content,
        "own_containerd": own_containerd,
        "search_path": programs.search_path,
        "release": release.name,
        "apiserver_unit": names.static_pod_unit(names.KUBE_APISERVER),
        "applier_settings": systemd_options.quote(paths.applier_settings),
        "manifests": paths.manifests,
        "runtime_directory": names.APPLIER_WORK.removeprefix("/run/"),
        # Who pulls goes through the proxies of the node, and those of containerd before these.
        "pull_environment": (paths.kubelet_environment, paths.containerd_environment),
    }

    def unit(name: str, **values: object) -> File:
        text = render(name, **common, **values)
        return File(
            f"{names.UNIT_DIRECTORY}/{name}", systemd_options.for_version(text, facts.systemd_version)
        )

    def process(name: str, command: list[str], environment_file: str, more: Mapping[str, str]) -> File:
        command_line = systemd_options.command_line(command)
        values = {"command": command_line, "environment_file": environment_file}
        watchdog = release.kubernetes >= KUBELET_WATCHDOG_SINCE
        draft = unit(name, digest="", watchdog=watchdog, **values)
        inputs = [*others, File(draft.path, draft.content, restarts=(name,))]
        return unit(
            name, digest=digest_of(inputs, name, more, facts.digest_key), watchdog=watchdog, **values
        )

    kubelet_material = {
        path: facts.digests.get(path, "")
        for path in (
            f"{paths.agent}/client-ca.crt",
            f"{paths.agent}/serving-kubelet.crt",
            f"{paths.agent}/serving-kubelet.key",
            f"{paths.agent}/client-kubelet.crt",
            paths.kubelet_kubeconfig,
        )
    }
    helm_applier = process(
        names.APPLIER_UNIT,
        [],
        paths.kubelet_environment,
        {path: facts.digests.get(path, "") for path in applier_settings.material(paths)},
    )
    containerd = process(
        names.CONTAINERD_UNIT,
        [programs.containerd, *containerd_arguments],
        paths.containerd_environment,
        {},
    )
    return [
        *([unit(names.CONTENT_UNIT)] if own_content else []),
        *([containerd] if own_containerd else []),
        unit(names.IMAGES_UNIT),
        process(
            names.KUBELET_UNIT,
            [programs.kubelet, *kubelet_arguments],
            paths.kubelet_environment,
            kubelet_material,
        ),
        unit("rke2-static-pod@.service"),
        *([unit(names.HELM_UNIT)] if own_helm else []),
        *([helm_applier] if applier else []),
        File(
            f"{names.UNIT_DIRECTORY}/{CONTAINER_SCOPES}",
            render("cri-containerd-scope.conf", **common),
        ),
    ]
