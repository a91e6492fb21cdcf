"""Makes a node's files be as the plan says, and tells what that changes. It can be killed at any moment.

What is about to be written is recorded first, and only what was recorded is ever removed: a run that was
killed leaves files old or new and a record of both, from which the next run completes it.
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
    """One file (or, with `file` and `old` None, one folder) that is not as the plan says.

    `old` is the content that is there now, None for none; `file` is what the plan wants, None to remove it.
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
            # Whether it was a secret is no longer known, but its mode tells.
            secret = stat.S_IMODE(os.lstat(place).st_mode) & 0o077 == 0
            found.append(Change(Kind.REMOVE, path, old, secret=secret))
    return found


def apply(plan: Plan, root: str = "/", installation: Installation | None = None) -> list[Change]:
    """Makes it so, files that we wrote before and that are no longer wanted removed; returns what changed.

    `installation` is written together with the files. An error before the first file is in its place (a full
    disk, say) leaves all files as they were.
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
    """Makes the plan's folders and files below `root`, without a record; returns the files that changed."""
    for directory in plan.directories:
        if not _is_so(directory, root):
            files.make_directory(
                files.below(root, directory.path), directory.mode, directory.user, directory.group
            )
    return files.write_all(_wanted(plan, root, installation), root)


def set_kernel_parameters(plan: Plan) -> list[str]:
    """Loads the modules and sets the sysctls of the plan's files; returns what did not work, one line each.

    Containers often may not, where their host has long done it: hence no error.
    """
    problems = []
    for file in plan.files:
        if "/modules-load.d/" in file.path:
            # One at a time: what one kernel has built in or lacks must not keep out the others.
            failed = [name for name in _entries(file.content) if not _succeeds("modprobe", name)]
            if failed:
                problems.append(f"kernel modules not loaded: {', '.join(failed)} ({file.path})")
        elif "/sysctl.d/" in file.path and not _succeeds("sysctl", "-q", "-p", file.path):
            problems.append(f"not all kernel parameters could be set: see sysctl -p {file.path}")
    return problems


def tune_kernel(plan: Plan, root: str = "/") -> list[str]:
    """Sets the plan's kernel parameters, those that nobody has set; returns what was changed, one line each.

    One that is not there or may not be set, as in a container, is passed over.
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
    """The folder of a removed file goes too, if it is empty and lies in a folder that is the plan's.

    To containerd an empty folder of a registry says something: that the default does not count for it.
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
    """The file's text for people to compare; what is not text is shown as such."""
    try:
        content = files.read_bytes(path)
    except UserError:
        # A folder, or what only root may read.
        return "" if os.path.lexists(path) else None
    return None if content is None else content.decode(errors="replace")
