"""A snapshot has what servers are restored with, under this node's token."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rke2_units import layout
from rke2_units.certificates import bootstrap
from rke2_units.errors import ConfigurationError
from rke2_units.lean.etcd import Etcd, Value
from rke2_units.snapshots import bootstrap_check

PASSWORD = "correct-horse"
FILES = {name: name.encode() for name in layout.BOOTSTRAP_FILES}


class Stored(Etcd):
    """An etcd with these values of keys."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__("", [])
        self.values = values

    def get(self, key: str) -> Value | None:
        return Value(self.values[key], 5) if key in self.values else None

    def keys(self, prefix: str) -> list[str]:
        return [key for key in self.values if key.startswith(prefix)]


def sealed(files: dict[str, bytes], password: str = PASSWORD) -> dict[str, str]:
    return {bootstrap.key(password): bootstrap.seal(password, bootstrap.pack(files, datetime.now(UTC)))}


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """The folder DATA/server of a node whose files are FILES."""
    for name, place in layout.BOOTSTRAP_FILES.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(FILES[name])
    (tmp_path / "token").write_text(f"K10{'0' * 64}::server:{PASSWORD}\n")
    return tmp_path


def faults(server: Path, values: dict[str, str]) -> list[str]:
    return bootstrap_check.faults(Stored(values), str(server / "token"), str(server))


def test_all_that_servers_need_is_there_and_is_this_nodes(server: Path) -> None:
    assert faults(server, sealed(FILES)) == []


def test_what_changes_with_time_may_differ(server: Path) -> None:
    changed = FILES | {"PasswdFile": b"other", "EncryptionConfig": b"other", "EncryptionHash": b"other"}
    assert faults(server, sealed(changed)) == []


def test_what_this_node_lacks_is_not_compared(server: Path) -> None:
    (server / "tls/etcd/peer-ca.key").unlink()
    assert faults(server, sealed(FILES)) == []


def test_an_authority_that_is_missing_or_another_is_named(server: Path) -> None:
    files = FILES | {"ServerCAKey": b"other"}
    del files["ETCDPeerCA"]
    assert faults(server, sealed(files)) == [
        f"ServerCAKey in its bootstrap data is not {server}/tls/server-ca.key",
        "its bootstrap data has no ETCDPeerCA",
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "it has no bootstrap data"),
        ({bootstrap.key(PASSWORD): ""}, "it has no bootstrap data"),
        (sealed(FILES, "another"), "encrypted with another token than"),
        ({bootstrap.key(PASSWORD): "0011:AAAA"}, "cannot be read with the token in"),
        ({bootstrap.key(PASSWORD): bootstrap.seal(PASSWORD, b"[]")}, "cannot be read with the token in"),
    ],
)
def test_data_that_cannot_be_used_is_a_fault(server: Path, values: dict[str, str], words: str) -> None:
    [fault] = faults(server, values)
    assert words in fault and PASSWORD not in fault


def test_a_node_without_its_token_says_so(server: Path) -> None:
    (server / "token").unlink()
    with pytest.raises(ConfigurationError, match="token: No such file"):
        faults(server, sealed(FILES))
