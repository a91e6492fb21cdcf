from pathlib import Path

from rke2_units.model import File, Plan
from rke2_units.node.apply import apply, changes
from rke2_units.unit_names import Role

KEPT = "/etc/audit.yaml"


def plan(*files: File) -> Plan:
    return Plan(Role.SERVER, (), files, (), Role.SERVER.unit)


def test_a_kept_file_is_written_once_and_then_left_to_the_administrator(tmp_path: Path) -> None:
    wanted = plan(File(KEPT, "ours\n", keep=True))
    root = str(tmp_path)
    apply(wanted, root)
    place = tmp_path / KEPT.lstrip("/")
    assert place.read_text() == "ours\n"
    place.write_text("theirs\n")
    assert changes(wanted, root) == []
    apply(wanted, root)
    assert place.read_text() == "theirs\n"


def test_a_kept_file_that_the_plan_no_longer_has_stays(tmp_path: Path) -> None:
    root = str(tmp_path)
    apply(plan(File(KEPT, "ours\n", keep=True)), root)
    apply(plan(), root)
    assert (tmp_path / KEPT.lstrip("/")).exists()
