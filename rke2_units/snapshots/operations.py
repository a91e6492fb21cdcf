"""What is done with this node's snapshots: the operations of POST /db/snapshot, and the schedule's runs."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from rke2_units.certificates import token
from rke2_units.doors.kubernetes import Client
from rke2_units.errors import UserError
from rke2_units.lean import console
from rke2_units.snapshots import cluster, lock, records, request
from rke2_units.snapshots.folder import Folder
from rke2_units.snapshots.local import Local
from rke2_units.snapshots.notes import Notes
from rke2_units.snapshots.outcome import Outcome, explain
from rke2_units.snapshots.remote import NoSecret, Remote
from rke2_units.snapshots.request import Answer, BadRequest, Request
from rke2_units.snapshots.settings import Settings

# RKE2's words.
_IN_PROGRESS = "snapshot save already in progress"
# Seconds that the schedule's run waits for a save that somebody asked for, and a reconcile for another one.
_PATIENCE = 600.0
# Of one answer of the API: without a quorum of etcd it gives none, and a snapshot is still taken.
_API_TIMEOUT = 10.0
# Bytes.
_LARGEST_TOKEN = 1 << 16


class Operations:
    """The operations with the snapshots that these settings describe; `say` is told of the progress.

    A context manager, whose end closes its connections.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._notes = Notes(settings.records)
        self._api: Client | None = None

    def __enter__(self) -> Operations:
        return self

    def __exit__(self, *_: object) -> None:
        if self._api is not None:
            self._api.close()

    def run(self, asked: Request) -> Answer:
        """Carries out a request; an error is an answer too."""
        operations = {
            "save": self.save,
            "list": self.list,
            "prune": self.prune,
            "delete": self.delete,
            "verify": self.verify,
        }
        try:
            return operations[asked.operation](asked)
        except BadRequest as error:
            return request.failure(400, str(error))
        except (UserError, OSError) as error:
            message = explain(error)
            console.say(message, console.ERROR)
            return request.failure(500, message)

    def save(self, asked: Request) -> Answer:
        """Takes a snapshot now; removes old ones only when the request has a retention."""
        outcome = Outcome()
        with self._remote(asked) as remote:
            keep = asked.retention if asked.retention and asked.retention > 0 else None
            self._save(outcome, self._local(asked), keep, remote, patience=0)
        return outcome.answer()

    def list(self, asked: Request) -> Answer:
        """The snapshots on this node, and those in the request's S3."""
        from rke2_units.snapshots.objects import listing

        with self._remote(asked) as remote:
            found = self._local(asked).folder.list()
            if remote:
                found += remote.list() or ()
        return Answer(200, listing(found))

    def prune(self, asked: Request) -> Answer:
        """Applies the retention to the snapshots of one base name."""
        outcome = Outcome()
        local = self._local(asked)
        with self._remote(asked) as remote:
            local.prune(outcome, self._settings.retention if asked.retention is None else asked.retention)
            if remote:
                remote.prune(outcome, local.base)
            self._reconcile_after(outcome, remote)
        return outcome.answer()

    def delete(self, asked: Request) -> Answer:
        """Removes the snapshots of these names, on this node and in the request's S3."""
        if not asked.names:
            raise BadRequest("no snapshots given for removal")
        outcome = Outcome()
        local = self._local(asked)
        with self._remote(asked) as remote:
            for name in asked.names:
                local.delete(outcome, name)
                if remote:
                    remote.delete(outcome, name)
            self._reconcile_after(outcome, remote)
        return outcome.answer()

    def verify(self, asked: Request) -> Answer:
        """Restores a snapshot of this node on trial: the newest when the request has no name."""
        folder = self._local(asked).folder
        return Answer(
            200, {"verified": self._verify(folder, asked.names[0] if asked.names else _newest(folder))}
        )

    def verify_newest(self) -> None:
        """The same for this node's newest; UserError when it is no good one."""
        folder = self._local(Request("verify")).folder
        result = self._verify(folder, _newest(folder))
        if result.get("ok") is not True:
            raise UserError(f"snapshot {result.get('name')} cannot be restored: {result.get('message')}")

    def scheduled(self) -> bool:
        """Takes a snapshot as configured; whether all of that worked. The journal has what did not."""
        outcome = Outcome()
        began = time.monotonic()
        try:
            with ExitStack() as stack:
                remote = self._configured_remote(stack, outcome)
                local = self._local(Request("save"))
                self._save(outcome, local, self._settings.retention, remote, patience=_PATIENCE)
        except BaseException as error:
            # The end of the unit too.
            outcome.errors.append(explain(error))
            raise
        finally:
            self._notes.scheduled(outcome, began)
        return not outcome.errors

    def reconcile(self) -> None:
        """Has the cluster know this node's snapshots, and those in S3 as this node is configured."""
        with ExitStack() as stack:
            self._reconcile(Outcome(), self._configured_remote(stack, Outcome()))

    def _save(
        self, outcome: Outcome, local: Local, keep: int | None, remote: Remote | None, *, patience: float
    ) -> None:
        """In RKE2's order. Without `keep`, nothing old is removed, neither here nor in S3.

        The lock is held to the end, as RKE2 does: two uploads at a time would share the network.
        """
        began = time.monotonic()
        try:
            with lock.held(self._lock("save"), patience):
                local.remove_leftovers()
                local.save(outcome, self._extra_metadata(), self._token_hash())
                saved = outcome.saved
                if saved and keep is not None:
                    local.prune(outcome, keep)
                if saved and remote:
                    remote.upload(outcome, local.folder.path(saved.name), saved, self._say)
                    if keep is not None:
                        remote.prune(outcome, local.base)
                self._reconcile_after(outcome, remote)
        except lock.Locked:
            raise UserError(_IN_PROGRESS) from None
        # A learner has done neither.
        if outcome.saved or outcome.errors:
            self._notes.observe("save", began, is_good=not outcome.errors)
            self._notes.write()

    def _verify(self, folder: Folder, name: str) -> Mapping[str, object]:
        from rke2_units.snapshots.verify import verify

        result = verify(folder.path(name), self._settings, self._say, live=True).as_object()
        self._notes.change(lambda found: replace(found, verified=records.verified(result)))
        self._notes.write()
        if result.get("ok") is True:
            console.say(f"Snapshot {name} verified: {result.get('message')}")
        # The result is part of the snapshot's object.
        self._reconcile_after(Outcome(), None)
        return result

    def _reconcile_after(self, outcome: Outcome, remote: Remote | None) -> None:
        """The operation itself is done: what the cluster cannot be told now, the next reconcile tells it."""
        try:
            self._reconcile(outcome, remote)
        except (UserError, OSError) as error:
            console.say(f"failed to reconcile snapshots: {explain(error)}", console.WARNING)

    def _reconcile(self, outcome: Outcome, remote: Remote | None) -> None:
        from rke2_units.snapshots.objects import Verification
        from rke2_units.snapshots.reconcile import reconcile

        settings = self._settings
        began = time.monotonic()
        # One after the other: a run that has listed the files before would remove the objects of newer ones.
        with lock.held(self._lock("reconcile"), _PATIENCE):
            self._say("reconciling ETCDSnapshotFile resources")
            listing = time.monotonic()
            found = Folder(settings.directory, settings.node_name).list()
            self._notes.observe("reconcile_local", listing, is_good=True)
            if outcome.saved:
                saved = outcome.saved
                found = [saved if one.location == saved.location else one for one in found]
            in_s3 = None
            if remote:
                listing = time.monotonic()
                in_s3 = remote.list()
                self._notes.observe("reconcile_s3", listing, is_good=in_s3 is not None)
            last = self._notes.read().verified
            verification = Verification(last.name, last.time, last.ok, last.message) if last else None
            is_good = reconcile(
                self._client(),
                [*found, *(in_s3 or ())],
                node=settings.node_name,
                with_s3=in_s3 is not None,
                deleted=outcome.deleted,
                failed=outcome.failed,
                verified=verification,
            )
        self._notes.observe("reconcile", began, is_good=is_good)
        self._notes.write()

    def _local(self, asked: Request) -> Local:
        return Local(self._settings, asked, self._notes, self._say)

    @contextmanager
    def _remote(self, asked: Request) -> Iterator[Remote | None]:
        """The request's S3, whose bucket was found."""
        if asked.s3 is None:
            yield None
            return
        with Remote(asked.s3, self._client, self._notes) as remote:
            try:
                remote.open()
            except UserError as error:
                raise BadRequest(f"failed to initialize S3 client: {error}") from None
            yield remote

    def _configured_remote(self, stack: ExitStack, outcome: Outcome) -> Remote | None:
        """This node's S3; None without one, and when its configuration cannot be used."""
        if self._settings.s3 is None:
            return None
        remote = stack.enter_context(Remote(self._settings.s3, self._client, self._notes))
        with outcome.failing("failed to initialize S3 client"):
            try:
                remote.config()
                return remote
            except NoSecret as error:
                console.say(f"S3 is left out: {error}", console.WARNING)
        return None

    def _client(self) -> Client:
        if self._api is None:
            self._api = Client(self._settings.url, self._settings.identity, timeout=_API_TIMEOUT)
        return self._api

    def _extra_metadata(self) -> dict[str, str]:
        try:
            return cluster.extra_metadata(self._client())
        except UserError as error:
            console.say(f"the snapshot gets no extra metadata: {error}", console.WARNING)
            return {}

    def _token_hash(self) -> str:
        """What tells RKE2's tools which token a snapshot needs; "" when it is not known."""
        try:
            with open(self._settings.token_file, encoding="utf-8") as file:
                password = token.parse(file.read(_LARGEST_TOKEN).strip()).password
        except (OSError, ValueError, UserError):
            return ""
        return hashlib.sha256(password.encode()).hexdigest()[:12] if password else ""

    def _lock(self, what: str) -> str:
        return f"{os.path.dirname(self._settings.records)}/snapshot-{what}.lock"


def _newest(folder: Folder) -> str:
    found = folder.list()
    if not found:
        raise UserError("there is no snapshot on this node", hint="rke2-units etcd-snapshot save takes one")
    return found[-1].name
