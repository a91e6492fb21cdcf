"""A reset of a cluster: what is refused, what is made of it, and that nothing is lost when it is killed."""

import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rke2_units.certificates import bootstrap, token
from rke2_units.doors import files
from rke2_units.doors.run import Completed
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.layout import BOOTSTRAP_FILES
from rke2_units.node.cluster_reset import (
    before_start,
    copies,
    etcd_programs,
    progress,
    request,
    reset,
    what_next,
)
from rke2_units.node.cluster_reset.reset import Reset
from rke2_units.snapshots import restore
from rke2_units.snapshots.s3_config import S3Config
from tests.unit.node.cluster_reset_machine import (
    PASSWORD,
    STAMP,
    Cluster,
    FakeEtcd,
    FakeThrowaway,
    Machine,
    start,
)

SEALED = bootstrap.key(PASSWORD)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def machine(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, cluster, monkeypatch)


def has_the_clusters_keys(machine: Machine) -> bool:
    return all(
        Path(machine.paths.server, place).read_bytes() == machine.cluster.files[name]
        for name, place in BOOTSTRAP_FILES.items()
    )


def token_of(machine: Machine, user: str = "server") -> str:
    ca_hash = token.authority_hash(machine.cluster.files["ServerCA"])
    return f"K10{ca_hash}::{user}:{PASSWORD}\n"


# -- what becomes of it ------------------------------------------------------------------------------------


def test_on_a_new_machine_a_snapshot_and_the_token_are_enough(machine: Machine) -> None:
    machine.node = machine.configured(token=None)
    # As install leaves it.
    for folder in (machine.paths.etcd_tls, machine.paths.credentials, machine.paths.etcd_data):
        os.makedirs(folder)
    os.rmdir(machine.paths.etcd_tls)
    lines = list(machine.reset().steps())
    assert not any("backing up" in line for line in lines)
    assert machine.data == {
        SEALED: machine.cluster.contents[SEALED],
        "/registry/minions/lost": machine.cluster.contents["/registry/minions/lost"],
        # That of the other node stays, this one has another password.
        "/registry/secrets/kube-system/lost.node-password.rke2": "hash",
        "/registry/pods/default/a": "a pod",
        "peer url": "https://192.0.2.9:2380",
    }
    assert has_the_clusters_keys(machine)
    assert Path(machine.paths.token).read_text() == token_of(machine)
    name = Path(machine.paths.etcd_name).read_text()
    assert name.startswith("found-") and len(name) == len("found-01234567")
    assert "it is whole, the token fits, and it is of Kubernetes v1.20.2+rke2r1" in lines
    assert set(os.listdir(f"{machine.paths.server}/db")) - {"snapshots"} == {"etcd", "reset-flag"}
    assert sorted(os.listdir(machine.paths.server)) == ["cred", "db", "tls", "token"]
    assert not FakeThrowaway.forced


def test_the_next_start_issues_certificates_of_these_authorities(machine: Machine) -> None:
    machine.had_a_cluster()
    list(machine.reset().steps())
    written = start(machine.node)
    assert f"{machine.paths.tls}/serving-kube-apiserver.crt" in written
    assert has_the_clusters_keys(machine)
    assert Path(machine.paths.token).read_text() == token_of(machine)
    assert start(machine.node) == []


def test_what_is_replaced_is_kept_under_another_name(machine: Machine) -> None:
    machine.had_a_cluster()
    authority = Path(machine.paths.tls, "server-ca.crt").read_bytes()
    encryption = Path(machine.paths.encryption_config).read_bytes()
    before = Path(machine.paths.token).read_text()
    name = Path(machine.paths.etcd_name).read_text()
    list(machine.reset().steps())
    old = f"{machine.paths.etcd_data}-old-{STAMP}"
    assert FakeEtcd(old).read() == {"of another": "cluster", "peer url": "https://192.0.2.2:2380"}
    assert Path(old, "name").read_text() == name != Path(machine.paths.etcd_name).read_text()
    assert Path(f"{machine.paths.tls}-{STAMP}/server-ca.crt").read_bytes() == authority
    credentials = Path(f"{machine.paths.credentials}-{STAMP}")
    assert (credentials / "encryption-config.json").read_bytes() == encryption
    assert (credentials / "token").read_text() == before


def test_without_a_snapshot_this_servers_data_is_that_of_the_only_member(machine: Machine) -> None:
    machine.had_a_cluster(**machine.cluster.contents)
    name = Path(machine.paths.etcd_name).read_text()
    list(machine.reset("").steps())
    assert machine.data["peer url"] == "https://192.0.2.9:2380"
    assert "rke2/apiaddresses" not in machine.data
    assert Path(machine.paths.etcd_name).read_text() == name
    assert FakeThrowaway.forced == [f"{machine.paths.etcd_data}-restoring"]
    assert FakeEtcd(f"{machine.paths.etcd_data}-old-{STAMP}").read() == machine.cluster.contents


def test_data_on_a_disk_of_its_own_stays_on_that_disk(machine: Machine) -> None:
    machine.had_a_cluster()
    machine.apart = True
    list(machine.reset().steps())
    assert machine.data["/registry/pods/default/a"] == "a pod"
    assert "of another" in FakeEtcd(f"{machine.paths.etcd_data}/old-{STAMP}").read()
    assert set(os.listdir(f"{machine.paths.server}/db")) - {"snapshots"} == {"etcd", "reset-flag"}


def test_agents_own_token_is_written_and_named(machine: Machine) -> None:
    passwd = machine.cluster.files["PasswdFile"].decode().replace(f"{PASSWORD},node", "of agents,node")
    contents = machine.cluster.of(machine.cluster.files | {"PasswdFile": passwd.encode()})
    machine.snapshot.write_text(json.dumps(contents))
    lines = list(machine.reset().steps())
    assert any(f"set agent-token-file: {machine.paths.agent_token}" in line for line in lines)
    assert Path(machine.paths.agent_token).read_text().endswith("::node:of agents\n")
    assert Path(machine.paths.passwd).read_text() == passwd


class Bucket:
    """Has the snapshot under one name."""

    source = ""

    def __init__(self, config: S3Config) -> None:
        assert config.bucket == "backups"

    def __enter__(self) -> "Bucket":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def download(self, name: str, path: str) -> None:
        if name != "on-demand-lost-1754900000":
            raise UserError(f"no such key: {name}")
        shutil.copy(self.source, path)


def test_a_snapshot_in_s3_is_downloaded_into_the_folder_of_snapshots(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    Bucket.source = str(machine.snapshot)
    monkeypatch.setitem(
        sys.modules, "rke2_units.snapshots.bucket", cast(Any, SimpleNamespace(Bucket=Bucket))
    )
    for name in ("none", "on-demand-lost-1754900000"):
        asked = request.make(machine.node.config, name, PASSWORD, S3Config(bucket="backups"))
        made = Reset(machine.node, asked, STAMP)
        announced = "\n".join(what_next.announcement(machine.paths, made.places, asked))
        assert f"download {name} from the bucket backups to {machine.paths.snapshots}/{name}" in announced
        if name == "none":
            with pytest.raises(UserError, match="no such key: none"):
                list(made.steps())
            assert not os.path.exists(machine.paths.etcd_data)
        else:
            list(made.steps())
    assert machine.data["/registry/pods/default/a"] == "a pod"
    assert os.listdir(machine.paths.snapshots) == ["on-demand-lost-1754900000"]
    assert os.stat(machine.paths.snapshots).st_mode & 0o777 == 0o700


def test_a_second_reset_keeps_what_the_first_one_has_made(machine: Machine) -> None:
    machine.had_a_cluster()
    list(machine.reset().steps())
    list(machine.reset(stamp=STAMP + 1).steps())
    assert "of another" in FakeEtcd(f"{machine.paths.etcd_data}-old-{STAMP}").read()
    assert "of another" not in FakeEtcd(f"{machine.paths.etcd_data}-old-{STAMP + 1}").read()


def test_it_ends_with_what_to_type(machine: Machine) -> None:
    machine.had_a_cluster()
    machine.node = machine.configured(**{"cluster-reset": True})
    made = machine.reset()
    list(made.steps())
    text = "\n".join(what_next.after(machine.node, made.places))
    for words in (
        "without cluster-reset in test:\n  systemctl start rke2-server\n",
        f"\n  mv {machine.paths.etcd_data} {machine.paths.etcd_data}-old-{STAMP}\n",
        "server: https://192.0.2.9:9345\n",
        f"Kept for you to remove: {made.places.old} {made.places.tls} {made.places.credentials}",
    ):
        assert words in text


def test_all_of_it_is_announced(machine: Machine) -> None:
    machine.had_a_cluster()
    made = machine.reset()
    asked = request.make(machine.node.config, str(machine.snapshot), PASSWORD, None)
    before = machine.everything()
    text = "\n".join(what_next.announcement(machine.paths, made.places, asked))
    for path in (
        machine.snapshot,
        made.places.new,
        made.places.old,
        made.places.tls,
        made.places.credentials,
    ):
        assert str(path) in text
    assert machine.everything() == before


# -- killed ------------------------------------------------------------------------------------------------


def killed_at(number: int, made: Reset) -> bool:
    """Runs it in a process that is killed before the change of this number; False if there is none."""
    child = os.fork()
    if child == 0:
        left = number

        def counted(change: Callable[..., object]) -> Callable[..., object]:
            def wrapper(*arguments: object, **options: object) -> object:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*arguments, **options)

            return wrapper

        try:
            for module, name in (
                *((os, "rename"), (os, "replace"), (shutil, "rmtree"), (copies, "run")),
                *((restore, "restore"), (FakeEtcd, "write_all")),
            ):
                setattr(module, name, counted(getattr(module, name)))
            for _ in made.steps():
                pass
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize("kind", ["snapshot", "own data", "a disk of its own", "new machine"])
def test_killed_at_any_change_it_is_completed_by_the_next_run(
    machine: Machine, kind: str, tmp_path: Path
) -> None:
    if kind != "new machine":
        machine.had_a_cluster(**(machine.cluster.contents if kind == "own data" else {}))
    machine.apart = kind == "a disk of its own"
    prefix = "etcd/old-" if machine.apart else "etcd-old-"
    snapshot = "" if kind == "own data" else None
    before = tmp_path / "before"
    shutil.copytree(machine.paths.data, before, symlinks=True)
    had = contents_in(machine.paths.etcd_data)
    authorities = authorities_in(machine.paths.tls)
    number = 1
    while killed_at(number, machine.reset(snapshot, stamp=STAMP + number)):
        # What was there is whole somewhere, at any time.
        db = Path(machine.paths.server, "db")
        folders = (Path(machine.paths.etcd_data), *db.glob(f"{prefix}*"))
        somewhere = [contents_in(path) for path in folders]
        assert not had or had in somewhere
        list(machine.reset(snapshot, stamp=STAMP + 1000 + number).steps())
        kept = [contents_in(path) for path in db.glob(f"{prefix}*")]
        assert kept == ([had] if had else [])
        copied = [authorities_in(path) for path in Path(machine.paths.server).glob("tls-*")]
        assert copied == ([authorities] if authorities else [])
        assert machine.data["peer url"] == "https://192.0.2.9:2380"
        assert has_the_clusters_keys(machine)
        assert Path(machine.paths.token).read_text() == token_of(machine)
        left = {path.name for path in db.iterdir() if not path.name.startswith("etcd-old-")}
        assert left - {"snapshots"} == {"etcd", "reset-flag"}
        shutil.rmtree(machine.paths.data)
        shutil.copytree(before, machine.paths.data, symlinks=True)
        # Each step of one kind is enough: the others differ in few of them.
        number += 1 if kind == "snapshot" else 3
    assert number > 15


def contents_in(folder: str | Path) -> dict[str, str]:
    """What is in etcd there, {} when it has no data."""
    etcd = FakeEtcd(str(folder))
    return etcd.read() if etcd.file.exists() else {}


def authorities_in(folder: str | Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(Path(folder).rglob("*-ca.crt"))]


def test_a_node_with_an_interrupted_reset_does_not_start(machine: Machine) -> None:
    for line in machine.reset().steps():
        if line.startswith("writing"):
            break
    with pytest.raises(ConfigurationError, match=r"was interrupted .*complete it: run rke2-units cluster-r"):
        before_start.refuse(machine.node.config)
    # Neither another token nor another snapshot changes that.
    with pytest.raises(bootstrap.WrongPassword):
        machine.node = machine.configured(token=None)
        list(machine.reset("", token="another").steps())
    with pytest.raises(ConfigurationError, match=f"from {machine.snapshot} was interrupted"):
        machine.reset("/another")
    list(machine.reset("").steps())
    before_start.refuse(machine.node.config)


def test_a_damaged_note_of_a_reset_is_named(machine: Machine) -> None:
    files.write_atomic(machine.paths.reset_progress, "{", 0o600)
    with pytest.raises(ConfigurationError, match=r"cluster-reset\.json is damaged"):
        before_start.refuse(machine.node.config)


# -- refused, and nothing changed --------------------------------------------------------------------------


def another_token(contents: dict[str, str], cluster: Cluster) -> dict[str, str]:
    other = bootstrap.key("another"), bootstrap.seal("another", b"{}")
    return {key: text for key, text in contents.items() if key != SEALED} | {other[0]: other[1]}


def sealed(cluster: Cluster, **changes: bytes) -> dict[str, str]:
    return cluster.of({name: text for name, text in (cluster.files | changes).items() if text})


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (another_token, "lost-1754900000: bootstrap data already found and encrypted with different token"),
        (lambda found, _: found | {SEALED: "00:AAAA"}, "encrypted with different token"),
        (lambda found, _: {"a": "b"}, "it is not of a cluster of RKE2 or rke2-units"),
        (lambda found, _: found | {SEALED: ""}, "it has no bootstrap data"),
        (lambda _, cluster: sealed(cluster, ClientCA=b""), "the bootstrap data in it lacks ClientCA"),
        (
            lambda _, cluster: cluster.of(cluster.files, "v1.99.1+rke2r1"),
            r"it is of Kubernetes v1\.99\.1\+rke2r1, and this server has v1\..*, which is older",
        ),
    ],
    ids=["token", "damaged", "foreign", "unfinished", "lacking", "newer"],
)
def test_a_snapshot_that_cannot_be_used_changes_nothing(
    machine: Machine, spoil: Callable[[dict[str, str], Cluster], dict[str, str]], complaint: str
) -> None:
    machine.had_a_cluster()
    machine.snapshot.write_text(json.dumps(spoil(machine.cluster.contents, machine.cluster)))
    before = machine.everything()
    with pytest.raises(UserError, match=complaint):
        list(machine.reset().steps())
    assert machine.everything() == before


def test_a_token_of_another_authority_changes_nothing(machine: Machine) -> None:
    machine.node = machine.configured(token=None)
    with pytest.raises(ConfigurationError, match="token CA hash does not match the Cluster CA certificate"):
        list(machine.reset(token=f"K10{'0' * 64}::server:{PASSWORD}").steps())
    assert not os.path.exists(machine.paths.etcd_data)


def test_a_snapshot_whose_version_nobody_knows_is_restored_with_a_warning(machine: Machine) -> None:
    contents = {key: text for key, text in machine.cluster.contents.items() if "minions" not in key}
    machine.snapshot.write_text(json.dumps(contents))
    assert any("Warning: no node in it says of which Kubernetes" in line for line in machine.reset().steps())


def test_data_that_an_etcd_has_open_is_not_touched(machine: Machine) -> None:
    machine.had_a_cluster(**machine.cluster.contents)
    before = machine.everything()
    with open(f"{machine.paths.etcd_data}/member/snap/db", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"a process has etcd's data in .*member open"):
            list(machine.reset("").steps())
    assert machine.everything() == before


def test_a_copy_that_has_no_room_is_not_begun(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.had_a_cluster(**machine.cluster.contents)
    before = machine.everything()
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=10, f_frsize=4096))
    with pytest.raises(UserError, match=r"db has 0 MiB free, and \d+ MiB are needed"):
        list(machine.reset("").steps())
    assert machine.everything() == before


def make(
    machine: Machine, snapshot: str, s3: S3Config | None = None, values: Mapping[str, object] | None = None
) -> request.Request:
    return request.make(machine.configured(**(values or {})).config, snapshot, "", s3)


@pytest.mark.parametrize(
    ("snapshot", "values", "s3", "complaint"),
    [
        ("", {"server": "https://a:9345"}, None, "cannot perform cluster-reset while server URL is set"),
        ("", {"server": "https://a:9345", "disable-etcd": True}, None, "is for servers with etcd"),
        ("", {}, None, "this server has no data of etcd in"),
        ("/none", {}, None, "etcd: snapshot path does not exist: /none"),
        ("/", {}, None, "etcd: snapshot path must be a file, not a directory: /"),
        ("a/b", {}, S3Config(bucket="b"), "a/b is not the name of a snapshot in S3"),
        ("..", {}, S3Config(bucket="b"), "is not the name of a snapshot in S3"),
        ("a", {}, S3Config(config_secret="s"), "cannot use S3 config secret when restoring snapshot"),
    ],
)
def test_what_rke2_refuses_is_refused_in_its_words(
    machine: Machine, snapshot: str, values: dict[str, object], s3: S3Config | None, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        make(machine, snapshot, s3, values)


def test_a_snapshot_in_our_folder_is_found_by_its_name(machine: Machine) -> None:
    os.makedirs(machine.paths.snapshots)
    Path(machine.paths.snapshots, "etcd-snapshot-a-1").touch()
    with pytest.raises(UserError, match=f"does not exist.*there is {machine.paths.snapshots}/etcd-snapshot"):
        make(machine, "etcd-snapshot-a-1")


def test_the_path_in_the_configuration_counts_without_the_option(machine: Machine) -> None:
    path = str(machine.snapshot)
    assert make(machine, "", values={"cluster-reset-restore-path": path}).file == path
    asked = make(machine, "a", S3Config(bucket="b"))
    assert asked.file == f"{machine.paths.snapshots}/a"


def test_members_that_were_reset_are_not_reset_again_before_a_start(machine: Machine) -> None:
    machine.had_a_cluster(**machine.cluster.contents)
    list(machine.reset("").steps())
    with pytest.raises(ConfigurationError, match=r"previously reset.*delete the file at .*db/reset-flag"):
        machine.reset("")
    # RKE2 does not look at it either when a snapshot is restored.
    machine.reset()
    before_start.forget(machine.paths)
    machine.reset("")


@pytest.mark.parametrize(
    ("given", "configured", "complaint"),
    [
        ("", None, "server/token does not exist, please pass --token-file to complete the restoration"),
        ("one", "another", r"--token-file and token \(test\) differ"),
        ("abcdef.0123456789abcdef", None, "has the form of a bootstrap token"),
        (f"K10{'0' * 64}::node:x", None, "is for the user 'node'"),
    ],
)
def test_the_token_must_be_the_servers_and_one(
    machine: Machine, given: str, configured: str | None, complaint: str
) -> None:
    config = machine.configured(token=configured).config
    with pytest.raises(ConfigurationError, match=complaint):
        request.make(config, str(machine.snapshot), given, None)


def test_without_another_token_that_on_disk_is_used(machine: Machine) -> None:
    machine.had_a_cluster()
    config = machine.configured(token=None).config
    # Not its hash: the authority on this disk may be another cluster's.
    assert request.make(config, str(machine.snapshot), "", None).token == token.Token(password=PASSWORD)


def test_no_secret_is_in_what_can_be_shown(machine: Machine) -> None:
    asked = request.make(machine.node.config, str(machine.snapshot), PASSWORD, None)
    note = progress.Progress(STAMP, "", "name", "sealed data")
    assert PASSWORD not in repr(asked) and "sealed data" not in repr(note)


@pytest.mark.parametrize(
    ("listed", "complaint"),
    [
        ("rke2-server.service loaded active running RKE2\n", "rke2-server.service runs.*stop rke2-server"),
        ("rke2-kubelet.service loaded active running x\n", "rke2-kubelet.service runs.*stop rke2-kubelet"),
        ("rke2-kubelet.service loaded\nrke2-server.service loaded activating\n", "stop rke2-server"),
    ],
)
def test_a_node_that_runs_is_refused(monkeypatch: pytest.MonkeyPatch, listed: str, complaint: str) -> None:
    monkeypatch.setattr(reset, "run", lambda command: Completed(0, listed, ""))
    with pytest.raises(UserError, match=complaint):
        reset.refuse_running()


def test_programs_are_taken_out_of_the_image_when_they_are_not_there(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.unlink(f"{machine.paths.content}/etcdctl-0123/etcd")
    asked: list[list[str]] = []

    def fails(command: list[str], **_: object) -> Completed:
        asked.append(command)
        return Completed(1, "", "<6>pulling\n<3>there is no such image (put it there)\n")

    monkeypatch.setattr(etcd_programs, "run", fails)
    complaint = r"cannot be taken out of rancher/hardened-etcd:v3: there is no such image \(put it there\)"
    with pytest.raises(UserError, match=complaint):
        list(machine.reset().steps())
    assert asked[0][-4:] == [
        *("rke2_units.programs.image_program", "--settings", machine.paths.program_settings, "etcdctl")
    ]


# -- the start of the node ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"cluster-reset": True}, "is a step and not a setting.*run rke2-units cluster-reset, remove"),
        ({"cluster-reset-restore-path": "/a"}, "--cluster-reset required with --cluster-reset-restore-path"),
    ],
)
def test_a_key_of_a_reset_is_no_setting(machine: Machine, values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        before_start.refuse(machine.configured(**values).config)


def test_a_reset_that_was_done_is_told_in_rke2s_words(machine: Machine) -> None:
    list(machine.reset().steps())
    before_start.refuse(machine.node.config)
    with pytest.raises(
        ConfigurationError, match=r"was previously reset, please remove cluster-reset \(test\)"
    ):
        before_start.refuse(machine.configured(**{"cluster-reset": True}).config)
