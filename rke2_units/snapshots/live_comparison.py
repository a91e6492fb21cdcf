"""Compares a snapshot with the cluster that it was taken of, at the snapshot's own revision.

Etcd keeps old revisions until they are compacted, which kube-apiserver has it do every 5 minutes. Until then
the comparison is exact; after that there is none.
"""

from collections.abc import Mapping, Sequence

from rke2_units.lean.etcd import Etcd, EtcdError
from rke2_units.snapshots import kinds
from rke2_units.snapshots.settings import Settings

# Seconds for each question: whoever asks here has the least share of the machine.
PATIENCE = 120.0
# kube-apiserver writes this at each compaction, so two histories that have parted have it at two revisions.
_HISTORY = "compact_rev_key"


class NotComparable(Exception):
    """Why the cluster cannot be asked for what it had, in words."""


def differences(snapshot: Etcd, expected: Mapping[str, int], revision: int, settings: Settings) -> list[str]:
    """What the cluster had another number of than the snapshot, in words. Raises NotComparable.

    `snapshot` is an etcd that has the snapshot, `expected` what it has of each kind. Another member than
    this node's is asked if there is one: the snapshot was taken of this one, and would have its faults.
    """
    try:
        history = _history(snapshot, revision)
        live = _live(settings, revision)
        if _history(live, revision) != history:
            raise NotComparable(
                "it belongs to another history: live etcd was restored, or is another cluster's"
            )
        return kinds.differences(live, expected, revision)
    except EtcdError as error:
        raise NotComparable(_reason(error, revision)) from None


def _live(settings: Settings, revision: int) -> Etcd:
    """The other members, if there are any and they answer; else this node's."""
    own = _etcd(settings, settings.endpoints)
    urls = [
        url
        for member in own.members()
        if member.node != settings.node_name and not member.is_learner
        for url in member.client_urls
    ]
    if urls:
        others = _etcd(settings, urls)
        try:
            _history(others, revision)
        except EtcdError as error:
            return others if _is_of_revision(error) else own
        return others
    return own


def _etcd(settings: Settings, urls: Sequence[str]) -> Etcd:
    etcd = Etcd(settings.etcdctl, list(urls), **settings.etcd_files)
    etcd.patience = PATIENCE
    return etcd


def _history(etcd: Etcd, revision: int) -> int:
    return etcd.count(_HISTORY, kinds.after(_HISTORY), revision=revision).written


def _is_of_revision(error: EtcdError) -> bool:
    return "required revision" in error.message


def _reason(error: EtcdError, revision: int) -> str:
    if not _is_of_revision(error):
        return f"live etcd does not answer ({error.message})"
    if "future" in error.message:
        return f"live etcd is not yet at its revision {revision}: it was restored, or is another cluster's"
    return f"live etcd has compacted its revision {revision}, as it does after some minutes"
