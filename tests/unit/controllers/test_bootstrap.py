"""The bootstrap data in etcd: one server fills it, all compare it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rke2_units.certificates import bootstrap as data
from rke2_units.controllers import bootstrap
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean.etcd import Value
from tests.unit.controllers.conftest import FakeEtcd

KEY = data.key("secret")
FILES = {"ServerCA": b"pem", "ServiceKey": b"key"}


def stored(etcd: FakeEtcd) -> dict[str, bytes]:
    return data.unpack(data.unseal("secret", etcd.values[KEY].text))


def put(etcd: FakeEtcd, files: dict[str, bytes], sealed_with: str = "secret") -> None:
    text = data.seal(sealed_with, data.pack(files, datetime.now(UTC)))
    etcd.values[data.key(sealed_with)] = Value(text, 3)


def test_the_first_server_seals_its_files_with_the_token() -> None:
    etcd = FakeEtcd()
    assert bootstrap.ensure(etcd, "secret", FILES)
    assert stored(etcd) == FILES
    assert list(etcd.values) == ["/bootstrap/2bb80d537b1d"]


def test_the_same_files_are_left_as_they_are() -> None:
    etcd = FakeEtcd()
    put(etcd, FILES | {"IPSECKey": b"more than this server has"})
    before = etcd.values[KEY]
    assert not bootstrap.ensure(etcd, "secret", FILES)
    assert etcd.values[KEY] is before


def test_files_that_differ_are_named_and_not_overwritten() -> None:
    etcd = FakeEtcd()
    put(etcd, {"ServerCA": b"other"})
    before = etcd.values[KEY]
    with pytest.raises(UserError, match="differs from this server's files: ServerCA, ServiceKey"):
        bootstrap.ensure(etcd, "secret", FILES)
    assert etcd.values[KEY] is before


@pytest.mark.parametrize("value", [None, "the same key, damaged"])
def test_another_tokens_data_is_refused_in_rke2s_words(value: str | None) -> None:
    etcd = FakeEtcd()
    put(etcd, FILES, "another")
    if value:
        etcd.values[KEY] = Value(value, 1)
    with pytest.raises(UserError, match="bootstrap data already found and encrypted with different token"):
        bootstrap.ensure(etcd, "secret", FILES)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_who_finds_the_key_locked_waits_for_whoever_locked_it(monkeypatch: pytest.MonkeyPatch) -> None:
    etcd = FakeEtcd()
    etcd.values[KEY] = Value("", 1)

    class Filled(Clock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.now >= 3:
                put(etcd, FILES)

    monkeypatch.setattr(bootstrap, "time", Filled())
    assert not bootstrap.ensure(etcd, "secret", FILES)


def test_a_lock_whose_owner_is_gone_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    etcd, clock = FakeEtcd(), Clock()
    etcd.values[KEY] = Value("", 1)
    monkeypatch.setattr(bootstrap, "time", clock)
    assert bootstrap.ensure(etcd, "secret", FILES)
    assert stored(etcd) == FILES
    assert 15 <= clock.now < 20


def test_only_one_of_two_that_begin_together_fills_it() -> None:
    etcd = FakeEtcd()

    def other() -> None:
        etcd.before_write = lambda: None
        put(etcd, FILES)

    etcd.before_write = other
    assert not bootstrap.ensure(etcd, "secret", FILES)


def test_the_program_reads_settings_token_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    etcd = FakeEtcd()
    (tmp_path / "token").write_text(f"K10{'0' * 64}::server:secret\n")
    (tmp_path / "server-ca.crt").write_bytes(b"pem")
    settings = {
        "node_name": "node1",
        "kubernetes": {"url": "https://127.0.0.1:6443", "authority": "", "certificate": "", "key": ""},
        "etcd": {"etcdctl": "", "authority": "", "certificate": "", "key": ""},
        "token_file": str(tmp_path / "token"),
        "node_password_file": "",
        "rbac": "",
        "member_name": "",
        "member_address": "",
        "bootstrap_files": {"ServerCA": str(tmp_path / "server-ca.crt"), "IPSECKey": str(tmp_path / "no")},
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    monkeypatch.setattr("rke2_units.controllers.settings.Settings.etcd", lambda self: etcd)
    monkeypatch.setattr("sys.argv", ["bootstrap", "--settings", str(tmp_path / "settings.json")])
    assert bootstrap.main() == 0
    assert stored(etcd) == {"ServerCA": b"pem"}
    assert capsys.readouterr().out == "written\n"
    (tmp_path / "token").unlink()
    assert bootstrap.main() == ConfigurationError.exit_code
    assert "token" in capsys.readouterr().err
