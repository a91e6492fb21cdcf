"""Configurations and machines that the plan's tests share."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rke2_units.config.config import Config
from rke2_units.config.registries import parse
from rke2_units.model import NodeFacts, ServerList
from rke2_units.plan.node import Node
from rke2_units.release import table
from rke2_units.release.model import Release
from rke2_units.unit_names import Role
from tests.unit.configs import make_config

RELEASE = table.release(table.DEFAULT)

MACHINE = NodeFacts(
    hostname="node1",
    node_ips=("192.0.2.10",),
    cpus=8,
    ssl_directories=("/etc/ssl/certs", "/usr/share/ca-certificates"),
    etcd_member_name="node1-1a2b3c4d",
)
HOST_MACHINE = replace(
    MACHINE,
    programs={
        "containerd": "/usr/bin/containerd",
        "containerd-shim-runc-v2": "/usr/bin/containerd-shim-runc-v2",
        "ctr": "/usr/bin/ctr",
        "kubelet": "/usr/local/bin/kubelet",
        "runc": "/usr/sbin/runc",
    },
    containerd_version=1,
)
JOINING = {"server": "https://server.example:9345", "token": "secret"}


@dataclass(frozen=True)
class Case:
    role: Role
    values: dict[str, object] = field(default_factory=dict)
    facts: NodeFacts = MACHINE
    registries: str = ""

    def config(self) -> Config:
        config = make_config(self.role, self.values)
        return replace(config, registries=parse(self.registries, "registries.yaml"))

    def node(self, release: Release = RELEASE) -> Node:
        return Node(self.config(), self.facts, release)


def make_node(
    values: Mapping[str, object] | None = None, facts: NodeFacts = MACHINE, release: Release = RELEASE
) -> Node:
    """A server with these settings."""
    return Node(make_config(Role.SERVER, values or {}), facts, release)


_ARGUMENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")

CASES = {
    "server": Case(Role.SERVER),
    # Not yet a member of the cluster's etcd, and then as one.
    "joining-server": Case(Role.SERVER, dict(JOINING), replace(MACHINE, etcd_join=True)),
    "joined-server": Case(
        Role.SERVER,
        dict(JOINING),
        replace(
            MACHINE,
            etcd_initial={
                "initial-cluster": "node0-01234567=https://192.0.2.9:2380,"
                "node1-1a2b3c4d=https://192.0.2.10:2380",
                "initial-cluster-state": "existing",
            },
        ),
    ),
    "agent": Case(
        Role.AGENT,
        dict(JOINING),
        replace(
            MACHINE,
            known_servers=ServerList(
                ("192.0.2.9:9345", "[2001:db8::9]:9345"), ("192.0.2.9:6443", "[2001:db8::9]:6443")
            ),
        ),
    ),
    # Each with one half of what a server runs.
    "etcd-server": Case(
        Role.SERVER,
        {"disable-apiserver": True, "disable-controller-manager": True, "disable-scheduler": True},
        replace(MACHINE, known_servers=ServerList(apiservers=("192.0.2.8:6443",))),
    ),
    "control-plane-server": Case(
        Role.SERVER,
        {**JOINING, "disable-etcd": True},
        replace(
            MACHINE,
            etcd_member_name=None,
            known_servers=ServerList(members=("192.0.2.9:2379", "[2001:db8::9]:2379")),
        ),
    ),
    "server-hardened": Case(
        Role.SERVER,
        {"profile": "cis"},
        replace(MACHINE, etcd_user=(998, 997)),
    ),
    "server-dual-stack": Case(
        Role.SERVER,
        {
            "cluster-cidr": "10.42.0.0/16,fd00:42::/56",
            "service-cidr": "10.43.0.0/16,fd00:43::/112",
            "node-external-ip": "198.51.100.1",
        },
        replace(MACHINE, node_ips=("192.0.2.10", "2001:db8::10")),
    ),
    "server-ipv6": Case(Role.SERVER, {}, replace(MACHINE, node_ips=("2001:db8::10",))),
    # Nested: no systemd below, no capability, cgroup v1, no resolver that pods could use.
    "server-nested": Case(
        Role.SERVER,
        {},
        replace(
            MACHINE,
            in_user_namespace=True,
            can_lower_oom_score=False,
            cgroup_version=1,
            cpuset_usable=False,
            kernel=(4, 9),
            resolv_conf=None,
            etcd_member_name=None,
        ),
    ),
    # The machine's own programs, and a containerd that is there already.
    "server-host-content": Case(Role.SERVER, {"content": "host"}, HOST_MACHINE),
    "server-foreign-containerd": Case(
        Role.SERVER, {"container-runtime-endpoint": "unix:///run/containerd/containerd.sock"}
    ),
    "server-with-registries": Case(
        Role.SERVER,
        {"disable-default-registry-endpoint": True, "system-default-registry": "registry.example.com:5000"},
        registries="""
            mirrors:
              docker.io:
                endpoint: [https://registry.example.com:5000, http://10.0.0.5:5000/hub/v2]
              ghcr.io:
              "*":
                endpoint: [cache.example.com]
            configs:
              registry.example.com:5000:
                auth: {username: puller, password: sesame}
                tls: {ca_file: /etc/ssl/registry-ca.pem}
              cache.example.com:
                auth: {identity_token: token}
                tls: {cert_file: /etc/ssl/node.pem, key_file: /etc/ssl/node.key}
              10.0.0.5:5000: {tls: {insecure_skip_verify: yes}}
        """,
    ),
    "server-with-everything": Case(
        Role.SERVER,
        {
            "data-dir": "/srv/rke2",
            "node-name": "Main",
            "node-label": ["a=b", "example.com/c="],
            "node-taint": ["CriticalAddonsOnly=true:NoExecute", "alone:NoSchedule"],
            "node-ip": "192.0.2.11",
            "bind-address": "192.0.2.11",
            "tls-san": "api.example",
            "cluster-domain": "example.cluster",
            "cluster-dns": "10.43.0.53",
            "service-node-port-range": "30000-30100",
            "debug": True,
            "cloud-provider-name": "external",
            "cloud-provider-config": "/etc/cloud.conf",
            "audit-policy-file": "/etc/audit.yaml",
            "pod-security-admission-config-file": "/etc/admission.yaml",
            "protect-kernel-defaults": True,
            "resolv-conf": "/etc/pods-resolv.conf",
            "default-runtime": "crun",
            "snapshotter": "native",
            "nonroot-devices": True,
            "system-default-registry": "registry.example.com:5000",
            "etcd-image": "registry.example.com/etcd:v3",
            "etcd-expose-metrics": True,
            "etcd-arg": [
                "quota-backend-bytes=8589934592",
                "auto-compaction-retention=8",
                "max-txn-ops=1000",
            ],
            "etcd-snapshot-name": "daily",
            "etcd-snapshot-schedule-cron": "TZ=Europe/Paris 30 */6 1 * mon-fri",
            "etcd-snapshot-retention": 10,
            "etcd-snapshot-dir": "/mnt/nas/rke2",
            "etcd-snapshot-compress": True,
            "etcd-snapshot-verify": True,
            "etcd-s3": True,
            "etcd-s3-endpoint": "s3.example.com:9000",
            "etcd-s3-bucket": "backups",
            "etcd-s3-access-key": "id",
            "etcd-s3-secret-key": "secret",
            "etcd-s3-timeout": "10m",
            **{f"{name}-arg": ["v=4", "feature-gates=A=true"] for name in _ARGUMENTS},
            "kube-apiserver-extra-env": ["A=b=c", 'Q="quoted" $x'],
            "kube-scheduler-extra-mount": ["/srv/a:/a:ro", "/srv/b:/b:rw:Directory", "/srv/c:/c"],
            "control-plane-resource-requests": ["etcd-cpu=1,etcd-memory=2Gi", "kube-proxy-cpu=50m"],
            "control-plane-resource-limits": ["kube-apiserver-memory=4Gi"],
            "control-plane-probe-configuration": [
                "etcd-startup-failure-threshold=48",
                "kube-apiserver-readiness-period-seconds=2",
            ],
        },
        replace(
            MACHINE,
            environment={
                "HTTPS_PROXY": "http://user:pass@proxy.example:3128",
                "no_proxy": "192.0.2.0/24",
                "CONTAINERD_LOG_LEVEL": "trace",
                "CONTAINERD_NO_PROXY": "registry.example.com",
                "CONTAINERD_GOGC": "50",
            },
            digests={
                path: f"{number:064x}"
                for number, path in enumerate(
                    (
                        "/etc/cloud.conf",
                        "/etc/audit.yaml",
                        "/etc/admission.yaml",
                        "/srv/c",
                        "/srv/rke2/server/tls/service.key",
                        "/var/lib/rancher/credentialprovider/config.yaml",
                    )
                )
            },
        ),
    ),
}
