"""Makes the data of a new cluster with one member out of a snapshot, with etcd's own program.

A snapshot is checked before that: etcd's own messages do not say that a file was cut off.
"""

import hashlib
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rke2_units.errors import UserError
from rke2_units.lean import processes, write
from rke2_units.snapshots import names

# A snapshot is etcd's database, whose size is a multiple of its pages', and the SHA-256 of that behind it.
_HASH_BYTES = 32
_PAGE = 512
_CHUNK = 1 << 20
# What restoring needs beside the two copies: the first write-ahead log is 64 MB.
_MARGIN = 128 << 20
_SECONDS = 1800.0
# More than a cluster writes between a snapshot and the moment at which it is lost; Kubernetes' own advice.
_BUMP = 1_000_000_000
_COPY_AGAIN = "copy it again from where it was made, or choose another snapshot"


def restore(
    snapshot_file: str,
    target: str,
    *,
    etcdutl: str,
    etcdctl: str,
    name: str,
    peer_url: str,
    skip_hash: bool = False,
    bump_revision: bool = False,
) -> None:
    """Makes the folder TARGET, which must not exist: the data of a new cluster whose member has this name.

    UserError when the snapshot is not whole or does not fit; nothing is left of the folder then. etcdctl is
    used where there is no etcdutl. `skip_hash` takes a copy of a database file without a hash.
    `bump_revision`, where the program can do it: all clients that have seen what was written after the
    snapshot read everything anew.
    """
    check_is_file(snapshot_file)
    if os.path.lexists(target):
        raise UserError(f"{target} exists, and a snapshot is restored into a new folder only")
    with _unpacked(snapshot_file, f"{target}.snapshot") as database:
        check_space(os.path.dirname(target), os.path.getsize(database))
        if not skip_hash:
            check_hash(database, snapshot_file)
        program = etcdutl if etcdutl and os.path.exists(etcdutl) else etcdctl
        command = [
            *_dying_with_us(program),
            *("snapshot", "restore", os.path.abspath(database)),
            f"--data-dir={target}",
            f"--name={name}",
            f"--initial-cluster={name}={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            *(["--skip-hash-check"] if skip_hash else []),
            *(["--mark-compacted", f"--bump-revision={_BUMP}"] if bump_revision and _bumps(program) else []),
        ]
        try:
            ended = _run(command)
            if ended.code != 0:
                raise UserError(
                    f"{snapshot_file} cannot be restored: {ended.last_words.removeprefix('Error: ')}",
                    hint=_COPY_AGAIN,
                )
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise


def check_is_file(path: str) -> None:
    """UserError in RKE2's words when there is no such file."""
    if not os.path.exists(path):
        raise UserError(f"etcd: snapshot path does not exist: {path}")
    if not os.path.isfile(path):
        raise UserError(f"etcd: snapshot path must be a file, not a directory: {path}")


def size(snapshot_file: str) -> int:
    """The size of the database in the snapshot, in bytes, as the file says it."""
    if not snapshot_file.endswith(names.ZIP):
        return os.path.getsize(snapshot_file)
    with _archive(snapshot_file) as (_, entry):
        return entry.file_size


def check_space(folder: str, wanted: int) -> None:
    """UserError when so many bytes and etcd's log do not fit into the folder."""
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free < wanted + _MARGIN:
        raise UserError(
            f"{folder} has {free >> 20} MiB free, and {(wanted + _MARGIN) >> 20} MiB are needed",
            hint="make space there",
        )


def check_hash(database: str, named: str) -> None:
    """UserError, which calls the file `named`, when its end is not the hash of all before."""
    length = os.path.getsize(database) - _HASH_BYTES
    if length <= 0 or length % _PAGE:
        raise UserError(f"{named} is not a complete snapshot of etcd: it is cut off", hint=_COPY_AGAIN)
    computed = hashlib.sha256()
    with open(database, "rb") as file:
        left = length
        while left and (chunk := file.read(min(left, _CHUNK))):
            computed.update(chunk)
            left -= len(chunk)
        if file.read() != computed.digest():
            raise UserError(
                f"{named} is damaged: its content does not match the hash at its end", hint=_COPY_AGAIN
            )


@contextmanager
def _unpacked(path: str, temporary: str) -> Iterator[str]:
    """The file with the database: the snapshot, or what is in it while this lasts."""
    if not path.endswith(names.ZIP):
        yield path
        return
    with _archive(path) as (archive, entry):
        # Unpacked here, and copied by etcd.
        check_space(os.path.dirname(temporary), 2 * entry.file_size)
        with write.stage(temporary, 0o600, on_disk=False) as file, archive.open(entry) as source:
            # zipfile reads no more than the size that the entry names.
            shutil.copyfileobj(source, file, _CHUNK)
    try:
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


@contextmanager
def _archive(path: str) -> Iterator[tuple[zipfile.ZipFile, zipfile.ZipInfo]]:
    """The archive and its one file; UserError for whatever is wrong with it while this lasts."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) != 1 or entries[0].is_dir():
                raise UserError(
                    f"{path} holds {len(entries)} entries, and a snapshot's archive has one file",
                    hint="choose a snapshot of etcd",
                )
            yield archive, entries[0]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path} cannot be unpacked: {error}", hint=_COPY_AGAIN) from None


def _dying_with_us(program: str) -> list[str]:
    # A run that follows a killed one shall not meet its program.
    return ["setpriv", "--pdeathsig", "KILL", program]


def _bumps(program: str) -> bool:
    """Whether the program knows --bump-revision: since etcd 3.6, and late versions of 3.5."""
    return "--bump-revision" in _run([program, "snapshot", "restore", "--help"]).output


def _run(command: list[str]) -> processes.Finished:
    return processes.run(
        command, timeout=_SECONDS, environment={"ETCDCTL_API": "3", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    )
