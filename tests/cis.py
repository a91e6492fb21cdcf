"""The CIS benchmark's controls (1.11) that docs/hardening.md calls passed, and how each is looked up.

Data: what a control is about, and a look-up that finds its problem in what was seen of a node. The node's
tests see a running node (tests/node/test_configuration.py); the plan's see what is rendered for a release
that no test can run (tests/unit/plan/test_hardening.py).
"""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

APISERVER, MANAGER, SCHEDULER = "kube-apiserver", "kube-controller-manager", "kube-scheduler"
KUBE_PROXY, KUBELET = "kube-proxy", "kubelet"
ROOT, ETCDS = "root:root", "etcd:etcd"


@dataclass(frozen=True)
class Seen:
    """What was seen of a node; None for what could not be seen."""

    # Below the data directory: path -> mode and owner (user:group).
    files: Mapping[str, tuple[int, str]] | None
    # Command lines of processes: component -> flag -> values.
    flags: Mapping[str, Mapping[str, Sequence[str]]]
    # Configurations: the kubelet's as it says it acts, and as its files have it; etcd's.
    kubelet: Mapping[str, Any]
    kubelet_file: Mapping[str, Any]
    etcd: Mapping[str, Any]
    # The names of the providers by which Secrets are encrypted, the first is used.
    encryption: Sequence[str] = ()
    # What listens: port -> addresses.
    listening: Mapping[int, Sequence[str]] | None = None
    cluster: "Cluster | None" = None


@dataclass(frozen=True)
class Cluster:
    """What the API says."""

    # Who has the role cluster-admin: kind and name.
    cluster_admins: Sequence[str]
    # ClusterRoles and Roles with "*" for a verb or a resource, but for Kubernetes' own.
    wildcard_roles: Sequence[str]
    # Groups whose members may make pods in all namespaces.
    pod_makers: Sequence[str]
    # automountServiceAccountToken of the default account, by namespace.
    default_accounts: Mapping[str, bool | None]
    policies: Mapping[str, Sequence[str]] = field(default_factory=dict)


# Yields the problem, "" when the control passes.
LookUp = Callable[[Seen], str]


@dataclass(frozen=True)
class Control:
    number: str
    what: str
    look: LookUp
    # Whether it is in what is rendered, and not on a running node alone.
    is_rendered: bool = False


def _files_below(seen: Seen, pattern: str) -> dict[str, tuple[int, str]]:
    return {path: found for path, found in (seen.files or {}).items() if fnmatch.fnmatchcase(path, pattern)}


def _mode(pattern: str, most: int) -> LookUp:
    def look(seen: Seen) -> str:
        found = _files_below(seen, pattern)
        wide = [f"{path} has mode {mode:o}" for path, (mode, _) in found.items() if mode & ~most]
        return ", ".join(wide) if found else f"there is no {pattern}"

    return look


def _owner(pattern: str, owner: str, *, but: str = "") -> LookUp:
    def look(seen: Seen) -> str:
        found = _files_below(seen, pattern)
        wrong = [
            f"{path} is {has}'s"
            for path, (_, has) in found.items()
            if has != owner and not (but and fnmatch.fnmatchcase(path, but))
        ]
        return ", ".join(wrong) if found else f"there is no {pattern}"

    return look


def _flag(component: str, name: str, *expected: str) -> LookUp:
    """The flag has one of these values; without any, some value."""

    def look(seen: Seen) -> str:
        values = seen.flags[component].get(name, [])
        if not values or not values[-1]:
            return f"{component} has no --{name}"
        return "" if not expected or values[-1] in expected else f"--{name}={values[-1]}"

    return look


def _unset(component: str, name: str, *forbidden: str) -> LookUp:
    """The flag is not there; with `forbidden`, none of these is in its list."""

    def look(seen: Seen) -> str:
        entries = [entry for value in seen.flags[component].get(name, []) for entry in value.split(",")]
        wrong = [entry for entry in entries if not forbidden or entry in forbidden]
        return f"--{name} has {', '.join(wrong)}" if wrong else ""

    return look


def _has(component: str, name: str, *wanted: str) -> LookUp:
    """All of these are in the flag's list."""

    def look(seen: Seen) -> str:
        entries = {entry for value in seen.flags[component].get(name, []) for entry in value.split(",")}
        missing = [entry for entry in wanted if entry not in entries]
        return f"--{name} lacks {', '.join(missing)}" if missing else ""

    return look


def _all(*looks: LookUp) -> LookUp:
    return lambda seen: "; ".join(problem for look in looks if (problem := look(seen)))


def _value(where: Callable[[Seen], Mapping[str, Any]], path: str, fits: Callable[[Any], bool]) -> LookUp:
    """The value at this path ("a.b") of a configuration fits; one that is missing is None."""

    def look(seen: Seen) -> str:
        found: Any = where(seen)
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return "" if fits(found) else f"{path} is {found!r}"

    return look


def _kubelet(path: str, fits: Callable[[Any], bool]) -> LookUp:
    return _value(lambda seen: seen.kubelet, path, fits)


def _etcd(path: str, fits: Callable[[Any], bool]) -> LookUp:
    return _value(lambda seen: seen.etcd, path, fits)


def _cluster(look: Callable[[Cluster], Sequence[str]]) -> LookUp:
    return lambda seen: ", ".join(look(seen.cluster)) if seen.cluster else "the API was not asked"


def _weak_ciphers(seen: Seen) -> str:
    ciphers = ",".join(seen.flags[APISERVER].get("tls-cipher-suites", [])).split(",")
    weak = [
        name
        for name in ciphers
        if not name or any(word in name for word in ("RC4", "3DES", "_RSA_WITH_NULL"))
    ]
    return f"weak: {', '.join(weak)}" if weak else ""


def _own_authority(seen: Seen) -> str:
    other = seen.flags[APISERVER]["client-ca-file"][-1]
    own = seen.etcd["client-transport-security"]["trusted-ca-file"]
    return f"etcd trusts {own}, as the apiserver does" if own == other else ""


def _listens_on_loopback(port: int) -> LookUp:
    def look(seen: Seen) -> str:
        found = (seen.listening or {}).get(port, [])
        if not found:
            return f"nothing listens on {port}"
        return ", ".join(address for address in found if address not in ("127.0.0.1", "[::1]"))

    return look


def _true(value: Any) -> bool:
    return value is True


def _not_true(value: Any) -> bool:
    return value is not True


def _set(value: Any) -> bool:
    return bool(value)


_MANIFESTS = "agent/pod-manifests"
_SPECIFICATIONS = (
    ("1.1.1", "1.1.2", APISERVER),
    ("1.1.3", "1.1.4", MANAGER),
    ("1.1.5", "1.1.6", SCHEDULER),
    ("1.1.7", "1.1.8", "etcd"),
)
_KUBECONFIGS = (
    ("1.1.13", "1.1.14", "server/cred/admin.kubeconfig"),
    ("1.1.15", "1.1.16", "server/cred/scheduler.kubeconfig"),
    ("1.1.17", "1.1.18", "server/cred/controller.kubeconfig"),
    ("4.1.3", "4.1.4", "agent/kubeproxy.kubeconfig"),
    ("4.1.5", "4.1.6", "agent/kubelet.kubeconfig"),
    ("4.1.7", "4.1.8", "agent/client-ca.crt"),
)
_TLS, _ETCD_TLS = "server/tls*", "server/tls/etcd*"
_PROVIDERS = ("aescbc", "secretbox", "kms")


def _rendered(number: str, what: str, look: LookUp) -> Control:
    return Control(number, what, look, is_rendered=True)


CONTROLS = (
    *(
        control
        for mode, owner, name in _SPECIFICATIONS
        for control in (
            Control(mode, f"{name}'s static pod: 600", _mode(f"{_MANIFESTS}/{name}.yaml", 0o600)),
            Control(owner, f"{name}'s static pod: root's", _owner(f"{_MANIFESTS}/{name}.yaml", ROOT)),
        )
    ),
    Control("1.1.11", "etcd's data: 700", _mode("server/db/etcd", 0o700)),
    Control("1.1.12", "etcd's data: etcd's", _owner("server/db/etcd", ETCDS)),
    *(
        control
        for mode, owner, path in _KUBECONFIGS
        for control in (
            Control(mode, f"{path}: 600", _mode(path, 0o600)),
            Control(owner, f"{path}: root's", _owner(path, ROOT)),
        )
    ),
    # etcd runs as a user of its own, which reads its keys.
    Control("1.1.19", "keys and certificates: root's, etcd's own etcd's", _owner(_TLS, ROOT, but=_ETCD_TLS)),
    Control("1.1.20", "certificates: 644", _mode("server/tls/*.crt", 0o644)),
    Control("1.1.21", "keys: 600", _mode("server/tls/*.key", 0o600)),
    _rendered("1.2.1", "no anonymous requests", _flag(APISERVER, "anonymous-auth", "false")),
    _rendered("1.2.2", "no file of tokens", _unset(APISERVER, "token-auth-file")),
    _rendered(
        "1.2.4",
        "a certificate for kubelets",
        _all(_flag(APISERVER, "kubelet-client-certificate"), _flag(APISERVER, "kubelet-client-key")),
    ),
    _rendered("1.2.5", "kubelets are verified", _flag(APISERVER, "kubelet-certificate-authority")),
    _rendered("1.2.6", "no AlwaysAllow", _unset(APISERVER, "authorization-mode", "AlwaysAllow")),
    _rendered("1.2.7", "Node authorization", _has(APISERVER, "authorization-mode", "Node")),
    _rendered("1.2.8", "RBAC", _has(APISERVER, "authorization-mode", "RBAC")),
    _rendered("1.2.10", "no AlwaysAdmit", _unset(APISERVER, "enable-admission-plugins", "AlwaysAdmit")),
    _rendered("1.2.12", "ServiceAccount", _unset(APISERVER, "disable-admission-plugins", "ServiceAccount")),
    _rendered(
        "1.2.13", "NamespaceLifecycle", _unset(APISERVER, "disable-admission-plugins", "NamespaceLifecycle")
    ),
    _rendered("1.2.14", "NodeRestriction", _has(APISERVER, "enable-admission-plugins", "NodeRestriction")),
    _rendered("1.2.15", "no profiling", _flag(APISERVER, "profiling", "false")),
    _rendered("1.2.16", "an audit log", _flag(APISERVER, "audit-log-path")),
    _rendered("1.2.17", "kept for 30 days", _flag(APISERVER, "audit-log-maxage", "30")),
    _rendered("1.2.18", "10 files of it", _flag(APISERVER, "audit-log-maxbackup", "10")),
    _rendered("1.2.19", "of 100 MB", _flag(APISERVER, "audit-log-maxsize", "100")),
    _rendered("1.2.20", "the default time for requests", _unset(APISERVER, "request-timeout")),
    _rendered(
        "1.2.21",
        "deleted service accounts are known",
        _unset(APISERVER, "service-account-lookup", "false"),
    ),
    _rendered("1.2.22", "a key of service accounts", _flag(APISERVER, "service-account-key-file")),
    _rendered(
        "1.2.23",
        "a certificate for etcd",
        _all(_flag(APISERVER, "etcd-certfile"), _flag(APISERVER, "etcd-keyfile")),
    ),
    _rendered(
        "1.2.24", "TLS", _all(_flag(APISERVER, "tls-cert-file"), _flag(APISERVER, "tls-private-key-file"))
    ),
    _rendered("1.2.25", "an authority of clients", _flag(APISERVER, "client-ca-file")),
    _rendered("1.2.26", "etcd is verified", _flag(APISERVER, "etcd-cafile")),
    _rendered("1.2.27", "Secrets are encrypted", _flag(APISERVER, "encryption-provider-config")),
    Control(
        "1.2.28",
        "by a good provider",
        lambda seen: "" if seen.encryption and seen.encryption[0] in _PROVIDERS else str(seen.encryption),
    ),
    _rendered("1.2.29", "strong ciphers alone", _weak_ciphers),
    _rendered(
        "1.2.30",
        "tokens expire when they say",
        _flag(APISERVER, "service-account-extend-token-expiration", "false"),
    ),
    _rendered("1.3.1", "ended pods are collected", _flag(MANAGER, "terminated-pod-gc-threshold")),
    _rendered("1.3.2", "no profiling", _flag(MANAGER, "profiling", "false")),
    _rendered(
        "1.3.3", "an account for each controller", _flag(MANAGER, "use-service-account-credentials", "true")
    ),
    _rendered("1.3.4", "a key of its own", _flag(MANAGER, "service-account-private-key-file")),
    _rendered("1.3.5", "pods know the authority", _flag(MANAGER, "root-ca-file")),
    _rendered(
        "1.3.6",
        "kubelets' serving certificates are renewed",
        _unset(MANAGER, "feature-gates", "RotateKubeletServerCertificate=false"),
    ),
    _rendered("1.3.7", "on loopback", _flag(MANAGER, "bind-address", "127.0.0.1", "::1")),
    _rendered("1.4.1", "no profiling", _flag(SCHEDULER, "profiling", "false")),
    _rendered("1.4.2", "on loopback", _flag(SCHEDULER, "bind-address", "127.0.0.1", "::1")),
    _rendered(
        "2.1",
        "TLS for clients",
        _all(
            _etcd("client-transport-security.cert-file", _set),
            _etcd("client-transport-security.key-file", _set),
        ),
    ),
    _rendered(
        "2.2", "clients have certificates", _etcd("client-transport-security.client-cert-auth", _true)
    ),
    _rendered(
        "2.3", "no certificates of its own making", _etcd("client-transport-security.auto-tls", _not_true)
    ),
    _rendered(
        "2.4",
        "TLS for members",
        _all(
            _etcd("peer-transport-security.cert-file", _set), _etcd("peer-transport-security.key-file", _set)
        ),
    ),
    _rendered("2.5", "members have certificates", _etcd("peer-transport-security.client-cert-auth", _true)),
    _rendered(
        "2.6", "no certificates of its own making", _etcd("peer-transport-security.auto-tls", _not_true)
    ),
    _rendered("2.7", "an authority of its own", _own_authority),
    _rendered("3.2.1", "an audit policy", _flag(APISERVER, "audit-policy-file")),
    _rendered(
        "4.2.1",
        "no anonymous requests",
        _kubelet("authentication.anonymous.enabled", lambda it: it is False),
    ),
    _rendered("4.2.2", "the API decides", _kubelet("authorization.mode", lambda it: it == "Webhook")),
    _rendered("4.2.3", "an authority of clients", _kubelet("authentication.x509.clientCAFile", _set)),
    _rendered("4.2.4", "no port for reading", _kubelet("readOnlyPort", lambda it: it in (0, None))),
    _rendered(
        "4.2.5",
        "idle streams end",
        _kubelet("streamingConnectionIdleTimeout", lambda it: it not in ("0s", 0)),
    ),
    _rendered("4.2.6", "its own chains", _kubelet("makeIPTablesUtilChains", lambda it: it is not False)),
    _rendered("4.2.8", "events are held back", _kubelet("eventRecordQPS", lambda it: it is None or it >= 0)),
    _rendered("4.2.9", "TLS", _all(_kubelet("tlsCertFile", _set), _kubelet("tlsPrivateKeyFile", _set))),
    _rendered(
        "4.2.10",
        "renewed certificates",
        _value(lambda seen: seen.kubelet_file, "rotateCertificates", lambda it: it is not False),
    ),
    _rendered(
        "4.2.11",
        "renewed serving certificates",
        _kubelet("featureGates.RotateKubeletServerCertificate", lambda it: it is not False),
    ),
    Control("4.3.1", "kube-proxy's metrics on loopback", _listens_on_loopback(10249)),
    Control(
        "5.1.1",
        "cluster-admin is the administrators'",
        _cluster(lambda seen: [who for who in seen.cluster_admins if who != "Group system:masters"]),
    ),
    Control("5.1.3", "no wildcards in roles", _cluster(lambda seen: seen.wildcard_roles)),
    Control("5.1.4", "not everybody makes pods", _cluster(lambda seen: seen.pod_makers)),
    Control(
        "5.1.5",
        "default accounts give no tokens unasked",
        _cluster(lambda seen: [name for name, gives in seen.default_accounts.items() if gives is not False]),
    ),
    Control(
        "5.3.2",
        "policies in the cluster's own namespaces",
        _cluster(lambda seen: [name for name, found in seen.policies.items() if not found]),
    ),
)
