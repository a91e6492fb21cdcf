"""Shows changes as a unified diff without secrets."""

import difflib
from collections.abc import Iterable

from rke2_units.node.apply import Change, Kind
from rke2_units.node.masking import mask


def unified(changes: Iterable[Change]) -> str:
    """The changes as a unified diff ("" for none); of a secret file only that it changes."""
    return "".join(_one(change) for change in changes)


def _one(change: Change) -> str:
    if change.file is None and change.old is None:
        return f"folder {change.path}: {'made' if change.kind is Kind.ADD else 'mode or owner changed'}\n"
    before = "/dev/null" if change.kind is Kind.ADD else change.path
    after = "/dev/null" if change.kind is Kind.REMOVE else change.path
    header = f"--- {before}\n+++ {after}\n"
    if change.secret:
        return f"{header}(a secret file, its content is not shown)\n"
    old = mask(change.old or "").splitlines(keepends=True)
    new = mask(change.file.content if change.file else "").splitlines(keepends=True)
    lines = list(difflib.unified_diff(old, new, before, after))
    if not lines:
        note = "mode or owner" if change.kind is Kind.CHANGE else "empty file"
        if change.file is not None and change.old not in (None, change.file.content):
            note = "a secret value in it"
        return f"{header}({note})\n"
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )
