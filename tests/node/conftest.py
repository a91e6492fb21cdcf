"""Real nodes, booted once for all tests that share them."""

import os
from collections.abc import Iterator

import pytest

from tests.nodes.content import SUITES, content
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root there are no nodes; `./test` says so before, a bare pytest skips."""
    if os.geteuid() != 0:
        for item in items:
            if item.path.parent.name == "node":
                item.add_marker(pytest.mark.skip(reason="nodes need root: sudo ./test"))


@pytest.fixture(scope="session", params=SUITES)
def bare_node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node of each Debian suite with systemd and nothing of ours on it."""
    suite = request.param
    with NspawnNode.boot(f"bare-{suite}", suite, content(suite)) as node:
        yield node
