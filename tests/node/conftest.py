"""Real nodes, booted once for all tests that share them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node import product
from tests.nodes.content import SUITES, content
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode
from tests.package import build_deb


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


@pytest.fixture(scope="session")
def deb() -> Path:
    return build_deb("bookworm")


@pytest.fixture(scope="session")
def _server(deb: Path) -> Iterator[Node]:
    made = content("bookworm")
    with NspawnNode.boot("server", "bookworm", made) as node:
        product.install(node, deb, made.release)
        product.start(node)
        yield node


@pytest.fixture
def server(_server: Node) -> Node:
    """The one server that most tests share: everything on it runs when a test begins.

    A test leaves it as it wants; one that left it broken makes the next one start it anew.
    """
    if not product.is_running(_server):
        _server.systemctl("reset-failed", check=False)
        _server.systemctl("restart", "rke2-server", check=False)
        product.wait_until_running(_server, timeout=120)
    return _server
