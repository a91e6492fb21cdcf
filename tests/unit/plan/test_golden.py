"""Whole plans, file by file, as a reviewer last read them and found them right.

golden/server is a server of the default release: its files as they lie on a node. golden/server.index says
what files cannot: units, folders, modes, owners, warnings. Everything else is a .diff against the server of
the same release; the server of another release is compared with that of the next one towards the default.

UPDATE_GOLDEN=1 pytest tests/unit/plan/test_golden.py rewrites all of them; git diff shows what changed.
"""

import difflib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from rke2_units.config import derived
from rke2_units.model import Directory, File, Plan
from rke2_units.plan import make_plan
from rke2_units.release.table import DEFAULT, RELEASES
from tests.unit.plan.cases import CASES

UPDATES = bool(os.environ.get("UPDATE_GOLDEN"))
BASE = "server"
GOLDEN = Path(__file__).parent / "golden"
TREE = GOLDEN / BASE
INDEX = "index"
INDEX_FILE = GOLDEN / f"{BASE}.{INDEX}"
# Digests of units, pods and files, and numbers of volumes: any change changes them. A .diff has * instead.
INCIDENTAL = re.compile(r'\b[0-9a-f]{32,64}\b|(?<=name: "dir)\d+|(?<=name: "file)\d+')


def reviewed() -> Iterator[tuple[str, str]]:
    """One release of each minor version with every case, the others, which differ in little, with one."""
    minors = {release.kubernetes: release.name for release in reversed(list(RELEASES.values()))}
    for name in RELEASES:
        yield from ((case, name) for case in CASES if name in minors.values() or case == BASE)


COMPARED = [each for each in reviewed() if each != (BASE, DEFAULT)]


def diff_file(case: str, release: str) -> Path:
    return (GOLDEN if release == DEFAULT else GOLDEN / release) / f"{case}.diff"


def compared_with(case: str, release: str) -> str:
    """The release whose server this case is compared with."""
    if case != BASE:
        return release
    names = list(RELEASES)
    own = names.index(release)
    return names[own + (1 if own < names.index(DEFAULT) else -1)]


@cache
def texts(case: str, release: str) -> Mapping[str, str]:
    """The index and the files of the plan, by their paths."""
    node = CASES[case]
    plan = make_plan(node.role, node.config(), node.facts, RELEASES[release])
    return {INDEX: index(plan), **{file.path: file.content for file in plan.files}}


def index(plan: Plan) -> str:
    sections: dict[str, Iterable[object]] = {
        "enabled": [plan.enabled],
        "units, in starting order": plan.units,
        "folders": map(described, plan.directories),
        "files": map(described, plan.files),
        "kernel parameters": plan.kernel_parameters,
        "warnings": plan.warnings,
    }
    return "".join(
        f"{name}:\n" + "".join(f"  {line}\n" for line in lines) for name, lines in sections.items()
    )


def described(entry: File | Directory) -> str:
    words = [f"{entry.mode:04o} {entry.user}:{entry.group} {entry.path}"]
    words += [word for word in ("keep", "secret") if getattr(entry, word, False)]
    if isinstance(entry, File) and entry.restarts:
        words.append(f"restarts {' '.join(entry.restarts)}")
    return ", ".join(words)


def differences(case: str, release: str) -> dict[str, str]:
    """By path, what differs from the server. A file that only the server has is a line of the index."""
    own, other = data_directory(case), data_directory(BASE)
    before = {
        path.replace(other, own): text.replace(other, own)
        for path, text in texts(BASE, compared_with(case, release)).items()
    }
    found = {path: "".join(hunks(before.get(path, ""), text)) for path, text in texts(case, release).items()}
    return {path: text for path, text in found.items() if text or path not in before}


def data_directory(case: str) -> str:
    return derived.data_directory(CASES[case].config())


def hunks(before: str, after: str) -> Iterator[str]:
    """A unified diff without context; @@ shows the line before, as numbers change with every line above."""
    old, new = (INCIDENTAL.sub("*", text).splitlines() for text in (before, after))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        if tag != "equal":
            if old_start:
                yield f"@@ {old[old_start - 1]}".rstrip() + "\n"
            yield from (f"-{line}\n" for line in old[old_start:old_end])
            yield from (f"+{line}\n" for line in new[new_start:new_end])


def as_diff(case: str, release: str) -> str:
    title = f"{case} of {release}, compared with {BASE} of {compared_with(case, release)}"
    if data_directory(case) != data_directory(BASE):
        title += f" with {data_directory(case)} in place of {data_directory(BASE)}"
    parts = differences(case, release).items()
    return f"{title}\n" + "".join(f"diff {path}\n{text}" for path, text in parts)


def by_path(diff: str) -> dict[str, str]:
    """The parts of a .diff; the one of "" is its title."""
    parts = re.split(r"^diff (.+)\n", diff, flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], parts[::2], strict=True))


def check(name: str, golden: Mapping[str, str], actual: Mapping[str, str]) -> None:
    """Fail with a unified diff from the golden texts to the actual ones."""
    lines: list[str] = []
    for path in {**golden, **actual}:
        lines += difflib.unified_diff(
            golden.get(path, "").splitlines(),
            actual.get(path, "").splitlines(),
            f"{name} {path} as reviewed" if path in golden else os.devnull,
            f"{name} {path} now" if path in actual else os.devnull,
            lineterm="",
        )
    if golden != actual:
        lines.append("If that is right: UPDATE_GOLDEN=1 pytest tests/unit/plan/test_golden.py")
        pytest.fail("\n".join(lines), pytrace=False)


def test_a_server_has_the_files_that_were_reviewed() -> None:
    actual = texts(BASE, DEFAULT)
    if UPDATES:
        shutil.rmtree(TREE, ignore_errors=True)
        for path, text in actual.items():
            file = INDEX_FILE if path == INDEX else TREE / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    there = {f"/{path.relative_to(TREE)}": path for path in TREE.rglob("*") if path.is_file()}
    check(BASE, {path: file.read_text() for path, file in {INDEX: INDEX_FILE, **there}.items()}, actual)


@pytest.mark.parametrize(("case", "release"), COMPARED)
def test_every_other_case_differs_from_it_as_reviewed(case: str, release: str) -> None:
    golden, actual = diff_file(case, release), as_diff(case, release)
    if UPDATES:
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(actual)
    name = str(golden.relative_to(GOLDEN))
    check(name, by_path(golden.read_text()) if golden.exists() else {}, by_path(actual))


def test_every_golden_file_belongs_to_a_case() -> None:
    wanted = {INDEX_FILE, *(diff_file(*each) for each in COMPARED)}
    stale = [
        path
        for path in GOLDEN.rglob("*")
        if path.is_file() and path not in wanted and TREE not in path.parents
    ]
    if UPDATES:
        for path in stale:
            path.unlink()
    else:
        assert not stale, "UPDATE_GOLDEN=1 removes them"
