"""The rows of the table and the templates of unit_templates/ say the same."""

import re
from pathlib import Path

import jinja2
import pytest
from jinja2 import meta

from rke2_units.unit_names import STATIC_POD_TEMPLATE
from rke2_units.unit_table import ALL_UNITS, UNITS, Owner, Start, Unit, stopping_order

TEMPLATES = Path(__file__).resolve().parents[2] / "unit_templates"
# What a template gives to one that it includes.
GIVEN = {"capabilities", "writes", "hides"}
rows = pytest.mark.parametrize("unit", UNITS, ids=ALL_UNITS)


def variables(template: str) -> set[str]:
    """The names that a template uses, with those of the templates that it includes."""
    tree = jinja2.Environment(autoescape=False).parse((TEMPLATES / template).read_text())
    included = [name for name in meta.find_referenced_templates(tree) if name]
    return meta.find_undeclared_variables(tree).union(*(variables(name) - GIVEN for name in included))


def options(template: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", (TEMPLATES / template).read_text(), re.MULTILINE)


def test_every_unit_has_one_row_and_every_template_a_unit() -> None:
    assert len(set(ALL_UNITS)) == len(ALL_UNITS)
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
        assert f"{stem}.service" in ALL_UNITS
    if unit.start is Start.NOT_BY_DAEMON:
        assert {f"{stem}.socket", f"{stem}.timer"} & set(ALL_UNITS)


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
        if unit.start in (Start.SOCKET, Start.TIMER):
            assert order.index(unit.name) < order.index(f"{unit.name.rpartition('.')[0]}.service")
    # Of the others, the last one first.
    services = [name for name in order if name.endswith(".service")]
    assert services == [name for name in reversed(ALL_UNITS) if name.endswith(".service")]
