"""The door to files: atomic writes with modes and owners, and errors that say which file and what to do.

A file is written beside its place and renamed over it, so that readers see the old file or the new one, even
if this process is killed. Temporary files are hidden, and their names end in the process ID: the kubelet,
containerd and systemd choose files by suffix and ignore them.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from rke2_units.errors import UserError
from rke2_units.lean import write
from rke2_units.model import File

TEMPORARY_PREFIX = ".rke2-units-"

_HINTS = {
    errno.ENOSPC: "free some space on this file system, then run it again; no file is half written",
    errno.EDQUOT: "the disk quota is used up; no file is half written",
    errno.EROFS: "the file system is mounted read-only",
    errno.EACCES: "run it as root",
    errno.EPERM: "run it as root",
}


@contextmanager
def _explained(action: str, path: str) -> Iterator[None]:
    """Turns an OSError into a UserError that names the file and what to do."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot {action} {path}: {error.strerror or error}",
            hint=_HINTS.get(error.errno or 0),
        ) from error


def below(root: str, path: str) -> str:
    """The place of the absolute `path` when `root` stands for `/`."""
    return os.path.normpath(f"{root}/{path}") if root != "/" else path


def read_bytes(path: str) -> bytes | None:
    """The content of the file, None when there is none."""
    with _explained("read", path):
        try:
            with open(path, "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None


def read_text(path: str) -> str | None:
    """The content of the file as UTF-8, None when there is none."""
    content = read_bytes(path)
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {path}: not UTF-8 text at byte {error.start}") from error


def write_atomic(path: str, content: str | bytes, mode: int, user: int = 0, group: int = 0) -> bool:
    """Makes the file be so, on disk when it returns; folders that are missing are made (0755).

    False when content, mode and owner already were so and nothing was done. Owners are set by root only:
    what another user renders belongs to that user.
    """
    data = content.encode() if isinstance(content, str) else content
    if _is_so(path, data, mode, user, group):
        return False
    temporary = _write_temporary(path, data, mode, user, group)
    with _explained("write", path):
        _put_in_place(temporary, path)
        synchronise_directory(os.path.dirname(path))
    return True


def write_all(files: Sequence[File], root: str = "/") -> list[str]:
    """Writes all the files that differ, below `root`; returns the paths (as in `files`) of those.

    Everything is written beside its place before anything is put in its place: a disk that fills up, or any
    other error while writing, leaves all the old files.
    """
    changed: list[str] = []
    pending: list[tuple[str, str]] = []
    try:
        for file in files:
            place = below(root, file.path)
            data = file.content.encode()
            if not _is_so(place, data, file.mode, file.user, file.group):
                temporary = _write_temporary(place, data, file.mode, file.user, file.group)
                pending.append((temporary, place))
                changed.append(file.path)
        while pending:
            temporary, place = pending.pop(0)
            with _explained("write", place):
                _put_in_place(temporary, place)
    finally:
        for temporary, _ in pending:
            write.discard(temporary)
    for directory in sorted({os.path.dirname(below(root, path)) for path in changed}):
        with _explained("write", directory):
            synchronise_directory(directory)
    return changed


def is_so(file: File, root: str = "/") -> bool:
    """Whether the file is there with this content, mode and (for root) owner."""
    return _is_so(below(root, file.path), file.content.encode(), file.mode, file.user, file.group)


def remove(path: str) -> bool:
    """Removes the file or symbolic link; False when there was none."""
    with _explained("remove", path):
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        synchronise_directory(os.path.dirname(path))
    return True


def make_directory(path: str, mode: int = 0o755, user: int = 0, group: int = 0) -> bool:
    """Creates or corrects the folder (those above it: 0755); False when nothing was to change."""
    with _explained("make the folder", path):
        _make_parents(os.path.dirname(path))
        made = False
        # The umask must not decide: the mode is set below.
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
            made = True
        found = os.stat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        changed = made
        if os.geteuid() == 0 and (found.st_uid, found.st_gid) != (user, group):
            os.chown(path, user, group)
            changed = True
        if stat.S_IMODE(found.st_mode) != mode:
            os.chmod(path, mode)
            changed = True
        return changed


def remove_empty_directory(path: str) -> bool:
    """Removes the folder; False when there was none, or something is in it."""
    with _explained("remove", path):
        try:
            os.rmdir(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        synchronise_directory(os.path.dirname(path))
    return True


def clean(directory: str) -> list[str]:
    """Removes from the folder the temporary files whose process has ended; returns their paths."""
    with _explained("read", directory):
        try:
            names = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            return []
    removed = []
    for name in names:
        _, _, writer = name.rpartition(".")
        if (
            not name.startswith(TEMPORARY_PREFIX)
            or not writer.isdecimal()
            or os.path.exists(f"/proc/{writer}")
        ):
            continue
        path = os.path.join(directory, name)
        if remove(path):
            removed.append(path)
    return removed


def _is_so(path: str, data: bytes, mode: int, user: int, group: int) -> bool:
    with _explained("read", path):
        try:
            found = os.lstat(path)
            if not stat.S_ISREG(found.st_mode) or stat.S_IMODE(found.st_mode) != mode:
                return False
            if os.geteuid() == 0 and (found.st_uid, found.st_gid) != (user, group):
                return False
            if found.st_size != len(data):
                return False
            with open(path, "rb") as file:
                return file.read() == data
        except (FileNotFoundError, NotADirectoryError):
            return False


def _write_temporary(path: str, data: bytes, mode: int, user: int, group: int) -> str:
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f"{TEMPORARY_PREFIX}{name}.{os.getpid()}")
    with _explained("write", path):
        _make_parents(directory)
        _refuse_other_kinds(path)
        owner = (user, group) if os.geteuid() == 0 else None
        with write.stage(temporary, mode, owner=owner) as file:
            file.write(data)
    return temporary


def _refuse_other_kinds(path: str) -> None:
    """Only files and links may be replaced: a rename over /dev/null would break the whole machine."""
    with suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise FileExistsError(errno.EEXIST, "it is a device, a socket or a pipe")


def _put_in_place(temporary: str, path: str) -> None:
    try:
        os.replace(temporary, path)
    except OSError:
        write.discard(temporary)
        raise


def _make_parents(directory: str) -> None:
    missing = []
    while directory and not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    for path in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(path, 0o755)
            os.chmod(path, 0o755)


def synchronise_directory(directory: str) -> None:
    """Has the names in the folder survive a power failure."""
    descriptor = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
