"""Takes a snapshot of this node's etcd: a file that appears whole, or not at all.

Until then it is NAME.part (and etcdctl's own NAME.part.part), beside it perhaps the archive NAME.zip.part.
What a killed process has left of these, `remove_leftovers` removes.
"""

import json
import os
import time
from collections.abc import Callable, Mapping

from rke2_units.doors import files
from rke2_units.errors import UserError
from rke2_units.lean import write
from rke2_units.lean.etcd import Etcd
from rke2_units.snapshots import compression, damage, names
from rke2_units.snapshots.progress import Progress

_MIB = 1 << 20
# What stays free: by default etcd's own data lies in the same file system, and etcd ends when that is full.
_MARGIN = 64 * _MIB
# An archive of what cannot be compressed is larger than that by less than this part.
_ZIP_OVERHEAD = 1000
# So many seconds after the present one may be taken by names that exist.
_SECONDS_AHEAD = 60
# Without a byte for so long (s), etcd or the disk hangs.
_SILENCE = 120.0


def prepare_folder(path: str, *, is_own: bool) -> None:
    """Makes our own folder (0700); UserError when somebody else's is not there."""
    if is_own:
        files.make_directory(path, 0o700)
    elif not os.path.isdir(path):
        raise UserError(
            f"the folder for snapshots {path} is not there", hint="create it, or mount what it is on"
        )


def require_space(path: str, size: int, *, compress: bool) -> None:
    """UserError unless a database of `size` bytes fits into the folder: twice, if it is compressed."""
    found = os.statvfs(path)
    if found.f_blocks == 0:
        return  # a file system that does not know
    free = found.f_bavail * found.f_frsize
    needed = size + (size + size // _ZIP_OVERHEAD if compress else 0) + _MARGIN
    if free < needed:
        raise UserError(
            f"not enough space for a snapshot in {path}: "
            f"{free // _MIB} MiB free, {-(-needed // _MIB)} MiB needed",
            hint="free some space, keep fewer snapshots (etcd-snapshot-retention) or set etcd-snapshot-dir",
        )


def free_name(folder: str, base: str, node: str) -> str:
    """A name that no file has: of the present second, else of one of the next."""
    now = round(time.time())
    for seconds in range(now, now + _SECONDS_AHEAD):
        name = names.file_name(base, node, seconds)
        if not any(os.path.lexists(f"{folder}/{name}{ending}") for ending in ("", names.ZIP)):
            return name
    raise UserError(
        f"{folder} has snapshots of this second and the next {_SECONDS_AHEAD} already",
        hint="is the clock of this machine right?",
    )


def take(
    etcd: Etcd,
    path: str,
    size: int,
    *,
    compress: bool,
    metadata: Mapping[str, str],
    say: Callable[[str], None],
) -> str:
    """Makes the snapshot PATH, or PATH.zip with `compress`, which must not exist; returns the file's path.

    `size`: of the database in bytes, for `say`. An error leaves nothing.
    """
    try:
        return _take(etcd, path, size, compress, metadata, say)
    except BaseException:
        remove_leftovers(path)
        raise


def remove_leftovers(path: str) -> bool:
    """Removes what is left of making the snapshot PATH, except the snapshot; whether there was anything."""
    part = f"{path}{names.PART}"
    archive = f"{path}{names.ZIP}"
    leftovers = [part, f"{part}{names.PART}", f"{archive}{names.PART}"]
    for final in (path, archive):
        metadata = names.metadata_path(final)
        leftovers.append(f"{metadata}{names.PART}")
        if not os.path.lexists(final):
            leftovers.append(metadata)
    return any([files.remove(leftover) for leftover in leftovers])


def _take(
    etcd: Etcd,
    path: str,
    size: int,
    compress: bool,
    metadata: Mapping[str, str],
    say: Callable[[str], None],
) -> str:
    part = f"{path}{names.PART}"
    name = os.path.basename(path)
    growth = _Growth(f"{part}{names.PART}", f"saving {name}", size, say)
    etcd.save_snapshot(part, growth.tick)
    with open(part, "rb") as file:
        wrong = damage.of_database(file, os.fstat(file.fileno()).st_size)
    if wrong:
        raise UserError(f"etcdctl did not save a snapshot: {wrong}")
    target = f"{path}{names.ZIP}" if compress else path
    complete = f"{target}{names.PART}"
    if compress:
        progress = Progress(f"compressing {name}", os.path.getsize(part), say)
        compression.compress(part, complete, name, progress.report)
    # The metadata first: a snapshot that is there has it.
    if metadata:
        _write_metadata(target, metadata)
    _publish(complete, target)
    if compress:
        files.remove(part)
    return target


def _write_metadata(path: str, metadata: Mapping[str, str]) -> None:
    place = names.metadata_path(path)
    files.make_directory(os.path.dirname(place), 0o700)
    # RKE2's mode.
    with write.replace(place, 0o700, temporary=f"{place}{names.PART}") as file:
        file.write(json.dumps(dict(metadata)).encode())
    files.synchronise_directory(os.path.dirname(place))


def _publish(part: str, path: str) -> None:
    """Gives the file, which is on disk then, its name; never in the place of another."""
    descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fchmod(descriptor, 0o600)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if os.path.lexists(path):
        raise UserError(f"{path} exists already")
    os.rename(part, path)
    files.synchronise_directory(os.path.dirname(path))


class _Growth:
    """Looks at a file that etcdctl writes."""

    def __init__(self, path: str, what: str, size: int, say: Callable[[str], None]) -> None:
        self._path = path
        self._progress = Progress(what, size, say)
        self._size = -1
        self._since = time.monotonic()

    def tick(self) -> None:
        """UserError when the file has not grown for long."""
        try:
            size = os.path.getsize(self._path)
        except FileNotFoundError:
            size = 0  # not yet, or renamed
        now = time.monotonic()
        if size != self._size:
            self._size, self._since = size, now
        elif now - self._since >= _SILENCE:
            raise UserError(
                f"etcd has sent nothing for {_SILENCE:.0f} s", hint="is its disk or this one slow?"
            )
        self._progress.report(size)
