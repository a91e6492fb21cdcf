"""A snapshot is restored, opened, and compared; stand-ins for etcd's programs hold its objects."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rke2_units import layout
from rke2_units.certificates import bootstrap
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.snapshots import verify
from rke2_units.snapshots.verified import Result
from tests.unit.snapshots.stand_ins import Programs, snapshot

OWN, OTHER = "https://192.0.2.1:2379", "https://192.0.2.2:2379"
REVISION = 20
FILES = {name: name.encode() for name in layout.BOOTSTRAP_FILES}


def members(*urls: str) -> list[dict[str, object]]:
    return [
        {"ID": number, "name": f"node-{number}-0000000a", "clientURLs": [url]}
        for number, url in enumerate(urls, 1)
    ]


@dataclass
class Server:
    """A server with a live etcd, and a snapshot that was taken of it."""

    programs: Programs
    settings: Any
    database: dict[str, Any]
    said: list[str] = field(default_factory=list)

    @property
    def snapshot(self) -> Path:
        return Path(self.settings.directory) / "etcd-snapshot-node-1-1754906881"

    def take(self, **changed: object) -> None:
        self.snapshot.write_bytes(snapshot({**self.database, **changed}))

    def live(self, endpoint: str = OWN, **changed: object) -> None:
        """The cluster has gone on since the snapshot."""
        went_on = {"revision": REVISION + 5, "members": members(OWN), **changed}
        self.programs.have_cluster(endpoint, {**self.database, **went_on})

    def without(self, *keys: str) -> dict[str, object]:
        return {key: value for key, value in self.database["keys"].items() if key not in keys}

    def verify(self, *, live: bool = True) -> Result:
        return verify.verify(str(self.snapshot), self.settings, self.said.append, live=live)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    # Another user could not reach this test's folder, and only root may start a process of another.
    monkeypatch.setattr(verify, "USER", None)
    (tmp_path / "bin").mkdir()
    programs = Programs(tmp_path / "bin")
    for name, place in layout.BOOTSTRAP_FILES.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(FILES[name])
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "db/snapshots").mkdir(parents=True)
    sealed = bootstrap.seal("secret", bootstrap.pack(FILES, datetime.now(UTC)))
    keys = {
        bootstrap.key("secret"): (2, sealed),
        "compact_rev_key": (9, "8"),
        "/registry/minions/node-1": (3, ""),
        "/registry/pods/default/a": (4, ""),
        "/registry/pods/default/b": (5, ""),
        "/registry/helm.cattle.io/helmcharts/kube-system/canal": (6, ""),
    }
    settings = SimpleNamespace(
        etcd_program=programs.etcd,
        etcdctl=programs.etcdctl,
        etcdutl="",
        endpoints=[OWN],
        etcd_files={},
        node_name="node-1",
        token_file=str(tmp_path / "token"),
        records=str(tmp_path / "db/snapshot-records.json"),
        directory=str(tmp_path / "db/snapshots"),
    )
    made = Server(programs, settings, {"revision": REVISION, "compacted": 8, "keys": keys})
    made.take()
    made.live()
    return made


def test_a_good_snapshot_is_restored_opened_and_compared(server: Server) -> None:
    result = server.verify()
    assert result.ok, result.message
    assert (result.revision, result.keys, result.not_compared) == (REVISION, 6, "")
    assert result.kinds == {"nodes": 1, "pods": 2, "helmcharts.helm.cattle.io": 1}
    assert (
        result.message == "it can be restored and has what live etcd had (revision 20, 4 objects of 3 kinds)"
    )
    assert os.listdir(f"{os.path.dirname(server.settings.records)}/verify") == []
    assert [line.split()[0] for line in server.said] == ["restoring", "opening", "comparing"]


def test_without_live_etcd_it_is_compared_with_this_nodes_files_alone(server: Server) -> None:
    os.unlink(server.programs.folder / os.path.basename(OWN))
    result = server.verify(live=False)
    assert result.ok and result.not_compared == "live etcd was not asked"


def test_objects_that_live_etcd_had_and_it_has_not_are_differences(server: Server) -> None:
    server.take(keys=server.without("/registry/pods/default/a", "/registry/minions/node-1"))
    result = server.verify()
    assert not result.ok
    assert result.differences == ("pods: 1, live etcd has 2", "other kinds: 0, live etcd has 1")
    assert result.message.startswith("pods: 1, live etcd has 2; other kinds: 0, live etcd has 1 (")


def test_another_member_is_asked_rather_than_the_one_it_was_taken_of(server: Server) -> None:
    server.live(keys=server.without("/registry/pods/default/a"), members=members(OWN, OTHER))
    server.live(OTHER)
    assert server.verify().ok
    server.take(keys=server.without("/registry/pods/default/a"))
    assert server.verify().differences == ("pods: 1, live etcd has 2",)


def test_this_nodes_member_is_asked_when_no_other_answers(server: Server) -> None:
    server.live(members=members(OWN, OTHER))
    result = server.verify()
    assert result.ok and result.not_compared == ""


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"compacted": REVISION + 1}, "live etcd has compacted its revision 20"),
        ({"revision": REVISION - 1}, "live etcd is not yet at its revision 20"),
        ({"keys": {"compact_rev_key": (10, "9")}}, "it belongs to another history"),
        ({"members": []}, ""),
    ],
)
def test_a_cluster_that_cannot_tell_is_no_reason_to_fail(
    server: Server, changed: dict[str, Any], reason: str
) -> None:
    server.live(**changed)
    result = server.verify()
    assert result.ok and result.not_compared.startswith(reason)
    assert bool(reason) == ("not compared: " in result.message)


def test_an_etcd_that_does_not_answer_is_no_reason_to_fail(server: Server) -> None:
    os.unlink(server.programs.folder / os.path.basename(OWN))
    result = server.verify()
    assert result.ok and result.not_compared == "live etcd does not answer (context deadline exceeded)"


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 40)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("damage", "words"), [(cut, "not a complete snapshot"), (flip, "is damaged")])
def test_a_damaged_file_is_not_ok(server: Server, damage: Callable[[Path], None], words: str) -> None:
    damage(server.snapshot)
    result = server.verify()
    assert not result.ok and words in result.message
    assert os.listdir(f"{os.path.dirname(server.settings.records)}/verify") == []


def test_a_database_that_etcd_cannot_open_is_not_ok(server: Server) -> None:
    server.take(broken=True)
    result = server.verify()
    assert not result.ok and "page 7 already freed" in result.message


def test_an_empty_database_is_not_ok(server: Server) -> None:
    server.take(keys={})
    result = server.verify(live=False)
    assert result.differences == ("it has no objects of Kubernetes", "it has no bootstrap data")


def test_another_token_is_not_ok(server: Server) -> None:
    Path(server.settings.token_file).write_text("other\n")
    result = server.verify()
    assert not result.ok and "encrypted with another token" in result.message


def test_what_says_nothing_about_the_snapshot_is_an_error(server: Server) -> None:
    os.unlink(server.settings.token_file)
    with pytest.raises(ConfigurationError, match="token"):
        server.verify()
    os.unlink(server.programs.etcd)
    with pytest.raises(UserError, match="the program .* is not there"):
        server.verify()
    os.unlink(server.snapshot)
    with pytest.raises(UserError, match="does not exist"):
        server.verify()


def test_a_result_is_json(server: Server) -> None:
    said = json.loads(json.dumps(server.verify().as_object()))
    assert said["ok"] is True and said["differences"] == []
    assert datetime.fromisoformat(str(said["time"])).tzinfo is not None
