"""Another server token: nothing is lost or half done, wherever it is interrupted."""

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rke2_units.certificates import bootstrap, credentials, token
from rke2_units.cluster import token_rotation
from rke2_units.cluster.token_rotation import Rotation
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.layout import Paths
from rke2_units.lean.etcd import Etcd, EtcdError, Value
from rke2_units.model import UnitState

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
BUNDLE = "the authority"
HASH = hashlib.sha256(BUNDLE.encode()).hexdigest()
FILES = {"ServerCA": b"authority", "PasswdFile": b"old rows"}


class Interrupted(Exception):
    """As if the process were killed just there."""


class FakeEtcd(Etcd):
    """Keys in memory."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.revision = 1

    def put(self, key: str, text: str) -> None:
        self.revision += 1
        self.values[key] = Value(text, self.revision)

    def get(self, key: str) -> Value | None:
        return self.values.get(key)

    def keys(self, prefix: str) -> list[str]:
        return [key for key in self.values if key.startswith(prefix)]

    def write(self, key: str, text: str, revision: int, *, remove: tuple[str, ...] = ()) -> bool:
        present = self.values.get(key)
        if (present.revision if present else 0) != revision:
            return False
        self.put(key, text)
        for other in remove:
            self.values.pop(other, None)
        return True


class FakeSystemd:
    def __init__(self) -> None:
        self.restarted: list[str] = []
        self.late: list[str] = []

    def states(self, units: Any) -> dict[str, UnitState]:
        return {unit: UnitState(unit, "loaded", "active", "running", "") for unit in units}

    def restart(self, unit: str) -> None:
        self.restarted.append(unit)

    def wait_until(self, units: Any, settled: str, timeout: float) -> list[str]:
        return self.late


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A server whose token's password is `old`, also for agents."""
    monkeypatch.setattr(token, "authority_hash", lambda bundle: hashlib.sha256(bundle).hexdigest())
    paths = Paths(os.fspath(tmp_path))
    for folder in (paths.tls, paths.credentials):
        os.makedirs(folder)
    Path(f"{paths.tls}/server-ca.crt").write_text(BUNDLE)
    Path(paths.token).write_text(f"K10{HASH}::server:old\n")
    Path(paths.passwd).write_text("old,node,node,rke2:agent\nold,server,server,rke2:server\nx,y,z,other\n")
    return paths


@pytest.fixture
def etcd() -> FakeEtcd:
    etcd = FakeEtcd()
    etcd.put(bootstrap.key("old"), bootstrap.seal("old", bootstrap.pack(FILES, NOW)))
    return etcd


def rotate(paths: Paths, etcd: FakeEtcd | None, wanted: str = "", **more: Any) -> Rotation | None:
    rotation = token_rotation.begin(paths, wanted)
    if rotation is not None:
        more.setdefault("systemd", FakeSystemd())
        token_rotation.complete(paths, rotation, NOW, etcd=etcd, **more)
    return rotation


def assert_rotated(paths: Paths, etcd: FakeEtcd, password: str) -> None:
    assert Path(paths.token).read_text() == f"K10{HASH}::server:{password}\n"
    passwd = Path(paths.passwd).read_text()
    assert passwd == f"{password},node,node,rke2:agent\n{password},server,server,rke2:server\nx,y,z,other\n"
    (key,) = etcd.values
    assert key == bootstrap.key(password)
    files = bootstrap.unpack(bootstrap.unseal(password, etcd.values[key].text))
    assert files == {**FILES, "PasswdFile": passwd.encode()}
    assert sorted(os.listdir(paths.server)) == ["cred", "tls", "token"]
    assert {os.stat(path).st_mode & 0o777 for path in (paths.token, paths.passwd)} == {0o600}


def test_the_new_token_is_everywhere_and_the_old_one_nowhere(paths: Paths, etcd: FakeEtcd) -> None:
    systemd = FakeSystemd()
    rotate(paths, etcd, "new", systemd=systemd)
    assert_rotated(paths, etcd, "new")
    assert systemd.restarted == ["rke2-controllers.service", "rke2-supervisor.service"]


@pytest.mark.parametrize("wanted", ["new", f"K10{HASH}::server:new", "K10::server:new"])
def test_the_new_token_may_have_either_form(paths: Paths, etcd: FakeEtcd, wanted: str) -> None:
    rotate(paths, etcd, wanted)
    assert_rotated(paths, etcd, "new")


@pytest.mark.parametrize(
    "wanted", [f"K10{'0' * 64}::server:new", "K10::node:new", "abcdef.0123456789abcdef", "two\nlines"]
)
def test_a_token_of_another_cluster_or_kind_is_refused(paths: Paths, etcd: FakeEtcd, wanted: str) -> None:
    with pytest.raises(ConfigurationError):
        rotate(paths, etcd, wanted)
    assert_untouched(paths, etcd)


def assert_untouched(paths: Paths, etcd: FakeEtcd) -> None:
    assert credentials.server_password(paths) == "old"
    assert list(etcd.values) == [bootstrap.key("old")]
    assert sorted(os.listdir(paths.server)) == ["cred", "tls", "token"]


def test_without_a_token_a_random_one_is_made(paths: Paths, etcd: FakeEtcd) -> None:
    rotation = rotate(paths, etcd)
    assert rotation is not None and len(rotation.password) == 32
    assert_rotated(paths, etcd, rotation.password)
    assert rotation.password not in repr(rotation)


def test_the_token_that_the_server_has_changes_nothing(paths: Paths, etcd: FakeEtcd) -> None:
    assert rotate(paths, etcd, "old") is None
    assert_untouched(paths, etcd)


def test_agents_keep_a_token_of_their_own(paths: Paths, etcd: FakeEtcd) -> None:
    Path(paths.passwd).write_text("agents,node,node,rke2:agent\nold,server,server,rke2:server\n")
    rotate(paths, etcd, "new")
    assert Path(paths.passwd).read_text() == ("agents,node,node,rke2:agent\nnew,server,server,rke2:server\n")


def test_files_that_hold_the_token_for_the_configuration_follow(
    paths: Paths, etcd: FakeEtcd, tmp_path: Path
) -> None:
    copy = tmp_path / "token-file"
    rotate(paths, etcd, "new", copies=[os.fspath(copy)])
    assert copy.read_text() == f"K10{HASH}::server:new\n"


def test_every_other_server_takes_the_same_token(paths: Paths, etcd: FakeEtcd) -> None:
    rotate(paths, etcd, "new")
    sealed = next(iter(etcd.values.values())).text
    # The second server still has the old one, and has sealed the data with it once more.
    Path(paths.token).write_text("K10::server:old\n")
    etcd.put(bootstrap.key("old"), bootstrap.seal("old", bootstrap.pack(FILES, NOW)))
    rotate(paths, etcd, "new")
    assert_rotated(paths, etcd, "new")
    assert next(iter(etcd.values.values())).text == sealed


def test_data_under_a_third_token_is_left_alone(paths: Paths, etcd: FakeEtcd) -> None:
    etcd.values = {bootstrap.key("third"): Value("x", 5)}
    with pytest.raises(UserError, match=r"sealed with another token.*--new-token-file"):
        rotate(paths, etcd)
    assert list(etcd.values) == [bootstrap.key("third")]
    assert credentials.server_password(paths) == "old"
    assert sorted(os.listdir(paths.server)) == ["cred", "tls", "token"]


@pytest.mark.parametrize("has_etcd", [True, False])
def test_a_server_without_sealed_data_changes_its_files(paths: Paths, has_etcd: bool) -> None:
    rotate(paths, FakeEtcd() if has_etcd else None, "new")
    assert credentials.server_password(paths) == "new"


def test_data_that_is_just_being_written_is_waited_for_by_the_person(paths: Paths, etcd: FakeEtcd) -> None:
    etcd.put(bootstrap.key("old"), "")
    with pytest.raises(UserError, match="just now"):
        rotate(paths, etcd, "new")
    assert credentials.server_password(paths) == "old"


def test_an_etcd_that_does_not_answer_changes_nothing(
    paths: Paths, etcd: FakeEtcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(prefix: str) -> list[str]:
        raise EtcdError("connection refused")

    monkeypatch.setattr(etcd, "keys", refuse)
    with pytest.raises(EtcdError):
        rotate(paths, etcd)
    assert_untouched(paths, etcd)


STEPS = ("rke2_units.doors.files.write_atomic", "write", "rke2_units.doors.files.write_all",
         "restart", "wait_until", "rke2_units.doors.files.remove")  # fmt: skip


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_what_was_interrupted_is_completed_by_the_next_run(
    paths: Paths, etcd: FakeEtcd, step: str, after: bool
) -> None:
    """Killed just before and just after each step; the new token is a random one, which must not be lost."""
    systemd = FakeSystemd()

    def killed(function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if after:
                function(*arguments, **named)
            raise Interrupted

        return call

    with pytest.MonkeyPatch.context() as patch:
        if step == "write":
            patch.setattr(etcd, step, killed(etcd.write))
        elif "." in step:
            module, _, name = step.rpartition(".")
            patch.setattr(step, killed(getattr(files, name)))
        else:
            patch.setattr(systemd, step, killed(getattr(systemd, step)))
        with pytest.raises(Interrupted):
            rotate(paths, etcd, systemd=systemd)
    if after and step.endswith(".remove"):
        assert_rotated(paths, etcd, credentials.server_password(paths))
        return
    again = rotate(paths, etcd, systemd=systemd)
    assert again is not None
    assert_rotated(paths, etcd, again.password)
    assert rotate(paths, etcd, again.password, systemd=systemd) is None


def test_an_interrupted_rotation_is_not_mixed_with_another(paths: Paths, etcd: FakeEtcd) -> None:
    systemd = FakeSystemd()
    systemd.late = ["rke2-supervisor.service"]
    with pytest.raises(UserError, match=r"rke2-supervisor.service did not start.*run this again"):
        rotate(paths, etcd, "new", systemd=systemd)
    with pytest.raises(UserError, match="interrupted"):
        rotate(paths, etcd, "other")
    rotate(paths, etcd, "new")
    assert_rotated(paths, etcd, "new")


def test_a_server_that_was_never_started_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="never started"):
        token_rotation.begin(Paths(os.fspath(tmp_path)), "new")
