"""Selects the files of server/manifests to apply: RKE2's rules for names, `.skip` and `disable`."""

import errno
import fcntl
import os
import re
import signal
import stat
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from rke2_units.errors import UserError

_SUFFIXES = (".yaml", ".yml", ".json")
# Seconds: on some file systems (an overlay's lower layer) every file always seems to have a writer.
_LONGEST_WRITING = 60.0
_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class ManifestFile:
    """A file and the name of its Addon; `stamp` changes whenever the file may have changed."""

    path: str
    addon: str
    stamp: tuple[int, ...]
    # Seconds since 1970 of the last change of content or name (ctime, which tar and cp cannot set).
    changed_at: float
    # False for the target of a symbolic link, which belongs to somebody else.
    removable: bool = True


@dataclass(frozen=True)
class Tree:
    """The files to apply, those that are disabled, and the problems of others (by path)."""

    files: list[ManifestFile] = field(default_factory=list)
    disabled: list[ManifestFile] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def scan(folder: str, disable: Collection[str] = ()) -> Tree:
    """Finds all files below `folder`, in the order of their paths. A missing folder is like an empty one.

    `disable`: names of files without their suffix, and of folders (relative to `folder`). A file NAME.skip
    (in any folder) makes every file NAME be ignored; disable has priority over that.
    """
    tree = Tree()
    found = sorted(_walk(folder, tree.problems), key=lambda file: file.path)
    skipped = {_name(file.path).removesuffix(".skip") for file in found if file.path.endswith(".skip")}
    owners: dict[str, str] = {}
    for file in found:
        name = _name(file.path)
        if _is_disabled(os.path.relpath(file.path, folder), disable):
            tree.disabled.append(file)
        elif name.startswith(".") or name in skipped or not is_manifest(name):
            continue
        elif not _DNS_LABEL.fullmatch(file.addon):
            tree.problems[file.path] = (
                f"{file.path} cannot be applied: its name up to the first dot must consist of lower case "
                "letters, digits and dashes (rename it)"
            )
        elif file.addon in owners:
            tree.problems[file.path] = (
                f"{file.path} cannot be applied: {owners[file.addon]} has the same name up to the first dot "
                "(rename one of them)"
            )
        else:
            owners[file.addon] = file.path
            tree.files.append(file)
    return tree


def read(file: ManifestFile, limit: int) -> bytes | None:
    """The first `limit` bytes of the file; None while another process has it open for writing."""
    # O_NONBLOCK: do not wait for a writer if the file was replaced with a pipe.
    with open(os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        if time.time() - file.changed_at < _LONGEST_WRITING and _has_writer(opened.fileno()):
            return None
        return opened.read(limit)


def _has_writer(descriptor: int) -> bool:
    """Whether a process has the file open for writing: then the kernel refuses a read lease."""
    try:
        # The signal if a writer opens the file at this moment: SIGIO, the default, would end this process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        # Other errors: a file of another user, or a file system without leases.
        return error.errno == errno.EAGAIN
    return False


def remove(file: ManifestFile) -> None:
    """Removes the file, unless its file system is mounted read-only."""
    try:
        os.unlink(file.path)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise UserError(f"{file.path} is disabled but cannot be removed: {error.strerror}") from error


def is_manifest(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES)


def addon_name(path: str) -> str:
    return _name(path).partition(".")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _is_disabled(relative: str, disable: Collection[str]) -> bool:
    folders, _, name = relative.rpartition("/")
    parts = folders.split("/") if folders else []
    if any("/".join(parts[: end + 1]) in disable for end in range(len(parts))):
        return True
    return is_manifest(name) and os.path.splitext(name)[0] in disable


def _walk(
    folder: str, problems: dict[str, str], *, seen_as: str = "", linked: bool = False
) -> Iterator[ManifestFile]:
    """Every file; follows links to folders, but no links inside a linked folder.

    Adds an entry to `problems` for everything that cannot be read.
    """
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        problems[seen_as or folder] = f"{seen_as or folder} cannot be read: {error.strerror}"
        return
    for entry in entries:
        path = f"{seen_as or folder}/{entry.name}"
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, problems, seen_as=path, linked=linked)
            elif entry.is_dir():
                if not linked:
                    yield from _walk(entry.path, problems, seen_as=path, linked=True)
            else:
                status = entry.stat()
                if stat.S_ISREG(status.st_mode):
                    stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
                    yield ManifestFile(path, addon_name(path), stamp, status.st_ctime, not linked)
        except FileNotFoundError:
            # It was just removed, or is a dangling link.
            continue
        except OSError as error:
            problems[path] = f"{path} cannot be read: {error.strerror}"
