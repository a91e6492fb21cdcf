"""The helm-applier's part of the plan: settings, charts, helm, unit."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from rke2_units import layout, unit_names
from rke2_units.config.config import Config
from rke2_units.errors import ConfigurationError
from rke2_units.layout import Paths
from rke2_units.model import NodeFacts
from rke2_units.plan import applier_settings, charts, make_plan, programs, units
from rke2_units.plan.image_programs import ImageProgram, helm
from rke2_units.release.model import CHART
from rke2_units.release.table import DEFAULT, release
from rke2_units.unit_names import Role
from rke2_units.unit_table import UNITS
from tests.unit.configs import make_config
from tests.unit.plan.cases import CASES, HOST_MACHINE, MACHINE, make_node

OLD = release("v1.20.2+rke2r1")
NEW = release(DEFAULT)


def server(values: Mapping[str, object]) -> Config:
    return make_config(Role.SERVER, dict(values))


@pytest.mark.parametrize(
    ("values", "selected"),
    [
        ({}, {"rke2-canal"}),
        ({"cni": "cilium"}, {"rke2-cilium"}),
        ({"cni": ["multus", "calico"]}, {"rke2-multus", "rke2-calico", "rke2-calico-crd"}),
        ({"cni": "none"}, set()),
        ({"disable": "rke2-canal"}, set()),
    ],
)
def test_network_plugins_that_are_not_selected_are_disabled(
    values: dict[str, object], selected: set[str]
) -> None:
    disabled = charts.disabled(server(values), NEW)
    every = {"rke2-canal", "rke2-cilium", "rke2-calico", "rke2-calico-crd", "rke2-flannel", "rke2-multus"}
    assert every - set(disabled) == selected
    assert len(set(disabled)) == len(disabled)


def test_bundled_cloud_providers_and_what_the_user_disables_are_disabled() -> None:
    disabled = charts.disabled(server({"disable": ["rke2-coredns,rke2-metrics-server"]}), NEW)
    assert {"rke2-coredns", "rke2-metrics-server", "rancher-vsphere-cpi", "harvester-csi-driver"} < {
        *disabled
    }
    assert "rke2-snapshot-controller" not in disabled


@pytest.mark.parametrize(
    ("kube_proxy", "runs", "disabled"),
    [(CHART, True, False), (CHART, False, True), ("static-pod", True, True), ("static-pod", False, False)],
)
def test_kube_proxy_never_runs_twice(kube_proxy: str, runs: bool, disabled: bool) -> None:
    found = charts.disabled(server({"disable-kube-proxy": not runs}), replace(NEW, kube_proxy=kube_proxy))
    assert ("rke2-kube-proxy" in found) is disabled


def test_charts_get_the_values_that_rke2_gives_them() -> None:
    case = CASES["server-dual-stack"]
    values = {**case.values, "system-default-registry": "registry.example:5000", "data-dir": "/srv/r/"}
    assert charts.cluster_values(make_node(values, case.facts)) == {
        "global.clusterCIDR": "10.42.0.0/16,fd00:42::/56",
        "global.clusterCIDRv4": "10.42.0.0/16",
        "global.clusterCIDRv6": "fd00:42::/56",
        "global.clusterDNS": "10.43.0.10,fd00:43::a",
        "global.clusterDomain": "cluster.local",
        "global.rke2DataDir": "/srv/r",
        "global.serviceCIDR": "10.43.0.0/16,fd00:43::/112",
        "global.prime.enabled": "false",
        "global.systemDefaultRegistry": "registry.example:5000",
        "global.cattle.systemDefaultRegistry": "registry.example:5000",
    }


IMAGE = "rancher/klipper-helm:v0.13.3-build20260820"
IN_DATA = "/var/lib/rancher/rke2/data/helm-"


def test_helm_comes_out_of_the_releases_image() -> None:
    found = helm(make_node())
    assert (found.image, found.pull) == (IMAGE, f"index.docker.io/{IMAGE}")
    assert re.fullmatch(f"{IN_DATA}[0-9a-f]{{12}}/helm", found.path)


def test_another_image_of_helm_has_another_place() -> None:
    found = helm(make_node({"helm-job-image": "example.com/helm:1"}, release=OLD))
    assert (found.image, found.pull) == ("example.com/helm:1", "example.com/helm:1")
    assert found.path != helm(make_node()).path


def test_without_an_image_of_helm_it_is_the_machines_own() -> None:
    own = replace(MACHINE, programs={"helm": "/usr/bin/helm"})
    without = replace(OLD, images={key: name for key, name in OLD.images.items() if key != "helm-job-image"})
    assert helm(make_node({}, own, without)) == ImageProgram("helm", "/usr/bin/helm")
    assert helm(make_node({}, MACHINE, without)) == ImageProgram("helm", "/usr/local/bin/helm")


def test_a_helm_that_is_there_is_taken_as_it_is() -> None:
    own = replace(HOST_MACHINE, programs={**HOST_MACHINE.programs, "helm": "/usr/local/bin/helm"})
    as_it_is = ImageProgram("helm", "/usr/local/bin/helm")
    assert helm(make_node({"content": "host"}, own)) == as_it_is
    assert helm(make_node({"content": "host"}, HOST_MACHINE)).image == IMAGE
    assert helm(make_node({"helm-path": "helm"}, own)) == as_it_is


def test_a_helm_that_is_named_and_not_there_is_an_error_of_its_key() -> None:
    with pytest.raises(ConfigurationError, match="helm-path must be an executable program.*no /opt/helm"):
        helm(make_node({"helm-path": "/opt/helm"}))


def settings(values: Mapping[str, object], of: str = DEFAULT) -> dict[str, object]:
    found = json.loads(applier_settings.text(make_node(values, release=release(of))))
    assert isinstance(found, dict)
    return found


def staging(values: Mapping[str, object], of: str = DEFAULT) -> dict[str, object]:
    found = settings(values, of)["staging"]
    assert isinstance(found, dict)
    return found


def test_the_settings_name_what_the_applier_and_its_staging_need() -> None:
    found = settings({"disable": "rke2-coredns"})
    assert found["node_name"] == "node1"
    assert found["manifests"] == "/var/lib/rancher/rke2/server/manifests"
    assert found["kubeconfig"] == "/var/lib/rancher/rke2/server/cred/supervisor.kubeconfig"
    assert "rke2-coredns" in str(found["disabled"])
    assert str(staging({})["charts"]).endswith("/data/v1.36.4-rke2r1-f17a4346e1f5/charts")
    assert staging({"content": "host"})["charts"] == ""


def test_an_ingress_controller_that_is_not_chosen_is_the_releases_or_the_installed_one() -> None:
    assert staging({})["ingress"] == [] and staging({})["default_ingress"] == "traefik"
    assert staging({}, OLD.name)["default_ingress"] == "ingress-nginx"
    both = {"ingress-controller": "ingress-nginx,traefik"}
    assert staging(both)["ingress"] == ["ingress-nginx", "traefik"]


BOTH = (unit_names.HELM_UNIT, unit_names.APPLIER_UNIT)


def rendered(facts: NodeFacts = MACHINE, wanted: tuple[str, ...] = BOTH) -> dict[str, str]:
    node = make_node(facts=facts)
    own_helm = ImageProgram("helm", "/usr/bin/helm")
    rows = [unit for unit in UNITS if unit.name in wanted]
    made = units.files(node, rows, programs.choose_programs(node), own_helm, others=[])
    return {Path(file.path).name: file.content for file in made}


def test_the_units_are_there_only_where_they_are_wanted() -> None:
    assert set(BOTH) < rendered().keys()
    assert not set(BOTH) & rendered(wanted=()).keys()


@pytest.mark.parametrize("case", CASES)
def test_whoever_has_an_apiserver_applies_and_no_agent_does(case: str) -> None:
    node = CASES[case]
    plan = make_plan(node.role, node.config(), node.facts, NEW)
    applies = node.role is Role.SERVER and not node.facts.etcd_join and case != "etcd-server"
    assert (unit_names.APPLIER_UNIT in plan.units) is applies
    assert (unit_names.HELM_UNIT in plan.units) is applies
    assert plan.units[0] not in (unit_names.APPLIER_UNIT, unit_names.HELM_UNIT)


def test_changed_settings_replace_the_applier() -> None:
    def unit(values: Mapping[str, object]) -> str:
        plan = make_plan(Role.SERVER, server(values), MACHINE, NEW)
        return plan.file(f"{layout.UNIT_DIRECTORY}/{unit_names.APPLIER_UNIT}").content

    assert unit({}) == unit({}) != unit({"disable": "rke2-coredns"})


def test_a_new_certificate_replaces_the_applier() -> None:
    renewed = replace(MACHINE, digests={applier_settings.material(Paths())[1]: "0"})
    assert rendered()[unit_names.APPLIER_UNIT] != rendered(renewed)[unit_names.APPLIER_UNIT]
    assert rendered()[unit_names.HELM_UNIT] == rendered(renewed)[unit_names.HELM_UNIT]


def lines_of(unit: str, option: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{option}=")]


def test_the_applier_sees_what_it_reads_of_the_server_and_nothing_else() -> None:
    paths = Paths()
    unit = rendered()[unit_names.APPLIER_UNIT]
    assert lines_of(unit, "TemporaryFileSystem") == [f"{paths.server}:ro"]
    seen = set(lines_of(unit, "BindReadOnlyPaths")) | set(lines_of(unit, "BindPaths"))
    read = set(re.findall(rf"{paths.server}/[^\s\",]+", applier_settings.text(make_node())))
    # Its kubeconfig names the same three files.
    assert seen == read | {paths.applier_settings, f"-{paths.static}"}
    assert lines_of(unit, "BindPaths") == [paths.manifests]
    hidden = set(lines_of(unit, "InaccessiblePaths"))
    assert {"-/root", "-/etc/shadow", "-/etc/rancher", "-/run/k3s", f"-{paths.agent}"} < hidden


@pytest.mark.parametrize(
    ("data", "helm_path", "seen"),
    [
        ("/var/lib/rancher/rke2", "/usr/local/bin/helm", set()),
        ("/root/rke2", "/usr/local/bin/helm", {"/root"}),
        ("/rootfs", "/root/bin/helm", {"/root"}),
        ("/var/lib/rancher/rke2", "/var/lib/rancher/rke2/agent/helm", {"/var/lib/rancher/rke2/agent"}),
    ],
)
def test_what_the_applier_runs_and_reads_is_not_hidden(data: str, helm_path: str, seen: set[str]) -> None:
    every = set(applier_settings.hidden(Paths(data), "")) | {"/root"}
    assert every - set(applier_settings.hidden(Paths(data), helm_path)) == seen


def test_the_applier_is_hardened(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    path = tmp_path / unit_names.APPLIER_UNIT
    path.write_text(rendered()[unit_names.APPLIER_UNIT])
    # The threshold is ten times the score.
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=30", "--no-pager", str(path)]
    analysed = subprocess.run(command, capture_output=True, text=True)
    assert "Overall exposure level" in analysed.stdout
    assert analysed.returncode == 0, analysed.stdout.splitlines()[-1]
