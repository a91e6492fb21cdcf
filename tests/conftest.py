"""What all tests share: the long fault series and its table."""

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fault_series import Row, page

# How long an example takes says how busy the machine is. ./test tries the same examples each time; the full
# run and those by hand look for new ones.
settings.register_profile("searching", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("searching")

_ROWS = pytest.StashKey[dict[str, Row]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fault-series", metavar="FILE", help="write the long series' results to FILE, a table"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if item.get_closest_marker("long") and (report.when == "call" or report.outcome != "passed"):
        name, _, parameter = item.nodeid.removesuffix("]").partition("[")
        lines = ", ".join(str(line) for mark in item.iter_markers("contract") for line in mark.args)
        sentence = name.split("::")[-1].removeprefix("test_").replace("_", " ")
        if parameter:
            sentence += f" ({parameter})"
        row = item.config.stash[_ROWS].setdefault(item.nodeid, Row(sentence, lines))
        row.outcomes.append(report.outcome)
        row.seconds.append(report.duration)
        for figure, value in report.user_properties:
            row.figures.setdefault(figure, []).append(value)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    target = session.config.getoption("--fault-series")
    if target:
        Path(target).write_text(page(session.config.stash[_ROWS].values()))
