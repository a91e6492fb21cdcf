"""containerd: configuration (version 2 for containerd 1.x, 3 for 2.x), command line and environment.

Drop-ins are imported from config.toml.d (version 2) or config-v3.toml.d (version 3) beside config.toml; in
containerd 1.x a plugin's section in a drop-in replaces ours as a whole, in 2.x the two are merged.
RKE2's config.toml.tmpl is a Go template and is not read.
"""

from collections.abc import Mapping
from dataclasses import replace

from rke2_units import layout, ports, unit_names
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.model import File
from rke2_units.plan import addresses, cgroups, environment, programs, registries, toml
from rke2_units.plan.node import Node

# The kernel allows unprivileged ports and ICMP in network namespaces since then.
_UNPRIVILEGED_NETWORK_SINCE = (4, 11)
_RUNC = "runc"
_OCI_SHIM = "io.containerd.runc.v2"
# What RKE2 looks for beside runc: programs that do as runc does, and shims, which containerd finds in PATH.
_OCI_PROGRAMS = {
    "crun": "crun",
    "nvidia": "nvidia-container-runtime",
    "nvidia-cdi": "nvidia-container-runtime.cdi",
}
_SHIMS = {
    "lunatic": "io.containerd.lunatic.v1",
    "slight": "io.containerd.slight.v1",
    "spin": "io.containerd.spin.v2",
    "wasmedge": "io.containerd.wasmedge.v1",
    "wasmer": "io.containerd.wasmer.v1",
    "wasmtime": "io.containerd.wasmtime.v1",
    "wws": "io.containerd.wws.v1",
}
# Runtime -> the program by which it is known to be there (node.facts looks for it).
RUNTIME_PROGRAMS = _OCI_PROGRAMS | {
    name: "containerd-shim-" + kind.removeprefix("io.containerd.").replace(".", "-")
    for name, kind in _SHIMS.items()
}


def files(node: Node) -> list[File]:
    """config.toml, crictl's configuration, and the environment, which can hold a proxy's password.

    config.toml has the credentials of registries. A containerd that is there already has a configuration of
    its owner's; the environment is then that of our own pulls alone.
    """
    config, paths = node.config, node.paths
    endpoint = f"unix://{derived.containerd_socket(config)}"
    crictl = File(paths.crictl_config, f"runtime-endpoint: {endpoint}\n", 0o600)
    variables = File(
        paths.containerd_environment,
        environment.file_text(environment.containerd(node)),
        0o600,
        restarts=(unit_names.CONTAINERD_UNIT,),
        secret=True,
    )
    if derived.foreign_containerd(config):
        return [replace(variables, restarts=()), crictl]
    return [
        File(
            paths.containerd_config,
            toml.text(settings(node)),
            0o600,
            restarts=(unit_names.CONTAINERD_UNIT,),
            secret=bool(registries.credentials(config)),
        ),
        variables,
        crictl,
    ]


def arguments(node: Node) -> list[str]:
    """containerd's command line after the program."""
    debug = "debug" if node.config.boolean("debug") else None
    level = node.facts.environment.get(environment.LOG_LEVEL) or debug
    return [
        "--config",
        node.paths.containerd_config,
        "--address",
        layout.CONTAINERD_SOCKET,
        "--state",
        layout.CONTAINERD_STATE,
        "--root",
        node.paths.containerd_root,
        *(["--log-level", level] if level else []),
    ]


def settings(node: Node) -> dict[str, object]:
    """The content of config.toml as data."""
    paths = node.paths
    version = programs.containerd_config_version(node)
    plugins = _plugins_version_2 if version == 2 else _plugins_version_3
    return {
        "version": version,
        "imports": [f"{paths.containerd_drop_ins[version]}/*.toml"],
        "root": paths.containerd_root,
        "state": layout.CONTAINERD_STATE,
        "grpc": {"address": layout.CONTAINERD_SOCKET},
        "plugins": {
            "io.containerd.internal.v1.opt": {"path": paths.containerd_root},
            **plugins(node),
        },
    }


def _plugins_version_2(node: Node) -> Mapping[str, object]:
    return {
        "io.containerd.grpc.v1.cri": {
            **_stream_server(),
            **_runtime(node),
            "sandbox_image": node.image("pause-image"),
            # Debian's containerd 1.7 is built with other folders in mind.
            "cni": {"bin_dir": "/opt/cni/bin", "conf_dir": "/etc/cni/net.d"},
            "containerd": {**_snapshots(node.config), **_runtimes(node)},
            "registry": _registry(node),
        }
    }


def _plugins_version_3(node: Node) -> Mapping[str, object]:
    return {
        "io.containerd.grpc.v1.cri": _stream_server(),
        "io.containerd.cri.v1.runtime": {
            **_runtime(node),
            "containerd": _runtimes(node),
        },
        "io.containerd.cri.v1.images": {
            **_snapshots(node.config),
            "use_local_image_pull": True,
            "pinned_images": {"sandbox": node.image("pause-image")},
            "registry": _registry(node),
        },
    }


def _stream_server() -> dict[str, object]:
    return {
        "stream_server_address": addresses.LOOPBACK,
        "stream_server_port": str(ports.CONTAINERD_STREAM_PORT),
    }


def _runtime(node: Node) -> dict[str, object]:
    config, facts = node.config, node.facts
    unprivileged = facts.kernel >= _UNPRIVILEGED_NETWORK_SINCE and not facts.in_user_namespace
    options: dict[str, object] = {
        "enable_selinux": config.boolean("selinux"),
        "enable_unprivileged_ports": unprivileged,
        "enable_unprivileged_icmp": unprivileged,
        "device_ownership_from_security_context": config.boolean("nonroot-devices"),
    }
    if facts.in_user_namespace:
        options["disable_apparmor"] = True
        options["disable_cgroup"] = not facts.cpuset_usable
    if facts.in_user_namespace or not facts.can_lower_oom_score:
        # Without CAP_SYS_RESOURCE runc cannot give a pod's sandbox its negative score, and fails.
        options["restrict_oom_score_adj"] = True
    return options


def _snapshots(config: Config) -> dict[str, object]:
    return {"snapshotter": config.text("snapshotter"), "disable_snapshot_annotations": True}


def _runtimes(node: Node) -> dict[str, object]:
    """runc, those that are found on the machine, and the default one; others come with a drop-in."""
    options = {"SystemdCgroup": cgroups.systemd_driver(node)}
    runtimes: dict[str, object] = {_RUNC: {"runtime_type": _OCI_SHIM, "options": options}}
    found, default = node.facts.runtimes, node.config.text("default-runtime")
    for name in sorted({*found, default} & RUNTIME_PROGRAMS.keys()):
        if name in _SHIMS:
            runtimes[name] = {"runtime_type": _SHIMS[name]}
        else:
            program = {"BinaryName": found.get(name, _OCI_PROGRAMS[name])}
            runtimes[name] = {"runtime_type": _OCI_SHIM, "options": program | options}
    return {**({"default_runtime_name": default} if default else {}), "runtimes": runtimes}


def _registry(node: Node) -> dict[str, object]:
    configs = registries.credentials(node.config)
    return {
        "config_path": f"{node.paths.containerd_etc}/certs.d",
        **({"configs": configs} if configs else {}),
    }
