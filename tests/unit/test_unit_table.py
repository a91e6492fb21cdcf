"""The rows of the table and the templates of unit_templates/ say the same."""

import re
from pathlib import Path

import jinja2
import pytest
from jinja2 import meta

from rke2_units.unit_names import SNAPSHOT_VERIFY_UNIT, STATIC_POD_TEMPLATE
from rke2_units.unit_table import ALL_UNITS, INSTANCE_TEMPLATES, UNITS, Owner, Start, Unit, stopping_order

TEMPLATES = Path(__file__).resolve().parents[2] / "unit_templates"
# What a template gives to one that it includes.
GIVEN = {"capabilities", "writes", "hides"}
EVERY_NAME = tuple(unit.name for unit in UNITS)
rows = pytest.mark.parametrize("unit", UNITS, ids=EVERY_NAME)


def variables(template: str) -> set[str]:
    """The names that a template uses, with those of the templates that it includes."""
    tree = jinja2.Environment(autoescape=False).parse((TEMPLATES / template).read_text())
    included = [name for name in meta.find_referenced_templates(tree) if name]
    return meta.find_undeclared_variables(tree).union(*(variables(name) - GIVEN for name in included))


def options(template: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", (TEMPLATES / template).read_text(), re.MULTILINE)


def test_every_unit_has_one_row_and_every_template_a_unit() -> None:
    assert len(set(EVERY_NAME)) == len(EVERY_NAME)
    assert {unit.template for unit in UNITS} == {path.name for path in TEMPLATES.glob("rke2-*")}


@rows
def test_a_template_is_told_what_it_uses_and_nothing_else(unit: Unit) -> None:
    digest = {"digest"} if unit.start is Start.PROCESS else set()
    assert variables(unit.template) == {*unit.values, *digest}
    assert len(set(unit.values)) == len(unit.values)


@rows
def test_what_a_unit_is_called_and_what_it_starts_fit_how_it_is_started(unit: Unit) -> None:
    stem, _, kind = unit.name.rpartition(".")
    assert kind == {Start.SOCKET: "socket", Start.TIMER: "timer"}.get(unit.start, "service")
    assert (unit.template == STATIC_POD_TEMPLATE) is (unit.start is Start.POD)
    if unit.start in (Start.SOCKET, Start.TIMER):
        assert started_by(unit) in EVERY_NAME
    if unit.start is Start.NOT_BY_DAEMON:
        starters = {f"{stem}.socket", f"{stem}.timer"} & set(EVERY_NAME)
        assert starters or [row for row in UNITS if follows(row) == unit.name]
    assert (unit.start is Start.INSTANCES) is stem.endswith("@")
    if unit.start is Start.INSTANCES:
        assert f"{stem.removesuffix('@')}.socket" in ALL_UNITS


def started_by(unit: Unit) -> str:
    """The unit that a socket or timer starts: a template of a socket's connections."""
    stem = unit.name.rpartition(".")[0]
    return f"{stem}@.service" if options(unit.template, "Accept") == ["yes"] else f"{stem}.service"


def follows(unit: Unit) -> str:
    """The unit that a successful run of this one starts."""
    [value] = options(unit.template, "OnSuccess") or [""]
    return {"{{ verify_unit }}": SNAPSHOT_VERIFY_UNIT}.get(value, value)


def test_the_instances_of_a_socket_end_with_it_and_leave_nothing() -> None:
    # Nobody else stops them: systemd has no unit of their template's name.
    templates = [unit for unit in UNITS if unit.start is Start.INSTANCES]
    assert {unit.name for unit in templates} == INSTANCE_TEMPLATES
    for unit in templates:
        assert unit.name not in ALL_UNITS
        assert options(unit.template, "PartOf") == ["{{ snapshot_socket_unit }}"]
        assert options(unit.template, "CollectMode") == ["inactive-or-failed"]


@rows
def test_whatever_a_start_waits_for_has_a_limit_or_an_owner_who_tells_why(unit: Unit) -> None:
    [limit] = options(unit.template, "TimeoutStartSec") or [""]
    if unit.waits is Owner.SYSTEMD:
        assert int(limit) <= 90
    elif unit.waits is Owner.PROGRAM:
        assert limit == "infinity"
        assert options(unit.template, "NotifyAccess") != []
    elif unit.waits is not None:
        # systemd itself does what there is to do.
        assert unit.start in (Start.SOCKET, Start.TIMER)
    if unit.start is Start.NOT_BY_DAEMON:
        assert unit.waits is None


def test_what_starts_another_unit_is_stopped_before_it() -> None:
    order = stopping_order(UNITS)
    assert sorted(order) == sorted(ALL_UNITS)
    for unit in UNITS:
        if unit.start in (Start.SOCKET, Start.TIMER) and started_by(unit) in order:
            assert order.index(unit.name) < order.index(started_by(unit))
        if following := follows(unit):
            assert order.index(unit.name) < order.index(following)
    # Of the others, the last one first.
    services = [name for name in order if name.endswith(".service")]
    assert services == [name for name in reversed(ALL_UNITS) if name.endswith(".service")]
