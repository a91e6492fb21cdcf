"""The record of an installation, which is read before its config: role, release, and the files written."""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from rke2_units.doors import files
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.layout import (
    DIGEST_KEY_FILE,
    INSTALLATION_FILE,
    KUBELET_DIRECTORY,
    RUNTIME_DIRECTORY,
    WRITTEN_FILES,
)
from rke2_units.model import File
from rke2_units.unit_names import Role

_LOCK = f"{RUNTIME_DIRECTORY}/apply.lock"
_LOCK_PATIENCE = 20.0


@dataclass(frozen=True)
class Installation:
    """The role with which this node was installed, and its release until another one is chosen."""

    role: Role
    release: str
    # Where killall and uninstall find the node's data if config.yaml is missing or cannot be read.
    data_directory: str
    # The kubelet's present and earlier folders, because mounts may be left in them.
    kubelet_directories: tuple[str, ...] = (KUBELET_DIRECTORY,)
    # 4 or 6: the family of the node's first address, which a cluster's default ranges follow; 0: not known.
    first_family: int = 0

    def file(self) -> File:
        return File(INSTALLATION_FILE, json.dumps(asdict(self), indent=2) + "\n")


def read(root: str = "/") -> Installation | None:
    """The installation of this node, None when there is none."""
    path = files.below(root, INSTALLATION_FILE)
    text = files.read_text(path)
    if text is None:
        return None
    try:
        content = json.loads(text)
        role, release, data = Role(content["role"]), str(content["release"]), str(content["data_directory"])
        # A record of an earlier version lacks these.
        kubelets = content.get("kubelet_directories", [KUBELET_DIRECTORY])
        family = int(content.get("first_family", 0))
        return Installation(role, release, data, tuple(str(directory) for directory in kubelets), family)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} is damaged: {type(error).__name__}: {error}",
            hint="remove it and run rke2-units install again, with this node's --role and --release",
        ) from error


def of_role(role: Role, root: str = "/") -> Installation:
    """This node's installation; ConfigurationError when it is not installed in this role."""
    found = read(root)
    if found is None:
        raise ConfigurationError(
            f"this node is not installed as {role}", hint=f"run: rke2-units install --role {role}"
        )
    if found.role is not role:
        raise ConfigurationError(
            f"this node is not installed as {role} but as {found.role}",
            hint=f"systemctl start {found.role.unit} starts it; a node has one role:"
            f" run rke2-units uninstall before installing it as {role}",
        )
    return found


def planned(
    role: Role, release: str, data_directory: str, kubelet_directory: str, first_family: int
) -> Installation:
    """The installation as it is to be recorded: the kubelet's earlier directories stay in it."""
    before = read()
    earlier = before.kubelet_directories if before else ()
    directories = dict.fromkeys((kubelet_directory, *earlier))
    return Installation(role, release, data_directory, tuple(directories), first_family)


def written_files(root: str = "/") -> tuple[str, ...]:
    """The files that rke2-units wrote, or was about to write when it was killed."""
    path = files.below(root, WRITTEN_FILES)
    try:
        content = json.loads(files.read_text(path) or "[]")
        if not isinstance(content, list):
            raise ValueError("not a list")
    except ValueError as error:
        raise ConfigurationError(
            f"{path} is damaged: {error}",
            hint="remove it; outdated files of an older installation are then kept",
        ) from error
    return tuple(str(name) for name in content)


def record_written(paths: Iterable[str], root: str = "/") -> bool:
    """Records the files; False if exactly these were already recorded."""
    content = json.dumps(sorted(set(paths)), indent=2) + "\n"
    return files.write_atomic(files.below(root, WRITTEN_FILES), content, 0o644)


def make_digest_key() -> None:
    """Creates this node's layout.DIGEST_KEY_FILE unless it exists."""
    if files.read_text(DIGEST_KEY_FILE) is None:
        files.write_atomic(DIGEST_KEY_FILE, f"{secrets.token_hex(16)}\n", 0o600)


@contextmanager
def lock(root: str = "/") -> Iterator[None]:
    """Holds the lock for changes of this node's files; waits up to 20 seconds for another holder."""
    path = files.below(root, _LOCK)
    files.make_directory(os.path.dirname(path), 0o755)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UserError(f"cannot open {path}: {error.strerror}", hint="run it as root") from error
    try:
        _wait_for(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: str) -> None:
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise UserError(
                    f"another rke2-units is changing this node; it holds {path}",
                    hint=f"wait for it, or see who it is: fuser {path}",
                ) from None
            time.sleep(0.05)
