"""The order of the tests, in which several processes are through with all files soonest."""

from collections import Counter
from pathlib import Path

import pytest

_NODE_TESTS = Path(__file__).parent / "node"


def in_order(items: list[pytest.Item]) -> None:
    """Sort the tests, which processes take file after file.

    On nodes first what has the machine for itself, while nothing else is on it; then files that share
    servers, which go when the last of them is through; then files with nodes of their own. Of each, files
    of few tests first, as those are long ones. The many short unit tests fill in what is left; first of
    them the join API's, which wait for its limits of time.
    """
    sizes = Counter(item.path for item in items)
    sharing = {item.path for item in items if _asks_for_server(item)}

    def place(item: pytest.Item) -> tuple[int, bool, int]:
        if item.path.parent != _NODE_TESTS:
            return 2, item.path.parent.name != "join_api", 0
        shares, size = item.path in sharing, sizes[item.path]
        return (0, shares, size) if is_alone(module_of(item)) else (1, not shares, size)

    items.sort(key=place)


def shared_servers(item: pytest.Item) -> set[str]:
    """The Debian suites of the servers that the tests of the item's file share with other files."""
    return {
        _parameters(other).get("server", "bookworm")
        for other in item.session.items
        if other.path == item.path and _asks_for_server(other)
    }


def module_of(item: pytest.Item) -> pytest.Module | None:
    return item.getparent(pytest.Module)


def is_alone(node: pytest.Item | pytest.Module | None) -> bool:
    """Whether the test, or each of the module, has the machine for itself."""
    return node is not None and node.get_closest_marker("alone") is not None


def _parameters(item: pytest.Item) -> dict[str, str]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def _asks_for_server(item: pytest.Item) -> bool:
    return "_server_of" in getattr(item, "fixturenames", ())
