import tomllib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rke2_units.layout import Paths
from rke2_units.model import File, NodeFacts
from rke2_units.plan import containerd, toml
from rke2_units.release.model import Release
from rke2_units.release.table import DEFAULT, RELEASES, release
from rke2_units.unit_names import CONTAINERD_UNIT
from tests.unit.plan.cases import CASES, MACHINE, Case, make_node

VERSION_2 = release("v1.20.2+rke2r1")
VERSION_3 = release(DEFAULT)
PATHS = Paths()
OWN_CONTAINERD = {name: case for name, case in CASES.items() if name != "server-foreign-containerd"}


def files(
    values: dict[str, object] | None = None, facts: NodeFacts = MACHINE, of: Release = VERSION_3
) -> dict[str, File]:
    found = containerd.files(make_node(values, facts, of))
    return {file.path: file for file in found}


def read(
    values: dict[str, object] | None = None, facts: NodeFacts = MACHINE, of: Release = VERSION_3
) -> dict[str, Any]:
    return tomllib.loads(files(values, facts, of)[PATHS.containerd_config].content)


def runtime(read: dict[str, Any]) -> dict[str, Any]:
    """The section of the CRI plugin that runs containers."""
    name = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}[read["version"]]
    section: dict[str, Any] = read["plugins"][name]
    return section


@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
@pytest.mark.parametrize("case", OWN_CONTAINERD.values(), ids=OWN_CONTAINERD)
def test_what_is_written_is_read_back_as_it_was_meant(case: Case, release: Release) -> None:
    wanted = containerd.settings(case.node(release))
    written = containerd.files(case.node(release))[0]
    assert tomllib.loads(written.content) == wanted
    assert (written.mode, written.restarts) == (0o600, (CONTAINERD_UNIT,))


def test_version_2_has_one_plugin_with_the_pause_image_in_it() -> None:
    found = read(of=VERSION_2)
    cri = found["plugins"]["io.containerd.grpc.v1.cri"]
    assert found["version"] == 2
    assert found["imports"] == [f"{PATHS.containerd_etc}/config.toml.d/*.toml"]
    assert cri["sandbox_image"] == "index.docker.io/rancher/mirrored-pause:3.2"
    assert cri["stream_server_address"] == "127.0.0.1"
    assert cri["containerd"]["snapshotter"] == "overlayfs"
    assert cri["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is True
    assert cri["registry"]["config_path"] == f"{PATHS.containerd_etc}/certs.d"


def test_version_3_has_the_plugins_of_containerd_2() -> None:
    found = read()
    plugins = found["plugins"]
    assert found["version"] == 3
    assert found["imports"] == [f"{PATHS.containerd_etc}/config-v3.toml.d/*.toml"]
    images = plugins["io.containerd.cri.v1.images"]
    assert images["pinned_images"] == {"sandbox": "index.docker.io/rancher/mirrored-pause:3.10.2"}
    assert images["snapshotter"] == "overlayfs"
    assert images["registry"]["config_path"] == f"{PATHS.containerd_etc}/certs.d"
    assert plugins["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"]["runc"] == {
        "runtime_type": "io.containerd.runc.v2",
        "options": {"SystemdCgroup": True},
    }
    assert plugins["io.containerd.grpc.v1.cri"]["stream_server_port"] == "10010"


@pytest.mark.parametrize("of", [VERSION_2, VERSION_3])
@pytest.mark.parametrize(
    ("facts", "restricted"),
    [
        (MACHINE, None),
        (replace(MACHINE, can_lower_oom_score=False), True),
        (replace(MACHINE, in_user_namespace=True), True),
    ],
)
def test_oom_scores_are_left_alone_where_they_cannot_be_lowered(
    of: Release, facts: NodeFacts, restricted: bool | None
) -> None:
    assert runtime(read(facts=facts, of=of)).get("restrict_oom_score_adj") is restricted


@pytest.mark.parametrize("of", [VERSION_2, VERSION_3])
@pytest.mark.parametrize(
    ("facts", "by_systemd"),
    [
        (MACHINE, True),
        (replace(MACHINE, in_user_namespace=True), False),
        (replace(MACHINE, cpuset_usable=False), False),
    ],
)
def test_systemd_makes_cgroups_where_it_can(of: Release, facts: NodeFacts, by_systemd: bool) -> None:
    runc = runtime(read(facts=facts, of=of))["containerd"]["runtimes"]["runc"]
    assert runc["options"]["SystemdCgroup"] is by_systemd


def test_in_a_user_namespace_nothing_is_asked_for_that_is_not_to_be_had() -> None:
    section = runtime(read(facts=replace(MACHINE, in_user_namespace=True, cpuset_usable=False)))
    assert section["disable_apparmor"] is True
    assert section["disable_cgroup"] is True
    assert section["enable_unprivileged_ports"] is False
    assert "disable_apparmor" not in runtime(read())


def test_an_old_kernel_keeps_ports_and_icmp_privileged() -> None:
    section = runtime(read(facts=replace(MACHINE, kernel=(4, 10))))
    assert section["enable_unprivileged_ports"] is False
    assert section["enable_unprivileged_icmp"] is False
    assert runtime(read(facts=replace(MACHINE, kernel=(4, 11))))["enable_unprivileged_ports"] is True


@pytest.mark.parametrize("of", [VERSION_2, VERSION_3])
def test_settings_of_the_user_reach_containerd(of: Release) -> None:
    values: dict[str, object] = {
        "default-runtime": "nvidia",
        "snapshotter": "native",
        "nonroot-devices": True,
        "pause-image": "example.org/pause:9",
    }
    found = read(values, of=of)
    section = runtime(found)
    assert section["device_ownership_from_security_context"] is True
    assert section["containerd"]["default_runtime_name"] == "nvidia"
    assert section["containerd"]["runtimes"]["nvidia"]["options"]["BinaryName"] == "nvidia-container-runtime"
    assert "example.org/pause:9" in str(found)
    assert "'snapshotter': 'native'" in str(found)


def test_a_default_runtime_that_we_do_not_know_is_left_to_a_drop_in() -> None:
    section = runtime(read({"default-runtime": "kata"}))["containerd"]
    assert section["default_runtime_name"] == "kata"
    assert section["runtimes"].keys() == {"runc"}


def test_runtimes_that_are_on_the_machine_can_be_chosen_by_pods() -> None:
    found = {"crun": "/usr/bin/crun", "wasmtime": "/usr/local/bin/containerd-shim-wasmtime-v1"}
    runtimes = runtime(read({}, facts=replace(MACHINE, runtimes=found)))["containerd"]["runtimes"]
    assert set(runtimes) == {"runc", "crun", "wasmtime"}
    assert runtimes["crun"]["options"]["BinaryName"] == "/usr/bin/crun"
    assert runtimes["wasmtime"] == {"runtime_type": "io.containerd.wasmtime.v1"}


def test_the_environment_file_holds_containerds_own_variables_and_is_secret() -> None:
    facts = replace(
        MACHINE,
        environment={
            "HTTPS_PROXY": "http://user:pa$s@proxy",
            "CONTAINERD_HTTPS_PROXY": "http://other",
            "CONTAINERD_GOGC": '5"0',
            "CONTAINERD_LOG_LEVEL": "trace",
        },
    )
    file = files(facts=facts)[PATHS.containerd_environment]
    assert (file.mode, file.secret, file.restarts) == (0o600, True, (CONTAINERD_UNIT,))
    assert file.content == (
        'GOGC="5\\"0"\nHTTPS_PROXY="http://other"\nNO_PROXY="10.42.0.0/16,10.43.0.0/16,.svc,.cluster.local"\n'
    )


def test_the_log_level_is_an_argument() -> None:
    debug: dict[str, object] = {"debug": True}
    trace = replace(MACHINE, environment={"CONTAINERD_LOG_LEVEL": "trace"})
    assert "--log-level" not in containerd.arguments(make_node())
    assert containerd.arguments(make_node(debug))[-2:] == ["--log-level", "debug"]
    assert containerd.arguments(make_node(debug, trace))[-2:] == ["--log-level", "trace"]


def test_crictl_finds_the_socket() -> None:
    content = files()[PATHS.crictl_config].content
    assert content == "runtime-endpoint: unix:///run/k3s/containerd/containerd.sock\n"


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_VALUES = st.recursive(
    st.one_of(_TEXTS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.lists(_TEXTS, max_size=3)),
    lambda inner: st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(values=st.dictionaries(_TEXTS, _VALUES, max_size=5))
def test_any_tables_of_plain_values_are_written_as_toml(values: dict[str, object]) -> None:
    assert tomllib.loads(toml.text(values)) == values
