"""Whose programs a node runs: those of the content or, with `content: host`, the machine's own."""

from collections.abc import Mapping
from dataclasses import dataclass

from rke2_units import layout
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.layout import Paths
from rke2_units.model import NodeFacts
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


def programs(config: Config, facts: NodeFacts, release: Release) -> Programs:
    """The programs of this node; ConfigurationError for those of the machine that are not there."""
    has_containerd = bool(derived.foreign_containerd(config))
    if not derived.uses_host_content(config):
        paths = Paths(derived.data_directory(config))
        folder = f"{paths.content_directory(content_directory(config, release))}/bin"
        return Programs(
            containerd="" if has_containerd else f"{folder}/containerd",
            ctr=f"{paths.bin}/ctr",
            kubelet=_chosen_kubelet(config, facts) or f"{folder}/kubelet",
            search_path=f"{folder}:{layout.SYSTEM_PATH}",
        )
    missing = [
        name for name in ([CTR] if has_containerd else CONTAINERD_PROGRAMS) if name not in facts.programs
    ]
    if missing:
        packages = dict.fromkeys(CONTAINERD_PROGRAMS[name] for name in missing)
        raise config.error(
            "content",
            f"cannot be host: this machine lacks {', '.join(missing)}",
            hint=f"apt install {' '.join(packages)}",
        )
    kubelet = _chosen_kubelet(config, facts) or facts.programs.get(KUBELET)
    if kubelet is None:
        version = ".".join(str(number) for number in release.kubernetes)
        raise config.error(
            "content",
            f"cannot be host: there is no kubelet in {layout.SYSTEM_PATH}",
            hint=f"put one of Kubernetes {version} there, or set kubelet-path",
        )
    return Programs(
        containerd="" if has_containerd else facts.programs["containerd"],
        ctr=facts.programs[CTR],
        kubelet=kubelet,
        search_path=layout.SYSTEM_PATH,
    )


def content_directory(config: Config, release: Release) -> str:
    """The name of the folder that the runtime image is unpacked into."""
    return images.content_directory_name(images.reference(config, release, images.RUNTIME_IMAGE))


def containerd_config_version(config: Config, facts: NodeFacts, release: Release) -> int:
    """The version of config.toml: 2 for containerd 1.x, 3 for later ones, whoever it comes from."""
    if not derived.uses_host_content(config):
        return release.containerd_config
    if facts.containerd_version is None:
        raise config.error(
            "content",
            "cannot be host: this machine's containerd does not tell its version",
            hint="see what `containerd --version` says",
        )
    return 2 if facts.containerd_version < 2 else 3


def _chosen_kubelet(config: Config, facts: NodeFacts) -> str | None:
    """The kubelet that `kubelet-path` names, None for the usual one."""
    named = config.text("kubelet-path")
    if named in ("", KUBELET):
        return None
    if named not in facts.programs:
        where = "" if named.startswith("/") else f" in {layout.SYSTEM_PATH}"
        raise config.error(
            "kubelet-path",
            f"must be an executable program, and there is no {named}{where}",
            hint="put it there, or leave kubelet-path out",
        )
    return facts.programs[named]
