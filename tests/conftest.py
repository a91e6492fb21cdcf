"""What all tests share: whose turn it is, the long fault series and its table."""

import os
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fault_series import Row, page
from tests.order import in_order, is_alone, module_of
from tests.turns import turn

# What this process holds while it runs a test, or a whole module.
_TURN = pytest.StashKey[ExitStack]()

# How long an example takes says how busy the machine is. ./test tries the same examples each time; runs
# by hand look for new ones.
settings.register_profile("searching", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("searching")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fault-series", metavar="FILE", help="write the long series' results to FILE, a table"
    )


def pytest_configure(config: pytest.Config) -> None:
    target = config.getoption("--fault-series")
    # pytest-xdist's workers have the option as well, and no more than a part of the reports.
    if target and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Series(Path(target)), "fault series")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A report, which may come from another process, knows the names of marks but not what they hold."""
    for item in items:
        item.user_properties += [
            ("contract", line) for mark in item.iter_markers("contract") for line in mark.args
        ]
    in_order(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """What is marked `alone` has the machine for itself, whatever runs in other processes.

    A module has it from its first test to its last, since its nodes are busy in between too.
    """
    if os.geteuid() != 0:
        # Without root there are no nodes.
        return (yield)
    if _TURN not in item.config.stash:
        held = item.config.stash[_TURN] = ExitStack()
        held.enter_context(turn(alone=is_alone(item)))
    try:
        return (yield)
    finally:
        whole = is_alone(module_of(item))
        if not whole or nextitem is None or nextitem.path != item.path:
            item.config.stash[_TURN].close()
            del item.config.stash[_TURN]


class _Series:
    """Writes the table of the series, from the reports of all processes."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._rows: dict[str, Row] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        row = self._rows.get(report.nodeid)
        if row is None:
            lines = ", ".join(str(value) for name, value in report.user_properties if name == "contract")
            row = self._rows[report.nodeid] = Row(_sentence(report.nodeid), lines)
        row.outcomes.append(report.outcome)
        row.seconds.append(report.duration)
        for name, value in report.user_properties:
            if name != "contract":
                row.figures.setdefault(name, []).append(value)

    def pytest_sessionfinish(self) -> None:
        self._target.write_text(page(row for _, row in sorted(self._rows.items())))


def _sentence(node_id: str) -> str:
    name, _, parameter = node_id.removesuffix("]").partition("[")
    sentence = name.split("::")[-1].removeprefix("test_").replace("_", " ")
    return f"{sentence} ({parameter})" if parameter else sentence
