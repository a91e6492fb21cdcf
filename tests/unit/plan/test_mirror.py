from dataclasses import replace

import pytest

from rke2_units.config.config import Config
from rke2_units.plan import mirror
from rke2_units.release.model import CHART, Release
from rke2_units.release.table import DEFAULT, RELEASES
from rke2_units.unit_names import Role
from tests.unit.configs import make_config

RELEASE = RELEASES[DEFAULT]
KUBERNETES = "docker.io/rancher/hardened-kubernetes:v1.36.4-rke2r1-build20260821"
ETCD = "docker.io/rancher/hardened-etcd:v3.6.14-k3s1-build20260819"
PAUSE = "docker.io/rancher/mirrored-pause:3.10.2"
RUNTIME = "docker.io/rancher/rke2-runtime:v1.36.4-rke2r1"
CLOUD = "docker.io/rancher/rke2-cloud-provider:v1.35.1-0.20260817230842-2a1e2e8cf41b-build20260820"


def needed(role: Role = Role.SERVER, release: Release = RELEASE, **values: object) -> mirror.Needed:
    if role is Role.SERVER:
        values.setdefault("disable_cloud_controller", True)
    config = make_config(role, {name.replace("_", "-"): value for name, value in values.items()})
    return mirror.needed(config, release)


def lists(*names: str) -> set[str]:
    return {image for name in names for image in RELEASE.lists[name]}


def test_a_server_needs_its_own_images_and_those_of_its_charts() -> None:
    found = needed()
    # traefik, the default ingress controller, is in core.
    assert set(found.images) == lists("core", "canal") - {CLOUD}
    assert {KUBERNETES, ETCD, PAUSE, RUNTIME} <= set(found.images)
    assert list(found.images) == sorted(found.images)
    assert found.unlisted == ()


def test_without_a_network_plugin_there_are_no_images_of_one() -> None:
    assert set(needed(cni="none").images) == lists("core") - {CLOUD}


@pytest.mark.parametrize("plugin", ["calico", "cilium", "flannel"])
def test_the_network_plugin_that_is_chosen_counts(plugin: str) -> None:
    assert set(needed(cni=["multus", plugin]).images) == lists("core", "multus", plugin) - {CLOUD}


def test_an_ingress_controller_with_a_list_of_its_own_counts() -> None:
    both = "traefik,ingress-nginx"
    assert set(needed(ingress_controller=both).images) == lists("core", "canal", "ingress-nginx") - {CLOUD}


def test_a_choice_that_the_release_has_no_list_for_is_told() -> None:
    without = replace(RELEASE, lists={"core": RELEASE.lists["core"]})
    found = needed(release=without)
    assert found.unlisted == ("canal",)
    assert set(found.images) == lists("core") - {CLOUD}


def test_an_agent_needs_its_own_images_only() -> None:
    assert needed(Role.AGENT).images == (KUBERNETES, PAUSE, RUNTIME)


def test_a_server_needs_the_cloud_controller_that_it_runs() -> None:
    assert CLOUD in needed(disable_cloud_controller=False).images
    assert CLOUD not in needed().images


def test_a_node_without_kube_proxy_needs_none() -> None:
    assert needed(Role.AGENT, replace(RELEASE, kube_proxy=CHART)).images == (PAUSE, RUNTIME)


def test_the_machines_own_programs_need_no_runtime_image() -> None:
    assert RUNTIME not in needed(content="host").images


def test_an_image_that_the_user_names_takes_the_place_of_the_releases() -> None:
    found = set(needed(etcd_image="example.org/etcd:1", pause_image="me/pause:2").images)
    assert {"example.org/etcd:1", "docker.io/me/pause:2"} <= found
    assert not {ETCD, PAUSE} & found


def test_the_default_registry_is_left_out() -> None:
    assert needed(system_default_registry="registry.example.com/path") == needed()


def test_a_release_with_one_list_of_everything_needs_all_of_it() -> None:
    release = RELEASES["v1.20.2+rke2r1"]
    assert set(needed(release=release).images) == set(release.lists["all"])


def source(image: str, **values: object) -> str:
    config: Config = make_config(
        Role.SERVER, {name.replace("_", "-"): value for name, value in values.items()}
    )
    return mirror.source(config, RELEASE, image)


def test_images_are_pulled_from_where_the_node_would_pull_them() -> None:
    own = "docker.io/me/etcd:1"
    assert source(ETCD) == ETCD
    assert source(PAUSE, system_default_registry="r.example.com:5000") == (
        "r.example.com:5000/rancher/mirrored-pause:3.10.2"
    )
    assert source(PAUSE, system_default_registry="r.example.com/a") == (
        "r.example.com/a/rancher/mirrored-pause:3.10.2"
    )
    assert source("example.org/x:1", system_default_registry="r.example.com") == "example.org/x:1"
    assert source(own, system_default_registry="r.example.com", etcd_image="me/etcd:1") == own
