import os
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rke2_units import layout
from rke2_units.errors import ConfigurationError
from rke2_units.layout import Paths
from rke2_units.model import NodeFacts
from rke2_units.plan import static_pods
from rke2_units.plan.static_pods import StaticPod
from rke2_units.release.model import CHART
from rke2_units.release.table import DEFAULT, release
from rke2_units.unit_names import (
    CLOUD_CONTROLLER_MANAGER,
    ETCD,
    KUBE_APISERVER,
    KUBE_CONTROLLER_MANAGER,
    KUBE_PROXY,
    KUBE_SCHEDULER,
    STATIC_PODS,
    Role,
)
from tests.unit.configs import make_config
from tests.unit.plan.cases import JOINING, MACHINE, make_node

NEW = release(DEFAULT)
OLD = release("v1.20.2+rke2r1")
PATHS = Paths()


def make(component: str, values: dict[str, object] | None = None, facts: NodeFacts = MACHINE) -> StaticPod:
    return static_pods.manifest(component, make_node(values, facts))


def pod(component: str, values: dict[str, object] | None = None, facts: NodeFacts = MACHINE) -> Any:
    return yaml.safe_load(make(component, values, facts).text)


def container(component: str, values: dict[str, object] | None = None, facts: NodeFacts = MACHINE) -> Any:
    [only] = pod(component, values, facts)["spec"]["containers"]
    return only


def mounts(component: str, values: dict[str, object] | None = None, facts: NodeFacts = MACHINE) -> Any:
    """What is mounted where: path in the container → (path on the host, type, read-only)."""
    manifest = pod(component, values, facts)
    volumes = {volume["name"]: volume["hostPath"] for volume in manifest["spec"]["volumes"]}
    [only] = manifest["spec"]["containers"]
    return {
        mount["mountPath"]: (
            volumes[mount["name"]]["path"],
            volumes[mount["name"]].get("type"),
            mount.get("readOnly", False),
        )
        for mount in only["volumeMounts"]
    }


@pytest.mark.parametrize("component", STATIC_PODS)
def test_a_manifest_is_one_pod_of_the_host_with_its_component_as_command(component: str) -> None:
    made = make(component)
    manifest = yaml.safe_load(made.text)
    assert (manifest["apiVersion"], manifest["kind"]) == ("v1", "Pod")
    assert manifest["metadata"]["name"] == component
    assert manifest["metadata"]["namespace"] == "kube-system"
    assert manifest["metadata"]["uid"] == made.uid
    assert manifest["metadata"]["labels"] == {"component": component, "tier": "control-plane"}
    assert manifest["spec"]["hostNetwork"] is True
    assert manifest["spec"]["priorityClassName"] == "system-cluster-critical"
    [only] = manifest["spec"]["containers"]
    assert only["command"] == [component]
    assert only["image"] == made.image
    assert only["args"] == sorted(only["args"], key=lambda argument: argument.split("="))
    assert only["securityContext"]["privileged"] is (component == KUBE_PROXY)


@pytest.mark.parametrize("component", STATIC_PODS)
def test_equal_content_has_an_equal_uid_and_changed_content_a_new_one(component: str) -> None:
    before = make(component)
    assert len(before.uid) == 32
    assert make(component) == before
    for changes in (
        {f"{component}-extra-env": ["A=b"]},
        {f"{component}-image": "example.org/other:v1"},
        {"data-dir": "/srv/rke2"},
    ):
        assert make(component, dict(changes)).uid != before.uid


def test_a_new_certificate_makes_a_new_pod_of_those_that_mount_it_and_of_no_other() -> None:
    path = f"{PATHS.tls}/service.current.key"
    changed = replace(MACHINE, digests={path: "1" * 64})
    new = {
        component for component in STATIC_PODS if make(component).uid != make(component, facts=changed).uid
    }
    assert new == {KUBE_APISERVER, KUBE_CONTROLLER_MANAGER}


def test_what_the_plan_writes_counts_with_its_new_content_not_with_that_on_disk() -> None:
    on_disk = replace(MACHINE, digests={PATHS.etcd_config: "0" * 64, PATHS.egress_selector: "0" * 64})
    for component in (ETCD, KUBE_APISERVER):
        assert make(component).uid == make(component, facts=on_disk).uid
    assert make(ETCD).uid != make(ETCD, {"etcd-arg": ["max-txn-ops=1"]}).uid


def test_every_file_that_our_own_arguments_name_is_mounted() -> None:
    found = mounts(KUBE_APISERVER)
    assert found[f"{PATHS.tls}/service.key"] == (f"{PATHS.tls}/service.key", "File", True)
    assert found[PATHS.etcd_name] == (PATHS.etcd_name, "File", True)
    assert found[PATHS.server] == (PATHS.server, "DirectoryOrCreate", False)
    assert found["/etc/ssl/certs"] == ("/etc/ssl/certs", "DirectoryOrCreate", False)
    # These change without the pod being replaced, or are folders.
    assert PATHS.encryption_config not in found
    assert f"{PATHS.tls}/temporary-certs" not in found


@pytest.mark.parametrize(
    ("component", "files"),
    [
        (
            KUBE_CONTROLLER_MANAGER,
            [f"{PATHS.tls}/client-controller.crt", f"{PATHS.tls}/client-controller.key"],
        ),
        (KUBE_SCHEDULER, [f"{PATHS.tls}/client-scheduler.crt", f"{PATHS.tls}/server-ca.crt"]),
        (KUBE_PROXY, [f"{PATHS.agent}/client-kube-proxy.key", f"{PATHS.agent}/server-ca.crt"]),
    ],
)
def test_what_a_kubeconfig_names_is_mounted_with_it(component: str, files: list[str]) -> None:
    assert set(files) <= mounts(component).keys()


def test_a_file_of_an_extra_argument_is_mounted_when_it_exists() -> None:
    values: dict[str, object] = {"kube-apiserver-arg": ["oidc-ca-file=/etc/oidc.crt"]}
    assert "/etc/oidc.crt" not in mounts(KUBE_APISERVER, values)
    there = replace(MACHINE, digests={"/etc/oidc.crt": "1" * 64})
    assert mounts(KUBE_APISERVER, values, there)["/etc/oidc.crt"] == (
        "/etc/oidc.crt",
        "File",
        True,
    )
    changed = replace(MACHINE, digests={"/etc/oidc.crt": "2" * 64})
    assert make(KUBE_APISERVER, values, there).uid != make(KUBE_APISERVER, values, changed).uid


def test_extra_mounts_have_the_access_and_the_type_that_they_ask_for() -> None:
    values: dict[str, object] = {
        "etcd-extra-mount": ["/srv/a:/a", "/srv/b:/b:ro", "/srv/c:/c:rw:Directory", "/srv/d:/d"]
    }
    found = mounts(ETCD, values, replace(MACHINE, digests={"/srv/d": "1" * 64}))
    assert found["/a"] == ("/srv/a", None, False)
    assert found["/b"] == ("/srv/b", None, True)
    assert found["/c"] == ("/srv/c", "Directory", False)
    assert found["/d"] == ("/srv/d", "File", False)


@pytest.mark.parametrize("slash", ["", "/", "//", "/."])
@pytest.mark.parametrize(
    ("component", "arguments", "mount", "found"),
    [
        # As old advice has it: the folder of the audit log, which is there already.
        (
            KUBE_APISERVER,
            ["audit-log-path=/var/log/rke2/audit.log"],
            "/var/log/rke2:/var/log/rke2",
            ("/var/log/rke2", "DirectoryOrCreate", False),
        ),
        (
            KUBE_APISERVER,
            ["audit-log-path=/var/log/rke2/audit.log"],
            "/mnt/logs:/var/log/rke2",
            ("/mnt/logs", None, False),
        ),
        (
            KUBE_APISERVER,
            ["oidc-ca-file=/etc/oidc.crt"],
            "/etc/oidc.crt:/etc/oidc.crt",
            ("/etc/oidc.crt", "File", False),
        ),
        (
            KUBE_APISERVER,
            [],
            "/etc/ssl/certs:/etc/ssl/certs:ro",
            ("/etc/ssl/certs", "DirectoryOrCreate", True),
        ),
        (KUBE_APISERVER, [], "/opt/certs:/etc/ssl/certs:ro", ("/opt/certs", None, True)),
        (
            ETCD,
            [],
            f"{PATHS.etcd_data}:{PATHS.etcd_data}:rw:Directory",
            (PATHS.etcd_data, "Directory", False),
        ),
    ],
)
def test_an_extra_mount_takes_the_place_of_one_of_ours(
    component: str, arguments: list[str], mount: str, found: tuple[str, str | None, bool], slash: str
) -> None:
    source, destination, *rest = mount.split(":")
    values: dict[str, object] = {
        f"{component}-arg": arguments,
        f"{component}-extra-mount": [":".join([source, destination + slash, *rest])],
    }
    machine = replace(MACHINE, digests={"/etc/oidc.crt": "1" * 64}, ssl_directories=("/etc/ssl/certs",))
    made = mounts(component, values, machine)
    assert made[destination + slash] == found
    assert_each_place_has_one_mount(component, values, machine)


@pytest.mark.parametrize(
    ("component", "place"),
    [
        (ETCD, PATHS.etcd_data),
        (ETCD, f"{PATHS.etcd_data}/"),
        (ETCD, f"{PATHS.etcd_tls}/server-client.key"),
        (KUBE_APISERVER, PATHS.server),
        (KUBE_PROXY, f"{PATHS.agent}//server-ca.crt"),
    ],
)
def test_an_extra_mount_over_what_a_component_works_with_is_refused(component: str, place: str) -> None:
    values: dict[str, object] = {f"{component}-extra-mount": ["/srv/a:/a", f"/mnt/fast:{place}"]}
    own = place.rstrip("/").replace("//", "/")
    with pytest.raises(ConfigurationError, match=f"^test: {component}-extra-mount must not replace {own}"):
        make(component, values)


def assert_each_place_has_one_mount(
    component: str, values: dict[str, object], facts: NodeFacts = MACHINE
) -> None:
    spec = pod(component, values, facts)["spec"]
    places = [os.path.normpath(mount["mountPath"]) for mount in spec["containers"][0]["volumeMounts"]]
    assert len(places) == len(set(places))
    volumes = [volume["name"] for volume in spec["volumes"]]
    assert len(volumes) == len(set(volumes))


_PLACES = st.sampled_from(
    [
        "/etc/ssl/certs",
        "/etc/pki/tls",
        "/var/log/rke2",
        "/etc/oidc.crt",
        PATHS.server,
        PATHS.etcd_data,
        f"{PATHS.agent}/server-ca.crt",
        f"{PATHS.etcd_tls}/peer-ca.crt",
    ]
)
_SLASHES = st.sampled_from(["", "/", "//", "/.", "/./"])


@settings(max_examples=60, deadline=None)
@given(
    # The cloud-controller-manager takes no arguments of the user's.
    component=st.sampled_from([pod for pod in STATIC_PODS if pod != CLOUD_CONTROLLER_MANAGER]),
    extra=st.lists(st.tuples(_PLACES, _SLASHES, _PLACES, _SLASHES), max_size=4),
    log=st.tuples(_PLACES, _SLASHES),
    file=st.tuples(_PLACES, _SLASHES),
)
def test_no_static_pod_has_two_mounts_at_one_place(
    component: str,
    extra: list[tuple[str, str, str, str]],
    log: tuple[str, str],
    file: tuple[str, str],
) -> None:
    values: dict[str, object] = {
        f"{component}-extra-mount": [f"{a}{b}:{c}{d}" for a, b, c, d in extra],
        f"{component}-arg": [f"audit-log-path={''.join(log)}/audit.log", f"oidc-ca-file={''.join(file)}"],
    }
    there = {"/etc/oidc.crt": "1", "".join(file): "2"}
    machine = replace(MACHINE, digests=there, ssl_directories=("/etc/ssl/certs", "/etc/pki/tls"))
    try:
        assert_each_place_has_one_mount(component, values, machine)
    except ConfigurationError as error:
        # Refused, with the place named.
        assert f"{component}-extra-mount must" in error.message


# What breaks quoting, and anything else.
_TEXT = st.text(
    st.one_of(
        st.sampled_from("\"'\\:{}[]#&*!|>%@`,$ \t\n\x7f\u2028\ufeff\U0001f600"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=30,
)
_PRINTABLE = _TEXT.filter(str.isprintable)


@settings(max_examples=40, deadline=None)
@given(value=_TEXT)
def test_proxies_reach_the_pod_whatever_they_hold(value: str) -> None:
    facts = replace(MACHINE, environment={"HTTP_PROXY": value})
    # In a pod's environment $$ stands for $, so that nothing looks like a reference to another variable.
    written = value.replace("$", "$$")
    assert {"name": "HTTP_PROXY", "value": written} in container(ETCD, facts=facts)["env"]


@settings(max_examples=40, deadline=None)
@given(value=_PRINTABLE)
def test_extra_environment_reaches_the_pod_whatever_it_holds(value: str) -> None:
    environment = container(ETCD, {"etcd-extra-env": [f"NAME={value}", "OTHER=a=b"]})["env"]
    assert environment[-2:] == [{"name": "NAME", "value": value}, {"name": "OTHER", "value": "a=b"}]


@settings(max_examples=40, deadline=None)
@given(value=_PRINTABLE)
def test_extra_arguments_reach_the_pod_whatever_they_hold(value: str) -> None:
    arguments = container(KUBE_SCHEDULER, {"kube-scheduler-arg": [f"zz={value}"]})["args"]
    assert arguments[-1] == f"--zz={value}"


@settings(max_examples=40, deadline=None)
@given(path=_PRINTABLE.filter(lambda text: ":" not in text and ".." not in text.split("/")))
def test_extra_mounts_reach_the_pod_whatever_their_paths_hold(path: str) -> None:
    found = mounts(KUBE_PROXY, {"kube-proxy-extra-mount": [f"/{path}:/m/{path}:ro"]})
    assert found[f"/m/{path}"] == (f"/{path}", None, True)


def test_extra_arguments_replace_ours_and_may_be_repeated() -> None:
    values: dict[str, object] = {
        "kube-apiserver-arg": [
            "profiling=true",
            "enable-admission-plugins=AlwaysPullImages",
            "feature-gates+=A=true",
            "service-account-issuer=https://b",
            "service-account-issuer=https://a",
        ]
    }
    arguments = container(KUBE_APISERVER, values)["args"]
    assert "--profiling=true" in arguments
    assert "--profiling=false" not in arguments
    assert "--feature-gates=A=true" in arguments
    issuers = [argument for argument in arguments if argument.startswith("--service-account-issuer=")]
    assert issuers == ["--service-account-issuer=https://b", "--service-account-issuer=https://a"]


@pytest.mark.parametrize("key", ["enable-admission-plugins", "--enable-admission-plugins"])
def test_no_argument_of_the_user_lets_kubelets_change_other_nodes(key: str) -> None:
    arguments = container(KUBE_APISERVER, {"kube-apiserver-arg": [f"{key}=AlwaysPullImages"]})["args"]
    plugins = [each for each in arguments if each.startswith("--enable-admission-plugins=")]
    assert plugins == [
        "--enable-admission-plugins=NodeRestriction",
        "--enable-admission-plugins=AlwaysPullImages",
    ]


@pytest.mark.parametrize(
    ("extra", "left_out"),
    [
        ("authentication-config=/etc/authentication.yaml", "--anonymous-auth"),
        ("authorization-config=/etc/authorization.yaml", "--authorization-mode"),
    ],
)
def test_an_argument_that_excludes_one_of_ours_takes_it_away(extra: str, left_out: str) -> None:
    plain = container(KUBE_APISERVER)["args"]
    arguments = container(KUBE_APISERVER, {"kube-apiserver-arg": [extra]})["args"]
    assert any(argument.startswith(f"{left_out}=") for argument in plain)
    assert not any(argument.startswith(f"{left_out}=") for argument in arguments)


def test_proxies_reach_the_pod() -> None:
    facts = replace(MACHINE, environment={"HTTPS_PROXY": "http://user:password@proxy", "HOME": "/root"})
    environment = {item["name"]: item["value"] for item in container(ETCD, facts=facts)["env"]}
    assert environment["HTTPS_PROXY"] == "http://user:password@proxy"
    assert environment["NO_PROXY"] == "10.42.0.0/16,10.43.0.0/16,.svc,.cluster.local"
    assert "HOME" not in environment


def test_resources_of_the_user_are_merged_with_ours() -> None:
    values: dict[str, object] = {
        "control-plane-resource-requests": ["etcd-cpu=1,kube-proxy-memory=1Gi"],
        "control-plane-resource-limits": ["etcd-memory=4Gi"],
    }
    assert container(ETCD, values)["resources"] == {
        "requests": {"cpu": "1", "memory": "512Mi"},
        "limits": {"memory": "4Gi"},
    }
    assert container(KUBE_PROXY, values)["resources"] == {"requests": {"cpu": "250m", "memory": "1Gi"}}


def test_etcd_keeps_its_initial_cluster_in_an_annotation() -> None:
    annotation = pod(ETCD)["metadata"]["annotations"][static_pods.INITIAL_ANNOTATION]
    assert yaml.safe_load(annotation) == {
        "initial-advertise-peer-urls": "https://192.0.2.10:2380",
        "initial-cluster": "node1-1a2b3c4d=https://192.0.2.10:2380",
        "initial-cluster-state": "new",
    }
    assert "annotations" not in pod(KUBE_APISERVER)["metadata"]


@pytest.mark.parametrize("profile", ["cis", "etcd"])
def test_with_a_profile_etcd_runs_as_its_own_user_or_not_at_all(profile: str) -> None:
    facts = replace(MACHINE, etcd_user=(998, 997))
    context = pod(ETCD, {"profile": profile}, facts)["spec"]["securityContext"]
    assert context == {"runAsUser": 998, "runAsGroup": 997}
    assert "securityContext" not in pod(KUBE_APISERVER, {"profile": profile}, facts)["spec"]
    with pytest.raises(ConfigurationError, match="useradd --system"):
        make(ETCD, {"profile": profile})


def test_profile_cis_writes_an_audit_log() -> None:
    facts = replace(MACHINE, etcd_user=(998, 997))
    arguments = container(KUBE_APISERVER, {"profile": "cis"}, facts)["args"]
    assert f"--audit-policy-file={layout.AUDIT_POLICY_FILE}" in arguments
    assert f"--audit-log-path={PATHS.server_logs}/audit.log" in arguments
    assert "--service-account-extend-token-expiration=false" in arguments
    found = mounts(KUBE_APISERVER, {"profile": "cis"}, facts)
    assert found[layout.AUDIT_POLICY_FILE] == (layout.AUDIT_POLICY_FILE, "File", True)
    assert found[PATHS.server_logs] == (PATHS.server_logs, "DirectoryOrCreate", False)
    assert f"{PATHS.server_logs}/audit.log" not in found


def test_an_audit_log_to_standard_output_mounts_nothing() -> None:
    values: dict[str, object] = {
        "audit-policy-file": "/etc/audit.yaml",
        "kube-apiserver-arg": ["audit-log-path=-"],
    }
    assert "--audit-log-path=-" in container(KUBE_APISERVER, values)["args"]
    assert PATHS.server_logs not in mounts(KUBE_APISERVER, values)


def test_a_server_runs_the_control_plane_and_an_agent_kube_proxy_alone() -> None:
    server, agent = make_config(Role.SERVER, {}), make_config(Role.AGENT, dict(JOINING))
    control_plane = tuple(name for name in STATIC_PODS if name != CLOUD_CONTROLLER_MANAGER)
    assert static_pods.components(server, OLD) == control_plane
    assert static_pods.components(agent, NEW) == (KUBE_PROXY,)


def test_a_disabled_component_and_one_that_comes_with_a_chart_are_left_out() -> None:
    config = make_config(Role.SERVER, {"disable-scheduler": True, "disable-kube-proxy": True})
    assert static_pods.components(config, OLD) == (
        ETCD,
        KUBE_APISERVER,
        KUBE_CONTROLLER_MANAGER,
    )
    charted = replace(NEW, kube_proxy=CHART)
    assert KUBE_PROXY not in static_pods.components(make_config(Role.SERVER, {}), charted)


def test_the_scheduler_of_an_old_release_is_probed_where_it_answers() -> None:
    def paths(component: str, old: bool) -> set[str]:
        text = static_pods.manifest(component, make_node(release=OLD if old else NEW)).text
        [only] = yaml.safe_load(text)["spec"]["containers"]
        return {probe["httpGet"]["path"] for name, probe in only.items() if name.endswith("Probe")}

    assert paths(KUBE_SCHEDULER, old=True) == {"/healthz"}
    assert paths(KUBE_SCHEDULER, old=False) == {"/livez", "/readyz"}
    assert paths(KUBE_PROXY, old=True) == {"/healthz"}
    assert paths(KUBE_PROXY, old=False) == {"/livez"}


def test_probes_have_rke2s_times_unless_the_user_sets_them() -> None:
    values: dict[str, object] = {
        "control-plane-probe-configuration": [
            "etcd-startup-failure-threshold=48,etcd-liveness-period-seconds=3"
        ]
    }
    times = ("initialDelaySeconds", "timeoutSeconds", "failureThreshold", "periodSeconds")
    etcd = container(ETCD, values)
    assert [etcd["livenessProbe"][time] for time in times] == [10, 15, 8, 3]
    assert [etcd["startupProbe"][time] for time in times] == [10, 15, 48, 10]
    assert "readinessProbe" not in etcd
    apiserver = container(KUBE_APISERVER)
    assert [apiserver["readinessProbe"][time] for time in times] == [0, 15, 3, 5]
    scheduler = container(KUBE_SCHEDULER)
    assert [scheduler["readinessProbe"][time] for time in times] == [0, 15, 3, 1]


def test_kube_apiserver_is_probed_with_the_kubectl_of_its_image() -> None:
    command = container(KUBE_APISERVER)["readinessProbe"]["exec"]["command"]
    assert command[:3] == ["kubectl", "get", "--server=https://localhost:6443/"]
    assert command[-1] == "--raw=/readyz"
