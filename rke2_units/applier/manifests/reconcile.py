"""One pass over server/manifests: applies changed files, deletes objects that have left their file."""

import hashlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from rke2_units.applier.manifests import addon, apply, documents, parallel, tree
from rke2_units.applier.manifests.addon import Addon
from rke2_units.applier.manifests.apply import Applier, Key
from rke2_units.applier.manifests.documents import Manifest
from rke2_units.applier.manifests.tree import ManifestFile, Tree
from rke2_units.coordination.events import Events
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import ApiUnavailable, Client, Discovery, UnknownKind
from rke2_units.errors import UserError

# Seconds. A file must be unchanged for this long: an empty one has all of its objects deleted.
_SETTLED = 0.2
_FIRST_RETRY = 1.0
_LAST_RETRY = 30.0
# Lines that are logged about one file at once.
_MOST_TOLD = 20


@dataclass(eq=False)
class _State:
    """A file as it was last read, and how far it is applied."""

    file: ManifestFile
    checksum: str
    pending: list[Manifest] = field(default_factory=list)
    kinds: tuple[addon.Kind, ...] = ()
    applied: set[Key] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unknown_kinds: bool = False
    # Whether objects of an earlier content of the file may be in the cluster.
    prune: bool = False
    failures: int = 0
    # On the monotonic clock; None: nothing to do until the file changes.
    due: float | None = 0.0
    told: list[str] = field(default_factory=list)
    # Whether something was wrong with an earlier content.
    was_wrong: bool = False
    # Whether it was just applied: the event is recorded after all other work.
    news: bool = False


class Reconciler:
    """The files of a folder and their states. Other threads may call `problems` only."""

    def __init__(
        self,
        client: Client,
        discovery: Discovery,
        events: Events,
        *,
        folder: str,
        disable: Collection[str] = (),
        may_act: Callable[[], bool],
    ) -> None:
        self._client = client
        self._applier = Applier(client, discovery)
        self._events = events
        self._folder = folder
        self._disable = frozenset(disable)
        self._may_act = may_act
        self._first_pass = True
        self._states: dict[str, _State] = {}
        self._addons: dict[str, Addon] = {}
        self._not_read: dict[str, str] = {}
        self._hindrance = ""
        self._failures = 0

    def begin_anew(self) -> None:
        """Forgets the states of all files: the next pass applies every file, as RKE2 does at each start."""
        self._first_pass = True

    def problems(self) -> list[str]:
        """The present problems, one line each."""
        lines = [self._hindrance] if self._hindrance else []
        lines += self._not_read.values()
        return lines + [
            line for state in list(self._states.values()) for line in state.unreadable + state.failed
        ]

    @property
    def awaits_kinds(self) -> bool:
        """Whether a file has objects of kinds that the API does not know."""
        return any(state.unknown_kinds for state in self._states.values())

    def kinds_came(self) -> None:
        """Makes the files with objects of unknown kinds due."""
        for state in self._states.values():
            if state.unknown_kinds:
                state.due, state.failures = 0.0, 0

    def look(self, being_written: Collection[str] = ()) -> float | None:
        """Makes one pass; returns the seconds until the next is due, None to wait for a change.

        `being_written`: paths of files to skip, since the objects missing in half a file would be deleted.
        """
        try:
            due = self._look(being_written)
        except UserError as error:
            hindrance = f"manifests cannot be applied now: {error}"
            if not self._hindrance:
                journal.log(Level.WARNING, f"{hindrance}; retrying")
            self._hindrance = hindrance
            self._failures += 1
            return _pause(self._failures)
        if self._hindrance:
            journal.log(Level.NOTICE, "manifests can be applied again")
        self._hindrance, self._failures = "", 0
        return due

    def _look(self, being_written: Collection[str]) -> float | None:
        if self._first_pass:
            apply.ensure_definition(self._client, self._may_act)
            self._addons = {each.name: each for each in map(Addon.of, self._client.list(addon.COLLECTION))}
            self._states = {}
        found = tree.scan(self._folder, self._disable)
        not_read = dict(found.problems)
        # The objects of a removed file stay in the cluster.
        for path in self._states.keys() - {file.path for file in found.files}:
            gone = self._states.pop(path)
            if gone.told or gone.was_wrong:
                _tell_mended(path)
        pauses = [
            pause
            for file in found.files
            if file.path not in being_written
            and (pause := self._read_if_changed(file, not_read)) is not None
        ]
        for path, problem in not_read.items():
            if problem != self._not_read.get(path):
                journal.log(Level.WARNING, problem, MANIFEST=path)
        for path in self._not_read.keys() - not_read.keys():
            _tell_mended(path)
        self._not_read = not_read
        self._first_pass = False
        now = time.monotonic()
        self._apply([state for state in self._states.values() if state.due is not None and state.due <= now])
        self._remove_disabled(found)
        now = time.monotonic()
        pauses += [max(state.due - now, 0.0) for state in self._states.values() if state.due is not None]
        return min(pauses, default=None)

    def _read_if_changed(self, file: ManifestFile, not_read: dict[str, str]) -> float | None:
        """Reads a new or changed file; returns the seconds to wait if it is too early for that."""
        state = self._states.get(file.path)
        if state is not None and state.file.stamp == file.stamp:
            return None
        age = time.time() - file.changed_at
        if 0 <= age < _SETTLED:
            return _SETTLED - age
        try:
            content = tree.read(file, documents.LARGEST_FILE + 1)
        except OSError as error:
            not_read[file.path] = f"{file.path} cannot be read: {error.strerror}"
            return _LAST_RETRY
        if content is None:
            return _SETTLED
        checksum = hashlib.sha256(content).hexdigest()
        if state is not None and state.checksum == checksum:
            state.file = file
            return None
        known = self._addons.get(file.addon)
        # Without a state: after a partial apply by this process, the checksum in the Addon is out of date.
        is_applied = state is None and known is not None and known.checksum == checksum
        if is_applied and not self._first_pass:
            self._states[file.path] = _State(file, checksum, due=None)
            return None
        contents = documents.read(content)
        new = _State(
            file,
            checksum,
            pending=contents.objects,
            kinds=addon.joined((each.api_version, each.kind) for each in contents.objects),
            unreadable=[f"{file.path}:{error.line}: {error.text}" for error in contents.errors],
            prune=not is_applied and (known is not None or self._first_pass),
            was_wrong=state is not None and bool(state.told or state.was_wrong),
        )
        self._states[file.path] = new
        for warning in contents.warnings[:_MOST_TOLD]:
            journal.log(Level.WARNING, f"{file.path}:{warning.line}: {warning.text}", MANIFEST=file.path)
        return None

    def _apply(self, states: list[_State]) -> None:
        """Applies pending objects. After ApiUnavailable, those not applied yet stay pending and due."""
        if not states:
            return
        for state in states:
            state.failed, state.unknown_kinds = [], False
        parallel.each(states, self._announce)
        jobs = [(state, manifest) for state in states for manifest in state.pending]
        first = [job for job in jobs if apply.comes_first(job[1])]
        self._apply_objects(first)
        for state, manifest in first:
            if apply.is_definition(manifest) and not any(manifest is each for each in state.pending):
                self._applier.await_definition(manifest, self._may_act)
        self._apply_objects([job for job in jobs if not apply.comes_first(job[1])])
        if not self._may_act():
            return
        whole = [state for state in states if not state.pending and not state.unreadable]
        self._prune([state for state in whole if state.prune])
        parallel.each([state for state in whole if not state.failed], self._finish)
        for state in states:
            if state.news:
                text = f'Applied manifest at "{state.file.path}"'
                self._events.record(self._addons[state.file.addon].reference(), "AppliedManifest", text)
                state.news = False
            if (state.failed or state.unreadable) and not self._addons[state.file.addon].uid:
                self._write_addon(self._addons[state.file.addon])
            if state.failed:
                state.failures += 1
                state.due = time.monotonic() + _pause(state.failures)
            else:
                state.due = None
            self._tell(state)

    def _announce(self, state: _State) -> None:
        """Records in the Addon which kinds the file may have from now on, so that its objects can be found.

        A new Addon is not written before its file is applied, which saves a write for each of many files. If
        this process ends before that, the first pass of the next one searches for the file's objects.
        """
        known = self._addons.get(state.file.addon) or Addon(state.file.addon, "")
        wanted = replace(known, source=state.file.path, kinds=addon.joined(known.kinds, state.kinds))
        if known.uid and known != wanted:
            self._write_addon(wanted)
        else:
            self._addons[wanted.name] = wanted

    def _write_addon(self, wanted: Addon) -> None:
        self._addons[wanted.name] = apply.write_addon(self._client, wanted)

    def _apply_objects(self, jobs: list[tuple[_State, Manifest]]) -> None:
        """Applies them in parallel; manifests of the same object are applied in their order."""
        done: set[int] = set()

        def work(job: tuple[_State, Manifest]) -> None:
            state, manifest = job
            if not self._may_act():
                return
            try:
                state.applied.add(self._applier.apply(manifest, state.file.addon))
            except ApiUnavailable:
                raise
            except UserError as error:
                state.unknown_kinds |= isinstance(error, UnknownKind)
                state.failed.append(f"{state.file.path}:{manifest.line}: {manifest}: {error}")
            else:
                done.add(id(manifest))

        seen = set()
        once: list[tuple[_State, Manifest]] = []
        again: list[tuple[_State, Manifest]] = []
        for job in jobs:
            identity = apply.identity(job[1])
            (again if identity in seen else once).append(job)
            seen.add(identity)
        try:
            parallel.each(once, work)
            for job in again:
                work(job)
        finally:
            for state in {id(state): state for state, _ in jobs}.values():
                state.pending = [each for each in state.pending if id(each) not in done]

    def _prune(self, states: list[_State]) -> None:
        """Deletes objects that have left these files."""
        kinds = {state.file.addon: self._addons[state.file.addon].kinds for state in states}
        failed = self._applier.prune(kinds, {state.file.addon: state.applied for state in states})
        for state in states:
            state.failed = [f"{state.file.path}: {text}" for text in failed.get(state.file.addon, ())]

    def _finish(self, state: _State) -> None:
        known = self._addons[state.file.addon]
        wanted = Addon(state.file.addon, state.file.path, state.checksum, state.kinds, known.uid)
        if known != wanted:
            self._write_addon(wanted)
            state.news = True
            objects = f"{len(state.applied)} object{'' if len(state.applied) == 1 else 's'}"
            applied = f"{state.file.path} is applied: {objects}"
            journal.log(Level.INFO, applied, MANIFEST=state.file.path)
        state.applied, state.prune, state.failures = set(), False, 0

    def _tell(self, state: _State) -> None:
        """Logs the problems of the file, unless they were logged before."""
        lines = state.unreadable + state.failed
        if lines and lines != state.told:
            shown = lines[:_MOST_TOLD]
            if len(lines) > len(shown):
                shown.append(f"{state.file.path}: {len(lines) - len(shown)} more errors")
            for line in shown:
                journal.log(Level.WARNING, line, MANIFEST=state.file.path)
            reason = "ParseManifestFailed" if state.unreadable else "ApplyManifestFailed"
            reference = self._addons[state.file.addon].reference()
            self._events.record(reference, reason, " | ".join(lines[:3]), warning=True)
        elif not lines and (state.told or state.was_wrong):
            _tell_mended(state.file.path)
        state.told, state.was_wrong = lines, False

    def _remove_disabled(self, found: Tree) -> None:
        """Removes objects, Addons and files that `disable` names; objects even if their file is missing."""
        kept = {file.addon for file in found.files}
        files = {file.path: file.addon for file in found.disabled if tree.is_manifest(file.path)}
        names = (set(files.values()) | self._disable) - kept
        for name in sorted(names & self._addons.keys()):
            if not self._may_act():
                return
            known = self._addons[name]
            failed = self._applier.prune({name: known.kinds}, {name: ()})
            if failed:
                raise UserError(f"{known.source} is disabled: {'; '.join(failed[name])}")
            text = f'Deleting manifest at "{known.source}"'
            self._events.record(known.reference(), "DeletingManifest", text)
            apply.delete_addon(self._client, known)
            del self._addons[name]
            journal.log(Level.NOTICE, f"{known.source} is disabled: its objects were deleted")
        for file in found.disabled:
            if file.removable and file.addon not in self._addons:
                tree.remove(file)


def _tell_mended(path: str) -> None:
    journal.log(Level.NOTICE, f"{path}: the problem is resolved", MANIFEST=path)


def _pause(failures: int) -> float:
    """Seconds until the next attempt after this many failures."""
    return min(_FIRST_RETRY * 2.0 ** (min(failures, 10) - 1), _LAST_RETRY)
