"""A server's key material below a temporary folder, made and looked at as any user."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rke2_units.certificates import keys
from rke2_units.certificates.ensure import Request, ensure
from rke2_units.layout import Paths
from rke2_units.model import File

START = datetime(2026, 1, 1, 12, 30, 15, 999, tzinfo=UTC)
SERVICE_ACCOUNT_KEY = keys.make_service_account_key()


@dataclass
class Node:
    """One node; `request` may be replaced between two runs."""

    root: Path
    request: Request
    start: datetime = START

    @property
    def tls(self) -> Path:
        return Path(self.request.paths.tls)

    @property
    def agent(self) -> Path:
        return Path(self.request.paths.agent)

    @property
    def server(self) -> Path:
        return Path(self.request.paths.server)

    def ensure(self, after: timedelta = timedelta(), **changes: Any) -> list[str]:
        """Runs with some of the request changed; the paths written, relative to the data directory."""
        self.request = replace(self.request, **changes)
        written = ensure(self.request, self.start + after)
        return [os.path.relpath(path, self.request.paths.data) for path in written]

    def state(self) -> dict[str, tuple[int, int, bytes]]:
        """Inode, mode and content (or a link's target) of all that is below the root."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            about = path.lstat()
            if path.is_symlink():
                content = os.readlink(path).encode()
            else:
                content = path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(self.root))] = (about.st_ino, about.st_mode & 0o7777, content)
        return found


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An RSA key takes long to make, and no test here loses power."""
    monkeypatch.setattr(keys, "make_service_account_key", lambda: SERVICE_ACCOUNT_KEY)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(
        tmp_path,
        Request(
            Paths(str(tmp_path / "data")),
            node_name="one",
            node_ips=("192.0.2.5", "2001:db8::5"),
            names=("cluster.example", "localhost", "127.0.0.1", "::1", "one", "192.0.2.5", "10.43.0.1"),
            kubeconfig_path=str(tmp_path / "etc/rke2.yaml"),
            node_directory=str(tmp_path / "node"),
        ),
    )


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """A server after its first start, to look at only; its service account key is made as in real life."""
    root = tmp_path_factory.mktemp("made")
    request = Request(
        Paths(str(root / "data")),
        node_name="one",
        node_ips=("192.0.2.5", "2001:db8::5"),
        names=("cluster.example", "localhost", "127.0.0.1", "::1", "one", "192.0.2.5", "10.43.0.1"),
        kubeconfig_path=str(root / "etc/rke2.yaml"),
        node_directory=str(root / "node"),
    )
    before = os.umask(0)
    try:
        ensure(request, START)
    finally:
        os.umask(before)
    return Node(root, request)


@pytest.fixture
def written_files(monkeypatch: pytest.MonkeyPatch) -> list[File]:
    """What is handed to the door to files, with owners that only root can set."""
    from rke2_units.doors import files

    seen: list[File] = []
    write_all = files.write_all

    def record(wanted: list[File], root: str = "/") -> list[str]:
        seen.extend(wanted)
        return write_all(wanted, root)

    monkeypatch.setattr(files, "write_all", record)
    return seen


@pytest.fixture(scope="session")
def openssl() -> Callable[..., str]:
    """Runs openssl and returns what it prints; it speaks of the time when the test node was started."""

    def run(*arguments: str | Path) -> str:
        command = ["openssl", *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return run
