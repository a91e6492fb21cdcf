"""What single values may look like."""

import re
from collections.abc import Callable

import pytest

from rke2_units.config import grammar
from rke2_units.config.grammar import Mount

HASH = "0" * 63 + "a"

GOOD: list[tuple[Callable[[str], object], str, object]] = [
    (grammar.duration, "10m", 600.0),
    (grammar.duration, "1h30m", 5400.0),
    (grammar.duration, "1.5s", 1.5),
    (grammar.duration, "0", 0.0),
    (grammar.port_range, "30000-32767", (30000, 32767)),
    (grammar.port_range, "80-80", (80, 80)),
    (grammar.node_name, "Node-1.Example", "node-1.example"),
    (grammar.host, "10.0.0.1", "10.0.0.1"),
    (grammar.host, "fd00::1", "fd00::1"),
    (grammar.host, "*.example.com", "*.example.com"),
    (grammar.host, "API.example.com", "API.example.com"),
    (grammar.server_url, "https://a.example:9345", "https://a.example:9345"),
    (grammar.server_url, "https://[fd00::1]:9345/", "https://[fd00::1]:9345"),
    (grammar.program, "kubelet", "kubelet"),
    (grammar.program, "/opt/bin/kubelet", "/opt/bin/kubelet"),
    (grammar.containerd_socket, "/run/containerd/containerd.sock", "/run/containerd/containerd.sock"),
    (grammar.containerd_socket, "unix:///run/containerd/a.sock", "/run/containerd/a.sock"),
    (grammar.data_directory, "/srv/rke2-data_1.0/", "/srv/rke2-data_1.0"),
    (grammar.data_directory, "/var/lib/rancher/rke2", "/var/lib/rancher/rke2"),
    (grammar.image, "rancher/hardened-etcd:v3.6.14-k3s1-build20260819", None),
    (grammar.image, "registry.example:5000/a/b_c/d", None),
    (grammar.image, "localhost:5000/a@sha256:" + HASH, None),
    (grammar.image, "busybox", None),
    (grammar.registry, "registry.example:5000/mirror/rke2", None),
    (grammar.registry, "[fd00::1]:5000", None),
    (grammar.quantity, "500m", 0.5),
    (grammar.quantity, "1Gi", 2.0**30),
    (grammar.quantity, "1.5k", 1500.0),
    (grammar.quantity, ".5", 0.5),
    (grammar.quantity, "1e3", 1000.0),
    (grammar.quantity, "2E", 2e18),
    (grammar.component_resource, "kube-apiserver-cpu=500m", ("kube-apiserver", "cpu", "500m")),
    (grammar.component_resource, "etcd-memory=1Gi", ("etcd", "memory", "1Gi")),
    (
        grammar.component_probe,
        "kube-apiserver-startup-failure-threshold=50",
        ("kube-apiserver", "startup", "failure-threshold", 50),
    ),
    (grammar.component_probe, "etcd-liveness-timeout-seconds=0", ("etcd", "liveness", "timeout-seconds", 0)),
    (grammar.mount, "/a:/b", Mount("/a", "/b", False, None)),
    (grammar.mount, "/a:/b:ro", Mount("/a", "/b", True, None)),
    (grammar.mount, "/a:/b:rw", Mount("/a", "/b", False, None)),
    (grammar.mount, "/a:/b:ro:File", Mount("/a", "/b", True, "File")),
    (grammar.mount, "/a:/b:x:DirectoryOrCreate", Mount("/a", "/b", False, "DirectoryOrCreate")),
    (grammar.mount, "/a:/b::", Mount("/a", "/b", False, None)),
    (grammar.variable, "A=b=c", ("A", "b=c")),
    (grammar.variable, "A=", ("A", "")),
    (grammar.argument, "max-pods=5", ("max-pods", "5")),
    (grammar.argument, "--v=2", ("v", "2")),
    (grammar.argument, "profiling", ("profiling", "true")),
    (grammar.argument, "feature-gates+=A=true", ("feature-gates+", "A=true")),
    (grammar.label, "a=b", ("a", "b")),
    (grammar.label, "example.com/a_b=", ("example.com/a_b", "")),
    (grammar.label, "node.kubernetes.io/pool=x", ("node.kubernetes.io/pool", "x")),
    (grammar.label, "topology.kubernetes.io/zone=z1", ("topology.kubernetes.io/zone", "z1")),
    (grammar.taint, "CriticalAddonsOnly=true:NoExecute", ("CriticalAddonsOnly", "true", "NoExecute")),
    (grammar.taint, "a:NoSchedule", ("a", "", "NoSchedule")),
    (grammar.token, "secret", None),
    (grammar.token, "a:b", None),
    (grammar.token, "abcdef.0123456789abcdef", None),
    (grammar.token, f"K10{HASH}::server:pass:word", None),
    (grammar.token, "K10::node:x", None),
    (grammar.token, f"K10{HASH}::abcdef.0123456789abcdef", None),
]

BAD: list[tuple[Callable[[str], object], list[str]]] = [
    (grammar.boolean, ["", "yes", "tRUE", "2"]),
    (grammar.number, ["", "01", "1.0", "+1", "1e3", "٣", "9" * 40]),
    (grammar.octal, ["", "8", "0x1", "07777", "-1", "0" * 50]),
    (grammar.duration, ["", "10", "-5m", "5 m", "m", "2h30", "٣s"]),
    (grammar.address, ["", "10.0.0", "10.0.0.0/8", "fe80::1%eth0", "localhost", "010.0.0.1"]),
    (
        grammar.network,
        ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "fd00::/129", "a/8", "::ffff:10.0.0.0/112"],
    ),
    (grammar.port_range, ["", "80", "90-80", "0-10", "1-70000", "1-2-3", "a-b"]),
    (
        grammar.containerd_socket,
        ["", "a.sock", "tcp:///a", "unix://a", "/run/a/", "/run/../a", "/dev/null", "/run/" + "a" * 110]
        + ["/run/a b", "/run/k3s/containerd/containerd.sock", "unix:///run/crio/crio.sock"],
    ),
    (grammar.subdomain, ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a.", "x" * 64, "a." * 127 + "a"]),
    (grammar.cluster_domain, ["", "a..b", "a b", "a.", "-a", "a/b", "ä", "x" * 64, "a." * 127 + "a"]),
    (grammar.node_name, ["", "a_b", "-a", "a" * 64, "ä", "a b"]),
    (grammar.host, ["", "https://a", "a b", "1.2.3", "10.0.0.0/8", "*", "a.*.b", "x" * 254]),
    (
        grammar.server_url,
        ["", "a", "http://a", "https://", "https://a:b", "https://a:0", "https://a/b", "https://u@a"],
    ),
    (grammar.absolute_path, ["", "a", "~/a", "./a"]),
    (grammar.program, ["bin/kubelet", "./kubelet"]),
    (
        grammar.data_directory,
        [
            "",
            "/",
            "//",
            "a",
            "/a b",
            "/a:b",
            "/a%b",
            "/a$b",
            '/a"b',
            "/a\\b",
            "/a\nb",
            "/a/../b",
            "/a/./b",
            "/a//b",
        ]
        + [
            "/etc",
            "/etc/",
            "/var/lib",
            "/var/lib/kubelet",
            "/proc/x",
            "/run/x",
            "/dev/shm/x",
            "/" + "a" * 250,
        ],
    ),
    (grammar.identifier, ["", "-a", "a-", "a b", "a/b"]),
    (grammar.image, ["", "A", "a b", "a:", "https://a/b", "a@sha256:0", "a/", "/a", "-x", "a:" + "t" * 129]),
    (grammar.registry, ["", "https://a", "a/", "a b", "a:b", "-a"]),
    (grammar.quantity, ["", "m", "-1", "+1", "1 Gi", "1gi", "1K", "0x1", "1e", "1e999", "1" * 50]),
    (
        grammar.component_resource,
        ["", "etcd", "etcd-cpu", "etcd-cpu=", "etcd-cpu=x", "etcd-disk=1", "kubelet-cpu=1"],
    ),
    (
        grammar.component_probe,
        ["", "etcd-startup", "etcd-startup-timeout-seconds", "etcd-startup-timeout-seconds=-1"]
        + ["etcd-startup-timeout=1", "kubelet-startup-timeout-seconds=1", "etcd-x-timeout-seconds=1"],
    ),
    (
        grammar.mount,
        ["", "/a", "a:/b", "/a:b", "/a:/b:rx", "/a:/b:ro:X", "/a:/b:ro:File:x", "/a/../b:/c", "/a:/.."],
    ),
    (grammar.variable, ["", "A", "=b", "A B=c", "1A=b"]),
    (grammar.argument, ["", "=", "--", "=b", "a b=c", "---a=b", "a++=b"]),
    (
        grammar.label,
        ["", "a", "=b", "a=b c", "a=-", "A.b/c=d", "a=" + "x" * 64]
        + ["node-role.kubernetes.io/worker=true", "kubernetes.io/x=y", "x.k8s.io/y=z"],
    ),
    (grammar.taint, ["", "a", "a=b", "a:NoRun", ":NoExecute", "a=b c:NoExecute", "a=b:c:NoExecute"]),
    (
        grammar.token,
        ["K10", "K10x", "K10abc::server:x", f"K10{HASH}", f"K10{HASH}:server:x", "K10::x", "K10:::x"],
    ),
]


@pytest.mark.parametrize(
    ("parse", "text", "expected"), GOOD, ids=lambda value: getattr(value, "__name__", repr(value))
)
def test_well_formed_values_are_understood(
    parse: Callable[[str], object], text: str, expected: object
) -> None:
    assert parse(text) == (text if expected is None else expected)


@pytest.mark.parametrize(
    ("parse", "text"),
    [(parse, text) for parse, texts in BAD for text in texts],
    ids=lambda value: getattr(value, "__name__", repr(value)[:40]),
)
def test_other_values_are_refused_with_what_they_must_be(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(text)
    # Words of our own, not those of int() and the like.
    assert re.match(r"(an? |true |one |at most |SOURCE:|COMPONENT-|NAME=|key=)", str(error.value))


def test_bits_behind_the_prefix_are_dropped() -> None:
    assert str(grammar.network("10.42.7.1/16")) == "10.42.0.0/16"
