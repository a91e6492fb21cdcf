"""The table of RKE2's configuration keys: each of them once (RKE2 v1.36, `rke2 server` and `rke2 agent`)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from rke2_units import layout, unit_names
from rke2_units.config import grammar
from rke2_units.unit_names import Role


class Kind(StrEnum):
    """The type of a setting's value; the value is what an error calls it."""

    TEXT = "text"
    BOOLEAN = "true or false"
    NUMBER = "a whole number"
    OCTAL = "a file mode in octal digits"
    DURATION = "a duration"
    LIST = "a list of texts"


BOTH = frozenset(Role)
SERVER = frozenset((Role.SERVER,))


@dataclass(frozen=True)
class Setting:
    """One configuration key.

    `default` is what an unset key means, as written in a file (list items separated by commas); where it
    depends on something, `default_note` says on what. `check` takes one value (of a list: one item) and
    raises ValueError with what it must be. `commas`: an item may hold several, separated by commas.
    `refused` is the reason why the key cannot be used yet or at all; set to its default or to one of
    `accepted` it is fine all the same. `own`: a key of ours, which RKE2 refuses.
    """

    name: str
    kind: Kind
    consumer: str
    help: str
    default: str = ""
    default_note: str = ""
    environment: str | None = None
    alias: str | None = None
    roles: frozenset[Role] = BOTH
    hidden: bool = False
    secret: bool = False
    choices: tuple[str, ...] = ()
    check: Callable[[str], object] | None = None
    commas: bool = False
    refused: str | None = None
    accepted: tuple[str, ...] = ()
    own: bool = False


_EXTERNAL_DATASTORE = (
    "rke2-units keeps the cluster's state in its own etcd; external datastores are not supported"
)
_SNAPSHOTS = "rke2-units does not take etcd snapshots yet"
_RESET = "rke2-units cannot reset or restore a cluster yet"
_HELM_JOBS = "rke2-units runs helm in rke2-helm-applier.service, not in Jobs; limit it with a drop-in"
_FIXED_NAMES = "the supervisor's certificate holds the names that are configured (tls-san) and no other"
_TUNNELS = "rke2-units has no tunnels to nodes: kube-apiserver reaches them directly"
_CLOUD_PROVIDERS = "rke2-units does not install bundled cloud providers; use 'external' with one of your own"

_CNI = ("none", "calico", "canal", "cilium", "flannel", "multus")
_INGRESS = ("none", "traefik", "ingress-nginx")


# The values of `content`.
RKE2_CONTENT = "rke2"
HOST_CONTENT = "host"

# The setting that keeps a component from running.
DISABLED_BY = {
    unit_names.ETCD: "disable-etcd",
    unit_names.KUBE_APISERVER: "disable-apiserver",
    unit_names.KUBE_CONTROLLER_MANAGER: "disable-controller-manager",
    unit_names.KUBE_SCHEDULER: "disable-scheduler",
    unit_names.KUBE_PROXY: "disable-kube-proxy",
    unit_names.CLOUD_CONTROLLER_MANAGER: "disable-cloud-controller",
}


def _general() -> tuple[Setting, ...]:
    return (
        Setting(
            "config",
            Kind.TEXT,
            "configuration",
            "The configuration file; further files are read from the folder FILE.d.",
            default=layout.CONFIG_FILE,
            environment="RKE2_CONFIG_FILE",
            alias="c",
        ),
        Setting("debug", Kind.BOOLEAN, "daemon", "Log more.", default="false", environment="RKE2_DEBUG"),
        Setting("v", Kind.NUMBER, "none", "RKE2's klog level; without effect.", default="0", hidden=True),
        Setting("vmodule", Kind.TEXT, "none", "RKE2's klog levels by file; without effect.", hidden=True),
        Setting(
            "log",
            Kind.TEXT,
            "none",
            "RKE2's log file; without effect, since logs go to the journal.",
            alias="l",
            hidden=True,
        ),
        Setting(
            "alsologtostderr",
            Kind.BOOLEAN,
            "none",
            "RKE2's second log; without effect, since logs go to the journal.",
            default="false",
            hidden=True,
        ),
        Setting(
            "data-dir",
            Kind.TEXT,
            "everything",
            "The folder that holds all state. It is written into units and configuration files, so it may "
            "hold letters, digits and . _ + @ = - / only.",
            default=layout.DEFAULT_DATA_DIRECTORY,
            environment="RKE2_DATA_DIR",
            alias="d",
            check=grammar.data_directory,
        ),
        Setting(
            "bind-address",
            Kind.TEXT,
            "supervisor API",
            "The address that the supervisor API listens on.",
            default="0.0.0.0",
            default_note="all, IPv6 ones too",
            check=grammar.address,
        ),
        Setting(
            "advertise-address",
            Kind.TEXT,
            "kube-apiserver, etcd",
            "The address under which kube-apiserver makes itself known.",
            default_note="node-external-ip, else node-ip",
            roles=SERVER,
            check=grammar.address,
        ),
        Setting(
            "tls-san",
            Kind.LIST,
            "certificates",
            "More names and addresses for the serving certificates.",
            roles=SERVER,
            check=grammar.host,
            commas=True,
        ),
        Setting(
            "tls-san-security",
            Kind.BOOLEAN,
            "supervisor API",
            "Add no names to the supervisor's certificate only because a client asks for them.",
            default="true",
            roles=SERVER,
            refused=_FIXED_NAMES,
        ),
        Setting(
            "write-kubeconfig",
            Kind.TEXT,
            "kubeconfig",
            "The administrator's kubeconfig file.",
            default=layout.KUBECONFIG,
            environment="RKE2_KUBECONFIG_OUTPUT",
            alias="o",
            roles=SERVER,
            check=grammar.absolute_path,
        ),
        Setting(
            "write-kubeconfig-mode",
            Kind.OCTAL,
            "kubeconfig",
            'The mode of that file. The digits are octal ones, quoted or not: 0640 and "0640" mean the '
            "same. (RKE2 reads an unquoted 0644 as the number 420, and that as mode 0420.)",
            default="0600",
            environment="RKE2_KUBECONFIG_MODE",
            roles=SERVER,
        ),
        Setting(
            "write-kubeconfig-group",
            Kind.TEXT,
            "kubeconfig",
            "The group that owns that file.",
            environment="RKE2_KUBECONFIG_GROUP",
            roles=SERVER,
            check=grammar.identifier,
        ),
        Setting(
            "write-kubeconfig-name",
            Kind.TEXT,
            "kubeconfig",
            "The name of cluster, user and context in that file.",
            default="default",
            roles=SERVER,
            check=grammar.identifier,
        ),
    )


def _networking() -> tuple[Setting, ...]:
    return (
        Setting(
            "cluster-cidr",
            Kind.LIST,
            "kube-controller-manager, kube-proxy, charts",
            "The addresses of pods: one range, or one of each family.",
            default_note="10.42.0.0/16, or fd00:42::/56 where the node's first address is an IPv6 one",
            roles=SERVER,
            check=grammar.network,
            commas=True,
        ),
        Setting(
            "service-cidr",
            Kind.LIST,
            "kube-apiserver, kube-controller-manager, certificates",
            "The addresses of services: one range, or one of each family.",
            default_note="10.43.0.0/16, or fd00:43::/112 where the node's first address is an IPv6 one",
            roles=SERVER,
            check=grammar.network,
            commas=True,
        ),
        Setting(
            "service-node-port-range",
            Kind.TEXT,
            "kube-apiserver",
            "The ports of services of type NodePort.",
            default="30000-32767",
            roles=SERVER,
            check=grammar.port_range,
        ),
        Setting(
            "cluster-dns",
            Kind.LIST,
            "kubelet, charts",
            "The addresses of the cluster's DNS service.",
            default_note="the tenth address of each range of service-cidr",
            roles=SERVER,
            check=grammar.address,
            commas=True,
        ),
        Setting(
            "cluster-domain",
            Kind.TEXT,
            "kubelet, kube-apiserver, certificates, charts",
            "The domain of the cluster's names.",
            default="cluster.local",
            roles=SERVER,
            check=grammar.cluster_domain,
        ),
        Setting(
            "egress-selector-mode",
            Kind.TEXT,
            "kube-apiserver",
            "How kube-apiserver reaches nodes and pods: directly, with either value.",
            default="agent",
            roles=SERVER,
            choices=("disabled", "agent", "cluster", "pod"),
            refused=_TUNNELS,
            accepted=("disabled", "agent"),
        ),
        Setting(
            "servicelb-namespace",
            Kind.TEXT,
            "cloud-controller-manager",
            "The namespace of the service load balancer's pods.",
            default="kube-system",
            roles=SERVER,
            check=grammar.label_name,
        ),
        Setting(
            "cni",
            Kind.LIST,
            "charts",
            "The network plugin: none (one of your own), canal, calico, cilium or flannel, with 'multus' in "
            "front if wanted.",
            default="canal",
            environment="RKE2_CNI",
            roles=SERVER,
            choices=_CNI,
            commas=True,
        ),
        Setting(
            "ingress-controller",
            Kind.LIST,
            "charts",
            "The ingress controllers, the default one first.",
            default_note="the one that is installed already, else traefik (ingress-nginx before 1.36)",
            environment="RKE2_INGRESS_CONTROLLER",
            roles=SERVER,
            choices=_INGRESS,
            commas=True,
        ),
    )


def _cluster() -> tuple[Setting, ...]:
    return (
        Setting(
            "token",
            Kind.TEXT,
            "certificates",
            "The secret that nodes join with.",
            default_note="random, in server/token of the data directory",
            environment="RKE2_TOKEN",
            alias="t",
            secret=True,
            check=grammar.token,
        ),
        Setting(
            "token-file",
            Kind.TEXT,
            "configuration",
            "A file that holds the token.",
            environment="RKE2_TOKEN_FILE",
            check=grammar.absolute_path,
        ),
        Setting(
            "agent-token",
            Kind.TEXT,
            "certificates",
            "The secret that agents join with.",
            default_note="the token",
            environment="RKE2_AGENT_TOKEN",
            roles=SERVER,
            secret=True,
            check=grammar.token,
        ),
        Setting(
            "agent-token-file",
            Kind.TEXT,
            "configuration",
            "A file that holds the agent token.",
            environment="RKE2_AGENT_TOKEN_FILE",
            roles=SERVER,
            check=grammar.absolute_path,
        ),
        Setting(
            "token-require-ca-pin",
            Kind.BOOLEAN,
            "joining",
            "Join with a token that names the cluster's authority (K10...::...) only. Without such a pin, "
            "whoever answers first at the address of `server` gets the token.",
            default="false",
            own=True,
        ),
        Setting(
            "server",
            Kind.TEXT,
            "joining",
            "The server to join, as https://HOST:9345. A server that has data of etcd does not look at it.",
            environment="RKE2_URL",
            alias="s",
            check=grammar.server_url,
        ),
        Setting(
            "cluster-reset",
            Kind.BOOLEAN,
            "etcd",
            "Forget all other members and become the only one.",
            default="false",
            environment="RKE2_CLUSTER_RESET",
            roles=SERVER,
            refused=_RESET,
        ),
        Setting(
            "cluster-reset-restore-path",
            Kind.TEXT,
            "etcd",
            "The snapshot to restore.",
            roles=SERVER,
            refused=_RESET,
        ),
    )


def _datastore() -> tuple[Setting, ...]:
    return (
        Setting(
            "datastore-endpoint",
            Kind.TEXT,
            "datastore",
            "An external datastore.",
            default_note="etcd on the servers",
            environment="RKE2_DATASTORE_ENDPOINT",
            roles=SERVER,
            secret=True,
            refused=_EXTERNAL_DATASTORE,
        ),
        *(
            Setting(
                f"datastore-{name}",
                Kind.TEXT,
                "datastore",
                f"{meaning} for the external datastore.",
                environment=f"RKE2_DATASTORE_{name.upper()}",
                roles=SERVER,
                refused=_EXTERNAL_DATASTORE,
            )
            for name, meaning in (
                ("cafile", "The authority's certificate"),
                ("certfile", "The client certificate"),
                ("keyfile", "The client's key"),
            )
        ),
        Setting(
            "etcd-expose-metrics",
            Kind.BOOLEAN,
            "etcd",
            "Offer etcd's metrics on the node's address too.",
            default="false",
            roles=SERVER,
        ),
        Setting(
            "etcd-disable-snapshots",
            Kind.BOOLEAN,
            "etcd",
            "Take no snapshots by schedule. None are taken yet, with either value; true ends the warnings "
            "that say so.",
            default="false",
            roles=SERVER,
        ),
        Setting(
            "etcd-snapshot-name",
            Kind.TEXT,
            "etcd",
            "The base name of snapshots.",
            default="etcd-snapshot",
            roles=SERVER,
            refused=_SNAPSHOTS,
        ),
        Setting(
            "etcd-snapshot-schedule-cron",
            Kind.TEXT,
            "etcd",
            "When snapshots are taken (cron).",
            default="0 */12 * * *",
            roles=SERVER,
            refused=_SNAPSHOTS,
        ),
        Setting(
            "etcd-snapshot-reconcile-interval",
            Kind.DURATION,
            "etcd",
            "How often the list of snapshots is brought up to date.",
            default="10m",
            roles=SERVER,
            refused=_SNAPSHOTS,
        ),
        Setting(
            "etcd-snapshot-retention",
            Kind.NUMBER,
            "etcd",
            "How many snapshots are kept.",
            default="5",
            roles=SERVER,
            refused=_SNAPSHOTS,
        ),
        Setting(
            "etcd-snapshot-dir",
            Kind.TEXT,
            "etcd",
            "The folder of snapshots.",
            default_note="server/db/snapshots of the data directory",
            roles=SERVER,
            refused=_SNAPSHOTS,
        ),
        Setting(
            "etcd-snapshot-compress",
            Kind.BOOLEAN,
            "etcd",
            "Compress snapshots.",
            default="false",
            roles=SERVER,
            refused=_SNAPSHOTS,
        ),
        _s3("", Kind.BOOLEAN, "Keep snapshots in an S3 bucket.", "false"),
        _s3("endpoint", Kind.TEXT, "The S3 endpoint.", "s3.amazonaws.com"),
        _s3("endpoint-ca", Kind.TEXT, "The authority of the endpoint's certificate."),
        _s3("skip-ssl-verify", Kind.BOOLEAN, "Do not verify the endpoint's certificate.", "false"),
        # RKE2 reads AWS's own variables too; they may be meant for others, so not while these are refused.
        _s3("access-key", Kind.TEXT, "The access key.", secret=True),
        _s3("secret-key", Kind.TEXT, "The secret key.", secret=True),
        _s3("session-token", Kind.TEXT, "The session token.", secret=True),
        _s3("bucket", Kind.TEXT, "The bucket."),
        _s3("bucket-lookup-type", Kind.TEXT, "How the bucket is addressed: auto, dns or path."),
        _s3("region", Kind.TEXT, "The region.", "us-east-1"),
        _s3("folder", Kind.TEXT, "The folder in the bucket."),
        _s3("retention", Kind.NUMBER, "How many snapshots are kept in the bucket.", "5"),
        _s3("proxy", Kind.TEXT, "The proxy to the endpoint.", secret=True),
        _s3("config-secret", Kind.TEXT, "The Secret that holds these settings."),
        _s3("insecure", Kind.BOOLEAN, "Use http.", "false"),
        _s3("timeout", Kind.DURATION, "The time limit of a transfer.", "5m"),
    )


def _s3(name: str, kind: Kind, help: str, default: str = "", secret: bool = False) -> Setting:
    return Setting(
        f"etcd-s3-{name}" if name else "etcd-s3",
        kind,
        "etcd",
        help,
        default=default,
        roles=SERVER,
        secret=secret,
        refused=_SNAPSHOTS,
    )


def _components() -> tuple[Setting, ...]:
    return (
        Setting(
            "disable",
            Kind.LIST,
            "charts",
            "Packaged charts and manifests that are not deployed, by file name without .yaml; what was "
            "deployed is removed.",
            roles=SERVER,
            commas=True,
        ),
        *(
            Setting(
                name,
                Kind.BOOLEAN,
                "static pods",
                f"Run no {component} here.",
                default="false",
                roles=SERVER,
                hidden=name in ("disable-apiserver", "disable-controller-manager", "disable-etcd"),
            )
            for component, name in DISABLED_BY.items()
        ),
        Setting(
            "disable-agent",
            Kind.BOOLEAN,
            "kubelet",
            "Run no kubelet and no containerd here.",
            default="false",
            roles=SERVER,
            hidden=True,
            refused="a server runs its control plane through the kubelet, as RKE2 does",
        ),
        Setting(
            "enable-servicelb",
            Kind.BOOLEAN,
            "cloud-controller-manager",
            "Run RKE2's service load balancer, as a part of the cloud-controller-manager.",
            default="false",
            environment="RKE2_ENABLE_SERVICELB",
            roles=SERVER,
        ),
        Setting(
            "embedded-registry",
            Kind.BOOLEAN,
            "content",
            "Share images between nodes.",
            default="false",
            roles=SERVER,
            refused="rke2-units has no embedded registry",
        ),
        Setting(
            "supervisor-metrics",
            Kind.BOOLEAN,
            "supervisor API",
            "Offer the supervisor's metrics on port 9345 of servers (/metrics), to whom kube-apiserver lets "
            "read that path.",
            default="false",
            roles=SERVER,
        ),
        Setting(
            "enable-pprof",
            Kind.BOOLEAN,
            "supervisor API",
            "Offer profiles of the supervisor on port 9345.",
            default="false",
            refused="rke2-units is no Go program; it has no such profiles",
        ),
        Setting(
            "helm-job-image",
            Kind.TEXT,
            "charts",
            "The image that helm is taken from.",
            default_note="the release's",
            roles=SERVER,
            check=grammar.image,
        ),
        Setting(
            "helm-path",
            Kind.TEXT,
            "charts",
            "The helm that installs charts: a path, or a name to be found in PATH.",
            default_note="that of helm-job-image; with 'content: host' the one in PATH, if there is one",
            check=grammar.program,
            own=True,
        ),
        Setting(
            "helm-controller-arg",
            Kind.LIST,
            "charts",
            "Arguments of RKE2's helm-controller.",
            roles=SERVER,
            refused=_HELM_JOBS,
        ),
        *(
            Setting(
                f"control-plane-resource-{kind}",
                Kind.LIST,
                "static pods",
                f"Resource {kind} of static pods: COMPONENT-cpu=500m or COMPONENT-memory=1Gi.",
                environment=f"RKE2_CONTROL_PLANE_RESOURCE_{kind.upper()}",
                check=grammar.component_resource,
                commas=True,
            )
            for kind in ("requests", "limits")
        ),
        Setting(
            "control-plane-probe-configuration",
            Kind.LIST,
            "static pods",
            "Probes of static pods: COMPONENT-(liveness|readiness|startup)-(initial-delay-seconds|"
            "timeout-seconds|failure-threshold|period-seconds)=NUMBER.",
            environment="RKE2_CONTROL_PLANE_PROBE_CONFIGURATION",
            check=grammar.component_probe,
            commas=True,
        ),
        *(
            Setting(
                f"{component}-extra-{what}",
                Kind.LIST,
                "static pods",
                help.format(component),
                environment=_variable(f"{component}-extra-{what}"),
                # A variable may hold a password.
                secret=what == "env",
                check=check,
            )
            for component in grammar.COMPONENTS
            for what, help, check in (
                ("mount", "More mounts of {}: SOURCE:DESTINATION[:ro|rw[:TYPE]].", grammar.mount),
                ("env", "More environment variables of {}: NAME=VALUE.", grammar.variable),
            )
        ),
        *(
            Setting(
                f"{name}-arg",
                Kind.LIST,
                consumer,
                f"More arguments of {consumer}: key=value replaces the default, key+=value and "
                "key-=value add to it.",
                roles=BOTH if name in ("kubelet", "kube-proxy") else SERVER,
                check=grammar.argument,
            )
            for name, consumer in (
                ("kube-apiserver", "kube-apiserver"),
                ("kube-scheduler", "kube-scheduler"),
                ("kube-controller-manager", "kube-controller-manager"),
                ("kube-cloud-controller-manager", "cloud-controller-manager"),
                ("etcd", "etcd"),
                ("kubelet", "kubelet"),
                ("kube-proxy", "kube-proxy"),
            )
        ),
    )


def _variable(name: str) -> str:
    return "RKE2_" + name.upper().replace("-", "_")


def _images_and_security() -> tuple[Setting, ...]:
    return (
        *(
            Setting(
                f"{component}-image",
                Kind.TEXT,
                "images",
                f"The image of {'the programs and charts' if component == 'runtime' else component}, as it "
                "is written.",
                default_note="the release's",
                environment=_variable(f"{component}-image"),
                check=grammar.image,
            )
            for component in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-proxy",
                "kube-scheduler",
                "etcd",
                "cloud-controller-manager",
                "pause",
                "runtime",
            )
        ),
        Setting(
            "release",
            Kind.TEXT,
            "everything",
            "The release of RKE2 that runs here. The node moves to it when the role's unit is restarted. "
            "One that is not built in has to be fetched first: rke2-units release fetch.",
            default_note="the one that rke2-units install pinned",
            environment="RKE2_RELEASE",
            check=grammar.release,
            own=True,
        ),
        Setting(
            "release-artifact-url",
            Kind.TEXT,
            "rke2-units install, rke2-units release fetch",
            "Where the image lists of releases are fetched from: "
            "URL/VERSION/rke2-images*.linux-ARCH.txt, and sha256sum-ARCH.txt beside them.",
            default="https://github.com/rancher/rke2/releases/download",
            environment="RKE2_RELEASE_ARTIFACT_URL",
            check=grammar.artifact_url,
            own=True,
        ),
        Setting(
            "system-default-registry",
            Kind.TEXT,
            "images",
            "The registry of all images that are not set one by one, as HOST[:PORT][/PATH].",
            environment="RKE2_SYSTEM_DEFAULT_REGISTRY",
            check=grammar.registry,
        ),
        Setting(
            "cloud-provider-name",
            Kind.TEXT,
            "kubelet, kube-apiserver, kube-controller-manager",
            "The cloud provider: 'external' for one of your own.",
            environment="RKE2_CLOUD_PROVIDER_NAME",
            refused=_CLOUD_PROVIDERS,
            accepted=("external",),
        ),
        Setting(
            "cloud-provider-config",
            Kind.TEXT,
            "kubelet, kube-apiserver, kube-controller-manager",
            "The cloud provider's configuration file.",
            environment="RKE2_CLOUD_PROVIDER_CONFIG",
            check=grammar.absolute_path,
        ),
        Setting(
            "node-name-from-cloud-provider-metadata",
            Kind.BOOLEAN,
            "node name",
            "Take the node's name from the cloud's metadata service.",
            default="false",
            environment="RKE2_NODE_NAME_FROM_CLOUD_PROVIDER_METADATA",
        ),
        Setting(
            "profile",
            Kind.TEXT,
            "checks, static pods, kubelet, controllers",
            "Hardening: cis, or etcd for running etcd as its own user (docs/hardening.md).",
            environment="RKE2_CIS_PROFILE",
            choices=("", "cis", "etcd"),
        ),
        Setting(
            "audit-policy-file",
            Kind.TEXT,
            "kube-apiserver",
            "The audit policy; made with level None when it is missing.",
            environment="RKE2_AUDIT_POLICY_FILE",
            check=grammar.absolute_path,
        ),
        Setting(
            "pod-security-admission-config-file",
            Kind.TEXT,
            "kube-apiserver",
            "The pod security admission's configuration.",
            default_note=f"{layout.POD_SECURITY_FILE}, written anew at every start",
            environment="RKE2_POD_SECURITY_ADMISSION_CONFIG_FILE",
            check=grammar.absolute_path,
        ),
        Setting(
            "secrets-encryption",
            Kind.BOOLEAN,
            "kube-apiserver",
            "Secrets are always encrypted in etcd, with either value, as in RKE2.",
            default="true",
            roles=SERVER,
            hidden=True,
        ),
        Setting(
            "secrets-encryption-provider",
            Kind.TEXT,
            "kube-apiserver",
            "How secrets are encrypted in etcd.",
            default="aescbc",
            roles=SERVER,
            choices=("aescbc", "secretbox"),
        ),
        Setting(
            "protect-kernel-defaults",
            Kind.BOOLEAN,
            "kubelet",
            "The kubelet fails when kernel settings differ from what it wants, instead of changing them.",
            default="false",
            default_note="true with profile cis",
        ),
        Setting(
            "prime",
            Kind.BOOLEAN,
            "images",
            "Use the Rancher Prime registry where system-default-registry is not set.",
            default="false",
            environment="RKE2_PRIME",
            roles=SERVER,
            hidden=True,
        ),
        Setting(
            "kubelet-path",
            Kind.TEXT,
            "kubelet",
            "The kubelet to run, of the release's minor version: a path, or a name to be found in PATH.",
            default_note="the content's; with 'content: host' the one in PATH",
            environment="RKE2_KUBELET_PATH",
            check=grammar.program,
        ),
        Setting(
            "content",
            Kind.TEXT,
            "units",
            "Whose programs run: those of RKE2's runtime image (rke2), or the machine's own containerd, "
            "runc, ctr and kubelet (host).",
            default=RKE2_CONTENT,
            choices=(RKE2_CONTENT, HOST_CONTENT),
            own=True,
        ),
    )


def _node() -> tuple[Setting, ...]:
    return (
        Setting(
            "node-name",
            Kind.TEXT,
            "kubelet, certificates",
            "The node's name.",
            default_note="the host name, in lower case",
            environment="RKE2_NODE_NAME",
            check=grammar.node_name,
        ),
        Setting(
            "with-node-id",
            Kind.BOOLEAN,
            "kubelet, certificates",
            f"Append the id in {layout.NODE_DIRECTORY}/id to the node's name.",
            default="false",
        ),
        Setting(
            "node-label",
            Kind.LIST,
            "kubelet",
            "Labels of the node, KEY=VALUE; used when it registers, not later.",
            check=grammar.label,
            commas=True,
        ),
        Setting(
            "node-taint",
            Kind.LIST,
            "kubelet",
            "Taints of the node, KEY[=VALUE]:EFFECT; used when it registers, not later.",
            check=grammar.taint,
            commas=True,
        ),
        Setting(
            "node-ip",
            Kind.LIST,
            "kubelet, certificates, etcd",
            "The node's addresses, at most one of each family.",
            default_note="those of the interface with the default route",
            check=grammar.address,
            commas=True,
        ),
        Setting(
            "node-external-ip",
            Kind.LIST,
            "certificates, cloud-controller-manager",
            "The node's addresses from outside.",
            check=grammar.address,
            commas=True,
        ),
        *(
            Setting(
                f"node-{side}-dns",
                Kind.LIST,
                "cloud-controller-manager",
                f"The node's {side} DNS names.",
                check=grammar.subdomain,
                commas=True,
            )
            for side in ("internal", "external")
        ),
        Setting(
            "resolv-conf",
            Kind.TEXT,
            "kubelet",
            "The resolv.conf of pods.",
            default_note="the first of the system's that names a usable server",
            environment="RKE2_RESOLV_CONF",
            check=grammar.absolute_path,
        ),
        Setting(
            "image-credential-provider-bin-dir",
            Kind.TEXT,
            "kubelet",
            "The folder of image credential providers; used when it and their configuration are there.",
            default="/var/lib/rancher/credentialprovider/bin",
            check=grammar.absolute_path,
        ),
        Setting(
            "image-credential-provider-config",
            Kind.TEXT,
            "kubelet",
            "The configuration of image credential providers.",
            default="/var/lib/rancher/credentialprovider/config.yaml",
            check=grammar.absolute_path,
        ),
        Setting(
            "selinux",
            Kind.BOOLEAN,
            "containerd, static pods",
            "Label containers for SELinux.",
            default="false",
            environment="RKE2_SELINUX",
            refused="rke2-units does not support SELinux",
        ),
        Setting(
            "lb-server-port",
            Kind.NUMBER,
            "joining",
            "The port, on an agent's loopback address, that leads to the supervisor API of every server; "
            "the one below it leads to every kube-apiserver.",
            default="6444",
            environment="RKE2_LB_SERVER_PORT",
            check=grammar.port,
        ),
        Setting(
            "container-runtime-endpoint",
            Kind.TEXT,
            "kubelet",
            "The socket (a path, or unix:///PATH) of a containerd that is there already: pods run in it, "
            "and there is no rke2-containerd.service. Its folder is that containerd's state directory. "
            "No other container runtime can be used.",
            default_note="rke2-containerd.service's own",
            check=grammar.containerd_socket,
        ),
        Setting(
            "default-runtime",
            Kind.TEXT,
            "containerd",
            "The name of containerd's default runtime.",
            default_note="runc",
            check=grammar.identifier,
        ),
        Setting(
            "snapshotter",
            Kind.TEXT,
            "containerd",
            "containerd's snapshotter.",
            default="overlayfs",
            check=grammar.identifier,
        ),
        Setting(
            "private-registry",
            Kind.TEXT,
            "containerd, content",
            "The file that configures registries: their mirrors, credentials and TLS (see REGISTRIES).",
            default=layout.REGISTRIES_FILE,
            check=grammar.absolute_path,
        ),
        Setting(
            "airgap-extra-registry",
            Kind.LIST,
            "images",
            "Give imported images names of these registries too.",
            hidden=True,
            check=grammar.registry,
        ),
        Setting(
            "disable-default-registry-endpoint",
            Kind.BOOLEAN,
            "containerd, content",
            "Where registries.yaml names mirrors, do not fall back to the registry that an image names.",
            default="false",
        ),
        Setting(
            "nonroot-devices",
            Kind.BOOLEAN,
            "containerd",
            "Let containers that do not run as root use devices given to them.",
            default="false",
        ),
    )


SETTINGS: tuple[Setting, ...] = (
    *_general(),
    *_networking(),
    *_cluster(),
    *_datastore(),
    *_components(),
    *_images_and_security(),
    *_node(),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}
BY_ALIAS = {setting.alias: setting for setting in SETTINGS if setting.alias}

# Keys of `rke2 etcd-snapshot`, `certificate`, `secrets-encrypt` and `token`: one file serves all commands,
# so they pass without being looked at.
OTHER_COMMANDS = frozenset(
    (
        *("etcd-server", "etcd-token", "name", "dir", "snapshot-compress", "snapshot-retention", "output"),
        *(
            "s3" if setting.name == "etcd-s3" else setting.name.removeprefix("etcd-")
            for setting in SETTINGS
            if setting.name.startswith("etcd-s3")
        ),
        *("service", "path", "force", "skip"),
        *("description", "groups", "ttl", "usages", "new-token", "kubeconfig"),
    )
)

# Flags of k3s that RKE2 does not have (a * at the end stands for anything), and what RKE2 has instead.
K3S_ONLY = {
    **dict.fromkeys(
        (
            "https-listen-port",
            "supervisor-port",
            "apiserver-port",
            "apiserver-bind-address",
            "advertise-port",
            "cluster-init",
            "flannel-*",
            "vpn-*",
            "kine-tls",
            "default-local-storage-path",
            "disable-network-policy",
            "disable-helm-controller",
            "disable-apiserver-lb",
            "docker",
            "image-service-endpoint",
            "rootless",
            "prefer-bundled-bin",
        )
    ),
    "kube-controller-arg": "kube-controller-manager-arg",
    "kube-cloud-controller-arg": "kube-cloud-controller-manager-arg",
}


def find(key: str) -> Setting | None:
    """The setting of this key or one-letter alias."""
    return BY_NAME.get(key) or BY_ALIAS.get(key)
