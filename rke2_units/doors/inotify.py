"""inotify(7): a tree of folders that tells when a file in it changes."""

from __future__ import annotations

import ctypes
import os
import select
import stat
import struct
import time

# linux/inotify.h
_IN_MODIFY = 0x2
_IN_CLOSE_WRITE = 0x8
_IN_MOVED_FROM = 0x40
_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100
_IN_DELETE = 0x200
_IN_DELETE_SELF = 0x400
_IN_MOVE_SELF = 0x800
_IN_Q_OVERFLOW = 0x4000
_IN_ONLYDIR = 0x01000000
_IN_ISDIR = 0x40000000
_CHANGES = (
    _IN_CLOSE_WRITE
    | _IN_MOVED_FROM
    | _IN_MOVED_TO
    | _IN_CREATE
    | _IN_DELETE
    | _IN_DELETE_SELF
    | _IN_MOVE_SELF
)
_WATCHED = _CHANGES | _IN_MODIFY | _IN_ONLYDIR
# struct inotify_event: wd, mask, cookie, len; then len bytes of name.
_EVENT = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """Watches `path` and all folders in it, also those created later; `path` itself may be created later.

    Symbolic links to folders are not followed, except `path`. Folders that may not be read are passed over.
    """

    def __init__(self, path: str) -> None:
        """Raises OSError when the kernel has no inotify left (sysctl fs.inotify.max_user_*)."""
        self._path = os.path.abspath(path)
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise _error("inotify_init1")
        # By watch descriptor; when the path is missing, its next folder above alone.
        self._folders: dict[int, str] = {}
        self._being_written: set[str] = set()
        try:
            self._watch_tree()
        except OSError:
            self.close()
            raise

    def wait(self, timeout: float | None = None) -> bool:
        """True when something changed since the last call: look at all files. False after `timeout` s.

        A file that is being written is a change only when its writer closes it.
        """
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if end is None else max(0, end - time.monotonic()) * 1000
            if not poll.poll(left):
                return False
            changed = self._drain()
            # New folders are watched before the caller looks, so that no new file is missed.
            if self._watch_tree() or changed:
                return True

    @property
    def being_written(self) -> frozenset[str]:
        """Paths of files that are open for writing: their content is unfinished."""
        return frozenset(self._being_written)

    def fileno(self) -> int:
        """For poll(2): readable after an event; wait(0) says whether it is a change."""
        return int(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def _drain(self) -> bool:
        changed = False
        while True:
            try:
                events = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                return changed
            offset = 0
            while offset < len(events):
                descriptor, mask, _, length = _EVENT.unpack_from(events, offset)
                offset += _EVENT.size
                name = os.fsdecode(events[offset : offset + length].rstrip(b"\0"))
                offset += length
                changed |= self._counts(descriptor, mask, name)

    def _counts(self, descriptor: int, mask: int, name: str) -> bool:
        if mask & _IN_Q_OVERFLOW:
            self._being_written.clear()
            return True
        folder = self._folders.get(descriptor, "/")
        if not f"{folder}/".startswith(f"{self._path}/"):
            return False
        path = os.path.join(folder, name)
        if mask & _IN_MODIFY:
            self._being_written.add(path)
            return False
        if mask & _IN_CREATE and not mask & _IN_ISDIR:
            # Who creates a file by writing it closes it some time; a link is complete at once.
            try:
                status = os.lstat(path)
            except OSError:
                return False
            return stat.S_ISLNK(status.st_mode) or status.st_nlink > 1
        self._being_written.discard(path)
        return bool(mask & _CHANGES)

    def _watch_tree(self) -> bool:
        """Whether there was a folder that had not been watched."""
        before = self._folders
        self._folders = {}
        folders = [self._path]
        for folder in folders:
            # Watched before it is read: what comes into it in between is seen one way or the other.
            if self._add(folder):
                folders += _folders_in(folder)
        parent = self._path
        while not self._folders and parent != "/":
            # Not there (yet): the next folder above it tells when it comes.
            parent = os.path.dirname(parent)
            self._add(parent)
            if os.path.isdir(self._path):
                return self._watch_tree()
        for descriptor in before.keys() - self._folders.keys():
            # The kernel has forgotten those of deleted folders itself, and says EINVAL.
            _libc.inotify_rm_watch(self._descriptor, descriptor)
        return bool(self._folders.keys() - before.keys())

    def _add(self, folder: str) -> bool:
        """Whether it is watched now, and not gone or something else than a folder."""
        descriptor = _libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _WATCHED)
        if descriptor >= 0:
            self._folders[descriptor] = folder
            return True
        error = _error(folder)
        if not isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
            raise error
        return False


def _folders_in(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)
