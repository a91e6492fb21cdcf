"""Puts the new data in the place of the old. Each step can be killed, and is completed by the next run."""

import fcntl
import os
import shutil
from collections.abc import Iterator

from rke2_units.certificates import restored
from rke2_units.doors import files
from rke2_units.errors import UserError
from rke2_units.layout import Paths
from rke2_units.node.cluster_reset import copies
from rke2_units.node.cluster_reset.places import Places
from rke2_units.node.cluster_reset.progress import Progress


def replace(paths: Paths, places: Places, progress: Progress, password: str) -> Iterator[str]:
    """Yields a line for each step, before it is done."""
    if os.path.exists(f"{places.new}/member"):
        # Until it is moved nothing has been overwritten.
        yield from _keep(paths, places)
    yield from _move(places, progress.name)
    files.remove(paths.etcd_initial)
    yield "writing the cluster's authorities and keys, and the token"
    if restored.write(paths, progress.bootstrap, password):
        yield (
            f"agents of this cluster have a token of their own, now in {paths.agent_token}: before the start"
            f" set agent-token-file: {paths.agent_token} in config.yaml"
        )
    # The addresses of servers that are none any more.
    files.remove(paths.server_list)
    files.write_atomic(paths.reset_flag, "", 0o600)
    files.remove(paths.reset_progress)


def _keep(paths: Paths, places: Places) -> Iterator[str]:
    """Copies the certificates and credentials, which are overwritten."""
    for source, target in places.kept(paths):
        if not os.path.exists(target):
            yield f"backing up {source} to {target}"
            copies.copy(source, target)
    if os.path.isdir(places.credentials):
        _keep_file(paths.token, f"{places.credentials}/token")


def _keep_file(source: str, target: str) -> None:
    content = files.read_bytes(source)
    if content is not None:
        files.write_atomic(target, content, 0o600)


def _move(places: Places, name: str) -> Iterator[str]:
    """Moves the old data away and the new one in, with one rename each."""
    live, new, old = (f"{folder}/member" for folder in (places.live, places.new, places.old))
    if os.path.exists(new):
        if os.path.exists(live) and not os.path.exists(old):
            refuse_open(live)
            yield f"moving {live} to {old}"
            files.make_directory(places.old, 0o700)
            _keep_file(f"{places.live}/name", f"{places.old}/name")
            _rename(live, old)
        yield f"moving {new} to {live}"
        if not os.path.isdir(places.live):
            files.make_directory(places.live, 0o700)
        _rename(new, live)
    shutil.rmtree(places.new, ignore_errors=True)
    files.write_atomic(f"{places.live}/name", name, 0o600)


def _rename(source: str, target: str) -> None:
    os.rename(source, target)
    for folder in (os.path.dirname(source), os.path.dirname(target)):
        copies.synchronise(folder)


def refuse_open(member: str) -> None:
    """UserError when an etcd still has this data open."""
    try:
        descriptor = os.open(f"{member}/snap/db", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        # etcd's own lock.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"a process has etcd's data in {member} open",
            hint=f"see which, and end it: fuser -v {member}/snap/db",
        ) from None
    finally:
        os.close(descriptor)
