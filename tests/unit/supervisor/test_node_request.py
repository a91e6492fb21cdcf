"""Names that no node may have."""

import pytest

from rke2_units.supervisor.identity import Caller
from rke2_units.supervisor.node_request import (
    NAME_HEADER,
    PASSWORD_HEADER,
    NodeRequest,
    check_names,
    node_request,
)
from rke2_units.supervisor.refusal import Refusal

SERVERS = frozenset({"API.Example.", "*.nodes.example", "192.0.2.5"})


@pytest.mark.parametrize("name", ["api.example", "one.nodes.example"])
def test_a_name_of_the_servers_is_no_nodes_however_it_is_written(name: str) -> None:
    with pytest.raises(Refusal) as raised:
        check_names(NodeRequest(name, "x", ()), SERVERS)
    assert raised.value.status == 403


@pytest.mark.parametrize("name", ["one", "example", "nodes.example", "a.one.nodes.example"])
def test_a_wildcard_takes_the_names_that_it_stands_for_and_no_others(name: str) -> None:
    check_names(NodeRequest(name, "x", ("192.0.2.6",)), SERVERS)


def test_a_nodes_password_is_ascii() -> None:
    # Bytes that are no text cannot be hashed, and the error about that would show them.
    with pytest.raises(Refusal) as raised:
        node_request({NAME_HEADER: "two", PASSWORD_HEADER: "\udcfc"}, Caller("node:node"))
    assert raised.value.status == 400
