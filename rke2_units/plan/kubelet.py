"""The kubelet: fields of its configuration are written to its file, the rest are arguments.

Releases from 1.30 on read every *.conf of a folder, in order, ours (00-rke2-defaults.conf) first; earlier
ones read our file alone. Of kubelet-arg, klog's flags for log files are left out: logs go to the journal.
cloud-provider=external is given only where a cloud-controller-manager runs, RKE2's or one of the user's
(cloud-provider-name): without one, its taint would keep every pod away from the node for ever.
Node roles are labels that only a controller may set, so node-label is passed on as it is.
"""

import posixpath
from collections.abc import Mapping, Sequence

from rke2_units import layout, unit_names
from rke2_units.config import arguments as config_arguments
from rke2_units.config import derived, grammar
from rke2_units.config.config import Config
from rke2_units.model import File
from rke2_units.plan import addresses, cgroups, cloud_controller, environment, yaml_text
from rke2_units.plan.node import Node
from rke2_units.release import features

_STUB_RESOLV_CONF = "nameserver 8.8.8.8\nnameserver 2001:4860:4860::8888\n"
# klog's, which RKE2 takes out too; v and vmodule stay.
_LOG_FLAGS = frozenset(
    (
        "add-dir-header",
        "alsologtostderr",
        "log-backtrace-at",
        "log-dir",
        "log-file",
        "log-file-max-size",
        "logtostderr",
        "one-output",
        "skip-headers",
        "skip-log-headers",
        "stderrthreshold",
    )
)
# Lists and maps that are fields of our file, by the flag that takes their place; a map's sign on it.
_LISTS_IN_FILE = {
    "allowed-unsafe-sysctls": ("allowedUnsafeSysctls", ""),
    "cluster-dns": ("clusterDNS", ""),
    "eviction-hard": ("evictionHard", "<"),
    "eviction-minimum-reclaim": ("evictionMinimumReclaim", "="),
}
# Of several values, only the last is used.
_TAINTS = "register-with-taints"


def files(node: Node) -> list[File]:
    """The kubelet's configuration and environment, and a resolv.conf where the system has no usable one."""
    paths = node.paths
    restarts = (unit_names.KUBELET_UNIT,)
    stub = [File(paths.resolv_conf, _STUB_RESOLV_CONF)] if _resolv_conf(node) is None else []
    return [
        File(
            paths.kubelet_config,
            yaml_text.document(settings(node)),
            0o600,
            restarts=restarts,
        ),
        File(
            paths.kubelet_environment,
            environment.file_text(environment.proxies(node)),
            0o600,
            # The applier fetches charts through the same proxies.
            restarts=(*restarts, unit_names.APPLIER_UNIT),
            secret=True,
        ),
        *stub,
    ]


def settings(node: Node) -> dict[str, object]:
    """The KubeletConfiguration (v1beta1) as data, with the fields that this release knows."""
    config, paths = node.config, node.paths
    fields: dict[str, object] = {
        "address": addresses.any_address(node),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True, "cacheTTL": "2m0s"},
            "x509": {"clientCAFile": f"{paths.agent}/client-ca.crt"},
        },
        "authorization": {
            "mode": "Webhook",
            "webhook": {"cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s"},
        },
        "cgroupDriver": "systemd" if cgroups.systemd_driver(node) else "cgroupfs",
        "clusterDNS": list(node.cluster_dns),
        "clusterDomain": config.text("cluster-domain"),
        "containerRuntimeEndpoint": f"unix://{derived.containerd_socket(config)}",
        "cpuManagerReconcilePeriod": "10s",
        "evictionHard": {"imagefs.available": "5%", "nodefs.available": "5%"},
        "evictionMinimumReclaim": {"imagefs.available": "10%", "nodefs.available": "10%"},
        "evictionPressureTransitionPeriod": "5m0s",
        "failSwapOn": False,
        # RKE2 overrules this and syncFrequency by flags; these are the values that act there.
        "fileCheckFrequency": "5s",
        "healthzBindAddress": addresses.LOOPBACK,
        "httpCheckFrequency": "20s",
        "imageMinimumGCAge": "2m0s",
        "logging": {"format": "text", "flushFrequency": "5s", "verbosity": 0},
        "nodeStatusReportFrequency": "5m0s",
        "nodeStatusUpdateFrequency": "10s",
        "protectKernelDefaults": derived.protect_kernel_defaults(config),
        "readOnlyPort": 0,
        "registerWithTaints": [_taint(*taint) for taint in derived.node_taints(config)],
        "resolvConf": _resolv_conf(node) or paths.resolv_conf,
        "runtimeRequestTimeout": "2m0s",
        "serializeImagePulls": False,
        "shutdownGracePeriod": "0s",
        "shutdownGracePeriodCriticalPods": "0s",
        "staticPodPath": paths.pod_manifests,
        "streamingConnectionIdleTimeout": "4h0m0s",
        "syncFrequency": "30s",
        "tlsCertFile": f"{paths.agent}/serving-kubelet.crt",
        "tlsPrivateKeyFile": f"{paths.agent}/serving-kubelet.key",
        "volumePluginDir": f"{layout.KUBELET_DIRECTORY}/volumeplugins",
        "volumeStatsAggPeriod": "1m0s",
    }
    if config.boolean("enable-servicelb"):
        # The pods of the load balancer forward.
        fields["allowedUnsafeSysctls"] = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"]
    if node.facts.cgroup_version == 1:
        fields["failCgroupV1"] = False
    known = {name: value for name, value in fields.items() if features.has_kubelet_field(node.release, name)}
    return {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", **known}


def arguments(node: Node) -> list[str]:
    """The kubelet's command line after the program, with the user's kubelet-arg merged in."""
    items = node.config.items("kubelet-arg")
    fixed = _fixed(node)
    for index, item in enumerate(items):
        value, hint = fixed.get(_flag(item), ("", ""))
        if hint and grammar.argument(item) != (_flag(item), value):
            raise node.config.error(
                "kubelet-arg", f"{_flag(item)} is set by rke2-units itself", index=index, hint=hint
            )
    extra = [item for item in items if _flag(item) not in _LOG_FLAGS]
    in_file = _added_to(extra, node.config, settings(node))
    defaults = {**in_file, **default_arguments(node)}
    return config_arguments.merge_arguments(defaults, extra, joined=in_file.keys() | {_TAINTS})


def _added_to(extra: Sequence[str], config: Config, fields: Mapping[str, object]) -> dict[str, str]:
    """The defaults of those flags that the user adds to and whose default is a field of the file.

    A flag takes the place of the whole field, so the default has to be on the command line, too.
    """
    found = {
        flag: ",".join(sign.join(pair) for pair in _pairs(fields.get(field)))
        for flag, (field, sign) in _LISTS_IN_FILE.items()
    }
    if "registerWithTaints" in fields:
        found[_TAINTS] = ",".join(config.items("node-taint"))
    added_to = {_flag(item) for item in extra if grammar.argument(item)[0] != _flag(item)}
    return {flag: text for flag, text in found.items() if text and flag in added_to}


def _pairs(field: object) -> list[tuple[str, ...]]:
    if isinstance(field, Mapping):
        return [(str(key), str(value)) for key, value in field.items()]
    return [(str(item),) for item in field] if isinstance(field, list) else []


def root_directory(config: Config) -> str:
    """Where the kubelet keeps pods and their volumes: the last root-dir of kubelet-arg, or its default."""
    given = config_arguments.merge_values({}, config.items("kubelet-arg")).get("root-dir")
    # A relative path is relative to the working directory of units.
    return posixpath.normpath(posixpath.join("/", given[-1])) if given else layout.KUBELET_DIRECTORY


def default_arguments(node: Node) -> dict[str, str]:
    """Our own flags, those that this release knows, by name."""
    config, paths, release = node.config, node.paths, node.release
    flags = {
        "config": paths.kubelet_config,
        "config-dir": paths.kubelet_etc,
        "container-runtime": "remote",
        "container-runtime-endpoint": f"unix://{derived.containerd_socket(config)}",
        "containerd": derived.containerd_socket(config),
        "hostname-override": node.name,
        "kubeconfig": paths.kubelet_kubeconfig,
        # Without it the kubelet looks its own name up, which takes 20 s where no DNS answers.
        "node-ip": ",".join(addresses.node_ips(node)),
        # Keeps the kubelet from removing the image; containerd pins it itself for later releases.
        "pod-infra-container-image": node.image("pause-image"),
    }
    if config.items("node-label"):
        flags["node-labels"] = ",".join(config.items("node-label"))
    if config.items("node-taint"):
        flags[_TAINTS] = ",".join(config.items("node-taint"))
    if config.text("cloud-provider-name"):
        flags["cloud-provider"] = config.text("cloud-provider-name")
    elif cloud_controller.handles_nodes(config, release):
        flags["cloud-provider"] = "external"
    providers = config.text("image-credential-provider-config")
    if providers in node.facts.digests and node.facts.has_credential_providers:
        flags["image-credential-provider-config"] = providers
        flags["image-credential-provider-bin-dir"] = config.text("image-credential-provider-bin-dir")
    return {
        flag: value for flag, value in flags.items() if features.has_flag(release, features.KUBELET, flag)
    }


def _fixed(node: Node) -> dict[str, tuple[str, str]]:
    """Flags on which other components depend: their required values, and what to do instead."""
    paths = node.paths
    drop_in = _drop_in_hint(node)
    return {
        "config": (paths.kubelet_config, drop_in),
        "config-dir": (paths.kubelet_etc, drop_in),
        "hostname-override": (node.name, "set node-name"),
        "pod-manifest-path": (paths.pod_manifests, f"put manifests into {paths.pod_manifests}"),
    }


def _flag(item: str) -> str:
    return grammar.argument(item)[0].rstrip("+-")


def _resolv_conf(node: Node) -> str | None:
    return node.config.text("resolv-conf") or node.facts.resolv_conf


def _taint(key: str, value: str, effect: str) -> dict[str, str]:
    return {"key": key, **({"value": value} if value else {}), "effect": effect}


def _drop_in_hint(node: Node) -> str:
    if features.has_flag(node.release, features.KUBELET, "config-dir"):
        folder = node.paths.kubelet_etc
        return f"put the file into {folder} as *.conf, with a name that sorts after 00-rke2-defaults.conf"
    return "this release's kubelet reads one file only; give its settings as other kubelet-arg flags"
