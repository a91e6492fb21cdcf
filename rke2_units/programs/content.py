"""`content --settings FILE`: Kubernetes' programs and charts out of the rke2-runtime image.

ExecStart= of rke2-content.service. As in RKE2, the image's /bin (flattened) and /charts are
extracted to DATA/data/NAME-OF-THE-VERSION/, marked with `.extracted`; DATA/bin is a link to that bin; and
other versions are removed when no container needs them any more.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from rke2_units.errors import UserError
from rke2_units.lean import console
from rke2_units.lean.settings import Settings

_MARKER = ".extracted"
# No version's name begins with this: a prefix by which a killed run's files are found and removed.
_TEMPORARY = ".rke2-units-"


def program(settings: Settings, arguments: list[str]) -> None:
    if arguments:
        raise UserError("content takes no arguments", hint="content --settings FILE")
    directory = f"{settings.data_directory}/data/{settings.content_directory}"
    if not _is_there(directory) or not _is_linked(settings, directory) or _left_overs(settings):
        with _lock(settings):
            if not _is_there(directory):
                from rke2_units.programs.content_staging import stage

                stage(settings, directory, _TEMPORARY)
            _remove_left_overs(settings)
            if not _is_linked(settings, directory):
                _link(settings, directory)
    _remove_old(settings)


def _is_there(directory: str) -> bool:
    return all(os.path.exists(f"{directory}/{name}") for name in (_MARKER, "bin", "charts"))


@contextmanager
def _lock(settings: Settings) -> Iterator[None]:
    os.makedirs(f"{settings.data_directory}/data", mode=0o755, exist_ok=True)
    path = f"{settings.data_directory}/data/.lock"
    # 0600: anybody who can read the file could lock it, and keep it locked.
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.say("waiting for another process that extracts the content")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _left_overs(settings: Settings) -> list[str]:
    root = f"{settings.data_directory}/data"
    try:
        return [f"{root}/{name}" for name in os.listdir(root) if name.startswith(_TEMPORARY)]
    except FileNotFoundError:
        return []


def _remove_left_overs(settings: Settings) -> None:
    for path in _left_overs(settings):
        _remove_tree(path)


def _is_linked(settings: Settings, directory: str) -> bool:
    link = f"{settings.data_directory}/bin"
    if os.path.lexists(link) and not os.path.islink(link):
        raise UserError(f"{link} is not a symbolic link", hint="move it away")
    return os.path.islink(link) and os.readlink(link) == f"{directory}/bin"


def _link(settings: Settings, directory: str) -> None:
    """Makes DATA/bin a link to this version's programs, atomically."""
    # Beside it: DATA/data may be a file system of its own.
    temporary = f"{settings.data_directory}/{_TEMPORARY}bin"
    if os.path.lexists(temporary):
        # A killed run's.
        os.unlink(temporary)
    os.symlink(f"{directory}/bin", temporary)
    os.rename(temporary, f"{settings.data_directory}/bin")
    console.say(f"{settings.data_directory}/bin now links to {directory}/bin")


def _remove_old(settings: Settings) -> None:
    """Removes other versions from which neither a process nor a shim runs."""
    root = f"{settings.data_directory}/data"
    others = [
        f"{root}/{name}"
        for name in sorted(os.listdir(root))
        if name.startswith("v") and name != settings.content_directory and os.path.isdir(f"{root}/{name}")
    ]
    if not others:
        return
    try:
        used = [*_shims(settings), *_programs()]
    except OSError as error:
        console.say(
            f"old versions are kept: cannot find out whether they are in use: {error}", console.WARNING
        )
        return
    for path in others:
        # The kernel names programs by their real path, also where the data directory is a link.
        places = (f"{path}/", f"{os.path.realpath(path)}/")
        if not any(program.startswith(places) for program in used):
            _remove_tree(path)
            console.say(f"{path} removed: it is no longer in use")


def _shims(settings: Settings) -> list[str]:
    """The shims of running containers, as containerd notes them (`shim-binary-path` in each bundle)."""
    bundles = settings.bundles
    found = []
    for name in os.listdir(bundles) if os.path.exists(bundles) else ():
        try:
            with open(f"{bundles}/{name}/shim-binary-path", encoding="utf-8") as file:
                found.append(file.read().strip())
        except FileNotFoundError:
            continue
    return found


def _programs() -> list[str]:
    """The programs of all processes."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                found.append(os.readlink(f"/proc/{name}/exe"))
            except (FileNotFoundError, ProcessLookupError):
                # It has ended, or is a kernel thread.
                continue
    return found


def _remove_tree(path: str) -> None:
    import shutil

    if os.path.islink(path):
        os.unlink(path)
    else:
        shutil.rmtree(path)


if __name__ == "__main__":
    console.main(program, "content --settings FILE")
