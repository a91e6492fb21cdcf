"""Command lines of the control plane's components, of kube-proxy and of etcd.

The tunnels of egress-selector-mode are not part of the plan: connections to nodes are made directly.
"""

from rke2_units import layout, ports, unit_names
from rke2_units.config import arguments as config_arguments
from rke2_units.config import grammar
from rke2_units.config.config import Config
from rke2_units.layout import Paths
from rke2_units.plan import addresses, cloud_controller, server_files
from rke2_units.plan.node import Node
from rke2_units.release import features

CIPHER_SUITES = ",".join(
    f"TLS_ECDHE_{authentication}_WITH_{cipher}"
    for authentication in ("ECDSA", "RSA")
    for cipher in ("AES_256_GCM_SHA384", "AES_128_GCM_SHA256", "CHACHA20_POLY1305")
)

# Extra arguments that come before the user's, as RKE2 has it: theirs add to them and cannot replace them.
# Without NodeRestriction each kubelet may change every other's node and pods.
_BEFORE_EXTRA = {unit_names.KUBE_APISERVER: ("enable-admission-plugins=NodeRestriction",)}


def default_arguments(component: str, node: Node) -> dict[str, str]:
    """Our own flags of a component, those that this release knows, by name."""
    flags = _BY_COMPONENT[component](node)
    return {flag: value for flag, value in flags.items() if features.has_flag(node.release, component, flag)}


def arguments(component: str, node: Node) -> list[str]:
    """A component's command line after the program, the user's extra arguments merged in, sorted."""
    defaults = default_arguments(component, node)
    # etcd's extra arguments are settings of its configuration file.
    key = _EXTRA_ARGUMENTS.get(component, f"{component}-arg")
    extra = () if component == unit_names.ETCD else node.config.items(key)
    return config_arguments.merge_arguments(defaults, (*_BEFORE_EXTRA.get(component, ()), *extra))


def _etcd(node: Node) -> dict[str, str]:
    return {"config-file": node.paths.etcd_config}


def _kube_apiserver(node: Node) -> dict[str, str]:
    config, paths = node.config, node.paths
    extra = {grammar.argument(item)[0].rstrip("+-") for item in config.items("kube-apiserver-arg")}
    admission = server_files.admission_file(node)
    issuer = f"https://kubernetes.default.svc.{config.text('cluster-domain')}"
    return {
        **({"admission-control-config-file": admission} if admission else {}),
        **_audit(config, paths),
        **({"service-account-extend-token-expiration": "false"} if config.text("profile") == "cis" else {}),
        "kubelet-preferred-address-types": "InternalIP,ExternalIP,Hostname",
        "advertise-address": node.advertise_address,
        "allow-privileged": "true",
        # Both cannot be given together with the file that replaces them.
        **({} if "authentication-config" in extra else {"anonymous-auth": "false"}),
        **({} if "authorization-config" in extra else {"authorization-mode": "Node,RBAC"}),
        "api-audiences": f"{issuer},rke2",
        "bind-address": addresses.any_address(node),
        "cert-dir": f"{paths.tls}/temporary-certs",
        "client-ca-file": f"{paths.tls}/client-ca.crt",
        "egress-selector-config-file": paths.egress_selector,
        "enable-aggregator-routing": "true",
        "enable-bootstrap-token-auth": "true",
        "encryption-provider-config": paths.encryption_config,
        "encryption-provider-config-automatic-reload": "true",
        "etcd-cafile": f"{paths.etcd_tls}/server-ca.crt",
        "etcd-certfile": f"{paths.etcd_tls}/client.crt",
        "etcd-keyfile": f"{paths.etcd_tls}/client.key",
        "etcd-servers": addresses.url("https", addresses.LOOPBACK, ports.ETCD_CLIENT_PORT),
        "kubelet-certificate-authority": f"{paths.tls}/server-ca.crt",
        "kubelet-client-certificate": f"{paths.tls}/client-kube-apiserver.crt",
        "kubelet-client-key": f"{paths.tls}/client-kube-apiserver.key",
        "profiling": "false",
        "proxy-client-cert-file": f"{paths.tls}/client-auth-proxy.crt",
        "proxy-client-key-file": f"{paths.tls}/client-auth-proxy.key",
        "requestheader-allowed-names": "system:auth-proxy",
        "requestheader-client-ca-file": f"{paths.tls}/request-header-ca.crt",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
        "secure-port": str(ports.APISERVER_PORT),
        "service-account-issuer": issuer,
        "service-account-key-file": f"{paths.tls}/service.key",
        "service-account-signing-key-file": f"{paths.tls}/service.current.key",
        "service-cluster-ip-range": ",".join(node.service_cidrs),
        "service-node-port-range": config.text("service-node-port-range"),
        "storage-backend": "etcd3",
        "tls-cert-file": f"{paths.tls}/serving-kube-apiserver.crt",
        "tls-private-key-file": f"{paths.tls}/serving-kube-apiserver.key",
        "tls-cipher-suites": CIPHER_SUITES,
    }


def _kube_controller_manager(node: Node) -> dict[str, str]:
    paths = node.paths
    kubeconfig = f"{paths.credentials}/controller.kubeconfig"
    client = {"cert": f"{paths.tls}/client-ca.nochain.crt", "key": f"{paths.tls}/client-ca.key"}
    server = {"cert": f"{paths.tls}/server-ca.nochain.crt", "key": f"{paths.tls}/server-ca.key"}
    signers = {
        "kube-apiserver-client": client,
        "kubelet-client": client,
        "kubelet-serving": server,
        "legacy-unknown": server,
    }
    return {
        "permit-port-sharing": "true",
        "port": "0",
        "flex-volume-plugin-dir": f"{layout.KUBELET_DIRECTORY}/volumeplugins",
        "terminated-pod-gc-threshold": "1000",
        **_cloud_provider(node.config),
        "allocate-node-cidrs": "true",
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "kubeconfig": kubeconfig,
        "bind-address": addresses.LOOPBACK,
        "cluster-cidr": ",".join(node.cluster_cidrs),
        **{
            f"cluster-signing-{signer}-{part}-file": file
            for signer, files in signers.items()
            for part, file in files.items()
        },
        **_controllers(node),
        "profiling": "false",
        "root-ca-file": f"{paths.tls}/server-ca.crt",
        "secure-port": str(ports.CONTROLLER_MANAGER_PORT),
        "service-account-private-key-file": f"{paths.tls}/service.current.key",
        "service-cluster-ip-range": ",".join(node.service_cidrs),
        "tls-cert-file": f"{paths.tls}/kube-controller-manager/kube-controller-manager.crt",
        "tls-private-key-file": f"{paths.tls}/kube-controller-manager/kube-controller-manager.key",
        "use-service-account-credentials": "true",
    }


def _kube_scheduler(node: Node) -> dict[str, str]:
    paths = node.paths
    kubeconfig = f"{paths.credentials}/scheduler.kubeconfig"
    return {
        "permit-port-sharing": "true",
        "port": "0",
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "kubeconfig": kubeconfig,
        "bind-address": addresses.LOOPBACK,
        "profiling": "false",
        "secure-port": str(ports.SCHEDULER_PORT),
        "tls-cert-file": f"{paths.tls}/kube-scheduler/kube-scheduler.crt",
        "tls-private-key-file": f"{paths.tls}/kube-scheduler/kube-scheduler.key",
    }


def _kube_proxy(node: Node) -> dict[str, str]:
    return {
        "cluster-cidr": ",".join(node.cluster_cidrs),
        # Zero: the node's sysctls are ours (plan.sysctl). kube-proxy would lower what is larger.
        "conntrack-max-per-core": "0",
        "conntrack-tcp-timeout-close-wait": "0s",
        "conntrack-tcp-timeout-established": "0s",
        "healthz-bind-address": addresses.LOOPBACK,
        "hostname-override": node.name,
        "kubeconfig": node.paths.kube_proxy_kubeconfig,
        "proxy-mode": "iptables",
    }


_BY_COMPONENT = {
    unit_names.ETCD: _etcd,
    unit_names.KUBE_APISERVER: _kube_apiserver,
    unit_names.KUBE_CONTROLLER_MANAGER: _kube_controller_manager,
    unit_names.KUBE_SCHEDULER: _kube_scheduler,
    unit_names.CLOUD_CONTROLLER_MANAGER: cloud_controller.arguments,
    unit_names.KUBE_PROXY: _kube_proxy,
}
# RKE2's keys are the component's name and -arg, but for one.
_EXTRA_ARGUMENTS = {unit_names.CLOUD_CONTROLLER_MANAGER: "kube-cloud-controller-manager-arg"}


def _controllers(node: Node) -> dict[str, str]:
    """Some are the cloud-controller-manager's where it runs."""
    if not cloud_controller.handles_nodes(node.config, node.release):
        return {"controllers": "*,tokencleaner"}
    return {
        "configure-cloud-routes": "false",
        "controllers": "*,tokencleaner,-service,-route,-cloud-node-lifecycle",
    }


def _audit(config: Config, paths: Paths) -> dict[str, str]:
    policy = server_files.audit_policy_file(config)
    if policy is None:
        return {}
    return {
        "audit-policy-file": policy,
        "audit-log-maxage": "30",
        "audit-log-maxbackup": "10",
        "audit-log-maxsize": "100",
        "audit-log-path": f"{paths.server_logs}/audit.log",
    }


def _cloud_provider(config: Config) -> dict[str, str]:
    given = {"cloud-provider": "cloud-provider-name", "cloud-config": "cloud-provider-config"}
    return {flag: config.text(key) for flag, key in given.items() if config.text(key)}
