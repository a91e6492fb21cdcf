"""Restoring a snapshot: what is checked before, and how etcd's program is asked to do it."""

import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from rke2_units.errors import UserError
from rke2_units.snapshots.restore import restore, size

DATABASE = os.urandom(512) * 16
SNAPSHOT = DATABASE + hashlib.sha256(DATABASE).digest()
# Restores as etcdutl does, and keeps how it was called. The words of --help are in the file beside it.
RESTORES = """\
#!/bin/sh
here=$(dirname "$0")
case "$*" in *--help*) cat "$here/help"; exit;; esac
printf '%s\\n' "$@" >"$here/arguments-of-$(basename "$0")"
for argument; do case "$argument" in --data-dir=*) target=${argument#*=};; esac; done
mkdir -p "$target/member/snap"
cp "$3" "$target/member/snap/db"
[ ! -e "$here/fails" ] || { echo 'Error: expected sha256 [1], got [2]' >&2; exit 1; }
"""


class Programs:
    """Stand-ins for etcdutl and etcdctl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etcdutl, self.etcdctl = (str(folder / name) for name in ("etcdutl", "etcdctl"))
        for path in (self.etcdutl, self.etcdctl):
            Path(path).write_text(RESTORES)
            os.chmod(path, 0o755)
        (folder / "help").write_text("--data-dir string")

    def arguments(self, program: str = "etcdutl") -> list[str]:
        return (self.folder / f"arguments-of-{program}").read_text().splitlines()

    def restore(self, snapshot: Path, target: Path, **options: bool) -> None:
        restore(
            str(snapshot),
            str(target),
            etcdutl=self.etcdutl,
            etcdctl=self.etcdctl,
            name="node1-0123abcd",
            peer_url="https://192.0.2.7:2380",
            **options,
        )


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    (tmp_path / "bin").mkdir()
    return Programs(tmp_path / "bin")


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    path = tmp_path / "on-demand-node1-1754906881"
    path.write_bytes(SNAPSHOT)
    return path


def zipped(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(f"{path}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (entries or {path.name: SNAPSHOT}).items():
            archive.writestr(name, content)
    return Path(f"{path}.zip")


def test_a_snapshot_becomes_a_new_cluster_with_one_member(
    programs: Programs, snapshot: Path, tmp_path: Path
) -> None:
    programs.restore(snapshot, tmp_path / "new")
    assert programs.arguments() == [
        *("snapshot", "restore", str(snapshot), f"--data-dir={tmp_path / 'new'}", "--name=node1-0123abcd"),
        "--initial-cluster=node1-0123abcd=https://192.0.2.7:2380",
        "--initial-advertise-peer-urls=https://192.0.2.7:2380",
    ]


def test_a_zip_is_unpacked_whatever_the_name_within_and_nothing_of_it_stays(
    programs: Programs, snapshot: Path, tmp_path: Path
) -> None:
    archive = zipped(snapshot, **{"../../../etc/passwd": SNAPSHOT})
    assert size(str(archive)) == size(str(snapshot)) == len(SNAPSHOT)
    programs.restore(archive, tmp_path / "new")
    assert (tmp_path / "new/member/snap/db").read_bytes() == SNAPSHOT
    assert not (tmp_path / "new.snapshot").exists()


def test_etcdctl_restores_where_there_is_no_etcdutl(
    programs: Programs, snapshot: Path, tmp_path: Path
) -> None:
    os.unlink(programs.etcdutl)
    programs.restore(snapshot, tmp_path / "new")
    assert programs.arguments("etcdctl")[:2] == ["snapshot", "restore"]


@pytest.mark.parametrize("knows", [False, True])
def test_revisions_are_bumped_where_the_program_can(
    programs: Programs, snapshot: Path, tmp_path: Path, knows: bool
) -> None:
    if knows:
        (programs.folder / "help").write_text("--bump-revision uint")
    programs.restore(snapshot, tmp_path / "new", bump_revision=True)
    assert ("--bump-revision=1000000000" in programs.arguments()) == knows
    assert ("--mark-compacted" in programs.arguments()) == knows


CUT_ZIP = io.BytesIO()
with zipfile.ZipFile(CUT_ZIP, "w") as made:
    made.writestr("snapshot", SNAPSHOT)
DAMAGED_ZIP = bytearray(CUT_ZIP.getvalue())
DAMAGED_ZIP[200] ^= 1


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("s", b"", "s is not a complete snapshot of etcd"),
        ("s", SNAPSHOT[:-1], "s is not a complete snapshot of etcd"),
        ("s", SNAPSHOT[:-512], "s is damaged"),
        ("s", DATABASE, "s is not a complete snapshot of etcd"),
        ("s", b"x" + SNAPSHOT[1:], "s is damaged"),
        ("s.zip", CUT_ZIP.getvalue()[:-30], r"s\.zip cannot be unpacked"),
        ("s.zip", bytes(DAMAGED_ZIP), r"s\.zip cannot be unpacked: Bad CRC"),
        ("s.zip", SNAPSHOT, r"s\.zip cannot be unpacked"),
    ],
)
def test_a_damaged_snapshot_is_named_and_nothing_is_made(
    programs: Programs, tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        programs.restore(tmp_path / name, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", name]


@pytest.mark.parametrize("entries", [{"a": b"1", "b": b"2"}, {"folder/": b""}])
def test_an_archive_holds_one_file(
    programs: Programs, snapshot: Path, tmp_path: Path, entries: dict[str, bytes]
) -> None:
    with pytest.raises(UserError, match=f"holds {len(entries)} entries, and a snapshot's archive has one"):
        programs.restore(zipped(snapshot, **entries), tmp_path / "new")


def test_a_file_that_is_none_is_refused_in_rke2s_words(programs: Programs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"snapshot path does not exist: {tmp_path}/none"):
        programs.restore(tmp_path / "none", tmp_path / "new")
    with pytest.raises(UserError, match=f"must be a file, not a directory: {tmp_path}"):
        programs.restore(tmp_path, tmp_path / "new")


def test_a_copy_of_a_database_has_no_hash(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(DATABASE)
    programs.restore(tmp_path / "db", tmp_path / "new", skip_hash=True)
    assert "--skip-hash-check" in programs.arguments()


def test_etcds_own_reason_is_told_and_what_it_made_is_removed(
    programs: Programs, snapshot: Path, tmp_path: Path
) -> None:
    (programs.folder / "fails").touch()
    with pytest.raises(UserError, match=r"1754906881 cannot be restored: expected sha256 \[1\], got \[2\]"):
        programs.restore(snapshot, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_exists_is_not_touched(programs: Programs, snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(UserError, match="new exists"):
        programs.restore(snapshot, tmp_path / "new")
    assert (tmp_path / "new").exists()


@pytest.mark.parametrize("prepare", [lambda path: path, zipped])
def test_a_full_disk_is_seen_before_anything_is_written(
    programs: Programs,
    snapshot: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Path], Path],
) -> None:
    prepared = prepare(snapshot)
    before = sorted(path.name for path in tmp_path.iterdir())
    full = SimpleNamespace(f_bavail=32768, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(UserError, match=f"{tmp_path} has 128 MiB free, and 128 MiB are needed"):
        programs.restore(prepared, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
