"""Writes the files of a node's plan, and reports what that changes. It can be killed at any moment.

It records the files before it writes them, and removes only recorded files: a run that was killed leaves old
or new files and a record of both, from which the next run completes it.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rke2_units.doors import files
from rke2_units.doors.run import run
from rke2_units.errors import UserError
from rke2_units.layout import WRITTEN_FILES
from rke2_units.model import Directory, File, Plan
from rke2_units.node.installation import Installation, lock, record_written, written_files


class Kind(StrEnum):
    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"


@dataclass(frozen=True)
class Change:
    """One file (or, with `file` and `old` None, one folder) that differs from the plan.

    `old`: the present content, None if the file does not exist. `file`: the planned file, None to remove it.
    """

    kind: Kind
    path: str
    old: str | None = None
    file: File | None = None
    secret: bool = False

    @property
    def restarts(self) -> tuple[str, ...]:
        """The units to replace because of this change."""
        return self.file.restarts if self.file else ()


def changes(plan: Plan, root: str = "/", installation: Installation | None = None) -> list[Change]:
    """What apply() would change, in the order of the plan; removals last. Nothing is written."""
    found = [
        Change(Kind.CHANGE if os.path.isdir(files.below(root, directory.path)) else Kind.ADD, directory.path)
        for directory in plan.directories
        if not _is_so(directory, root)
    ]
    for file in _wanted(plan, root, installation):
        if not files.is_so(file, root):
            old = _content(files.below(root, file.path))
            kind = Kind.ADD if old is None else Kind.CHANGE
            found.append(Change(kind, file.path, old, file, file.secret))
    for path in _unwanted(plan, root):
        place = files.below(root, path)
        old = _content(place)
        if old is not None:
            # The plan no longer says whether it was a secret, but its mode shows it.
            secret = stat.S_IMODE(os.lstat(place).st_mode) & 0o077 == 0
            found.append(Change(Kind.REMOVE, path, old, secret=secret))
    return found


def apply(plan: Plan, root: str = "/", installation: Installation | None = None) -> list[Change]:
    """Writes the plan's files and removes recorded files that it no longer has; returns the changes.

    `installation` is written together with the files. An error before the first file is in place (such as a
    full disk) leaves all files unchanged.
    """
    with lock(root):
        found = changes(plan, root, installation)
        wanted = [file.path for file in plan.files if not file.keep]
        recorded = written_files(root)
        for directory in sorted({os.path.dirname(path) for path in [*wanted, *recorded, WRITTEN_FILES]}):
            files.clean(files.below(root, directory))
        record_written([*wanted, *recorded], root)
        write(plan, root, installation)
        for path in _unwanted(plan, root):
            files.remove(files.below(root, path))
            _remove_left_folder(plan, path, root)
        record_written(wanted, root)
        return found


def write(plan: Plan, root: str, installation: Installation | None = None) -> list[str]:
    """Writes the plan's folders and files below `root`, without a record; returns the files that changed."""
    for directory in plan.directories:
        if not _is_so(directory, root):
            files.make_directory(
                files.below(root, directory.path), directory.mode, directory.user, directory.group
            )
    return files.write_all(_wanted(plan, root, installation), root)


def set_kernel_parameters(plan: Plan) -> list[str]:
    """Loads the modules and sets the sysctls of the plan's files; returns failures, one line each.

    Not an error: in a container it is often forbidden, and the host has already done it.
    """
    problems = []
    for file in plan.files:
        if "/modules-load.d/" in file.path:
            # One at a time: a module that fails must not prevent the others.
            failed = [name for name in _entries(file.content) if not _succeeds("modprobe", name)]
            if failed:
                problems.append(f"kernel modules not loaded: {', '.join(failed)} ({file.path})")
        elif "/sysctl.d/" in file.path and not _succeeds("sysctl", "-q", "-p", file.path):
            problems.append(f"not all kernel parameters could be set: see sysctl -p {file.path}")
    return problems


def tune_kernel(plan: Plan, root: str = "/") -> list[str]:
    """Sets those of the plan's kernel parameters that nobody has set; returns the changes, one line each.

    A parameter that does not exist or cannot be set, as in a container, is skipped.
    """
    changed = []
    for wanted in plan.kernel_parameters:
        path = files.below(root, f"/proc/sys/{wanted.name.replace('.', '/')}")
        try:
            now = int(files.read_text(path) or "")
            is_free = now < wanted.value if wanted.untouched is None else now == wanted.untouched
            if is_free:
                with open(path, "w", encoding="ascii") as file:
                    file.write(f"{wanted.value}\n")
                changed.append(f"{wanted.name} is {wanted.value} now, it was {now}")
        except (OSError, UserError, ValueError):
            continue
    return changed


def _succeeds(*command: str) -> bool:
    return run(command, check=False).status == 0


def _entries(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and line[0] not in "#;"]


def _wanted(plan: Plan, root: str, installation: Installation | None) -> Sequence[File]:
    files_to_write = [
        file for file in plan.files if not (file.keep and os.path.lexists(files.below(root, file.path)))
    ]
    return [*files_to_write, *([installation.file()] if installation else [])]


def _unwanted(plan: Plan, root: str) -> list[str]:
    wanted = {file.path for file in plan.files}
    return [path for path in written_files(root) if path not in wanted]


def _remove_left_folder(plan: Plan, path: str, root: str) -> None:
    """Also removes the folder of a removed file, if it is empty and lies in a folder of the plan.

    An empty folder of a registry has a meaning for containerd: that the default does not apply to it.
    """
    ours = {directory.path for directory in plan.directories}
    folder = os.path.dirname(path)
    if folder not in ours and os.path.dirname(folder) in ours:
        files.remove_empty_directory(files.below(root, folder))


def _is_so(directory: Directory, root: str) -> bool:
    try:
        found = os.stat(files.below(root, directory.path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise UserError(f"cannot read {directory.path}: {error.strerror}", hint="run it as root") from error
    owned = os.geteuid() != 0 or (found.st_uid, found.st_gid) == (directory.user, directory.group)
    as_wanted = directory.keep or (owned and stat.S_IMODE(found.st_mode) == directory.mode)
    return stat.S_ISDIR(found.st_mode) and as_wanted


def _content(path: str) -> str | None:
    """The file's text, to show it in a diff; None if it does not exist."""
    try:
        content = files.read_bytes(path)
    except UserError:
        # A folder, or what only root may read.
        return "" if os.path.lexists(path) else None
    return None if content is None else content.decode(errors="replace")
