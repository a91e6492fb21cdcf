"""The table of RKE2's configuration keys: each of them once (RKE2 v1.36, `rke2 server` and `rke2 agent`)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from rke2_units import layout, unit_names
from rke2_units.config import cron, grammar, snapshot_grammar
from rke2_units.unit_names import Role


class Kind(StrEnum):
    """The type of a key's value; an error calls it by this text."""

    TEXT = "text"
    BOOLEAN = "true or false"
    NUMBER = "a whole number"
    OCTAL = "a file mode in octal digits"
    DURATION = "a duration"
    LIST = "a list of texts"


BOTH = frozenset(Role)
SERVER = frozenset((Role.SERVER,))


@dataclass(frozen=True, kw_only=True)
class Key:
    """One configuration key.

    `default` is what an unset key means, as written in a file (list items separated by commas); where it
    depends on something, `default_note` says on what. `check` takes one value (of a list: one item) and
    raises ValueError with what it must be. `commas`: an item may hold several values, separated by commas.
    `rejected` is the reason why the key cannot be used yet, or at all; its default and the values in
    `accepted` are allowed all the same. `own`: not a key of RKE2, which rejects a file that contains it.
    `used_by` and `help` are for the reference, rke2-units-config(5).
    """

    name: str
    kind: Kind
    used_by: str
    help: str
    default: str = ""
    default_note: str = ""
    environment: str | None = None
    alias: str | None = None
    roles: frozenset[Role] = BOTH
    secret: bool = False
    choices: tuple[str, ...] = ()
    check: Callable[[str], object] | None = None
    commas: bool = False
    rejected: str | None = None
    accepted: tuple[str, ...] = ()
    own: bool = False


# The values of `content`.
RKE2_CONTENT = "rke2"
HOST_CONTENT = "host"

# The key that keeps a component from running.
DISABLED_BY = {
    unit_names.ETCD: "disable-etcd",
    unit_names.KUBE_APISERVER: "disable-apiserver",
    unit_names.KUBE_CONTROLLER_MANAGER: "disable-controller-manager",
    unit_names.KUBE_SCHEDULER: "disable-scheduler",
    unit_names.KUBE_PROXY: "disable-kube-proxy",
    unit_names.CLOUD_CONTROLLER_MANAGER: "disable-cloud-controller",
}

# Why keys are rejected.
_EXTERNAL_DATASTORE = (
    "rke2-units keeps the cluster's state in its own etcd; external datastores are not supported"
)
_HELM_JOBS = (
    "rke2-units runs helm in rke2-helm-applier.service, not in Jobs; limit it with a drop-in for that unit"
)
_FIXED_NAMES = "the join API's certificate contains only names that are configured (tls-san)"
_TUNNELS = "rke2-units has no tunnels to nodes; kube-apiserver connects to them directly"
_CLOUD_PROVIDERS = "rke2-units does not install bundled cloud providers; use 'external' and install your own"

_CNI = ("none", "calico", "canal", "cilium", "flannel", "multus")
_INGRESS = ("none", "traefik", "ingress-nginx")
_ARGUMENTS = "key=value replaces the default, key+=value is added after it, key-=value before it"

# A row is data, of few lines; the formatter would give each field a line of its own.
# fmt: off

_GENERAL: tuple[Key, ...] = (
    Key(name="config", kind=Kind.TEXT, alias="c", environment="RKE2_CONFIG_FILE", default=layout.CONFIG_FILE,
        used_by="configuration",
        help="The configuration file. The files in the folder FILE.d are read after it."),
    Key(name="debug", kind=Kind.BOOLEAN, environment="RKE2_DEBUG", default="false",
        used_by="daemon", help="Write more log messages."),
    Key(name="v", kind=Kind.NUMBER, default="0",
        used_by="nothing", help="RKE2's klog level. It has no effect."),
    Key(name="vmodule", kind=Kind.TEXT,
        used_by="nothing", help="RKE2's klog levels by source file. It has no effect."),
    Key(name="log", kind=Kind.TEXT, alias="l",
        used_by="nothing", help="RKE2's log file. It has no effect: logs go to the journal."),
    Key(name="alsologtostderr", kind=Kind.BOOLEAN, default="false",
        used_by="nothing",
        help="Whether RKE2 logs to its standard error too. It has no effect: logs go to the journal."),
    Key(name="data-dir", kind=Kind.TEXT, alias="d", environment="RKE2_DATA_DIR",
        default=layout.DEFAULT_DATA_DIRECTORY, check=grammar.data_directory,
        used_by="everything",
        help="The data directory, which holds all state. Only letters, digits and . _ + @ = - / are "
             "allowed, because units and configuration files contain the path."),
    Key(name="bind-address", kind=Kind.TEXT,
        default="0.0.0.0", default_note="all addresses, including IPv6", check=grammar.address,
        used_by="join API", help="The address that the join API listens on."),
    Key(name="advertise-address", kind=Kind.TEXT, roles=SERVER,
        default_note="node-external-ip, else node-ip", check=grammar.address,
        used_by="kube-apiserver, etcd", help="The address that kube-apiserver advertises to the cluster."),
    Key(name="tls-san", kind=Kind.LIST, roles=SERVER, check=grammar.host, commas=True,
        used_by="certificates", help="Additional names and addresses for the serving certificates."),
    Key(name="tls-san-security", kind=Kind.BOOLEAN, roles=SERVER, default="true", rejected=_FIXED_NAMES,
        used_by="join API",
        help="Do not add a name to the join API's certificate just because a client asks for it."),
    Key(name="write-kubeconfig", kind=Kind.TEXT, roles=SERVER, alias="o",
        environment="RKE2_KUBECONFIG_OUTPUT",
        default=layout.KUBECONFIG, check=grammar.absolute_path,
        used_by="kubeconfig", help="Where to write the administrator's kubeconfig file."),
    Key(name="write-kubeconfig-mode", kind=Kind.OCTAL, roles=SERVER, environment="RKE2_KUBECONFIG_MODE",
        default="0600",
        used_by="kubeconfig",
        help="The mode of the administrator's kubeconfig file, in octal digits, quoted or not: 0640 and "
             '"0640" mean the same. (RKE2 reads an unquoted 0644 as the decimal number 420, and sets mode '
             "0420.)"),
    Key(name="write-kubeconfig-group", kind=Kind.TEXT, roles=SERVER, environment="RKE2_KUBECONFIG_GROUP",
        check=grammar.identifier,
        used_by="kubeconfig", help="The group that owns the administrator's kubeconfig file."),
    Key(name="write-kubeconfig-name", kind=Kind.TEXT, roles=SERVER,
        default="default", check=grammar.identifier,
        used_by="kubeconfig",
        help="The name of the cluster, the user and the context in the administrator's kubeconfig file."),
)

_NETWORKING: tuple[Key, ...] = (
    Key(name="cluster-cidr", kind=Kind.LIST, roles=SERVER,
        default_note="10.42.0.0/16, or fd00:42::/56 if the node's first address is an IPv6 address",
        check=grammar.network, commas=True,
        used_by="kube-controller-manager, kube-proxy, charts",
        help="The addresses of pods: one range, or one range per address family."),
    Key(name="service-cidr", kind=Kind.LIST, roles=SERVER,
        default_note="10.43.0.0/16, or fd00:43::/112 if the node's first address is an IPv6 address",
        check=grammar.network, commas=True,
        used_by="kube-apiserver, kube-controller-manager, certificates",
        help="The addresses of services: one range, or one range per address family."),
    Key(name="service-node-port-range", kind=Kind.TEXT, roles=SERVER,
        default="30000-32767", check=grammar.port_range,
        used_by="kube-apiserver", help="The ports of services of type NodePort."),
    Key(name="cluster-dns", kind=Kind.LIST, roles=SERVER,
        default_note="the tenth address of each range in service-cidr", check=grammar.address, commas=True,
        used_by="kubelet, charts", help="The addresses of the cluster's DNS service."),
    Key(name="cluster-domain", kind=Kind.TEXT, roles=SERVER,
        default="cluster.local", check=grammar.cluster_domain,
        used_by="kubelet, kube-apiserver, certificates, charts", help="The DNS domain of the cluster."),
    Key(name="egress-selector-mode", kind=Kind.TEXT, roles=SERVER,
        default="agent", choices=("disabled", "agent", "cluster", "pod"), rejected=_TUNNELS,
        accepted=("disabled", "agent"),
        used_by="kube-apiserver",
        help="How kube-apiserver connects to nodes and pods. With both accepted values it connects "
             "directly."),
    Key(name="servicelb-namespace", kind=Kind.TEXT, roles=SERVER,
        default="kube-system", check=grammar.label_name,
        used_by="cloud-controller-manager", help="The namespace of the service load balancer's pods."),
    Key(name="cni", kind=Kind.LIST, roles=SERVER, environment="RKE2_CNI",
        default="canal", choices=_CNI, commas=True,
        used_by="charts",
        help="The network plugin: `canal`, `calico`, `cilium`, `flannel`, or `none` if you install your "
             "own. Put `multus` in front of it to install Multus as well."),
    Key(name="ingress-controller", kind=Kind.LIST, roles=SERVER, environment="RKE2_INGRESS_CONTROLLER",
        default_note="the one that is already installed, else traefik (before 1.36: ingress-nginx)",
        choices=_INGRESS, commas=True,
        used_by="charts", help="The ingress controllers. The first one is the default."),
)

_JOINING: tuple[Key, ...] = (
    Key(name="token", kind=Kind.TEXT, alias="t", environment="RKE2_TOKEN", secret=True,
        default_note="random, stored in server/token in the data directory", check=grammar.token,
        used_by="certificates", help="The secret that nodes join with."),
    Key(name="token-file", kind=Kind.TEXT, environment="RKE2_TOKEN_FILE", check=grammar.absolute_path,
        used_by="configuration", help="The file that contains the token."),
    Key(name="agent-token", kind=Kind.TEXT, roles=SERVER, environment="RKE2_AGENT_TOKEN", secret=True,
        default_note="the token", check=grammar.token,
        used_by="certificates", help="The secret that agents join with."),
    Key(name="agent-token-file", kind=Kind.TEXT, roles=SERVER, environment="RKE2_AGENT_TOKEN_FILE",
        check=grammar.absolute_path,
        used_by="configuration", help="The file that contains the agent token."),
    Key(name="token-require-ca-pin", kind=Kind.BOOLEAN, own=True, default="false",
        used_by="joining",
        help="Join only with a token that contains the hash of the cluster's certificate authority "
             "(K10...::...). Without the hash, whoever answers first at the address in `server` gets the "
             "token."),
    Key(name="server", kind=Kind.TEXT, alias="s", environment="RKE2_URL", check=grammar.server_url,
        used_by="joining",
        help="The server to join, as https://HOST:9345. A server that already has etcd data ignores it."),
    Key(name="lb-server-port", kind=Kind.NUMBER, environment="RKE2_LB_SERVER_PORT",
        default="6444", check=grammar.port,
        used_by="joining",
        help="The port on an agent's loopback address that forwards to the join API of all servers. "
             "The port below it forwards to their kube-apiservers."),
    Key(name="supervisor-metrics", kind=Kind.BOOLEAN, roles=SERVER, default="false",
        used_by="join API",
        help="Serve the join API's metrics at /metrics on port 9345 of servers. A client needs "
             "permission from kube-apiserver to read that path."),
    Key(name="enable-pprof", kind=Kind.BOOLEAN,
        default="false", rejected="rke2-units is not a Go program and has no such profiles",
        used_by="join API", help="Serve profiles of the join API on port 9345."),
)

_DATASTORE: tuple[Key, ...] = (
    Key(name="datastore-endpoint", kind=Kind.TEXT, roles=SERVER, environment="RKE2_DATASTORE_ENDPOINT",
        secret=True,
        default_note="etcd on the servers", rejected=_EXTERNAL_DATASTORE,
        used_by="datastore", help="The URL of an external datastore."),
    Key(name="datastore-cafile", kind=Kind.TEXT, roles=SERVER, environment="RKE2_DATASTORE_CAFILE",
        rejected=_EXTERNAL_DATASTORE,
        used_by="datastore", help="The file with the certificate authority of the external datastore."),
    Key(name="datastore-certfile", kind=Kind.TEXT, roles=SERVER, environment="RKE2_DATASTORE_CERTFILE",
        rejected=_EXTERNAL_DATASTORE,
        used_by="datastore", help="The file with the client certificate for the external datastore."),
    Key(name="datastore-keyfile", kind=Kind.TEXT, roles=SERVER, environment="RKE2_DATASTORE_KEYFILE",
        rejected=_EXTERNAL_DATASTORE,
        used_by="datastore", help="The file with the client key for the external datastore."),
    Key(name="cluster-reset", kind=Kind.BOOLEAN, roles=SERVER, environment="RKE2_CLUSTER_RESET",
        default="false",
        used_by="cluster-reset",
        help="Make this server's etcd the only member. That is a step and not a setting: "
             "`rke2-units cluster-reset` does it, and rke2-server does not start as long as this is true."),
    Key(name="cluster-reset-restore-path", kind=Kind.TEXT, roles=SERVER,
        used_by="cluster-reset",
        help="The snapshot that `rke2-units cluster-reset` restores: a file, or with etcd-s3 the name of an "
             "object."),
    Key(name="etcd-expose-metrics", kind=Kind.BOOLEAN, roles=SERVER, default="false",
        used_by="etcd", help="Serve etcd's metrics on the node's address too."),
    Key(name="etcd-disable-snapshots", kind=Kind.BOOLEAN, roles=SERVER, default="false",
        used_by="snapshots",
        help="Do not take scheduled snapshots. `rke2-units etcd-snapshot save` works all the same."),
    Key(name="etcd-snapshot-name", kind=Kind.TEXT, roles=SERVER,
        default="etcd-snapshot", check=snapshot_grammar.name,
        used_by="snapshots",
        help="The base name of scheduled snapshots. The node's name and the time in seconds follow."),
    Key(name="etcd-snapshot-schedule-cron", kind=Kind.TEXT, roles=SERVER,
        default="0 */12 * * *", check=cron.check,
        used_by="snapshots",
        help="When to take snapshots, as a cron expression (see SCHEDULES). It becomes the lines of "
             "rke2-etcd-snapshot.timer."),
    Key(name="etcd-snapshot-reconcile-interval", kind=Kind.DURATION, roles=SERVER,
        default="10m", check=grammar.interval,
        used_by="snapshots",
        help="How often to update the cluster's list of snapshots: the interval of "
             "rke2-etcd-snapshot-reconcile.timer."),
    Key(name="etcd-snapshot-retention", kind=Kind.NUMBER, roles=SERVER, default="5",
        used_by="snapshots",
        help="How many of this node's snapshots to keep in the folder, by the beginning of their name. "
             "With 0 or less, all are kept."),
    Key(name="etcd-snapshot-dir", kind=Kind.TEXT, roles=SERVER,
        default_note="server/db/snapshots in the data directory", check=snapshot_grammar.directory,
        used_by="snapshots",
        help="The folder for snapshots, which must exist. Their metadata is in .metadata beside it."),
    Key(name="etcd-snapshot-compress", kind=Kind.BOOLEAN, roles=SERVER, default="false",
        used_by="snapshots", help="Compress snapshots (zip)."),
    Key(name="etcd-snapshot-verify", kind=Kind.BOOLEAN, roles=SERVER, own=True, default="false",
        used_by="snapshots",
        help="Verify each scheduled snapshot afterwards: rke2-etcd-snapshot-verify.service restores it "
             "into a temporary etcd. It needs free disk space for that."),
    Key(name="etcd-s3", kind=Kind.BOOLEAN, roles=SERVER, default="false",
        used_by="snapshots",
        help="Store snapshots in an S3 bucket too. It needs etcd-s3-bucket or etcd-s3-config-secret."),
    Key(name="etcd-s3-endpoint", kind=Kind.TEXT, roles=SERVER,
        default="s3.amazonaws.com", check=snapshot_grammar.endpoint,
        used_by="snapshots", help="The S3 endpoint: HOST or HOST:PORT."),
    Key(name="etcd-s3-endpoint-ca", kind=Kind.TEXT, roles=SERVER, check=snapshot_grammar.authorities,
        used_by="snapshots",
        help="The certificate authorities of the S3 endpoint, separated by blanks: each the path of a PEM "
             "file, or PEM in base64."),
    Key(name="etcd-s3-skip-ssl-verify", kind=Kind.BOOLEAN, roles=SERVER, default="false",
        used_by="snapshots",
        help="Do not verify the certificate of the S3 endpoint, whatever etcd-s3-endpoint-ca is."),
    Key(name="etcd-s3-access-key", kind=Kind.TEXT, roles=SERVER, environment="AWS_ACCESS_KEY_ID",
        secret=True,
        default_note="root's `.aws/credentials`, else the role of the machine",
        used_by="snapshots", help="The access key for S3."),
    Key(name="etcd-s3-secret-key", kind=Kind.TEXT, roles=SERVER, environment="AWS_SECRET_ACCESS_KEY",
        secret=True,
        used_by="snapshots", help="The secret key for S3."),
    Key(name="etcd-s3-session-token", kind=Kind.TEXT, roles=SERVER, environment="AWS_SESSION_TOKEN",
        secret=True,
        used_by="snapshots", help="The session token for S3."),
    Key(name="etcd-s3-bucket", kind=Kind.TEXT, roles=SERVER, check=snapshot_grammar.bucket,
        used_by="snapshots", help="The S3 bucket. It must exist."),
    Key(name="etcd-s3-bucket-lookup-type", kind=Kind.TEXT, roles=SERVER,
        default="auto", choices=("auto", "dns", "path"),
        used_by="snapshots",
        help="How to address the S3 bucket: `dns` in the host name, `path` in the path, `auto` by the "
             "endpoint."),
    Key(name="etcd-s3-region", kind=Kind.TEXT, roles=SERVER,
        default="us-east-1", check=snapshot_grammar.region,
        used_by="snapshots", help="The S3 region."),
    Key(name="etcd-s3-folder", kind=Kind.TEXT, roles=SERVER, check=snapshot_grammar.folder,
        used_by="snapshots", help="The folder in the S3 bucket."),
    Key(name="etcd-s3-retention", kind=Kind.NUMBER, roles=SERVER, default_note="etcd-snapshot-retention",
        used_by="snapshots",
        help="How many snapshots of all nodes together to keep in the S3 folder, by the beginning of their "
             "name. With 0 or less, all are kept."),
    Key(name="etcd-s3-proxy", kind=Kind.TEXT, roles=SERVER, secret=True,
        default_note="the proxy of the node's environment", check=snapshot_grammar.proxy,
        used_by="snapshots",
        help="The proxy for connections to the S3 endpoint: a URL, or `none` for no proxy at all."),
    Key(name="etcd-s3-config-secret", kind=Kind.TEXT, roles=SERVER, check=grammar.subdomain,
        used_by="snapshots",
        help="The Secret in kube-system that contains the configuration of S3. It is ignored if another "
             "key of S3 is set, except etcd-s3-retention."),
    Key(name="etcd-s3-insecure", kind=Kind.BOOLEAN, roles=SERVER, default="false",
        used_by="snapshots", help="Connect to the S3 endpoint with http."),
    Key(name="etcd-s3-timeout", kind=Kind.DURATION, roles=SERVER,
        default="5m", check=snapshot_grammar.time_limit,
        used_by="snapshots", help="The time limit of each operation in S3, such as an upload."),
)

_COMPONENTS: tuple[Key, ...] = (
    Key(name="disable-etcd", kind=Kind.BOOLEAN, roles=SERVER, default="false",
        used_by="static pods", help="Do not run etcd on this server."),
    Key(name="disable-apiserver", kind=Kind.BOOLEAN, roles=SERVER, default="false",
        used_by="static pods", help="Do not run kube-apiserver on this server."),
    Key(name="disable-controller-manager", kind=Kind.BOOLEAN, roles=SERVER, default="false",
        used_by="static pods", help="Do not run kube-controller-manager on this server."),
    Key(name="disable-scheduler", kind=Kind.BOOLEAN, roles=SERVER, default="false",
        used_by="static pods", help="Do not run kube-scheduler on this server."),
    Key(name="disable-kube-proxy", kind=Kind.BOOLEAN, roles=SERVER, default="false",
        used_by="static pods", help="Do not run kube-proxy on this server."),
    Key(name="disable-cloud-controller", kind=Kind.BOOLEAN, roles=SERVER, default="false",
        used_by="static pods", help="Do not run cloud-controller-manager on this server."),
    Key(name="disable-agent", kind=Kind.BOOLEAN, roles=SERVER,
        default="false", rejected="a server runs its control plane through the kubelet, as RKE2 does",
        used_by="kubelet", help="Do not run the kubelet and containerd on this server."),
    Key(name="control-plane-resource-requests", kind=Kind.LIST,
        environment="RKE2_CONTROL_PLANE_RESOURCE_REQUESTS",
        check=grammar.component_resource, commas=True,
        used_by="static pods",
        help="Resource requests for static pods: COMPONENT-cpu=500m or COMPONENT-memory=1Gi."),
    Key(name="control-plane-resource-limits", kind=Kind.LIST,
        environment="RKE2_CONTROL_PLANE_RESOURCE_LIMITS",
        check=grammar.component_resource, commas=True,
        used_by="static pods",
        help="Resource limits for static pods: COMPONENT-cpu=500m or COMPONENT-memory=1Gi."),
    Key(name="control-plane-probe-configuration", kind=Kind.LIST,
        environment="RKE2_CONTROL_PLANE_PROBE_CONFIGURATION",
        check=grammar.component_probe, commas=True,
        used_by="static pods",
        help="Probes of static pods: COMPONENT-PROBE-FIELD=NUMBER. PROBE is liveness, readiness or "
             "startup. FIELD is initial-delay-seconds, timeout-seconds, failure-threshold or "
             "period-seconds."),
    Key(name="kube-apiserver-extra-mount", kind=Kind.LIST, environment="RKE2_KUBE_APISERVER_EXTRA_MOUNT",
        check=grammar.mount,
        used_by="static pods",
        help="Additional mounts for kube-apiserver: SOURCE:DESTINATION[:ro|rw[:TYPE]]."),
    # Secret, as a variable may hold a password.
    Key(name="kube-apiserver-extra-env", kind=Kind.LIST, environment="RKE2_KUBE_APISERVER_EXTRA_ENV",
        secret=True,
        check=grammar.variable,
        used_by="static pods", help="Additional environment variables for kube-apiserver: NAME=VALUE."),
    Key(name="kube-scheduler-extra-mount", kind=Kind.LIST, environment="RKE2_KUBE_SCHEDULER_EXTRA_MOUNT",
        check=grammar.mount,
        used_by="static pods",
        help="Additional mounts for kube-scheduler: SOURCE:DESTINATION[:ro|rw[:TYPE]]."),
    Key(name="kube-scheduler-extra-env", kind=Kind.LIST, environment="RKE2_KUBE_SCHEDULER_EXTRA_ENV",
        secret=True,
        check=grammar.variable,
        used_by="static pods", help="Additional environment variables for kube-scheduler: NAME=VALUE."),
    Key(name="kube-controller-manager-extra-mount", kind=Kind.LIST,
        environment="RKE2_KUBE_CONTROLLER_MANAGER_EXTRA_MOUNT",
        check=grammar.mount,
        used_by="static pods",
        help="Additional mounts for kube-controller-manager: SOURCE:DESTINATION[:ro|rw[:TYPE]]."),
    Key(name="kube-controller-manager-extra-env", kind=Kind.LIST,
        environment="RKE2_KUBE_CONTROLLER_MANAGER_EXTRA_ENV", secret=True,
        check=grammar.variable,
        used_by="static pods",
        help="Additional environment variables for kube-controller-manager: NAME=VALUE."),
    Key(name="kube-proxy-extra-mount", kind=Kind.LIST, environment="RKE2_KUBE_PROXY_EXTRA_MOUNT",
        check=grammar.mount,
        used_by="static pods", help="Additional mounts for kube-proxy: SOURCE:DESTINATION[:ro|rw[:TYPE]]."),
    Key(name="kube-proxy-extra-env", kind=Kind.LIST, environment="RKE2_KUBE_PROXY_EXTRA_ENV", secret=True,
        check=grammar.variable,
        used_by="static pods", help="Additional environment variables for kube-proxy: NAME=VALUE."),
    Key(name="etcd-extra-mount", kind=Kind.LIST, environment="RKE2_ETCD_EXTRA_MOUNT", check=grammar.mount,
        used_by="static pods", help="Additional mounts for etcd: SOURCE:DESTINATION[:ro|rw[:TYPE]]."),
    Key(name="etcd-extra-env", kind=Kind.LIST, environment="RKE2_ETCD_EXTRA_ENV", secret=True,
        check=grammar.variable,
        used_by="static pods", help="Additional environment variables for etcd: NAME=VALUE."),
    Key(name="cloud-controller-manager-extra-mount", kind=Kind.LIST,
        environment="RKE2_CLOUD_CONTROLLER_MANAGER_EXTRA_MOUNT",
        check=grammar.mount,
        used_by="static pods",
        help="Additional mounts for cloud-controller-manager: SOURCE:DESTINATION[:ro|rw[:TYPE]]."),
    Key(name="cloud-controller-manager-extra-env", kind=Kind.LIST,
        environment="RKE2_CLOUD_CONTROLLER_MANAGER_EXTRA_ENV", secret=True,
        check=grammar.variable,
        used_by="static pods",
        help="Additional environment variables for cloud-controller-manager: NAME=VALUE."),
    Key(name="kube-apiserver-arg", kind=Kind.LIST, roles=SERVER, check=grammar.argument,
        used_by="kube-apiserver", help=f"Additional arguments for kube-apiserver: {_ARGUMENTS}."),
    Key(name="kube-scheduler-arg", kind=Kind.LIST, roles=SERVER, check=grammar.argument,
        used_by="kube-scheduler", help=f"Additional arguments for kube-scheduler: {_ARGUMENTS}."),
    Key(name="kube-controller-manager-arg", kind=Kind.LIST, roles=SERVER, check=grammar.argument,
        used_by="kube-controller-manager",
        help=f"Additional arguments for kube-controller-manager: {_ARGUMENTS}."),
    Key(name="kube-cloud-controller-manager-arg", kind=Kind.LIST, roles=SERVER, check=grammar.argument,
        used_by="cloud-controller-manager",
        help=f"Additional arguments for cloud-controller-manager: {_ARGUMENTS}."),
    Key(name="etcd-arg", kind=Kind.LIST, roles=SERVER, check=grammar.argument,
        used_by="etcd", help=f"Additional arguments for etcd: {_ARGUMENTS}."),
    Key(name="kubelet-arg", kind=Kind.LIST, check=grammar.argument,
        used_by="kubelet", help=f"Additional arguments for the kubelet: {_ARGUMENTS}."),
    Key(name="kube-proxy-arg", kind=Kind.LIST, check=grammar.argument,
        used_by="kube-proxy", help=f"Additional arguments for kube-proxy: {_ARGUMENTS}."),
)

_CHARTS: tuple[Key, ...] = (
    Key(name="disable", kind=Kind.LIST, roles=SERVER, commas=True,
        used_by="charts",
        help="Packaged charts and manifests that are not installed, by file name without .yaml. Those "
             "that are installed already are removed."),
    Key(name="enable-servicelb", kind=Kind.BOOLEAN, roles=SERVER, environment="RKE2_ENABLE_SERVICELB",
        default="false",
        used_by="cloud-controller-manager",
        help="Run RKE2's service load balancer. It is part of the cloud-controller-manager."),
    Key(name="helm-job-image", kind=Kind.TEXT, roles=SERVER,
        default_note="the release's image", check=grammar.image,
        used_by="charts", help="The image that contains helm."),
    Key(name="helm-path", kind=Kind.TEXT, own=True,
        default_note="helm from helm-job-image; with `content: host` helm from PATH, if it is there",
        check=grammar.program,
        used_by="charts",
        help="The helm program that installs charts: a path, or a name that is searched in PATH."),
    Key(name="helm-controller-arg", kind=Kind.LIST, roles=SERVER, rejected=_HELM_JOBS,
        used_by="charts", help="Arguments for RKE2's helm-controller."),
)

_RELEASE_AND_IMAGES: tuple[Key, ...] = (
    Key(name="release", kind=Kind.TEXT, environment="RKE2_RELEASE", own=True,
        default_note="the release that rke2-units install pinned", check=grammar.release,
        used_by="everything",
        help="The RKE2 release that this node runs. A change takes effect when rke2-server or rke2-agent "
             "is restarted. Fetch a release that is not built in beforehand: rke2-units release fetch."),
    Key(name="release-artifact-url", kind=Kind.TEXT, environment="RKE2_RELEASE_ARTIFACT_URL", own=True,
        default="https://github.com/rancher/rke2/releases/download", check=grammar.artifact_url,
        used_by="rke2-units install, rke2-units release fetch",
        help="Where to fetch the image lists of a release: URL/VERSION/rke2-images*.linux-ARCH.txt and "
             "URL/VERSION/sha256sum-ARCH.txt."),
    Key(name="content", kind=Kind.TEXT, own=True, default=RKE2_CONTENT, choices=(RKE2_CONTENT, HOST_CONTENT),
        used_by="units",
        help="Which programs the node runs: those in RKE2's runtime image (`rke2`), or this machine's own "
             "containerd, runc, ctr and kubelet (`host`)."),
    Key(name="kubelet-path", kind=Kind.TEXT, environment="RKE2_KUBELET_PATH",
        default_note="the kubelet from runtime-image; with `content: host` the kubelet from PATH",
        check=grammar.program,
        used_by="kubelet",
        help="The kubelet program, of the release's minor version: a path, or a name that is searched in "
             "PATH."),
    Key(name="kube-apiserver-image", kind=Kind.TEXT, environment="RKE2_KUBE_APISERVER_IMAGE",
        default_note="the release's image", check=grammar.image,
        used_by="images", help="The image of kube-apiserver. system-default-registry does not apply to it."),
    Key(name="kube-controller-manager-image", kind=Kind.TEXT,
        environment="RKE2_KUBE_CONTROLLER_MANAGER_IMAGE",
        default_note="the release's image", check=grammar.image,
        used_by="images",
        help="The image of kube-controller-manager. system-default-registry does not apply to it."),
    Key(name="kube-proxy-image", kind=Kind.TEXT, environment="RKE2_KUBE_PROXY_IMAGE",
        default_note="the release's image", check=grammar.image,
        used_by="images", help="The image of kube-proxy. system-default-registry does not apply to it."),
    Key(name="kube-scheduler-image", kind=Kind.TEXT, environment="RKE2_KUBE_SCHEDULER_IMAGE",
        default_note="the release's image", check=grammar.image,
        used_by="images", help="The image of kube-scheduler. system-default-registry does not apply to it."),
    Key(name="etcd-image", kind=Kind.TEXT, environment="RKE2_ETCD_IMAGE",
        default_note="the release's image", check=grammar.image,
        used_by="images", help="The image of etcd. system-default-registry does not apply to it."),
    Key(name="cloud-controller-manager-image", kind=Kind.TEXT,
        environment="RKE2_CLOUD_CONTROLLER_MANAGER_IMAGE",
        default_note="the release's image", check=grammar.image,
        used_by="images",
        help="The image of cloud-controller-manager. system-default-registry does not apply to it."),
    Key(name="pause-image", kind=Kind.TEXT, environment="RKE2_PAUSE_IMAGE",
        default_note="the release's image", check=grammar.image,
        used_by="images",
        help="The image of the pause container. system-default-registry does not apply to it."),
    Key(name="runtime-image", kind=Kind.TEXT, environment="RKE2_RUNTIME_IMAGE",
        default_note="the release's image", check=grammar.image,
        used_by="images",
        help="The image that contains the programs and charts. system-default-registry does not apply to "
             "it."),
    Key(name="system-default-registry", kind=Kind.TEXT, environment="RKE2_SYSTEM_DEFAULT_REGISTRY",
        check=grammar.registry,
        used_by="images",
        help="The registry for all images that are not set by a key of their own, as HOST[:PORT][/PATH]."),
    Key(name="prime", kind=Kind.BOOLEAN, roles=SERVER, environment="RKE2_PRIME", default="false",
        used_by="images", help="Use the Rancher Prime registry if system-default-registry is not set."),
    Key(name="private-registry", kind=Kind.TEXT, default=layout.REGISTRIES_FILE, check=grammar.absolute_path,
        used_by="containerd, content",
        help="The file that configures registries: mirrors, credentials and TLS (see REGISTRIES)."),
    Key(name="disable-default-registry-endpoint", kind=Kind.BOOLEAN, default="false",
        used_by="containerd, content",
        help="If registries.yaml has mirrors for a registry, do not fall back to the registry itself."),
    Key(name="airgap-extra-registry", kind=Kind.LIST, check=grammar.registry,
        used_by="images", help="Tag imported images with the names of these registries too."),
    Key(name="embedded-registry", kind=Kind.BOOLEAN, roles=SERVER,
        default="false", rejected="rke2-units has no embedded registry",
        used_by="content", help="Share images between nodes."),
)

_SECURITY: tuple[Key, ...] = (
    Key(name="profile", kind=Kind.TEXT, environment="RKE2_CIS_PROFILE", choices=("", "cis", "etcd"),
        used_by="checks, static pods, kubelet, controllers",
        help="Hardening: `cis`, or `etcd` for the part that gives etcd a user of its own "
             "(docs/hardening.md)."),
    Key(name="protect-kernel-defaults", kind=Kind.BOOLEAN,
        default="false", default_note="true with profile cis",
        used_by="kubelet",
        help="Let the kubelet fail if kernel parameters differ from what it needs, instead of changing "
             "them."),
    Key(name="selinux", kind=Kind.BOOLEAN, environment="RKE2_SELINUX",
        default="false", rejected="rke2-units does not support SELinux",
        used_by="containerd, static pods", help="Label containers for SELinux."),
    Key(name="audit-policy-file", kind=Kind.TEXT, environment="RKE2_AUDIT_POLICY_FILE",
        check=grammar.absolute_path,
        used_by="kube-apiserver",
        help="The audit policy file. If it is missing, one with level None is written."),
    Key(name="pod-security-admission-config-file", kind=Kind.TEXT,
        environment="RKE2_POD_SECURITY_ADMISSION_CONFIG_FILE",
        default_note=f"{layout.POD_SECURITY_FILE}, rewritten at every start", check=grammar.absolute_path,
        used_by="kube-apiserver", help="The configuration file of pod security admission."),
    Key(name="secrets-encryption", kind=Kind.BOOLEAN, roles=SERVER, default="true",
        used_by="kube-apiserver",
        help="Secrets are always encrypted in etcd, with either value, as in RKE2."),
    Key(name="secrets-encryption-provider", kind=Kind.TEXT, roles=SERVER,
        default="aescbc", choices=("aescbc", "secretbox"),
        used_by="kube-apiserver", help="How Secrets are encrypted in etcd."),
)

_NODE: tuple[Key, ...] = (
    Key(name="node-name", kind=Kind.TEXT, environment="RKE2_NODE_NAME",
        default_note="the host name in lower case", check=grammar.node_name,
        used_by="kubelet, certificates", help="The node's name."),
    Key(name="with-node-id", kind=Kind.BOOLEAN, default="false",
        used_by="kubelet, certificates",
        help=f"Append the ID in {layout.NODE_DIRECTORY}/id to the node's name."),
    Key(name="node-name-from-cloud-provider-metadata", kind=Kind.BOOLEAN,
        environment="RKE2_NODE_NAME_FROM_CLOUD_PROVIDER_METADATA",
        default="false",
        used_by="node name", help="Take the node's name from the cloud's metadata service."),
    Key(name="node-label", kind=Kind.LIST, check=grammar.label, commas=True,
        used_by="kubelet",
        help="Labels for the node, KEY=VALUE. They are only used when the node registers."),
    Key(name="node-taint", kind=Kind.LIST, check=grammar.taint, commas=True,
        used_by="kubelet",
        help="Taints for the node, KEY[=VALUE]:EFFECT. They are only used when the node registers."),
    Key(name="node-ip", kind=Kind.LIST,
        default_note="the addresses of the interface with the default route", check=grammar.address,
        commas=True,
        used_by="kubelet, certificates, etcd", help="The node's addresses, at most one per address family."),
    Key(name="node-external-ip", kind=Kind.LIST, check=grammar.address, commas=True,
        used_by="certificates, cloud-controller-manager", help="The node's external addresses."),
    Key(name="node-internal-dns", kind=Kind.LIST, check=grammar.subdomain, commas=True,
        used_by="cloud-controller-manager", help="The node's internal DNS names."),
    Key(name="node-external-dns", kind=Kind.LIST, check=grammar.subdomain, commas=True,
        used_by="cloud-controller-manager", help="The node's external DNS names."),
    Key(name="resolv-conf", kind=Kind.TEXT, environment="RKE2_RESOLV_CONF",
        default_note="the first resolv.conf of the system that has a usable name server",
        check=grammar.absolute_path,
        used_by="kubelet", help="The resolv.conf file for pods."),
    Key(name="cloud-provider-name", kind=Kind.TEXT, environment="RKE2_CLOUD_PROVIDER_NAME",
        rejected=_CLOUD_PROVIDERS, accepted=("external",),
        used_by="kubelet, kube-apiserver, kube-controller-manager",
        help="The cloud provider. Use `external` if you install your own."),
    Key(name="cloud-provider-config", kind=Kind.TEXT, environment="RKE2_CLOUD_PROVIDER_CONFIG",
        check=grammar.absolute_path,
        used_by="kubelet, kube-apiserver, kube-controller-manager",
        help="The cloud provider's configuration file."),
    Key(name="image-credential-provider-bin-dir", kind=Kind.TEXT,
        default="/var/lib/rancher/credentialprovider/bin", check=grammar.absolute_path,
        used_by="kubelet",
        help="The folder of image credential providers. It is used if it and the providers' configuration "
             "file exist."),
    Key(name="image-credential-provider-config", kind=Kind.TEXT,
        default="/var/lib/rancher/credentialprovider/config.yaml", check=grammar.absolute_path,
        used_by="kubelet", help="The configuration file of image credential providers."),
    Key(name="container-runtime-endpoint", kind=Kind.TEXT,
        default_note="the socket of rke2-containerd.service", check=grammar.containerd_socket,
        used_by="kubelet",
        help="The socket of an existing containerd to run pods in: a path, or unix:///PATH. The node then "
             "has no rke2-containerd.service. The socket must be in the state directory of that "
             "containerd. Other container runtimes do not work."),
    Key(name="default-runtime", kind=Kind.TEXT, default_note="runc", check=grammar.identifier,
        used_by="containerd", help="The name of containerd's default runtime."),
    Key(name="snapshotter", kind=Kind.TEXT, default="overlayfs", check=grammar.identifier,
        used_by="containerd", help="containerd's snapshotter."),
    Key(name="nonroot-devices", kind=Kind.BOOLEAN, default="false",
        used_by="containerd",
        help="Let containers that do not run as root use the devices assigned to them."),
)
# fmt: on

KEYS: tuple[Key, ...] = (
    *_GENERAL,
    *_NETWORKING,
    *_JOINING,
    *_DATASTORE,
    *_COMPONENTS,
    *_CHARTS,
    *_RELEASE_AND_IMAGES,
    *_SECURITY,
    *_NODE,
)
BY_NAME = {key.name: key for key in KEYS}
BY_ALIAS = {key.alias: key for key in KEYS if key.alias}

# Keys of RKE2's other commands: one file serves all commands, so they are ignored.
OTHER_COMMANDS = frozenset(
    (
        # rke2 etcd-snapshot
        *("etcd-server", "etcd-token", "name", "dir", "snapshot-compress", "snapshot-retention", "output"),
        *("s3", "s3-endpoint", "s3-endpoint-ca", "s3-skip-ssl-verify", "s3-access-key", "s3-secret-key"),
        *("s3-session-token", "s3-bucket", "s3-bucket-lookup-type", "s3-region", "s3-folder"),
        *("s3-retention", "s3-proxy", "s3-config-secret", "s3-insecure", "s3-timeout"),
        # rke2 certificate and rke2 secrets-encrypt
        *("service", "path", "force", "skip"),
        # rke2 token
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


def find(name: str) -> Key | None:
    """The key of this name or one-letter alias."""
    return BY_NAME.get(name) or BY_ALIAS.get(name)
