"""Facts are read from what the kernel and the system's files say."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from rke2_units.errors import ConfigurationError, UserError
from rke2_units.layout import Paths
from rke2_units.node import facts, installation
from rke2_units.node.installation import Installation
from rke2_units.unit_names import Role
from tests.unit.configs import make_config


def program(path: Path, mode: int = 0o755) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return os.fspath(path)


def test_the_machines_own_programs_are_looked_for_only_when_they_are_asked_for(tmp_path: Path) -> None:
    found = {name: program(tmp_path / name) for name in ("containerd", "ctr", "kubelet", "other")}
    assert facts.programs(make_config(Role.SERVER, {}), os.fspath(tmp_path)) == {}
    host = facts.programs(make_config(Role.SERVER, {"content": "host"}), os.fspath(tmp_path))
    assert host == {name: found[name] for name in ("containerd", "ctr", "kubelet")}


@pytest.mark.parametrize("mode", [0o755, 0o644])
def test_a_kubelet_counts_when_it_can_be_executed(tmp_path: Path, mode: int) -> None:
    path = program(tmp_path / "far/kubelet", mode=mode)
    for named in (path, "kubelet"):
        config = make_config(Role.SERVER, {"kubelet-path": named})
        found = facts.programs(config, os.fspath(tmp_path / "far"))
        assert found == ({named: path} if mode == 0o755 else {})
    missing = make_config(Role.SERVER, {"kubelet-path": f"{path}-2"})
    assert facts.programs(missing, os.fspath(tmp_path)) == {}


@pytest.mark.parametrize(
    ("said", "major"),
    [
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", 1),
        ("containerd containerd.io 1.7.27 05044ec0a9a75232cad458027ca83437aae3f4da", 1),
        (
            "containerd github.com/containerd/containerd/v2 v2.1.3 c787fb98911740dd3ff2d0e45ce88cdf01410486",
            2,
        ),
        ("containerd github.com/containerd/containerd/v2 2.0.0~rc.2+ds1", 2),
        ("containerd: error while loading shared libraries", None),
    ],
)
def test_containerd_tells_its_major_version(said: str, major: int | None) -> None:
    assert facts.major_version(said) == major


STATUS = "Name:\tpython3\nCapInh:\t0000000000000000\nCapEff:\t{}\nCapBnd:\t000001ffffffffff\n"


@pytest.mark.parametrize(
    ("effective", "can"),
    [("000001ffffffffff", True), ("000001fffeffffff", False), ("0000000001000000", True), ("0", False)],
)
def test_a_capability_is_a_bit_of_the_effective_set(effective: str, can: bool) -> None:
    assert facts.has_capability(STATUS.format(effective), facts.CAP_SYS_RESOURCE) is can
    assert not facts.has_capability("", facts.CAP_SYS_RESOURCE)


@pytest.mark.parametrize(
    ("uid_map", "inside"),
    [
        ("         0          0 4294967295\n", False),
        ("         0     100000      65536\n", True),
        ("0 1000 1\n1 100000 65536\n", True),
    ],
)
def test_a_user_namespace_maps_some_users_to_others(uid_map: str, inside: bool) -> None:
    assert facts.is_user_namespace(uid_map) is inside


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        ("nameserver 192.0.2.53\n", True),
        ("# comment\nsearch example.com\n  nameserver 2001:db8::53\n", True),
        ("nameserver 127.0.0.53\noptions edns0\n", False),
        ("nameserver 192.0.2.53\nnameserver 127.0.0.1\n", False),
        ("nameserver fe80::1%eth0\n", False),
        ("nameserver ::1\n", False),
        ("nameserver nonsense\n", False),
        ("#nameserver 192.0.2.53\n", False),
        ("", False),
    ],
)
def test_a_resolver_file_is_usable_when_pods_can_reach_its_servers(text: str, usable: bool) -> None:
    assert facts.names_usable_servers(text) is usable


def test_the_first_usable_resolver_file_is_chosen(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\n")
    real.write_text("nameserver 192.0.2.53\n")
    missing = os.fspath(tmp_path / "missing")
    assert facts.usable_resolv_conf([missing, os.fspath(stub), os.fspath(real)]) == os.fspath(real)
    assert facts.usable_resolv_conf([os.fspath(stub)]) is None


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.1.0-28-amd64", (6, 1)), ("6.18.44-fc-v657", (6, 18)), ("5.15.0", (5, 15)), ("odd", (0, 0))],
)
def test_the_kernels_version_is_read_from_its_release(release: str, version: tuple[int, int]) -> None:
    assert facts.kernel_version(release) == version


def test_cgroup_v2_says_its_controllers(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    assert facts.cgroup_version(os.fspath(tmp_path)) == 2
    assert facts.cgroup_controllers(os.fspath(tmp_path)) == {"cpuset", "cpu", "io", "memory", "pids"}


def test_cgroup_v1_has_a_folder_for_each_controller(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "systemd").mkdir()
    assert facts.cgroup_version(os.fspath(tmp_path)) == 1
    assert facts.cgroup_controllers(os.fspath(tmp_path)) <= {"memory"}


def test_only_files_that_exist_have_a_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    paths = [os.fspath(tmp_path / name) for name in ("a", "missing", ".")]
    assert facts.digests(paths) == {paths[0]: hashlib.sha256(b"content").hexdigest()}


def test_files_named_in_settings_have_a_digest_and_secrets_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "node_ips", lambda: ("192.0.2.1",))
    policy, webhook, mounted = (tmp_path / name for name in ("policy.yaml", "webhook.yaml", "mounted"))
    for file in (policy, webhook, mounted):
        file.write_text(file.name)
    config = make_config(
        Role.SERVER,
        {
            "data-dir": "/var/lib/nowhere/rke2",
            "audit-policy-file": os.fspath(policy),
            "kube-apiserver-arg": [f"authentication-token-webhook-config-file={webhook}", "v=2"],
            "kube-apiserver-extra-mount": [f"{mounted}:/there:ro"],
        },
    )
    gathered = facts.gather(Role.SERVER, config, environment={"HTTPS_PROXY": "http://proxy", "HOME": "/"})
    assert gathered.digests.keys() == {os.fspath(policy), os.fspath(webhook), os.fspath(mounted)}
    assert gathered.environment == {"HTTPS_PROXY": "http://proxy"}
    assert gathered.etcd_member_name is None


def test_key_material_and_kubeconfigs_have_a_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "node_ips", lambda: ("192.0.2.1",))
    wanted = ["server/tls/etcd/server.crt", "server/cred/admin.kubeconfig", "agent/kubelet.kubeconfig"]
    for name in [*wanted, "server/db/etcd/member"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    config = make_config(Role.SERVER, {"data-dir": os.fspath(tmp_path)})
    gathered = facts.gather(Role.SERVER, config, environment={})
    assert gathered.digests.keys() == {os.fspath(tmp_path / name) for name in wanted}


JOINED = {"server": "https://first.example:9345", "token": "x"}
INITIAL = {"initial-cluster": "a-1=https://192.0.2.1:2380", "initial-cluster-state": "existing"}


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(
    ("values", "there", "joins_etcd"),
    [
        (JOINED, [], True),
        (JOINED, ["server/db/etcd/name", "server/db/etcd/config"], True),
        (JOINED, ["server/db/etcd/member/wal/0.wal"], False),
        (JOINED, ["server/db/etcd/initial.json"], False),
        ({}, [], False),
    ],
)
def test_a_server_joins_etcd_once(
    tmp_path: Path, values: dict[str, object], there: list[str], joins_etcd: bool
) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    config = make_config(Role.SERVER, values)
    assert facts.has_to_join_etcd(config, Paths(os.fspath(tmp_path))) is joins_etcd


@pytest.mark.usefixtures("as_root")
def test_a_members_first_values_are_read_as_they_were_written(tmp_path: Path) -> None:
    paths = Paths(os.fspath(tmp_path))
    assert facts.etcd_initial(paths) == {}
    Path(paths.etcd_data).mkdir(parents=True)
    Path(paths.etcd_initial).write_text(json.dumps({**INITIAL, "more": "x"}))
    assert facts.etcd_initial(paths) == INITIAL


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("text", ["", "{", "[]", '{"initial-cluster": "a=b"}', '{"initial-cluster": 1}'])
def test_damaged_first_values_are_not_gone_without(tmp_path: Path, text: str) -> None:
    # With the values of a new cluster, etcd would be a cluster of its own.
    paths = Paths(os.fspath(tmp_path))
    Path(paths.etcd_data).mkdir(parents=True)
    Path(paths.etcd_initial).write_text(text)
    with pytest.raises(ConfigurationError, match="initial.json does not contain the values"):
        facts.etcd_initial(paths)


def test_an_agent_knows_the_servers_of_its_list_and_without_one_the_one_that_it_joins(
    tmp_path: Path,
) -> None:
    paths = Paths(os.fspath(tmp_path))
    config = make_config(Role.AGENT, {"server": "https://first.example:9345", "token": "x"})
    known = facts.known_servers(config, paths)
    assert (known.servers, known.apiservers) == (("first.example:9345",), ("first.example:6443",))
    Path(paths.agent_etc).mkdir(parents=True)
    Path(paths.server_list).write_text('{"servers": ["192.0.2.1:9345"], "apiservers": ["192.0.2.1:6443"]}')
    known = facts.known_servers(config, paths)
    assert (known.servers, known.apiservers) == (("192.0.2.1:9345",), ("192.0.2.1:6443",))


def test_without_a_default_route_the_address_has_to_be_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "node_ips", lambda: ())
    with pytest.raises(UserError, match="no default route.*set node-ip") as raised:
        facts.gather(Role.AGENT, make_config(Role.AGENT, AGENT), environment={})
    # While a machine boots it may come: the daemon tries again after all but errors of the configuration.
    assert not isinstance(raised.value, ConfigurationError)
    given = make_config(Role.AGENT, {**AGENT, "node-ip": ["192.0.2.9"]})
    assert facts.gather(Role.AGENT, given, environment={}).node_ips == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees what a server has")
@pytest.mark.parametrize(
    ("found", "settings", "refused"),
    [
        (("2001:db8::5",), {}, True),
        (("192.0.2.1", "2001:db8::5"), {}, False),
        (("2001:db8::5",), {"node-ip": ["2001:db8::5"]}, False),
        (("2001:db8::5",), {"cluster-cidr": ["fd00:42::/56"], "service-cidr": ["fd00:43::/112"]}, False),
    ],
)
@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_server_keeps_the_family_that_its_cluster_began_with(
    found: tuple[str, ...],
    settings: dict[str, object],
    refused: bool,
    is_recorded: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = Paths(str(tmp_path))
    config = make_config(Role.SERVER, {"data-dir": str(tmp_path), **settings})
    monkeypatch.setattr(facts, "node_ips", lambda: found)
    # Before the first start the machine's first address decides.
    assert facts.gather(Role.SERVER, config, environment={}).node_ips == found
    for path in (paths.etcd_wal, os.path.dirname(paths.supervisor_settings)):
        os.makedirs(path)
    if is_recorded:
        installed = Installation(Role.SERVER, "v1.36.4+rke2r1", paths.data, first_family=4)
        monkeypatch.setattr(installation, "read", lambda: installed)
    else:
        # As an earlier version has left it.
        Path(paths.supervisor_settings).write_text('{"node_ips": ["192.0.2.1"]}')
    if refused:
        with pytest.raises(UserError, match="this server's cluster has IPv4"):
            facts.gather(Role.SERVER, config, environment={})
    else:
        assert facts.gather(Role.SERVER, config, environment={}).node_ips == found


AGENT: dict[str, object] = {"data-dir": "/var/lib/nowhere/rke2"}


def test_a_runtime_is_known_by_its_program(tmp_path: Path) -> None:
    for name in ("crun", "containerd-shim-wasmtime-v1", "containerd-shim-unknown-v1"):
        (tmp_path / name).touch(0o755)
    (tmp_path / "nvidia-container-runtime").touch(0o644)
    assert facts.runtimes(str(tmp_path)) == {
        "crun": f"{tmp_path}/crun",
        "wasmtime": f"{tmp_path}/containerd-shim-wasmtime-v1",
    }


def test_the_administrators_drop_ins_are_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths(str(tmp_path))
    drop_ins = [f"{paths.kubelet_etc}/50.conf", f"{paths.containerd_drop_ins[3]}/x.toml"]
    for path in drop_ins:
        os.makedirs(os.path.dirname(path))
        Path(path).write_text("x")
    monkeypatch.setattr(facts, "node_ips", lambda: ("192.0.2.1",))
    config = make_config(Role.AGENT, {**AGENT, "data-dir": str(tmp_path)})
    assert facts.gather(Role.AGENT, config, environment={}).digests.keys() >= set(drop_ins)


def test_a_cluster_is_there_where_etcd_has_data_or_others_are_joined(tmp_path: Path) -> None:
    paths = Paths(os.fspath(tmp_path))
    alone = make_config(Role.SERVER, {})
    joins = {"server": "https://10.0.0.1:9345", "token": "x"}
    assert not facts.in_cluster(alone, paths)
    assert facts.in_cluster(make_config(Role.SERVER, joins), paths)
    assert facts.in_cluster(make_config(Role.AGENT, joins), paths)
    Path(paths.etcd_wal).mkdir(parents=True)
    assert facts.in_cluster(alone, paths)


def test_where_links_in_the_data_directory_lead_is_a_fact(tmp_path: Path) -> None:
    paths = Paths(os.fspath(tmp_path / "data"))
    for folder in (paths.data, paths.content, tmp_path / "disk" / "agent", tmp_path / "a disk"):
        os.makedirs(folder)
    assert facts.linked_folders(paths) == ()
    os.symlink("../disk/agent", paths.agent)
    assert facts.linked_folders(paths) == (f"{tmp_path}/disk/agent",)
    os.rmdir(paths.content)
    # What a unit cannot name.
    os.symlink(tmp_path / "a disk", paths.content)
    assert facts.linked_folders(paths) == (f"{tmp_path}/disk/agent",)


def test_who_may_not_look_for_etcds_data_takes_it_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(os.fspath(tmp_path))
    Path(paths.server).mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != paths.server)
    assert facts.in_cluster(make_config(Role.SERVER, {}), paths)


@pytest.mark.parametrize(
    ("address", "own"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("203.0.113.77", False), ("2001:db8::77", False)],
)
def test_an_address_is_this_machines_when_one_can_listen_at_it(address: str, own: bool) -> None:
    assert facts.is_own_address(address) is own


def test_disable_can_name_files_and_folders_of_the_manifests(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    assert facts.manifests(os.fspath(folder)) is None
    (folder / "a/b").mkdir(parents=True)
    (folder / "rke2-x.yaml").touch()
    (folder / "a/my.app.yml").touch()
    assert facts.manifests(os.fspath(folder)) == frozenset(("rke2-x", "a", "a/b", "my.app"))


def test_what_a_node_has_registered_with_is_in_the_last_plan(tmp_path: Path) -> None:
    paths = Paths(os.fspath(tmp_path))
    for path in (paths.program_settings, f"{paths.agent}/client-kubelet.crt"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    settings = Path(paths.program_settings)
    settings.write_text(json.dumps({"registered": {"node-label": ["a=b"], "node-taint": []}}))
    # Not started yet: it registers with what it is given now.
    assert facts.registered(paths) == {}
    Path(f"{paths.agent}/client-kubelet.crt").touch()
    assert facts.registered(paths) == {"node-label": ("a=b",), "node-taint": ()}
    for text in ("{}", "[]", "not JSON", '{"registered": 5}', '{"registered": {"node-label": 5}}'):
        settings.write_text(text)
        assert facts.registered(paths) == {}
    settings.unlink()
    assert facts.registered(paths) == {}
