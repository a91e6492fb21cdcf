from dataclasses import replace
from typing import Any

import pytest
import yaml

from rke2_units.config.yaml_file import parse
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.layout import Paths
from rke2_units.model import File, NodeFacts
from rke2_units.plan import kubelet
from rke2_units.plan.node import Node
from rke2_units.release.model import Release
from rke2_units.release.table import DEFAULT, release
from rke2_units.unit_names import APPLIER_UNIT, KUBELET_UNIT, Role
from tests.unit.configs import make_config, of_files
from tests.unit.plan.cases import MACHINE, make_node

NEW = release(DEFAULT)
OLD = release("v1.20.2+rke2r1")
PATHS = Paths()


def files(
    values: dict[str, object] | None = None, facts: NodeFacts = MACHINE, of: Release = NEW
) -> dict[str, File]:
    found = kubelet.files(make_node(values, facts, of))
    return {file.path: file for file in found}


def read(values: dict[str, object] | None = None, facts: NodeFacts = MACHINE, of: Release = NEW) -> Any:
    return yaml.safe_load(files(values, facts, of)[PATHS.kubelet_config].content)


def arguments(
    values: dict[str, object] | None = None, facts: NodeFacts = MACHINE, of: Release = NEW
) -> list[str]:
    return kubelet.arguments(make_node(values, facts, of))


@pytest.mark.parametrize(
    ("extra", "directory"),
    [
        ([], "/var/lib/kubelet"),
        (["root-dir=/opt/rancher/kubelet"], "/opt/rancher/kubelet"),
        (["--root-dir=/srv/a/", "max-pods=9", "root-dir=/srv/b//c"], "/srv/b/c"),
        (["root-dir+=/srv/a"], "/srv/a"),
        (["root-dir=srv/kubelet"], "/srv/kubelet"),
    ],
)
def test_its_folder_is_the_one_that_it_is_started_with(extra: list[str], directory: str) -> None:
    values: dict[str, object] = {"kubelet-arg": extra}
    assert kubelet.root_directory(make_config(Role.AGENT, values)) == directory


@pytest.mark.parametrize("of", [OLD, NEW])
def test_the_configuration_says_what_it_is_and_is_kept_from_others(of: Release) -> None:
    found = read(of=of)
    assert found["apiVersion"] == "kubelet.config.k8s.io/v1beta1"
    assert found["kind"] == "KubeletConfiguration"
    assert found["staticPodPath"] == PATHS.pod_manifests
    assert found["authentication"]["anonymous"]["enabled"] is False
    assert found["readOnlyPort"] == 0
    file = files(of=of)[PATHS.kubelet_config]
    assert (file.mode, file.restarts) == (0o600, (KUBELET_UNIT,))


def test_a_current_release_reads_a_folder_and_an_old_one_a_file() -> None:
    assert f"--config-dir={PATHS.kubelet_etc}" in arguments()
    assert f"--config={PATHS.kubelet_config}" in arguments(of=OLD)
    assert not [argument for argument in arguments() if argument.startswith("--config=")]


def test_the_runtime_is_named_where_the_release_looks_for_it() -> None:
    endpoint = "unix:///run/k3s/containerd/containerd.sock"
    assert read()["containerRuntimeEndpoint"] == endpoint
    assert f"--container-runtime-endpoint={endpoint}" in arguments(of=OLD)
    assert "--container-runtime=remote" in arguments(of=OLD)
    assert not [argument for argument in arguments() if argument.startswith("--container-runtime")]


def test_cgroup_v1_is_allowed_where_it_is_what_there_is() -> None:
    version_1 = replace(MACHINE, cgroup_version=1)
    assert read(facts=version_1)["failCgroupV1"] is False
    assert "failCgroupV1" not in read()
    assert "failCgroupV1" not in read(facts=version_1, of=OLD)


@pytest.mark.parametrize(
    ("facts", "driver"),
    [
        (MACHINE, "systemd"),
        (replace(MACHINE, in_user_namespace=True), "cgroupfs"),
        (replace(MACHINE, cpuset_usable=False), "cgroupfs"),
    ],
)
def test_the_cgroup_driver_is_containerds(facts: NodeFacts, driver: str) -> None:
    assert read(facts=facts)["cgroupDriver"] == driver


def test_taints_are_a_field_in_a_current_release_and_a_flag_in_an_old_one() -> None:
    values: dict[str, object] = {"node-taint": ["a=b:NoSchedule", "c:NoExecute"]}
    assert read(values)["registerWithTaints"] == [
        {"key": "a", "value": "b", "effect": "NoSchedule"},
        {"key": "c", "effect": "NoExecute"},
    ]
    assert not [argument for argument in arguments(values) if "taints" in argument]
    assert "--register-with-taints=a=b:NoSchedule,c:NoExecute" in arguments(values, of=OLD)


def test_labels_are_those_of_the_user_and_no_others() -> None:
    assert "--node-labels=a=b,c=d" in arguments({"node-label": ["a=b", "c=d"]})
    assert not [argument for argument in arguments() if argument.startswith("--node-labels")]


def test_the_nodes_address_is_always_given() -> None:
    two = replace(MACHINE, node_ips=("192.0.2.10", "2001:db8::10"))
    both: dict[str, object] = {
        "cluster-cidr": "10.42.0.0/16,fd00:42::/56",
        "service-cidr": "10.43.0.0/16,fd00:43::/112",
    }
    assert "--node-ip=192.0.2.10" in arguments()
    assert "--node-ip=192.0.2.10" in arguments(facts=two)
    assert "--node-ip=192.0.2.10,2001:db8::10" in arguments(both, two)
    assert "--node-ip=192.0.2.11" in arguments({"node-ip": "192.0.2.11"}, two)


def test_an_address_that_the_cluster_needs_and_the_machine_lacks_is_asked_for() -> None:
    both: dict[str, object] = {
        "cluster-cidr": "10.42.0.0/16,fd00:42::/56",
        "service-cidr": "10.43.0.0/16,fd00:43::/112",
    }
    with pytest.raises(UserError, match=r"no IPv6 address.*set node-ip"):
        arguments(both)


def test_an_external_cloud_provider_is_named_only_when_there_is_one() -> None:
    assert "--cloud-provider=external" in arguments({"cloud-provider-name": "external"})
    without = arguments({"disable-cloud-controller": True})
    assert not [argument for argument in without if argument.startswith("--cloud-provider")]


def test_credential_providers_are_used_when_their_configuration_and_their_folder_are_there() -> None:
    path = "/var/lib/rancher/credentialprovider/config.yaml"
    half = replace(MACHINE, digests={path: "0" * 64})
    assert not [argument for argument in arguments(facts=half) if "credential" in argument]
    there = replace(half, has_credential_providers=True)
    assert f"--image-credential-provider-config={path}" in arguments(facts=there)
    assert "--image-credential-provider-bin-dir=/var/lib/rancher/credentialprovider/bin" in arguments(
        facts=there
    )
    assert not [argument for argument in arguments() if "credential" in argument]


def test_the_users_arguments_are_merged_in_and_those_about_log_files_left_out() -> None:
    values: dict[str, object] = {
        "kubelet-arg": ["max-pods=200", "--v=4", "log-file=/tmp/x", "alsologtostderr=true", "logtostderr"]
    }
    found = arguments(values, of=OLD)
    assert "--max-pods=200" in found
    assert "--v=4" in found
    assert not [argument for argument in found if "log" in argument]


@pytest.mark.parametrize("argument", ["config=/etc/kubelet.yaml", "--config-dir=/etc/kubelet.d"])
@pytest.mark.parametrize(("of", "hint"), [(NEW, r"kubelet\.conf\.d"), (OLD, "reads one file only")])
def test_an_argument_that_would_put_ours_aside_is_refused(argument: str, of: Release, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"test: kubelet-arg config.* \(.*{hint}"):
        arguments({"kubelet-arg": [argument]}, of=of)


def test_a_resolv_conf_is_written_only_where_the_system_has_none_for_pods() -> None:
    assert PATHS.resolv_conf not in files()
    assert read()["resolvConf"] == "/etc/resolv.conf"
    without = replace(MACHINE, resolv_conf=None)
    assert "nameserver 8.8.8.8" in files(facts=without)[PATHS.resolv_conf].content
    assert read(facts=without)["resolvConf"] == PATHS.resolv_conf
    assert read({"resolv-conf": "/etc/other"}, without)["resolvConf"] == "/etc/other"
    assert PATHS.resolv_conf not in files({"resolv-conf": "/etc/other"}, without)


def test_the_profile_protects_kernel_defaults() -> None:
    assert read({"profile": "cis"})["protectKernelDefaults"] is True
    assert read({"profile": "etcd"})["protectKernelDefaults"] is False


def test_proxies_reach_the_kubelet_in_a_secret_file() -> None:
    facts = replace(MACHINE, environment={"http_proxy": "http://u:p@proxy", "CONTAINERD_GOGC": "5"})
    file = files(facts=facts)[PATHS.kubelet_environment]
    assert (file.mode, file.secret, file.restarts) == (0o600, True, (KUBELET_UNIT, APPLIER_UNIT))
    assert 'http_proxy="http://u:p@proxy"\n' in file.content
    assert "GOGC" not in file.content


def flags(items: list[str], values: dict[str, object] | None = None, of: Release = NEW) -> list[str]:
    """The flags among the kubelet's arguments that the user has named."""
    names_given = {item.partition("=")[0].rstrip("+-") for item in items}
    found = arguments({**(values or {}), "kubelet-arg": items}, of=of)
    return [text for text in found if text.partition("=")[0].removeprefix("--") in names_given]


@pytest.mark.parametrize(
    ("items", "values", "expected"),
    [
        (
            ["allowed-unsafe-sysctls+=net.core.somaxconn", "eviction-hard+=memory.available<500Mi"],
            {"enable-servicelb": True},
            [
                "--allowed-unsafe-sysctls=net.ipv4.ip_forward,net.ipv6.conf.all.forwarding,net.core.somaxconn",
                "--eviction-hard=imagefs.available<5%,nodefs.available<5%,memory.available<500Mi",
            ],
        ),
        (
            ["eviction-hard+=memory.available<500Mi", "eviction-hard-=pid.available<5%"],
            {},
            [
                "--eviction-hard=pid.available<5%,imagefs.available<5%,nodefs.available<5%,memory.available<500Mi"
            ],
        ),
        (
            ["eviction-minimum-reclaim+=memory.available=1Gi"],
            {},
            [
                "--eviction-minimum-reclaim=imagefs.available=10%,nodefs.available=10%,memory.available=1Gi",
            ],
        ),
        (["cluster-dns-=169.254.20.10"], {}, ["--cluster-dns=169.254.20.10,10.43.0.10"]),
        (
            ["register-with-taints+=b:NoExecute"],
            {"node-taint": "a=1:NoSchedule"},
            ["--register-with-taints=a=1:NoSchedule,b:NoExecute"],
        ),
        # Without a default there is nothing to add to, and = takes the default's place.
        (["allowed-unsafe-sysctls+=a.b"], {}, ["--allowed-unsafe-sysctls=a.b"]),
        (["eviction-hard=memory.available<500Mi"], {}, ["--eviction-hard=memory.available<500Mi"]),
    ],
)
def test_what_is_added_to_a_default_of_the_file_keeps_it(
    items: list[str], values: dict[str, object], expected: list[str]
) -> None:
    assert flags(items, values) == expected


def test_taints_that_are_added_to_others_are_one_flag_in_an_old_release_too() -> None:
    found = flags(["register-with-taints+=b:NoExecute"], {"node-taint": "a=1:NoSchedule"}, OLD)
    assert found == ["--register-with-taints=a=1:NoSchedule,b:NoExecute"]


def test_a_flag_that_is_ours_names_its_own_line() -> None:
    text = b"kubelet-arg:\n- max-pods=5\n- config=/etc/kubelet.yaml\n- v=2\n"
    with pytest.raises(ConfigurationError, match="^f:3: kubelet-arg config is set by"):
        kubelet.arguments(Node(of_files(Role.SERVER, [parse(text, "f")]), MACHINE, NEW))


@pytest.mark.parametrize(
    ("item", "hint"),
    [
        ("hostname-override=other", "set node-name"),
        ("pod-manifest-path=/etc/kubernetes/manifests", f"put manifests into {PATHS.pod_manifests}"),
        ("hostname-override=node1", None),
        (f"pod-manifest-path={PATHS.pod_manifests}", None),
    ],
)
def test_flags_cannot_move_what_others_look_for(item: str, hint: str | None) -> None:
    values: dict[str, object] = {"kubelet-arg": ["v=2", item]}
    if hint is None:
        arguments(values)
        return
    with pytest.raises(ConfigurationError) as error:
        arguments(values)
    assert error.value.hint == hint
