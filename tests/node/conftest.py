"""Real nodes, booted once for all tests that share them."""

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.node.helpers import product
from tests.nodes.content import SUITES, content
from tests.nodes.errors import NodeError
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode
from tests.order import shared_servers
from tests.package import build_deb


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root there are no nodes; `./test` says so before, a bare pytest skips."""
    if os.geteuid() != 0:
        for item in items:
            if item.path.parent == Path(__file__).parent:
                item.add_marker(pytest.mark.skip(reason="nodes need root: sudo ./test"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what the daemons of the test's nodes said last: the nodes are gone afterwards."""
    report = yield
    if report.failed:
        for value in vars(item).get("funcargs", {}).values():
            # Of a registry, the node that it runs on.
            if isinstance(node := getattr(value, "node", value), Node):
                try:
                    said = node.journal(product.SERVER, lines=25)
                except (NodeError, TimeoutError) as error:
                    said = str(error)
                report.sections.append((f"the last that {product.SERVER} said on {node.name}", said))
    return report


def node_name(name: str) -> str:
    """The name of a node of this process: pytest can run several, each with nodes of its own."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    return f"{name}-{worker}" if worker else name


@pytest.fixture(scope="session", params=SUITES)
def bare_node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node of each Debian suite with systemd and nothing of ours on it."""
    suite = request.param
    with NspawnNode.boot(node_name(f"bare-{suite}"), suite, content(suite), replace=True) as node:
        yield node


@pytest.fixture(scope="session")
def deb() -> Path:
    return build_deb("bookworm")


class _Servers:
    """The server of each suite, installed and started when the first test asks for it."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

    def of(self, suite: str) -> Node:
        if suite not in self._nodes:
            made = content(suite)
            name = "server" if suite == "bookworm" else f"server-{suite}"
            node = NspawnNode.boot(node_name(name), suite, made, replace=True)
            try:
                product.install(node, build_deb(suite), made.release)
                product.start(node)
            except BaseException:
                # The next test that asks gets a new one, and not half of this.
                node.remove()
                raise
            self._nodes[suite] = node
        return self._nodes[suite]

    def keep(self, suites: set[str]) -> None:
        """Remove the others."""
        for suite in self._nodes.keys() - suites:
            self._nodes.pop(suite).remove()


_SERVERS = pytest.StashKey[_Servers]()


@pytest.fixture(scope="session")
def _server_of(pytestconfig: pytest.Config) -> Iterator[Callable[[str], Node]]:
    servers = pytestconfig.stash[_SERVERS] = _Servers()
    yield servers.of
    servers.keep(set())


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """A shared server goes when a file without it begins: at rest it takes a fifth of a processor.

    Files that need them come one after the other (tests/order.py).
    """
    if nextitem is not None and nextitem.path != item.path and _SERVERS in item.config.stash:
        item.config.stash[_SERVERS].keep(shared_servers(nextitem))


@pytest.fixture
def server(request: pytest.FixtureRequest, _server_of: Callable[[str], Node]) -> Node:
    """The one server that most tests share: everything on it runs when a test begins.

    A test leaves it as it wants; one that left it broken makes the next one start it anew. Debian 12's,
    unless the test is parametrized by suite (`suites.on_each_systemd`).
    """
    node = _server_of(getattr(request, "param", "bookworm"))
    if not product.is_running(node):
        node.systemctl("reset-failed", check=False)
        node.systemctl("restart", "rke2-server", check=False)
        product.wait_until_running(node)
    return node
