"""inotify(7): a tree of folders that tells when a file in it changes."""

from __future__ import annotations


class FolderWatch:
    """Watches `path` and all folders in it, also those that come later; `path` itself may come later too."""

    def __init__(self, path: str) -> None:
        raise NotImplementedError

    def wait(self, timeout: float | None = None) -> bool:
        """True when something changed since the last call: look at all files. False after `timeout` s."""
        raise NotImplementedError

    def fileno(self) -> int:
        """For poll(2): readable when something happened."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
