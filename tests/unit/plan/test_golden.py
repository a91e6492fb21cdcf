"""The whole plan, file by file, as it was last looked at and found right.

UPDATE_GOLDEN=1 pytest tests/unit/plan/test_golden.py writes them anew; git diff shows what that changes.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from rke2_units.layout import UNIT_DIRECTORY
from rke2_units.model import File
from rke2_units.plan import make_plan
from rke2_units.release.table import RELEASES
from tests.unit.plan.cases import CASES

GOLDEN = Path(__file__).parent / "golden"
# Units and what the programs in them read have tests of their own, as have the roles, which never differ.
LEFT_OUT = re.compile(rf"{UNIT_DIRECTORY}/.*|.*/rke2-(units\.json|rbac\.yaml)")


def reviewed() -> Iterator[tuple[str, str]]:
    """One release of each minor version with every case, the others, which differ in little, with one."""
    minors = {release.kubernetes: release.name for release in reversed(list(RELEASES.values()))}
    for name in RELEASES:
        yield from ((case, name) for case in CASES if name in minors.values() or case == "server")


def as_text(files: Iterable[File]) -> str:
    return "".join(
        f"##### {file.path} {file.mode:04o} {file.user}:{file.group}"
        f"{' secret' if file.secret else ''} {' '.join(file.restarts)}".rstrip()
        + f"\n{file.content}"
        for file in files
        if not LEFT_OUT.fullmatch(file.path)
    )


def check(case: str, release_name: str, text: str) -> None:
    golden = GOLDEN / f"{case}.{release_name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize(("case", "release_name"), list(reviewed()))
def test_the_plan_is_the_one_that_was_reviewed(case: str, release_name: str) -> None:
    node = CASES[case]
    plan = make_plan(node.role, node.config(), node.facts, RELEASES[release_name])
    check(case, release_name, "".join(f"{unit}\n" for unit in plan.units) + as_text(plan.files))
