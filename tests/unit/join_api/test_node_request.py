"""Names that no node may have."""

import pytest

from rke2_units.join_api.identity import Caller
from rke2_units.join_api.node_request import (
    IP_HEADER,
    NAME_HEADER,
    PASSWORD_HEADER,
    NodeRequest,
    check_names,
    node_request,
)
from rke2_units.join_api.refusal import Refusal

SERVERS = frozenset({"API.Example.", "*.nodes.example", "192.0.2.5"})


@pytest.mark.parametrize("name", ["api.example", "one.nodes.example"])
def test_a_name_of_the_servers_is_no_nodes_however_it_is_written(name: str) -> None:
    with pytest.raises(Refusal) as raised:
        check_names(NodeRequest(name, "x", ()), SERVERS, {})
    assert raised.value.status == 403


@pytest.mark.parametrize("name", ["one", "example", "nodes.example", "a.one.nodes.example"])
def test_a_wildcard_takes_the_names_that_it_stands_for_and_no_others(name: str) -> None:
    check_names(NodeRequest(name, "x", ("192.0.2.6",)), SERVERS, {})


@pytest.mark.parametrize(
    "name",
    ["127.0.0.2", "0.0.0.0", "169.254.1.1", "224.0.0.1"],  # no colon can be in a name
)
@pytest.mark.parametrize("header", [NAME_HEADER, IP_HEADER])
def test_an_address_that_no_kubelet_would_take_is_no_nodes(header: str, name: str) -> None:
    headers = {NAME_HEADER: "two", PASSWORD_HEADER: "x", header: name}
    with pytest.raises(Refusal, match=f"{name} cannot be a node's address"):
        node_request(headers, Caller("node:node"))


@pytest.mark.parametrize("address", ["::1", "::", "fe80::1", "fe80::1%eth0", "::ffff:192.0.2.9", "ff02::1"])
def test_nor_is_one_of_ipv6(address: str) -> None:
    headers = {NAME_HEADER: "two", PASSWORD_HEADER: "x", IP_HEADER: f"192.0.2.9,{address}"}
    with pytest.raises(Refusal, match="cannot be a node's address"):
        node_request(headers, Caller("node:node"))


def test_a_node_may_be_called_by_its_address() -> None:
    headers = {NAME_HEADER: "192.0.2.9", PASSWORD_HEADER: "x", IP_HEADER: "192.0.2.9, 2001:DB8::9"}
    assert node_request(headers, Caller("node:node")).addresses == ("192.0.2.9", "2001:db8::9")


NODES = {"192.0.2.7": frozenset({"three"}), "192.0.2.9": frozenset({"two"})}


@pytest.mark.parametrize("node", [("two", "192.0.2.7"), ("192.0.2.7", "192.0.2.9"), ("one", "192.0.2.9")])
def test_an_address_that_another_node_has_is_refused_until_that_node_is_gone(node: tuple[str, str]) -> None:
    name, address = node
    with pytest.raises(Refusal, match="no longer exists: kubectl delete node (two|three)") as raised:
        check_names(NodeRequest(name, "x", (address,)), SERVERS, NODES)
    assert raised.value.status == 409 and not raised.value.failed_login


def test_a_nodes_own_address_is_no_others() -> None:
    check_names(NodeRequest("two", "x", ("192.0.2.9",)), SERVERS, NODES)


def test_a_nodes_password_is_ascii() -> None:
    # Bytes that are no text cannot be hashed, and the error about that would show them.
    with pytest.raises(Refusal) as raised:
        node_request({NAME_HEADER: "two", PASSWORD_HEADER: "\udcfc"}, Caller("node:node"))
    assert raised.value.status == 400
