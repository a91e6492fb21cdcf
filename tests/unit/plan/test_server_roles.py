"""What the plan has for servers that have etcd alone, and for those that have all but etcd."""

import json
import re

import pytest

from rke2_units import unit_names
from rke2_units.errors import ConfigurationError
from rke2_units.layout import Paths
from rke2_units.model import Plan
from rke2_units.plan import make_plan
from rke2_units.release.table import DEFAULT, RELEASES, release
from rke2_units.unit_names import Role
from tests.unit.configs import make_config
from tests.unit.plan.cases import CASES, JOINING, MACHINE

PATHS = Paths()
OLD = "v1.20.2+rke2r1"


def plan_of(case: str, release_name: str = OLD) -> Plan:
    node = CASES[case]
    return make_plan(node.role, node.config(), node.facts, release(release_name))


def pods(plan: Plan) -> list[str]:
    return [name for name in unit_names.STATIC_PODS if unit_names.static_pod_unit(name) in plan.units]


def ways(plan: Plan) -> dict[str, tuple[str, list[str]]]:
    """Of the proxy's configuration: each port with how servers are asked, and the servers."""
    found = {}
    for section in plan.file(PATHS.api_proxy_config).content.split("\nlisten ")[1:]:
        asked = re.findall("option httpchk GET (.*)", section) or re.findall("default-server (.*)", section)
        servers = re.findall("^    server \\S+ (.*)", section, re.MULTILINE)
        found[re.findall("bind 127.0.0.1:(.*)", section)[0]] = (asked[0], servers)
    return found


def test_a_server_that_has_etcd_alone_finds_the_api_servers_where_its_own_would_be() -> None:
    plan = plan_of("etcd-server")
    assert pods(plan) == [unit_names.ETCD, unit_names.KUBE_PROXY]
    assert ways(plan) == {"6443": ("/readyz", ["192.0.2.8:6443"])}
    assert unit_names.CONTROLLERS_UNIT in plan.units
    assert json.loads(plan.file(PATHS.supervisor_settings).content)["apiservers_fallback"] == []


def test_its_pods_wait_for_the_api_servers_elsewhere() -> None:
    settings = json.loads(plan_of("etcd-server").file(PATHS.program_settings).content)
    assert settings["static_pods"][unit_names.ETCD]["needs"] == ["kubelet"]
    assert settings["static_pods"][unit_names.KUBE_PROXY]["needs"] == [unit_names.KUBE_APISERVER]
    assert settings["health_checks"][unit_names.KUBE_APISERVER]["url"] == "https://127.0.0.1:6443/readyz"


def test_a_server_without_etcd_finds_its_members_where_its_own_would_be() -> None:
    plan = plan_of("control-plane-server")
    assert unit_names.ETCD not in pods(plan) and unit_names.KUBE_APISERVER in pods(plan)
    assert ways(plan) == {"2379": ("no-check-ssl", ["192.0.2.9:2379", "[2001:db8::9]:2379"])}
    assert PATHS.etcd_config not in {file.path for file in plan.files}
    assert (
        "etcd-servers=https://127.0.0.1:2379"
        in plan.file(PATHS.staged_manifest(unit_names.KUBE_APISERVER)).content
    )
    settings = json.loads(plan.file(PATHS.program_settings).content)
    assert settings["static_pods"][unit_names.KUBE_APISERVER]["needs"] == []


@pytest.mark.parametrize("release_name", RELEASES)
def test_a_server_with_all_of_it_has_no_proxy(release_name: str) -> None:
    assert unit_names.API_PROXY_UNIT not in plan_of("server", release_name).units


def test_the_cloud_controller_manager_runs_beside_an_apiserver_alone() -> None:
    assert unit_names.CLOUD_CONTROLLER_MANAGER in pods(plan_of("control-plane-server", DEFAULT))
    assert unit_names.CLOUD_CONTROLLER_MANAGER not in pods(plan_of("etcd-server", DEFAULT))


@pytest.mark.parametrize(
    ("case", "control_plane", "member"),
    [
        ("server", True, "node1-1a2b3c4d"),
        ("etcd-server", False, "node1-1a2b3c4d"),
        ("control-plane-server", True, ""),
    ],
)
def test_the_controllers_know_what_their_server_is_for(case: str, control_plane: bool, member: str) -> None:
    settings = json.loads(plan_of(case).file(PATHS.controllers_settings).content)
    assert (settings["control_plane"], settings["member_name"]) == (control_plane, member)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"disable-etcd": True}, "disable-etcd needs a server that has etcd.*set server"),
        (
            {**JOINING, "disable-etcd": True, "disable-apiserver": True},
            "disable-etcd cannot be true beside disable-apiserver.*--role agent",
        ),
    ],
)
def test_a_server_of_no_use_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_plan(Role.SERVER, make_config(Role.SERVER, values), MACHINE, release(DEFAULT))
    assert re.search(words, str(caught.value))
