"""Where files are on a node: RKE2's layout, and the few files of our own. Each path once.

Imported by the programs that units start, so it imports next to nothing.
"""

import os

CONFIG_FILE = "/etc/rancher/rke2/config.yaml"
KUBECONFIG = "/etc/rancher/rke2/rke2.yaml"
POD_SECURITY_FILE = "/etc/rancher/rke2/rke2-pss.yaml"
AUDIT_POLICY_FILE = "/etc/rancher/rke2/audit-policy.yaml"
REGISTRIES_FILE = "/etc/rancher/rke2/registries.yaml"
NODE_DIRECTORY = "/etc/rancher/node"
NODE_ID_FILE = f"{NODE_DIRECTORY}/id"
NODE_PASSWORD_FILE = f"{NODE_DIRECTORY}/password"
# Where `install` keeps a token that it was given.
TOKEN_FILE = "/etc/rancher/rke2/token"
DEFAULT_DATA_DIRECTORY = "/var/lib/rancher/rke2"
CONTAINERD_STATE = "/run/k3s/containerd"
CONTAINERD_SOCKET = f"{CONTAINERD_STATE}/containerd.sock"
KUBELET_DIRECTORY = "/var/lib/kubelet"
POD_LOGS = "/var/log/pods"
# Where containerd, the kubelet and we ourselves look for the machine's own programs.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Rendered units are persistent and rank below /etc, which stays the administrator's.
UNIT_DIRECTORY = "/usr/local/lib/systemd/system"
# The role, the release and the list of files that we wrote: what must be known before config.yaml is read.
STATE_DIRECTORY = "/var/lib/rke2-units"
INSTALLATION_FILE = f"{STATE_DIRECTORY}/installation.json"
# Random, 0600, made by the node's first start: what digests in units are keyed with.
DIGEST_KEY_FILE = f"{STATE_DIRECTORY}/digest-key"
WRITTEN_FILES = f"{STATE_DIRECTORY}/written-files.json"
# Releases that are not built in, by name: what their image lists say.
RELEASES_DIRECTORY = f"{STATE_DIRECTORY}/releases"
RUNTIME_DIRECTORY = "/run/rke2-units"
# The helm-applier's own files: charts, values, helm's caches. Gone when it stops.
APPLIER_WORK = f"{RUNTIME_DIRECTORY}/applier"
# The certificate by which an agent's proxy asks servers how they are, as the proxy wants it.
API_PROXY_WORK = f"{RUNTIME_DIRECTORY}/api-proxy"
# The daemon holds a lock on this file while it stops its units, so that their pods stay (contract L4, L7).
STOPPING_LOCK = f"{RUNTIME_DIRECTORY}/stopping.lock"
# Where root's programs take requests over sockets; nobody else reaches this folder by this path.
REQUESTS = f"{RUNTIME_DIRECTORY}/private/requests"
# The same folder as rke2-supervisor sees it (BindReadOnlyPaths=).
SUPERVISOR_REQUESTS = f"{RUNTIME_DIRECTORY}/requests"
# In that folder: the socket for requests about snapshots, and the metrics of snapshots, as text.
SNAPSHOT_SOCKET_NAME = "etcd-snapshot.sock"
SNAPSHOT_METRICS_NAME = "etcd-snapshot.prom"
SNAPSHOT_SOCKET = f"{REQUESTS}/{SNAPSHOT_SOCKET_NAME}"
# What all servers of a cluster have alike, by RKE2's logical names: where it is below DATA/server.
BOOTSTRAP_FILES = {
    "ServerCA": "tls/server-ca.crt",
    "ServerCAKey": "tls/server-ca.key",
    "ClientCA": "tls/client-ca.crt",
    "ClientCAKey": "tls/client-ca.key",
    "RequestHeaderCA": "tls/request-header-ca.crt",
    "RequestHeaderCAKey": "tls/request-header-ca.key",
    "ETCDServerCA": "tls/etcd/server-ca.crt",
    "ETCDServerCAKey": "tls/etcd/server-ca.key",
    "ETCDPeerCA": "tls/etcd/peer-ca.crt",
    "ETCDPeerCAKey": "tls/etcd/peer-ca.key",
    "ServiceKey": "tls/service.key",
    "PasswdFile": "cred/passwd",
    "IPSECKey": "cred/ipsec.psk",
    "EncryptionConfig": "cred/encryption-config.json",
    "EncryptionHash": "cred/encryption-state.json",
}


class Paths:
    """Every path below one data directory (RKE2's `data-dir`)."""

    def __init__(self, data_directory: str = DEFAULT_DATA_DIRECTORY) -> None:
        self.data = os.path.normpath(data_directory)
        self.bin = f"{self.data}/bin"
        self.content = f"{self.data}/data"
        self.server = f"{self.data}/server"
        self.agent = f"{self.data}/agent"
        # server
        self.tls = f"{self.server}/tls"
        self.etcd_tls = f"{self.tls}/etcd"
        self.credentials = f"{self.server}/cred"
        self.server_etc = f"{self.server}/etc"
        self.manifests = f"{self.server}/manifests"
        self.server_logs = f"{self.server}/logs"
        self.admin_kubeconfig = f"{self.credentials}/admin.kubeconfig"
        self.token = f"{self.server}/token"
        self.node_token = f"{self.server}/node-token"
        self.agent_token = f"{self.server}/agent-token"
        self.passwd = f"{self.credentials}/passwd"
        self.ipsec_key = f"{self.credentials}/ipsec.psk"
        self.encryption_config = f"{self.credentials}/encryption-config.json"
        self.encryption_state = f"{self.credentials}/encryption-state.json"
        self.egress_selector = f"{self.server_etc}/egress-selector-config.yaml"
        self.applier_settings = f"{self.server_etc}/rke2-helm-applier.json"
        self.supervisor_settings = f"{self.server_etc}/rke2-supervisor.json"
        self.controllers_settings = f"{self.server_etc}/rke2-controllers.json"
        self.snapshot_settings = f"{self.server_etc}/rke2-etcd-snapshot.json"
        # What the supervisor gives to anyone.
        self.static = f"{self.server}/static"
        # The roles and bindings that every cluster has, for the controllers to apply.
        self.rbac = f"{self.server_etc}/rke2-rbac.yaml"
        self.cloud_config = f"{self.server_etc}/cloud-config.yaml"
        self.cloud_controller_kubeconfig = f"{self.credentials}/cloud-controller.kubeconfig"
        self.supervisor_kubeconfig = f"{self.credentials}/supervisor.kubeconfig"
        self.etcd_data = f"{self.server}/db/etcd"
        self.etcd_name = f"{self.etcd_data}/name"
        self.etcd_config = f"{self.etcd_data}/config"
        # A member has it from its first start on.
        self.etcd_wal = f"{self.etcd_data}/member/wal"
        # The values that a joining member starts with: initial-cluster and initial-cluster-state, as JSON.
        self.etcd_initial = f"{self.etcd_data}/initial.json"
        self.snapshots = f"{self.server}/db/snapshots"
        # What the last scheduled snapshots and verifications left behind (rke2_units.snapshots.records).
        self.snapshot_records = f"{self.server}/db/snapshot-records.json"
        # RKE2's: the members were reset, and the node has not been started since.
        self.reset_flag = f"{self.server}/db/reset-flag"
        # What a reset that has begun to replace things is about; it is gone when all is done.
        self.reset_progress = f"{self.server}/db/cluster-reset.json"
        # agent
        self.images = f"{self.agent}/images"
        self.pod_manifests = f"{self.agent}/pod-manifests"
        # Outside the watched folder, on the same file system: manifests are renamed from here.
        self.staged_manifests = f"{self.agent}/static-pods"
        self.containerd_root = f"{self.agent}/containerd"
        self.agent_etc = f"{self.agent}/etc"
        self.containerd_etc = f"{self.agent_etc}/containerd"
        self.containerd_config = f"{self.containerd_etc}/config.toml"
        self.containerd_environment = f"{self.containerd_etc}/environment"
        # By the version of config.toml, each of which it may be read as.
        self.containerd_drop_ins = {
            2: f"{self.containerd_etc}/config.toml.d",
            3: f"{self.containerd_etc}/config-v3.toml.d",
        }
        self.kubelet_etc = f"{self.agent_etc}/kubelet.conf.d"
        self.kubelet_config = f"{self.kubelet_etc}/00-rke2-defaults.conf"
        self.kubelet_environment = f"{self.agent_etc}/kubelet-environment"
        self.crictl_config = f"{self.agent_etc}/crictl.yaml"
        self.resolv_conf = f"{self.agent_etc}/resolv.conf"
        self.kubelet_kubeconfig = f"{self.agent}/kubelet.kubeconfig"
        self.kube_proxy_kubeconfig = f"{self.agent}/kubeproxy.kubeconfig"
        self.controller_kubeconfig = f"{self.agent}/rke2controller.kubeconfig"
        # The servers that an agent knows of, and what they told it of the cluster (/v1-rke2/config).
        self.server_list = f"{self.agent_etc}/rke2-agent-load-balancer.json"
        self.cluster_config = f"{self.agent_etc}/rke2-units-cluster.json"
        self.api_proxy_config = f"{self.agent_etc}/rke2-api-proxy.cfg"
        # What the programs that units start need to know (rke2_units.lean.settings).
        self.program_settings = f"{self.agent_etc}/rke2-units.json"
        # registries.yaml as those programs read it.
        self.program_registries = f"{self.agent_etc}/rke2-units-registries.json"

    def content_directory(self, name: str) -> str:
        return f"{self.content}/{name}"

    def manifest(self, component: str) -> str:
        return f"{self.pod_manifests}/{component}.yaml"

    def staged_manifest(self, component: str) -> str:
        return f"{self.staged_manifests}/{component}.yaml"
