"""State that the daemon keeps in /run from one process to the next, until the machine reboots."""

import hashlib
import json
import os
from collections.abc import Iterable

from rke2_units import layout
from rke2_units.daemon.inputs import Marks
from rke2_units.doors import files

_FAILED_ATTEMPTS = f"{layout.RUNTIME_DIRECTORY}/failed-attempts.json"
_STOPPED_BY_HAND = f"{layout.RUNTIME_DIRECTORY}/stopped-by-hand.json"
_HANDED_ON = f"{layout.RUNTIME_DIRECTORY}/handed-on.json"


def _read(path: str) -> object:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return None


def _write(path: str, value: object) -> None:
    os.makedirs(layout.RUNTIME_DIRECTORY, mode=0o755, exist_ok=True)
    files.write_atomic(path, json.dumps(value) + "\n", 0o600)


def failed_attempts(marks: Marks) -> tuple[int, str]:
    """How many starts in a row failed with the configuration of these marks, and why the last one failed."""
    value = _read(_FAILED_ATTEMPTS)
    if isinstance(value, dict) and isinstance(value.get("count"), int) and value.get("marks") == marks:
        return value["count"], str(value.get("reason", ""))
    return 0, ""


def remember_failed_attempt(reason: str, marks: Marks) -> None:
    count, _ = failed_attempts(marks)
    _write(_FAILED_ATTEMPTS, {"count": count + 1, "reason": reason, "marks": marks})


def forget_failed_attempts() -> None:
    _forget(_FAILED_ATTEMPTS)


def stopped_by_hand() -> set[str]:
    """The units that the administrator stopped while the daemon ran."""
    value = _read(_STOPPED_BY_HAND)
    return {str(unit) for unit in value} if isinstance(value, list) else set()


def remember_stopped_by_hand(units: Iterable[str]) -> None:
    _write(_STOPPED_BY_HAND, sorted(units))


def forget_stopped_by_hand() -> None:
    _forget(_STOPPED_BY_HAND)


def is_news(path: str) -> bool:
    """Whether the file has changed since remember_handed_on() was called for it.

    For units without a digest: `install`, or a daemon that was killed afterwards, may have written the file.
    """
    return _handed_on().get(path) != _digest(path)


def remember_handed_on(path: str) -> None:
    """The program that uses this file has read its present content."""
    _write(_HANDED_ON, _handed_on() | {path: _digest(path)})


def _handed_on() -> dict[str, str]:
    value = _read(_HANDED_ON)
    return value if isinstance(value, dict) else {}


def _digest(path: str) -> str:
    return hashlib.sha256(files.read_bytes(path) or b"").hexdigest()


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
