"""What single values of the configuration may look like.

Each function takes the text as written and returns what it means; ValueError says what it has to be, in
words that follow "must be". The texts themselves are never part of an error, since some are secrets.
"""

import ipaddress
import posixpath
import re
from dataclasses import dataclass

from rke2_units.cluster_names import BOOTSTRAP_TOKEN
from rke2_units.layout import CONTAINERD_SOCKET

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

COMPONENTS = (
    "kube-apiserver",
    "kube-scheduler",
    "kube-controller-manager",
    "kube-proxy",
    "etcd",
    "cloud-controller-manager",
)
PROBES = ("liveness", "readiness", "startup")
PROBE_FIELDS = ("initial-delay-seconds", "timeout-seconds", "failure-threshold", "period-seconds")

# Compiled when first used: reading the configuration is part of every start.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_DOMAIN = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*"
_HOSTNAME = r"(?:\*\.)?[a-z0-9_][a-z0-9_-]{0,62}(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\.?"
_QUALIFIED_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_QUANTITY = r"(\d+(?:\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d{1,2})?"
_SUFFIXES = {"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3} | {
    f"{letter}{binary}": (1024.0 if binary else 1000.0) ** power
    for power, letter in enumerate("KMGTPE", 1)
    for binary in ("", "i")
    if binary or letter != "K"
}
_DURATION = r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))+"
_DURATION_PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)"
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_REGISTRY_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?"
_PATH_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REGISTRY = rf"{_REGISTRY_HOST}(?:/{_PATH_PART})*"
_IMAGE = (
    rf"(?:{_REGISTRY_HOST}/)?{_PATH_PART}(?:/{_PATH_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
    r"(?:@sha256:[0-9a-f]{64})?"
)
_ARGUMENT_NAME = r"-{0,2}[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?[+-]?"
_VARIABLE = r"[A-Za-z_.-][A-Za-z0-9_.-]*"
_DIRECTORY = r"(?:/[A-Za-z0-9._+@=-]+)+/?"
_HASH = r"[0-9a-f]{64}"
_IDENTIFIER = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"

_RELEASE = r"v([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})(?:-[a-z0-9.]{1,20})?\+rke2r[0-9]{1,3}"
_ARTIFACT_URL = rf"https?://{_REGISTRY_HOST}(?:/[A-Za-z0-9._~%+-]+)*/?"

# Go's strconv.ParseBool, by which RKE2 reads a boolean.
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))

# Folders that hold more than the cluster's data, so none of them can be the data directory: they would be
# written to with our modes, and `uninstall` removes what is in it.
_SYSTEM_DIRECTORIES = frozenset(
    f"/{name}"
    for name in (
        "bin boot dev etc home lib lib32 lib64 libx32 lost+found media mnt opt proc root run sbin srv "
        "sys tmp usr var etc/rancher usr/bin usr/lib usr/local usr/sbin usr/share var/cache var/lib "
        "var/lib/kubelet var/lib/rancher var/lib/rke2-units var/log var/run var/tmp"
    ).split()
)
VIRTUAL_FILE_SYSTEMS = ("/dev/", "/proc/", "/sys/", "/run/", "/var/run/")

# What the kernel has room for (unix(7)).
_LONGEST_SOCKET = 107
# Container runtimes by the names of their sockets.
OTHER_RUNTIMES = {
    "crio.sock": "CRI-O",
    "cri-dockerd.sock": "Docker",
    "docker.sock": "Docker",
    "dockershim.sock": "Docker",
}

# The names below kubernetes.io and k8s.io that a kubelet may give to its own node
# (k8s.io/kubelet/pkg/apis/well_known_labels.go); it exits with an error for any other.
_KUBELET_LABELS = frozenset(
    (
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "kubernetes.io/arch",
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    )
)
_KUBELET_LABEL_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_KUBERNETES_NAMESPACES = ("kubernetes.io", "k8s.io")
_TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")

HOST_PATH_TYPES = (
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
    "CharDevice",
    "BlockDevice",
)


@dataclass(frozen=True)
class Mount:
    """An extra mount of a static pod. `type` is a hostPath type, None: decided by what is there."""

    source: str
    destination: str
    read_only: bool
    type: str | None


def _match(pattern: str, text: str) -> re.Match[str] | None:
    return re.fullmatch(pattern, text, re.ASCII)


def boolean(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("true or false")


def number(text: str) -> int:
    if not _match(r"0|-?[1-9][0-9]{0,17}", text):
        raise ValueError("a whole number")
    return int(text)


def octal(text: str) -> int:
    """A file mode, its digits read as octal ones however YAML would read them."""
    if not _match(r"(?:0o)?0*[0-7]{1,3}", text) or len(text) > 8:
        raise ValueError('a file mode in octal digits, such as "0640"')
    return int(text.removeprefix("0o"), 8)


def duration(text: str) -> float:
    """Seconds of a duration as Go writes it (`1h30m`, `500ms`)."""
    if text == "0":
        return 0.0
    if len(text) > 64 or not _match(_DURATION, text) or text.startswith("-"):
        raise ValueError("a duration such as 10m, 90s or 1h30m")
    return sum(float(count) * _SECONDS[unit] for count, unit in re.findall(_DURATION_PART, text, re.ASCII))


def interval(text: str) -> float:
    """Seconds of a duration in which something can be done."""
    seconds = duration(text)
    if seconds < 1:
        raise ValueError("a duration of at least 1s")
    return seconds


def address(text: str) -> Address:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("an IP address") from None
    if isinstance(found, ipaddress.IPv6Address) and found.scope_id is not None:
        raise ValueError("an IP address without a zone")
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        # To some components it is an IPv4 address, to others an IPv6 one.
        raise ValueError("an IP address, an IPv4 one without ::ffff: in front")
    return found


def network(text: str) -> Network:
    """An address range in CIDR form; bits behind the prefix are dropped, as Go's net.ParseCIDR does."""
    if not _match(r"[0-9A-Fa-f.:]+/[0-9]{1,3}", text):
        raise ValueError("an address range such as 10.42.0.0/16")
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("an address range such as 10.42.0.0/16") from None
    if isinstance(found, ipaddress.IPv6Network) and found[0].ipv4_mapped is not None:
        raise ValueError("an address range, an IPv4 one without ::ffff: in front")
    return found


def port(text: str) -> int:
    found = int(text) if _match(r"[0-9]{1,5}", text) else 0
    if not 0 < found < 65536:
        raise ValueError("a port between 1 and 65535")
    return found


def port_range(text: str) -> tuple[int, int]:
    parts = text.split("-")
    if len(parts) == 2:
        try:
            first, last = port(parts[0]), port(parts[1])
        except ValueError:
            first, last = 1, 0
        if first <= last:
            return first, last
    raise ValueError("a range of ports such as 30000-32767")


def subdomain(text: str) -> str:
    """A DNS name in lower case, as Kubernetes wants names (RFC 1123 subdomain)."""
    if len(text) > 253 or not _match(_SUBDOMAIN, text):
        raise ValueError("a DNS name of lower-case letters, digits, '-' and '.'")
    return text


def cluster_domain(text: str) -> str:
    """A DNS name, of either case and with `_`: clusters of RKE2 may have one that a new one does not get."""
    if len(text) > 253 or not _match(_DOMAIN, text):
        raise ValueError("a DNS name such as cluster.local")
    return text


def label_name(text: str) -> str:
    if not _match(_LABEL, text):
        raise ValueError("a name of at most 63 lower-case letters, digits and '-'")
    return text


def node_name(text: str) -> str:
    """A node's name in lower case; at most 63 characters, as the label kubernetes.io/hostname has it too."""
    lowered = text.lower()
    if len(lowered) > 63 or not _match(_SUBDOMAIN, lowered):
        raise ValueError("a DNS name of at most 63 letters, digits, '-' and '.'")
    return lowered


def host(text: str) -> str:
    """An IP address, or a DNS name (with `*.` in front for a wildcard), as certificates name a host."""
    try:
        address(text)
    except ValueError:
        numeric = _match(r"[0-9.]+", text)
        if numeric or len(text) > 253 or not _match(_HOSTNAME, text.lower()):
            raise ValueError("a DNS name or an IP address") from None
    return text


def host_and_port(text: str) -> str:
    """HOST or HOST:PORT, an IPv6 address in brackets."""
    match = _match(r"(\[[0-9A-Fa-f:.]+\]|[^/:@?#\[\]]+)(?::([0-9]+))?", text)
    if match is None:
        raise ValueError("HOST or HOST:PORT")
    host(match[1].strip("[]"))
    if match[2] is not None:
        port(match[2])
    return text


def server_url(text: str) -> str:
    url = text.removesuffix("/")
    try:
        if not url.startswith("https://"):
            raise ValueError
        host_and_port(url.removeprefix("https://"))
    except ValueError:
        raise ValueError("a URL such as https://server.example:9345") from None
    return url


def absolute_path(text: str) -> str:
    if not text.startswith("/") or len(text) > 4095:
        raise ValueError("an absolute path")
    return text


def program(text: str) -> str:
    """A program's absolute path, or its bare name, to be found through PATH."""
    if not text.startswith("/") and "/" in text:
        raise ValueError("an absolute path or the bare name of a program")
    return text


def containerd_socket(text: str) -> str:
    """The path of a foreign containerd's socket, from the path or from unix:///PATH.

    It is written into units and configuration files, so only characters that mean nothing there are taken.
    """
    path = text.removeprefix("unix://")
    if len(path) > _LONGEST_SOCKET or not _match(_DIRECTORY, path):
        raise ValueError("a socket's absolute path, or unix:///PATH")
    if posixpath.normpath(path) != path or path.startswith("/dev/"):
        raise ValueError("a socket's absolute path without . and .., and not below /dev")
    if path == CONTAINERD_SOCKET:
        raise ValueError("a socket of another containerd; for rke2-units' own leave the key out")
    if runtime := OTHER_RUNTIMES.get(posixpath.basename(path)):
        raise ValueError(f"a containerd's socket, and {runtime} is no containerd")
    return path


def directory(text: str) -> str:
    """A folder, without a slash at its end.

    It is written into units, PATH, TOML, mounts and a shell's words, so only characters that mean nothing in
    any of them are taken.
    """
    if len(text) > 200 or not _match(_DIRECTORY, text):
        raise ValueError("an absolute path of letters, digits and . _ + @ = - / (at most 200 characters)")
    path = text.rstrip("/")
    if any(part in (".", "..") for part in path.split("/")):
        raise ValueError("an absolute path without . and ..")
    return path


def data_directory(text: str) -> str:
    """The folder that holds all state."""
    path = directory(text)
    if path in _SYSTEM_DIRECTORIES or f"{path}/".startswith(VIRTUAL_FILE_SYSTEMS):
        raise ValueError("a folder of its own, not one of the system's")
    return path


def identifier(text: str) -> str:
    if len(text) > 253 or not _match(_IDENTIFIER, text):
        raise ValueError("a name of letters, digits, '.', '_' and '-'")
    return text


def image(text: str) -> str:
    if len(text) > 512 or not _match(_IMAGE, text):
        raise ValueError("an image reference such as registry.example/rancher/hardened-etcd:v3.6.14")
    return text


def registry(text: str) -> str:
    if len(text) > 255 or not _match(_REGISTRY, text):
        raise ValueError("a registry such as registry.example:5000/mirror, without https://")
    return text


def release(text: str) -> tuple[int, int, int]:
    """Kubernetes' major, minor and patch version, out of the name of a release of RKE2."""
    match = _match(_RELEASE, text)
    if match is None:
        raise ValueError("a release of RKE2, such as v1.36.4+rke2r1")
    return int(match[1]), int(match[2]), int(match[3])


def artifact_url(text: str) -> str:
    """A folder on the web, without a slash at its end. A password would be seen in messages and logs."""
    if not _match(_ARTIFACT_URL, text):
        raise ValueError("an http or https URL of a folder, without user, query and fragment")
    return text.rstrip("/")


def quantity(text: str) -> float:
    """A Kubernetes resource quantity (`500m`, `1Gi`), zero or more."""
    match = _match(_QUANTITY, text) if len(text) <= 40 else None
    if match is None:
        raise ValueError("a resource quantity such as 500m or 1Gi")
    count, suffix = float(match[1]), match[2] or ""
    if suffix[:1] in ("e", "E") and suffix[1:]:
        return count * 10.0 ** int(suffix[1:])
    return count * _SUFFIXES[suffix]


def component_resource(text: str) -> tuple[str, str, str]:
    """Component, `cpu` or `memory`, and the quantity of `kube-apiserver-cpu=500m`."""
    name, equals, value = text.partition("=")
    component, _, resource = name.strip().rpartition("-")
    if not equals or component not in COMPONENTS or resource not in ("cpu", "memory"):
        raise ValueError(
            "COMPONENT-cpu=QUANTITY or COMPONENT-memory=QUANTITY, such as kube-apiserver-cpu=500m"
        )
    quantity(value.strip())
    return component, resource, value.strip()


def component_probe(text: str) -> tuple[str, str, str, int]:
    """Component, probe, field and value of `etcd-startup-failure-threshold=24`."""
    name, equals, value = text.partition("=")
    for probe in PROBES:
        component, found, field = name.strip().partition(f"-{probe}-")
        if found and component in COMPONENTS and field in PROBE_FIELDS and equals:
            count = value.strip()
            if not _match(r"[0-9]{1,6}", count):
                break
            return component, probe, field, int(count)
    raise ValueError(
        f"COMPONENT-PROBE-FIELD=NUMBER with a probe of {', '.join(PROBES)} "
        f"and a field of {', '.join(PROBE_FIELDS)}"
    )


def mount(text: str) -> Mount:
    """`SRC:DST`, `SRC:DST:ro|rw` or `SRC:DST:ro|rw:TYPE`, both paths absolute.

    RKE2 mounts the last form read-write whatever its third part says; here `ro` is honoured in it as well.
    """
    parts = text.split(":")
    expected = "SOURCE:DESTINATION[:ro|rw[:TYPE]] with absolute paths"
    if not 2 <= len(parts) <= 4 or not all(_match(r"/[^:]*", path) for path in parts[:2]):
        raise ValueError(expected)
    if ".." in parts[1].split("/") or ".." in parts[0].split("/"):
        raise ValueError(f"{expected}, without ..")
    if len(parts) == 3 and parts[2] not in ("ro", "rw"):
        raise ValueError(expected)
    kind = parts[3] if len(parts) == 4 else ""
    if kind and kind not in HOST_PATH_TYPES:
        raise ValueError(f"{expected} and a TYPE of {', '.join(HOST_PATH_TYPES)}")
    return Mount(parts[0], parts[1], len(parts) > 2 and parts[2] == "ro", kind or None)


def plain_path(path: str) -> str:
    """An absolute path without what makes no other place of it: doubled and final slashes, dots."""
    return "/" + posixpath.normpath(path).lstrip("/")


def variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not _match(_VARIABLE, name):
        raise ValueError("NAME=VALUE")
    return name, value


def argument(text: str) -> tuple[str, str]:
    """Name and value of an extra argument: without leading dashes, with the name's final `+` or `-`.

    A `_` in the name is a dash, as the components of Kubernetes read it.
    """
    name, equals, value = text.partition("=")
    if not _match(_ARGUMENT_NAME, name):
        raise ValueError("key=value, as in max-pods=200")
    return name.lstrip("-").replace("_", "-"), value if equals else "true"


def qualified_name(text: str) -> str:
    """A label's or taint's key: `name` or `prefix.example/name`."""
    prefix, slash, name = text.rpartition("/")
    if slash:
        subdomain(prefix)
    if not _match(_QUALIFIED_PART, name):
        raise ValueError("a key such as example.com/name")
    return text


def _label_value(text: str) -> str:
    if text and not _match(_QUALIFIED_PART, text):
        raise ValueError("at most 63 letters, digits, '-', '_' and '.'")
    return text


def label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError
        qualified_name(key)
        _label_value(value)
    except ValueError:
        raise ValueError("a label key=value") from None
    prefix = key.rpartition("/")[0]
    if _within(prefix, _KUBERNETES_NAMESPACES) and not (
        key in _KUBELET_LABELS or _within(prefix, _KUBELET_LABEL_NAMESPACES)
    ):
        raise ValueError(
            "a label that a kubelet may give itself: below kubernetes.io node.kubernetes.io/... and few "
            "others (set it with kubectl label instead)"
        )
    return key, value


def _within(prefix: str, namespaces: tuple[str, ...]) -> bool:
    return any(prefix == namespace or prefix.endswith(f".{namespace}") for namespace in namespaces)


def taint(text: str) -> tuple[str, str, str]:
    """Key, value ("" for none) and effect of `key[=value]:Effect`."""
    rest, _, effect = text.rpartition(":")
    key, _, value = rest.partition("=")
    try:
        qualified_name(key)
        _label_value(value)
    except ValueError:
        effect = ""
    if effect not in _TAINT_EFFECTS:
        raise ValueError(f"a taint key[=value]:EFFECT with an effect of {', '.join(_TAINT_EFFECTS)}")
    return key, value, effect


def token(text: str) -> str:
    """A cluster token: a password, `K10<hash>::USER:PASSWORD`, or a bootstrap token in either place.

    `certificates.token` takes it apart.
    """
    if not text.startswith("K10"):
        return text
    authority_hash, separator, credentials = text.removeprefix("K10").partition("::")
    if not separator or (authority_hash and not _match(_HASH, authority_hash)):
        raise ValueError("a token: after K10 come 64 hexadecimal digits (or none) and ::")
    user, _, password = credentials.partition(":")
    if not (user and password) and not _match(BOOTSTRAP_TOKEN, credentials):
        raise ValueError("a token: after K10...:: comes USER:PASSWORD or a bootstrap token")
    return text
