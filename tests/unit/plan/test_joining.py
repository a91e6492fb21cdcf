"""What the plan has for nodes that join others, and for those that are joined."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rke2_units import layout, unit_names
from rke2_units.certificates import bootstrap
from rke2_units.controllers import settings as controllers_settings
from rke2_units.errors import ConfigurationError
from rke2_units.join_api.settings import read as read_supervisor_settings
from rke2_units.layout import Paths
from rke2_units.lean import settings as program_settings
from rke2_units.model import Plan, ServerList
from rke2_units.plan import api_proxy, make_plan, supervisor_settings
from rke2_units.plan.cluster_config import describe_cluster
from rke2_units.plan.templates import render
from rke2_units.release.table import DEFAULT, RELEASES, release
from rke2_units.unit_names import Role
from tests.unit.configs import make_config
from tests.unit.plan.cases import CASES, MACHINE, make_node

RELEASE = release(DEFAULT)
PATHS = Paths()
OF_JOINING = {
    unit_names.SUPERVISOR_SOCKET,
    unit_names.SUPERVISOR_UNIT,
    unit_names.API_PROXY_UNIT,
    unit_names.ETCDCTL_UNIT,
    unit_names.ETCD_JOIN_UNIT,
    unit_names.CONTROLLERS_UNIT,
}


def plan_of(case: str, release_name: str = DEFAULT, **values: object) -> Plan:
    node = CASES[case]
    config = make_config(
        node.role, {**node.values, **{key.replace("_", "-"): v for key, v in values.items()}}
    )
    return make_plan(node.role, config, node.facts, release(release_name))


def unit(plan: Plan, name: str) -> str:
    return plan.file(f"{layout.UNIT_DIRECTORY}/{name}").content


def test_every_unit_that_is_started_has_a_file_and_the_supervisor_is_first() -> None:
    seen = set()
    for case in CASES.values():
        plan = make_plan(case.role, case.config(), case.facts, RELEASE)
        files = {file.path.rpartition("/")[2] for file in plan.files}
        for name in plan.units:
            assert re.sub("@.*[.]", "@.", name) in files
        seen |= OF_JOINING & set(plan.units)
        if plan.role is Role.SERVER:
            # It is given the folder of this socket when it starts.
            requests = unit_names.SNAPSHOT_REQUEST_SOCKET
            first = [name for name in plan.units if name != requests][:2]
            assert first == [unit_names.SUPERVISOR_SOCKET, unit_names.SUPERVISOR_UNIT]
            assert requests not in plan.units[1:]
        else:
            assert plan.units[0] == unit_names.API_PROXY_UNIT
    assert seen == OF_JOINING


def test_a_server_that_has_to_join_etcd_can_start_no_etcd_of_its_own() -> None:
    plan = plan_of("joining-server")
    assert plan.units[-2:] == (unit_names.ETCDCTL_UNIT, unit_names.ETCD_JOIN_UNIT)
    assert not [name for name in plan.units if "static-pod" in name or "kubelet" in name]
    paths = {file.path for file in plan.files}
    assert not paths & {PATHS.etcd_config, *(PATHS.staged_manifest(name) for name in unit_names.STATIC_PODS)}


@pytest.mark.parametrize("release_name", RELEASES)
def test_the_programs_can_read_what_the_plan_writes_for_them(release_name: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(plan_of("joining-server", release_name).file(PATHS.program_settings).content)
    read = program_settings.read(str(file))
    etcdctl = read.image_programs["etcdctl"]
    assert etcdctl.directory.startswith("etcdctl-") and etcdctl.image
    joined = read.etcd_join
    assert joined.text("server") == "https://server.example:9345"
    assert joined.text("member_name") == "node1-1a2b3c4d"
    assert joined.text("peer_url") == "https://192.0.2.10:2380"
    assert joined.text("initial") == PATHS.etcd_initial
    for key in ("authority", "certificate", "key", "server_authority", "token_file"):
        assert joined.text(key).startswith(PATHS.server)
    assert joined.text("etcdctl") == f"{PATHS.content}/{read.image_programs['etcdctl'].directory}/etcdctl"

    server = plan_of("server", release_name)
    file.write_text(server.file(PATHS.controllers_settings).content)
    controllers = controllers_settings.read(str(file))
    assert controllers.member_name == "node1-1a2b3c4d" and controllers.rbac == PATHS.rbac
    assert controllers.bootstrap_files == {
        name: f"{PATHS.server}/{path}" for name, path in bootstrap.FILES.items()
    }


def test_the_supervisor_can_read_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.json"
    file.write_text(plan_of("server").file(PATHS.supervisor_settings).content)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = read_supervisor_settings(str(file))
    assert settings.node_name == "node1" and settings.node_ips == ("192.0.2.10",)
    assert settings.config["ClusterIPRange"] == {"IP": "10.42.0.0", "Mask": "//8AAA=="}
    assert settings.apiservers_fallback == ("192.0.2.10:6443",)
    assert len(settings.cipher_suites) == 6 and settings.min_tls_version == "VersionTLS12"


def test_the_supervisor_speaks_the_tls_that_the_apiserver_was_told_to() -> None:
    given = ["tls-min-version=VersionTLS13", "tls-cipher-suites=TLS_A,TLS_B"]
    plan = plan_of("server", kube_apiserver_arg=given)
    settings = json.loads(plan.file(PATHS.supervisor_settings).content)
    assert settings["min_tls_version"] == "VersionTLS13"
    assert settings["cipher_suites"] == ["TLS_A", "TLS_B"]


@pytest.mark.parametrize(
    ("address", "listened_on"),
    [
        ("0.0.0.0", "9345"),
        ("::", "9345"),
        ("192.0.2.10", "192.0.2.10:9345"),
        ("2001:db8::1", "[2001:db8::1]:9345"),
    ],
)
def test_the_supervisor_listens_on_the_bind_address(address: str, listened_on: str) -> None:
    text = unit(plan_of("server", bind_address=address), unit_names.SUPERVISOR_SOCKET)
    assert f"\nListenStream={listened_on}\n" in text


def test_the_supervisor_gets_every_file_of_the_bootstrap_data_but_keys_that_are_elsewhere() -> None:
    found = supervisor_settings.credentials(make_node())
    assert {f"{PATHS.server}/{path}" for path in bootstrap.FILES.values()} <= set(found.values())
    here = replace(MACHINE, digests={f"{PATHS.tls}/server-ca.crt": "1", f"{PATHS.tls}/client-ca.crt": "2"})
    here = replace(here, digests={**here.digests, f"{PATHS.tls}/client-ca.key": "3"})
    assert found.keys() - supervisor_settings.credentials(make_node(facts=here)).keys() == {"server-ca.key"}


@pytest.mark.parametrize(
    ("case", "name", "path"),
    [
        ("server", unit_names.SUPERVISOR_UNIT, f"{PATHS.tls}/serving-supervisor.crt"),
        ("server", unit_names.SUPERVISOR_UNIT, PATHS.passwd),
        ("server", unit_names.CONTROLLERS_UNIT, PATHS.passwd),
        ("agent", unit_names.API_PROXY_UNIT, f"{PATHS.agent}/client-kubelet.crt"),
    ],
)
def test_a_changed_file_changes_the_digest_of_who_reads_it_once(case: str, name: str, path: str) -> None:
    node = CASES[case]
    before, after = (
        unit(make_plan(node.role, node.config(), replace(node.facts, digests=digests), RELEASE), name)
        for digests in ({path: "1" * 64}, {path: "2" * 64})
    )
    assert before != after
    assert re.sub("DIGEST=.*", "", before) == re.sub("DIGEST=.*", "", after)


def test_another_list_of_servers_is_no_reason_to_restart_the_proxy() -> None:
    node = CASES["agent"]
    plans = [
        make_plan(node.role, node.config(), replace(node.facts, known_servers=known), RELEASE)
        for known in (ServerList(apiservers=("192.0.2.9:6443",)), ServerList(apiservers=("192.0.2.8:6443",)))
    ]
    assert unit(plans[0], unit_names.API_PROXY_UNIT) == unit(plans[1], unit_names.API_PROXY_UNIT)
    assert plans[0].file(PATHS.api_proxy_config) != plans[1].file(PATHS.api_proxy_config)


def test_the_proxys_ports_are_the_configured_one_and_the_one_below_it() -> None:
    text = plan_of("agent", lb_server_port=7000).file(PATHS.api_proxy_config).content
    assert re.findall("bind (.*)", text) == ["127.0.0.1:6999", "127.0.0.1:7000"]
    assert re.findall("^    server \\S+ (.*)", text, re.MULTILINE) == [
        "192.0.2.9:6443",
        "[2001:db8::9]:6443",
        "192.0.2.9:9345",
        "[2001:db8::9]:9345",
    ]


def test_on_a_node_with_ipv6_the_proxy_listens_there_too() -> None:
    node = replace(CASES["agent"].node(), facts=replace(MACHINE, node_ips=("2001:db8::10",)))
    text = api_proxy.text(node, ServerList())
    assert "bind [::1]:6443" in text and "bind [::1]:6444" in text


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="no haproxy")
@pytest.mark.parametrize("case", ["agent", "etcd-server", "control-plane-server"])
def test_haproxy_takes_its_configuration(tmp_path: Path, case: str) -> None:
    node = CASES[case]
    authority = tmp_path / "server-ca.crt"
    request = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=a",
    ]
    subprocess.run(["openssl", *request, "-keyout", tmp_path / "key", "-out", authority], check=True)
    (tmp_path / "client.pem").write_text(authority.read_text() + (tmp_path / "key").read_text())
    file = tmp_path / "haproxy.cfg"
    file.write_text(api_proxy.text(node.node(), node.facts.known_servers))
    environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(tmp_path), "RUNTIME_DIRECTORY": str(tmp_path)}
    done = subprocess.run(
        ["haproxy", "-c", "-q", "-f", file], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("server", unit_names.SUPERVISOR_UNIT),
        ("server", unit_names.CONTROLLERS_UNIT),
        ("joining-server", unit_names.ETCD_JOIN_UNIT),
        ("agent", unit_names.API_PROXY_UNIT),
        # Registries, and what comes from them.
        ("server", unit_names.CONTENT_UNIT),
        ("server", unit_names.IMAGES_UNIT),
        ("server", unit_names.ETCDCTL_UNIT),
        ("server", unit_names.HELM_UNIT),
        ("server", unit_names.static_pod_unit("")),
        # Requests and S3.
        ("server", unit_names.SNAPSHOT_UNIT),
        ("server", unit_names.SNAPSHOT_REQUEST_TEMPLATE),
        ("server", unit_names.SNAPSHOT_RECONCILE_UNIT),
        ("server", unit_names.SNAPSHOT_VERIFY_UNIT),
    ],
)
def test_what_speaks_with_other_machines_is_hardened(case: str, name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    path = tmp_path / name
    path.write_text(unit(plan_of(case), name))
    # The threshold is ten times the score.
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=30", "--no-pager", str(path)]
    analysed = subprocess.run(command, capture_output=True, text=True)
    assert "Overall exposure level" in analysed.stdout
    assert analysed.returncode == 0, analysed.stdout.splitlines()[-1]


def test_rke2s_answer_has_masks_in_base64_and_every_network() -> None:
    answer = describe_cluster(CASES["server-dual-stack"].node())
    assert answer["ClusterIPRanges"] == [
        {"IP": "10.42.0.0", "Mask": "//8AAA=="},
        {"IP": "fd00:42::", "Mask": "/////////wAAAAAAAAAAAA=="},
    ]
    assert answer["ClusterDNSs"] == ["10.43.0.10", "fd00:43::a"]


def cloud_controller_runs(release_name: str = DEFAULT, **values: object) -> bool:
    plan = plan_of("server", release_name, **values)
    runs = unit_names.static_pod_unit(unit_names.CLOUD_CONTROLLER_MANAGER) in plan.units
    assert ("cloud-provider=external" in unit(plan, unit_names.KUBELET_UNIT)) is (
        runs or "cloud_provider_name" in values
    )
    assert (PATHS.cloud_config in {file.path for file in plan.files}) is runs
    return runs


def test_the_cloud_controller_runs_where_its_image_is_and_nobody_has_another() -> None:
    assert cloud_controller_runs()
    assert not cloud_controller_runs("v1.20.2+rke2r1")
    assert cloud_controller_runs("v1.20.2+rke2r1", cloud_controller_manager_image="example.org/cloud:v1")
    assert not cloud_controller_runs(disable_cloud_controller=True)
    assert not cloud_controller_runs(cloud_provider_name="external")


def load_balancer(release_name: str = DEFAULT, **values: object) -> tuple[dict[str, object], str, bool]:
    """The cloud-controller-manager's configuration, what it leaves out, and whether it sees to the nodes."""
    plan = plan_of("server", release_name, enable_servicelb=True, **values)
    manifest = plan.file(PATHS.staged_manifest(unit_names.CLOUD_CONTROLLER_MANAGER)).content
    [left_out] = re.findall(r"--controllers=\*,([a-z,-]+)", manifest)
    assert "net.ipv4.ip_forward" in plan.file(PATHS.kubelet_config).content
    outside = "cloud-provider=external" in unit(plan, unit_names.KUBELET_UNIT)
    return json.loads(plan.file(PATHS.cloud_config).content), left_out, outside


def test_the_service_load_balancer_is_the_cloud_controllers_and_may_be_all_that_it_does() -> None:
    settings, left_out, sees_to_nodes = load_balancer(servicelb_namespace="balancers")
    assert settings["lbEnabled"] and settings["nodeEnabled"] and settings["lbNamespace"] == "balancers"
    assert settings["lbImage"] == "docker.io/rancher/klipper-lb:v0.4.17"
    assert left_out == "-route" and sees_to_nodes
    settings, left_out, sees_to_nodes = load_balancer(
        disable_cloud_controller=True, system_default_registry="registry.example:5000"
    )
    assert settings["lbEnabled"] and not settings["nodeEnabled"]
    assert settings["lbImage"] == "registry.example:5000/rancher/klipper-lb:v0.4.17"
    assert left_out == "-route,-cloud-node,-cloud-node-lifecycle" and not sees_to_nodes


def test_without_the_service_load_balancer_nothing_speaks_of_it() -> None:
    plan = plan_of("server")
    assert "klipper-lb" not in plan.file(PATHS.cloud_config).content
    assert "Sysctls" not in plan.file(PATHS.kubelet_config).content


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({}, "release v1.20.2+rke2r1 has no cloud-controller-manager"),
        ({"cloud_controller_manager_image": "example.org/cloud:v1"}, "have no klipper-lb"),
    ],
)
def test_a_service_load_balancer_that_the_release_lacks_is_refused(
    values: dict[str, object], what: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(what)):
        load_balancer("v1.20.2+rke2r1", **values)


def test_an_agents_kubelet_lets_the_load_balancers_pods_forward_where_its_servers_say_so() -> None:
    node = CASES["agent"]
    config = node.config().with_cluster({"enable-servicelb": ["true"]}, "the cluster's servers")
    plan = make_plan(node.role, config, node.facts, RELEASE)
    assert "net.ipv4.ip_forward" in plan.file(PATHS.kubelet_config).content


def test_the_cloud_controller_waits_for_its_roles_and_takes_work_from_the_controller_manager() -> None:
    plan = plan_of("server", kube_cloud_controller_manager_arg=["v=4"])
    settings = json.loads(plan.file(PATHS.program_settings).content)
    needs = settings["static_pods"][unit_names.CLOUD_CONTROLLER_MANAGER]["needs"]
    assert needs[0] == unit_names.KUBE_APISERVER and len(needs) == 2
    assert set(needs) <= settings["health_checks"].keys()
    manifest = plan.file(PATHS.staged_manifest(unit_names.CLOUD_CONTROLLER_MANAGER)).content
    for mounted in (PATHS.cloud_config, f"{PATHS.tls}/client-rke2-cloud-controller.key"):
        assert f'path: "{mounted}"' in manifest
    assert '- "--v=4"' in manifest and "feature-gates" not in manifest
    others = plan.file(PATHS.staged_manifest(unit_names.KUBE_CONTROLLER_MANAGER)).content
    assert '- "--controllers=*,tokencleaner,-service,-route,-cloud-node-lifecycle"' in others


def test_an_agents_kube_proxy_waits_for_the_api_behind_the_nodes_proxy() -> None:
    settings = json.loads(plan_of("agent", lb_server_port=7001).file(PATHS.program_settings).content)
    assert settings["static_pods"][unit_names.KUBE_PROXY]["needs"] == [unit_names.KUBE_APISERVER]
    check = settings["health_checks"][unit_names.KUBE_APISERVER]
    assert check["url"] == "https://127.0.0.1:7000/readyz"
    # Nothing else is on an agent.
    assert all(check[name].startswith(PATHS.agent) for name in ("authority", "certificate", "key"))


def test_every_role_and_binding_is_rke2s() -> None:
    found = {
        (each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(render("rbac.yaml"))
    }
    for each in found.values():
        assert each["metadata"]["labels"] == {"rke2.io/bootstrapping": "rbac-defaults"}
        assert each["metadata"]["annotations"] == {"rbac.authorization.kubernetes.io/autoupdate": "true"}
    roles = {name for kind, name in found if kind == "ClusterRole"}
    assert roles == {"system:kube-proxy", "system:rke2-controller", "rke2-cloud-controller-manager"}
    # Every agent has this identity: what it may do, every agent may.
    agents = found["ClusterRole", "system:rke2-controller"]["rules"]
    assert {verb for rule in agents for verb in rule["verbs"]} == {"get", "list", "watch"}
    # Environment variables in pods and charts' values are no agent's business.
    assert {what for rule in agents for what in rule["resources"]} == {
        "nodes",
        "endpoints",
        "endpointslices",
    }


def test_a_kube_apiserver_waits_until_its_etcd_votes() -> None:
    settings = json.loads(plan_of("joined-server").file(PATHS.program_settings).content)
    health, vote = settings["static_pods"][unit_names.KUBE_APISERVER]["needs"]
    assert settings["health_checks"][health]["url"] == "http://127.0.0.1:2381/health"
    # A learner says that it is healthy.
    check = settings["health_checks"][vote]
    assert check["url"] == "https://127.0.0.1:2380/members"
    assert check["certificate"] == f"{PATHS.etcd_tls}/peer-server-client.crt"
    # As etcd 3.4 and 3.5 answer.
    voter, learner = (
        f'[{{"id":1,"peerURLs":["https://a:2380"],{role}"name":"node1-1a2b3c4d"}}]'
        for role in ("", '"isLearner":true,')
    )
    assert check["contains"] in voter and check["contains"] not in learner
