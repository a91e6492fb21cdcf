"""Whose programs a node runs: those of the content or, with `content: host`, the machine's own."""

from collections.abc import Mapping
from dataclasses import dataclass

from rke2_units import layout
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.plan.node import Node
from rke2_units.release import images
from rke2_units.release.model import Release

KUBELET = "kubelet"
CTR = "ctr"
# What a containerd consists of -> the Debian package that has it.
CONTAINERD_PROGRAMS: Mapping[str, str] = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    CTR: "containerd",
    "runc": "runc",
}


@dataclass(frozen=True)
class Programs:
    """Absolute paths, and the PATH of containerd and the kubelet.

    `containerd` is "" where one is there already (container-runtime-endpoint).
    """

    containerd: str
    ctr: str
    kubelet: str
    search_path: str


def choose_programs(node: Node) -> Programs:
    """The programs of this node; ConfigurationError when a program of the machine is missing."""
    config, found = node.config, node.facts.programs
    has_containerd = bool(derived.foreign_containerd(config))
    if not derived.uses_host_content(config):
        folder = f"{node.paths.content_directory(content_directory(config, node.release))}/bin"
        return Programs(
            containerd="" if has_containerd else f"{folder}/containerd",
            ctr=f"{node.paths.bin}/ctr",
            kubelet=_chosen_kubelet(node) or f"{folder}/kubelet",
            search_path=f"{folder}:{layout.SYSTEM_PATH}",
        )
    missing = [name for name in ([CTR] if has_containerd else CONTAINERD_PROGRAMS) if name not in found]
    if missing:
        packages = dict.fromkeys(CONTAINERD_PROGRAMS[name] for name in missing)
        raise config.error(
            "content",
            f"cannot be host: this machine lacks {', '.join(missing)}",
            hint=f"apt install {' '.join(packages)}",
        )
    kubelet = _chosen_kubelet(node) or found.get(KUBELET)
    if kubelet is None:
        version = ".".join(str(number) for number in node.release.kubernetes)
        raise config.error(
            "content",
            f"cannot be host: there is no kubelet in {layout.SYSTEM_PATH}",
            hint=f"put one of Kubernetes {version} there, or set kubelet-path",
        )
    return Programs(
        containerd="" if has_containerd else found["containerd"],
        ctr=found[CTR],
        kubelet=kubelet,
        search_path=layout.SYSTEM_PATH,
    )


def content_directory(config: Config, release: Release) -> str:
    """The name of the folder that the runtime image is unpacked into."""
    return images.content_directory_name(images.reference(config, release, images.RUNTIME_IMAGE))


def containerd_config_version(node: Node) -> int:
    """The version of config.toml: 2 for containerd 1.x, 3 for later ones, from whatever source."""
    if not derived.uses_host_content(node.config):
        return node.release.containerd_config
    if node.facts.containerd_version is None:
        raise node.config.error(
            "content",
            "cannot be host: cannot find out the version of this machine's containerd",
            hint="see what `containerd --version` says",
        )
    return 2 if node.facts.containerd_version < 2 else 3


def _chosen_kubelet(node: Node) -> str | None:
    """The kubelet that `kubelet-path` names, None for the usual one."""
    named, found = node.config.text("kubelet-path"), node.facts.programs
    if named in ("", KUBELET):
        return None
    if named not in found:
        where = "" if named.startswith("/") else f" in {layout.SYSTEM_PATH}"
        raise node.config.error(
            "kubelet-path",
            f"must be an executable program, and there is no {named}{where}",
            hint="put it there, or leave kubelet-path out",
        )
    return found[named]
