"""The part of an operation that works on this node: takes a snapshot, and removes old ones."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from rke2_units.errors import UserError
from rke2_units.lean import console
from rke2_units.snapshots import damage, names, retention, saving
from rke2_units.snapshots.folder import Folder
from rke2_units.snapshots.notes import Notes
from rke2_units.snapshots.outcome import Outcome, explain
from rke2_units.snapshots.request import Request
from rke2_units.snapshots.settings import Settings
from rke2_units.snapshots.snapshot import Snapshot

_MIB = 1 << 20


class Local:
    """The folder, base name and compression that a request names, or this node's own.

    Errors are the outcome's.
    """

    def __init__(self, settings: Settings, asked: Request, notes: Notes, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._notes = notes
        self._say = say
        self._directory = asked.directory or settings.directory
        self._compress = settings.compress if asked.compress is None else asked.compress
        self.base = asked.names[0] if asked.names else settings.base_name
        self.folder = Folder(self._directory, settings.node_name)

    def save(self, outcome: Outcome, metadata: Mapping[str, str], token_hash: str) -> None:
        """Takes a snapshot; a learner has none, which is no error."""
        began = time.monotonic()
        node = self._settings.node_name
        name = names.file_name(self.base, node, round(time.time()))
        try:
            status = self._settings.etcd().status()
            if status.is_learner:
                console.say("Unable to take snapshot: not supported for learner", console.WARNING)
                return
            name = self._make_ready(status.size)
            path = self.folder.path(name)
            self._notes.begin(path)
            file = saving.take(
                self._settings.etcd(),
                path,
                status.size,
                compress=self._compress,
                metadata=metadata,
                say=self._say,
            )
            self._notes.end()
            saved = self.folder.snapshot(os.path.basename(file))
            if saved is None:
                raise UserError(f"{file} has disappeared")
        except (UserError, OSError) as error:
            message = explain(error)
            outcome.fail(f"failed to save snapshot {name}: {message}")
            location = f"file://{self._directory}/{name}"
            outcome.failed.append(Snapshot(name, node, location, 0, datetime.now(UTC), error=message))
        else:
            outcome.saved = replace(saved, token_hash=token_hash)
            outcome.created.append(saved.name)
            seconds = time.monotonic() - began
            console.say(f"Snapshot {saved.name} saved: {saved.size / _MIB:.1f} MiB in {seconds:.1f} s")
        self._notes.observe("save_local", began, is_good=outcome.saved is not None)

    def remove_leftovers(self) -> None:
        """Removes what a killed process has left, wherever it was to make a snapshot."""
        path = self._notes.read().unfinished
        if not path.startswith("/") or names.seconds_of(path) is None:
            return
        try:
            removed = saving.remove_leftovers(path)
        except UserError as error:
            console.say(f"unfinished files of {path} cannot be removed: {explain(error)}", console.WARNING)
            return
        if removed:
            console.say(f"Removing unfinished files of {path}, whose run was killed")
        self._notes.end()

    def prune(self, outcome: Outcome, keep: int) -> None:
        """Applies the retention to the snapshots of the base name."""
        with outcome.failing("failed to apply local snapshot retention policy"):
            for old in retention.expired(self.folder.list(), self.base, keep, self._is_good):
                # The clock may have been ahead when the others were made.
                if outcome.saved is None or old.name != outcome.saved.name:
                    self.delete(outcome, old.name)

    def delete(self, outcome: Outcome, name: str) -> None:
        """Removes a snapshot, if there is one of this name."""
        with outcome.failing(f"failed to delete local snapshot {name}"):
            path = self.folder.path(name)
            # A request may name any folder: in another than ours, what is no snapshot is not removed.
            if self._directory != self._settings.directory and self.folder.snapshot(name):
                wrong = damage.find(path)
                if wrong:
                    raise UserError(f"{path} is no snapshot: {wrong}")
            if self.folder.delete(name):
                outcome.deleted.append(name)
                console.say(f"Removing local snapshot {path}")

    def _make_ready(self, size: int) -> str:
        """The new snapshot's name, in a folder that has room for it."""
        is_own = self._settings.is_own_directory and self._directory == self._settings.directory
        saving.prepare_folder(self._directory, is_own=is_own)
        saving.require_space(self._directory, size, compress=self._compress)
        return saving.free_name(self._directory, self.base, self._settings.node_name)

    def _is_good(self, snapshot: Snapshot) -> bool:
        try:
            return damage.has_form(snapshot) and not damage.find(self.folder.path(snapshot.name))
        except OSError:
            return False
