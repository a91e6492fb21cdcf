"""Things that take minutes to make are made once, outside the checkout.

An entry is a directory `NAME-HASH`, where HASH is of the recipe. It appears by a rename after it was made
completely, so a build that was killed leaves nothing that looks finished.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DIRECTORY = Path(os.environ.get("RKE2_UNITS_TEST_CACHE", "/var/cache/rke2-units-tests"))

# Seconds after which an entry that nothing has used is removed when its successor is made.
_KEPT_UNUSED = 7 * 24 * 3600


def progress(line: str) -> None:
    """Tell the person who waits, on stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


def recipe_hash(*parts: str | Path) -> str:
    """Short hash of a recipe: its texts, and the content of its files."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; the kernel drops it when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(name: str, recipe: str, build: Callable[[Path], None]) -> Path:
    """The directory of the entry NAME for this recipe; `build` fills an empty directory when there is none.

    A second builder waits for the first. Older recipes' entries of the same name stay while they are used:
    there may be other checkouts.
    """
    entry = DIRECTORY / f"{name}-{recipe}"
    if entry.is_dir():
        with suppress(PermissionError):
            os.utime(entry)
        return entry
    with locked(DIRECTORY / "locks" / name):
        if entry.is_dir():
            return entry
        unfinished = DIRECTORY / f"{name}-{recipe}.unfinished"
        _clear(unfinished)
        unfinished.mkdir(parents=True)
        started = time.monotonic()
        progress(f"{name}: making {entry}")
        try:
            build(unfinished)
        except BaseException:
            _clear(unfinished)
            raise
        unfinished.rename(entry)
        _remove_unused(name)
        progress(f"{name}: made in {time.monotonic() - started:.0f} s")
    return entry


def _remove_unused(name: str) -> None:
    for entry in DIRECTORY.glob(f"{name}-{'[0-9a-f]' * 16}"):
        if time.time() - entry.stat().st_mtime > _KEPT_UNUSED:
            progress(f"{name}: removing {entry}, which nothing has used for a week")
            shutil.rmtree(entry)


def _clear(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)
