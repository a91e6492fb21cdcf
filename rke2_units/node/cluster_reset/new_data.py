"""Makes the new data of etcd in a folder beside the old, and checks it; nothing else is changed by that."""

import os
import shutil
from collections.abc import Generator

from rke2_units.doors import files
from rke2_units.errors import UserError
from rke2_units.node.cluster_reset import copies, takeover, write_ahead_log
from rke2_units.node.cluster_reset.etcd_programs import Programs
from rke2_units.node.cluster_reset.places import Places
from rke2_units.node.cluster_reset.takeover import Found, Wanted
from rke2_units.snapshots import restore
from rke2_units.snapshots.throwaway_etcd import ThrowawayEtcd

Lines = Generator[str, None, Found]


def restored(snapshot: str, places: Places, programs: Programs, name: str, wanted: Wanted) -> Lines:
    """The data in the snapshot, of a new cluster whose only member has this name."""
    discard(places)
    yield f"checking and restoring {snapshot} into {places.new}"
    folder = os.path.dirname(places.new)
    if not os.path.isdir(folder):
        files.make_directory(folder, 0o700)
    restore.restore(
        snapshot,
        places.new,
        etcdutl=programs.etcdutl,
        etcdctl=programs.etcdctl,
        name=name,
        peer_url=wanted.peer_url,
        bump_revision=True,
    )
    return (yield from _taken_over(places, programs, name, wanted, named=snapshot))


def copied(places: Places, programs: Programs, name: str, wanted: Wanted) -> Lines:
    """The data that this server has, of a cluster whose only member it is."""
    discard(places)
    member = f"{places.live}/member"
    copies.check_space(member, places.new)
    yield f"copying {member} to {places.new}"
    files.make_directory(places.new, 0o700)
    copies.copy(member, f"{places.new}/member")
    if count := write_ahead_log.commit_all(f"{places.new}/member/wal"):
        yield f"{count} writes were received last, and may have been acknowledged: they are kept"
    return (yield from _taken_over(places, programs, name, wanted, named=member, force_new_cluster=True))


def discard(places: Places) -> None:
    """Removes what a run has made that was interrupted, or failed."""
    for path in (places.new, f"{places.new}.run", f"{places.new}.snapshot"):
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            files.remove(path)


def _taken_over(
    places: Places,
    programs: Programs,
    name: str,
    wanted: Wanted,
    *,
    named: str,
    force_new_cluster: bool = False,
) -> Lines:
    yield f"opening {places.new} with an etcd of its own, and looking for the cluster's keys"
    with ThrowawayEtcd(
        places.new,
        program=programs.etcd,
        etcdctl=programs.etcdctl,
        name=name,
        force_new_cluster=force_new_cluster,
    ) as throwaway:
        try:
            found = takeover.check(throwaway.etcd, wanted)
        except UserError as error:
            # Of the same kind: it decides the exit code.
            raise type(error)(f"{named}: {error.message}", hint=error.hint) from None
        takeover.adapt(throwaway.etcd, wanted)
    copies.synchronise(places.new)
    return found
