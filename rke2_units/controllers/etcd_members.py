"""Keeps etcd's members in line with the cluster's nodes. Only the holder of the lease does that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rke2_units.controllers import members, nodes
from rke2_units.controllers.members import Progress, Removal
from rke2_units.controllers.nodes import FINALIZER, MANAGER, REMOVE, REMOVED, Nodes
from rke2_units.coordination.events import Events
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import ApiError, Client, Object
from rke2_units.lean.etcd import Etcd, EtcdError, Member

# etcd's words for a learner that has not caught up, or has not even started.
_NOT_YET = "in sync with leader"


class EtcdMembers:
    """Promotes learners, removes members of nodes that leave, and sets EtcdIsVoter of nodes."""

    def __init__(
        self,
        etcd: Callable[[tuple[str, ...]], Etcd],
        client: Client,
        events: Events,
        known: Nodes,
        held: threading.Event,
    ) -> None:
        """`etcd` returns a client for these client URLs; without any, for this server's own member."""
        self._etcd = etcd
        self._client = client
        self._events = events
        self._nodes = known
        self._held = held
        self._progress = Progress()
        # By node: its uid, and the value of EtcdIsVoter that was written last.
        self._said: dict[str, tuple[str, bool]] = {}

    def step(self) -> bool:
        """Does what can be done now; True while a member is joining or leaving. Raises UserError."""
        found = self._etcd(()).members()
        known = self._nodes.metadata()
        self._hold(found, known)
        removed = self._remove(found, self._leaving(found, known))
        left = [member for member in found if member not in removed]
        self._release(left, known)
        self._note(removed, known)
        self._promote(left)
        self._tell(left, known)
        return bool(removed) or any(member.is_learner for member in left)

    def _hold(self, found: list[Member], known: dict[str, Object]) -> None:
        """Sets the finalizer on nodes with a member: the member must be removed before its node is."""
        begin_so = {member.node for member in found}
        for name, metadata in known.items():
            # A node may have another name than its member: the host name of the server has changed.
            has_member = name in begin_so or _members_of(metadata, found)
            finalizers = metadata.get("finalizers") or []
            if has_member and "deletionTimestamp" not in metadata and FINALIZER not in finalizers:
                self._patch(name, _finalizers(metadata, [*finalizers, FINALIZER]))

    def _leaving(self, found: list[Member], known: dict[str, Object]) -> set[str]:
        """Names of the members to remove: those of nodes that are being deleted or marked for removal."""
        leaving = set()
        staying = _staying(found, known)
        for name, metadata in known.items():
            own = _members_of(metadata, found) - staying
            notes = metadata.get("annotations") or {}
            if "deletionTimestamp" in metadata:
                leaving |= own
            elif notes.get(REMOVED) and own and notes[REMOVED] not in own:
                # The server has joined again with a new member, so the removal is done.
                self._patch(name, {"annotations": {REMOVE: None, REMOVED: None}})
            elif notes.get(REMOVE) == "true" and not notes.get(REMOVED):
                leaving |= own
                if not own and notes.get(nodes.NODE_NAME):
                    # The member is removed, but the server that did that was interrupted before it noted it.
                    self._patch(name, {"annotations": {REMOVED: notes[nodes.NODE_NAME]}})
        return leaving

    def _remove(self, found: list[Member], leaving: set[str]) -> list[Member]:
        """Removes the members that must leave and can; returns those."""
        learners = [(member, self._index(member)) for member in found if member.is_learner]
        stalled = self._progress.note(learners, time.monotonic())
        voters = [member for member in found if not member.is_learner]
        healthy: set[int] = set()
        if any(member.name in leaving for member in voters):
            healthy = {member.identifier for member in voters if self._index(member) >= 0}
        removed = []
        for removal in members.removals(found, leaving=leaving, stalled=stalled, healthy=healthy):
            member = removal.member
            if removal.refused:
                self._explain(removal)
            elif self._held.is_set():
                self._etcd(()).remove(member.identifier)
                removed.append(member)
                called = member.name or ", ".join(member.peer_urls)
                why = "its node leaves" if member.name in leaving else "it made no progress for 5 minutes"
                journal.log(Level.WARNING, f"removed etcd member {called}: {why}")
        return removed

    def _index(self, member: Member) -> int:
        """The member's applied index, -1 if it does not answer."""
        try:
            return self._etcd(member.client_urls).applied_index() if member.client_urls else -1
        except EtcdError:
            return -1

    def _explain(self, removal: Removal) -> None:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": removal.member.node}}
        message = f"etcd member {removal.member.name} cannot be removed now: {removal.refused}"
        self._events.record(node, "EtcdMemberKept", message, warning=True)

    def _release(self, left: list[Member], known: dict[str, Object]) -> None:
        """Removes the finalizer from deleted nodes whose members are removed."""
        staying = _staying(left, known)
        for name, metadata in known.items():
            finalizers = metadata.get("finalizers") or []
            if "deletionTimestamp" in metadata and FINALIZER in finalizers:
                # The last member is never removed: without it there would be no cluster.
                if len(left) <= 1 or not _members_of(metadata, left) - staying:
                    rest = [each for each in finalizers if each != FINALIZER]
                    self._patch(name, _finalizers(metadata, rest))

    def _note(self, removed: list[Member], known: dict[str, Object]) -> None:
        """Notes the removed member on nodes that are not deleted."""
        for member in removed:
            if REMOVE in (known.get(member.node, {}).get("annotations") or {}):
                self._patch(member.node, {"annotations": {REMOVED: member.name}})

    def _promote(self, left: list[Member]) -> None:
        for member in left:
            if not (member.is_learner and member.name and self._held.is_set()):
                continue
            try:
                self._etcd(()).promote(member.identifier)
            except EtcdError as error:
                if _NOT_YET not in error.message:
                    raise
                continue
            member.is_learner = False
            journal.log(Level.INFO, f"etcd member {member.name} has caught up and is now a voting member")

    def _tell(self, left: list[Member], known: dict[str, Object]) -> None:
        """Sets the condition EtcdIsVoter of each node that has a member."""
        for member in left:
            metadata = known.get(member.node)
            if metadata is None or not self._held.is_set():
                continue
            said = (str(metadata.get("uid", "")), not member.is_learner)
            if self._said.get(member.node) != said:
                condition = nodes.voter_condition(member.node, not member.is_learner)
                self._client.apply(f"{nodes.path(member.node)}/status", condition, manager=MANAGER)
                self._said[member.node] = said

    def _patch(self, name: str, metadata: Object) -> None:
        if not self._held.is_set():
            return
        try:
            self._client.merge_patch(nodes.path(name), {"metadata": metadata})
        except ApiError as error:
            # The node was deleted or changed meanwhile: the watch reports that.
            if error.status not in (404, 409):
                raise


def _members_of(metadata: Object, found: list[Member]) -> set[str]:
    """Names of a node's members: the annotated one, else all that begin with the node's name.

    A server that replaces a deleted one has the name of its node, and a member with another name. Only a
    server's node can name a member that begins with another name: kubelets can set any annotation on their
    nodes, but cannot set this label (NodeRestriction).
    """
    written = (metadata.get("annotations") or {}).get(nodes.NODE_NAME)
    is_server = nodes.ETCD in (metadata.get("labels") or {})
    own = [each for each in found if each.name and (is_server or each.node == metadata["name"])]
    return {
        each.name for each in own if (each.name == written if written else each.node == metadata["name"])
    }


def _staying(found: list[Member], known: dict[str, Object]) -> set[str]:
    """Names of the members of nodes that are neither being deleted nor marked for removal.

    A server whose host name changed has a new node and its old member, which both nodes then name.
    """
    staying = set()
    for metadata in known.values():
        marked = (metadata.get("annotations") or {}).get(REMOVE) == "true"
        if "deletionTimestamp" not in metadata and not marked:
            staying |= _members_of(metadata, found)
    return staying


def _finalizers(metadata: Object, wanted: list[str]) -> Object:
    return {"finalizers": wanted or None, "resourceVersion": metadata["resourceVersion"]}
