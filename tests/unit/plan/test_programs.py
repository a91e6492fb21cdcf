"""Whose programs a node runs, and what its units and files say then."""

import json
import tomllib
from dataclasses import replace

import pytest

from rke2_units.errors import ConfigurationError
from rke2_units.layout import CONTAINERD_SOCKET, SYSTEM_PATH, UNIT_DIRECTORY, Paths
from rke2_units.model import NodeFacts, Plan
from rke2_units.plan import make_plan
from rke2_units.release.table import DEFAULT, release
from rke2_units.unit_names import (
    CONTAINERD_UNIT,
    CONTENT_UNIT,
    ETCDCTL_UNIT,
    IMAGES_UNIT,
    KUBELET_UNIT,
    SNAPSHOT_REQUEST_SOCKET,
    SUPERVISOR_SOCKET,
    SUPERVISOR_UNIT,
    Role,
)
from tests.unit.configs import make_config
from tests.unit.plan.cases import HOST_MACHINE, MACHINE

PATHS = Paths()
HOST: dict[str, object] = {"content": "host"}
SOCKET = "/run/containerd/containerd.sock"
FOREIGN: dict[str, object] = {"container-runtime-endpoint": f"unix://{SOCKET}"}


def plan(values: dict[str, object], facts: NodeFacts = MACHINE, of: str = DEFAULT) -> Plan:
    return make_plan(Role.SERVER, make_config(Role.SERVER, values), facts, release(of))


def unit(made: Plan, name: str) -> str:
    return made.file(f"{UNIT_DIRECTORY}/{name}").content


def paths_of(made: Plan) -> set[str]:
    return {file.path for file in made.files}


def without(facts: NodeFacts, *programs: str) -> NodeFacts:
    return replace(facts, programs={k: v for k, v in facts.programs.items() if k not in programs})


def units_of_programs(plan: Plan) -> tuple[str, ...]:
    """The plan's units without those by which nodes join, and to which these pass requests on."""
    others = (SNAPSHOT_REQUEST_SOCKET, SUPERVISOR_SOCKET, SUPERVISOR_UNIT, ETCDCTL_UNIT)
    return tuple(unit for unit in plan.units if unit not in others)


def test_the_contents_programs_run_unless_told_otherwise() -> None:
    made = plan({}, HOST_MACHINE)
    assert units_of_programs(made)[:4] == (CONTENT_UNIT, CONTAINERD_UNIT, KUBELET_UNIT, IMAGES_UNIT)
    for name in ("containerd", "kubelet"):
        assert f"ExecStart={PATHS.content}/v1.36.4-rke2r1-" in unit(made, f"rke2-{name}.service")
    assert json.loads(made.file(PATHS.program_settings).content)["ctr"] == f"{PATHS.bin}/ctr"


def test_with_host_content_the_machines_own_programs_run_and_nothing_is_unpacked() -> None:
    made = plan(HOST, HOST_MACHINE)
    assert units_of_programs(made)[:3] == (CONTAINERD_UNIT, KUBELET_UNIT, IMAGES_UNIT)
    assert f"{UNIT_DIRECTORY}/{CONTENT_UNIT}" not in paths_of(made)
    for name in units_of_programs(made)[:3]:
        assert CONTENT_UNIT not in unit(made, name) and PATHS.content not in unit(made, name)
    assert "ExecStart=/usr/bin/containerd \\\n" in unit(made, CONTAINERD_UNIT)
    assert "ExecStart=/usr/local/bin/kubelet \\\n" in unit(made, KUBELET_UNIT)
    for name in (CONTAINERD_UNIT, KUBELET_UNIT):
        assert f"Environment=PATH={SYSTEM_PATH}\n" in unit(made, name)
    assert json.loads(made.file(PATHS.program_settings).content)["ctr"] == "/usr/bin/ctr"


def test_the_machines_containerd_gets_a_root_state_and_socket_of_ours() -> None:
    made = plan(HOST, HOST_MACHINE)
    settings = tomllib.loads(made.file(PATHS.containerd_config).content)
    assert (settings["root"], settings["grpc"]["address"]) == (PATHS.containerd_root, CONTAINERD_SOCKET)
    assert f"--address \\\n    {CONTAINERD_SOCKET}" in unit(made, CONTAINERD_UNIT)


@pytest.mark.parametrize(("major", "version"), [(1, 2), (2, 3), (3, 3)])
@pytest.mark.parametrize("of", ["v1.20.2+rke2r1", DEFAULT])
def test_containerds_configuration_is_of_the_version_that_the_machines_containerd_reads(
    of: str, major: int, version: int
) -> None:
    made = plan(HOST, replace(HOST_MACHINE, containerd_version=major), of)
    assert tomllib.loads(made.file(PATHS.containerd_config).content)["version"] == version


@pytest.mark.parametrize(
    ("facts", "problem", "hint"),
    [
        (MACHINE, "this machine lacks containerd, containerd-shim-runc-v2, ctr, runc", "containerd runc"),
        (without(HOST_MACHINE, "runc"), "this machine lacks runc", "apt install runc"),
        (without(HOST_MACHINE, "ctr"), "this machine lacks ctr", "apt install containerd"),
        (without(HOST_MACHINE, "kubelet"), f"there is no kubelet in {SYSTEM_PATH}", "set kubelet-path"),
        (replace(HOST_MACHINE, containerd_version=None), "cannot find out the version", "--version"),
    ],
)
def test_what_the_machine_lacks_is_named_with_its_package(facts: NodeFacts, problem: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        plan(HOST, facts)
    assert str(error.value).startswith("test: content cannot be host: ")
    assert problem in str(error.value)
    assert hint in str(error.value.hint)


@pytest.mark.parametrize("values", [{}, HOST])
def test_a_kubelet_of_the_users_own_takes_the_place_of_either(values: dict[str, object]) -> None:
    facts = replace(HOST_MACHINE, programs={**HOST_MACHINE.programs, "/opt/kubelet": "/opt/kubelet"})
    made = plan({**values, "kubelet-path": "/opt/kubelet"}, facts)
    assert "ExecStart=/opt/kubelet \\\n" in unit(made, KUBELET_UNIT)


def test_a_bare_name_is_the_program_that_was_found() -> None:
    facts = replace(MACHINE, programs={"kubelet-1.36": "/usr/local/bin/kubelet-1.36"})
    made = plan({"kubelet-path": "kubelet-1.36"}, facts)
    assert "ExecStart=/usr/local/bin/kubelet-1.36 \\\n" in unit(made, KUBELET_UNIT)


def test_rke2s_default_for_the_kubelet_is_the_contents() -> None:
    assert unit(plan({"kubelet-path": "kubelet"}), KUBELET_UNIT) == unit(plan({}), KUBELET_UNIT)


@pytest.mark.parametrize(
    ("named", "where"),
    [("/opt/kubelet", "/opt/kubelet"), ("kubelet-1.36", f"kubelet-1.36 in {SYSTEM_PATH}")],
)
def test_a_kubelet_that_is_not_there_is_refused(named: str, where: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        plan({"kubelet-path": named})
    said = f"test: kubelet-path must be an executable program, and there is no {where}"
    assert str(error.value).startswith(said)


@pytest.mark.parametrize("of", ["v1.20.2+rke2r1", DEFAULT])
def test_with_a_containerd_that_is_there_already_none_of_ours_is_planned(of: str) -> None:
    made = plan(FOREIGN, of=of)
    assert units_of_programs(made)[:3] == (CONTENT_UNIT, KUBELET_UNIT, IMAGES_UNIT)
    assert PATHS.containerd_config not in paths_of(made)
    for name in (*units_of_programs(made)[:3], "rke2-static-pod@.service"):
        assert CONTAINERD_UNIT not in unit(made, name)
    assert made.file(PATHS.crictl_config).content == f"runtime-endpoint: unix://{SOCKET}\n"
    assert json.loads(made.file(PATHS.program_settings).content)["containerd_socket"] == SOCKET
    for text in (file.content for file in made.files):
        assert CONTAINERD_SOCKET not in text


def test_the_kubelet_of_each_release_finds_that_containerd() -> None:
    assert f"containerRuntimeEndpoint: unix://{SOCKET}\n" in plan(FOREIGN).file(PATHS.kubelet_config).content
    old = unit(plan(FOREIGN, of="v1.20.2+rke2r1"), KUBELET_UNIT)
    assert f"--container-runtime-endpoint=unix://{SOCKET} \\\n" in old
    assert f"--containerd={SOCKET} \\\n" in old


def test_of_a_containerd_that_is_there_already_only_the_client_is_needed() -> None:
    facts = without(replace(HOST_MACHINE, containerd_version=None), "containerd", "runc")
    made = plan({**FOREIGN, **HOST}, facts)
    assert units_of_programs(made)[:2] == (KUBELET_UNIT, IMAGES_UNIT)
    with pytest.raises(ConfigurationError, match="lacks ctr"):
        plan({**FOREIGN, **HOST}, without(facts, "ctr"))
