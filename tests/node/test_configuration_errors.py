"""L9: errors of the configuration, which only a person can mend."""

from collections.abc import Callable, Iterator

import pytest

from tests.node.helpers import product
from tests.node.helpers.failing import LIMIT, failing_start, stopped
from tests.node.helpers.product import BASIC_CONFIG, CONFIG, SERVER
from tests.nodes.machine import Node

CONFIGURATION_ERROR = "78"


@pytest.fixture(scope="module")
def stopped_server(_server_of: Callable[[str], Node]) -> Iterator[Node]:
    """The server while it does not run: these starts fail before anything is done."""
    node = _server_of("bookworm")
    with stopped(node):
        yield node


def written_files(node: Node) -> str:
    """What the last start has written, with sizes and times."""
    return node.sh(
        "cd /var/lib/rancher/rke2 && find agent/etc agent/static-pods server/tls server/cred -type f |"
        " sort | xargs ls -l --time-style=full-iso"
    ).stdout


@pytest.mark.contract("L9")
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("tls-sann: [a.example]\n", ("config.yaml:3", "tls-sann", "tls-san?")),
        ("kube-apiserver-arg: {v: 2}\n", ("config.yaml:3", "kube-apiserver-arg")),
        ("cluster-cidr: 10.42.0.0/99\n", ("config.yaml:3", "cluster-cidr", "10.42.0.0/99")),
        ("token-file: /root/no-such-file\n", ("config.yaml:3", "token-file", "/root/no-such-file")),
        ("tls-san: [a.example\n", ("config.yaml", "YAML")),
        ("disable-etcd: true\n", ("config.yaml:3", "disable-etcd")),
    ],
    ids=["unknown key", "wrong type", "bad CIDR", "unreadable token-file", "broken YAML", "rejected key"],
)
def test_a_configuration_error_ends_failed_names_the_place_and_changes_nothing(
    stopped_server: Node, config: str, words: tuple[str, ...]
) -> None:
    node = stopped_server
    node.write(CONFIG, BASIC_CONFIG + config)
    before = written_files(node)
    start = failing_start(node)
    start.tells(*words)
    unit = node.unit(SERVER)
    # Not "activating (auto-restart)": nothing starts it again.
    assert (unit["ActiveState"], unit["ExecMainStatus"]) == ("failed", CONFIGURATION_ERROR)
    assert written_files(node) == before
    assert "Traceback" not in node.journal(SERVER, since=start.since)


@pytest.mark.contract("L9")
def test_after_a_configuration_error_is_mended_a_start_brings_the_node_up(stopped_server: Node) -> None:
    stopped_server.write(CONFIG, BASIC_CONFIG + "no-such-key: 1\n")
    failing_start(stopped_server)
    stopped_server.write(CONFIG, BASIC_CONFIG)
    product.start(stopped_server, timeout=LIMIT)
    product.wait_until_running(stopped_server)
