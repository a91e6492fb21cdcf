"""No flag or field is rendered that the programs of the release do not know."""

import re
from pathlib import Path

import pytest

from rke2_units import unit_names
from rke2_units.plan import control_plane, kubelet
from rke2_units.release import features
from rke2_units.release.model import Release
from rke2_units.release.table import RELEASES
from tests.unit.plan.cases import CASES, Case

LISTS = Path(__file__).parents[2] / "data" / "flags"
# The Kubernetes whose programs the lists were taken from.
VERSIONS = {(1, 20): "1.20.2", (1, 36): "1.36.2"}
COMPONENTS = (
    unit_names.KUBE_APISERVER,
    unit_names.KUBE_CONTROLLER_MANAGER,
    unit_names.KUBE_SCHEDULER,
    unit_names.KUBE_PROXY,
)


def known(name: str, release: Release) -> set[str]:
    lines = (LISTS / f"{name}-{VERSIONS[release.kubernetes]}.txt").read_text().splitlines()
    return {line.split()[0].lstrip("-") for line in lines if line.strip()}


def flag_names(arguments: list[str]) -> set[str]:
    assert all(re.fullmatch(r"--[a-z0-9-]+=.*", argument, re.DOTALL) for argument in arguments)
    return {argument.partition("=")[0].removeprefix("--") for argument in arguments}


@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("component", COMPONENTS)
def test_every_flag_of_a_component_is_known_to_its_release(
    component: str, case: Case, release: Release
) -> None:
    arguments = control_plane.arguments(component, case.node(release))
    assert flag_names(arguments) <= known(component, release)


@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_flag_and_field_of_the_kubelet_is_known_to_its_release(case: Case, release: Release) -> None:
    arguments = kubelet.arguments(case.node(release))
    assert flag_names(arguments) <= known("kubelet", release)
    fields = set(kubelet.settings(case.node(release)))
    assert fields - {"apiVersion", "kind"} <= known("kubelet-config", release)


@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
def test_a_flag_is_left_out_only_where_the_release_lacks_it(release: Release) -> None:
    ours = {flag for component, flag in features.FLAGS if component == features.KUBELET}
    left_out = {flag for flag in ours if not features.has_flag(release, features.KUBELET, flag)}
    # One that is still known to a release is left out because a field of its configuration does the same.
    replaced = {
        "config",
        "config-dir",
        "container-runtime-endpoint",
        "register-with-taints",
    }
    assert left_out & known("kubelet", release) <= replaced
    for component in COMPONENTS:
        ours = {flag for owner, flag in features.FLAGS if owner == component}
        left_out = {flag for flag in ours if not features.has_flag(release, component, flag)}
        assert not left_out & known(component, release)


@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
def test_a_field_is_left_out_only_where_the_release_lacks_it(release: Release) -> None:
    left_out = {field for field in features.KUBELET_FIELDS if not features.has_kubelet_field(release, field)}
    # In 1.20 its one part is the format, of which ours is the default.
    assert left_out & known("kubelet-config", release) <= {"logging"}
