"""Whose names and addresses a node may not come with: those of servers that are up, down or without API."""

from typing import Any

import pytest

from rke2_units.certificates import keys, signing
from rke2_units.join_api.taken import taken

from ..kubernetes_api import Reply, refused
from ..kubernetes_api import Request as ApiRequest
from .conftest import Api, Supervisor, node_headers, request_for

CONTROL_PLANE = {"node-role.kubernetes.io/control-plane": "true"}
ETCD = {"node-role.kubernetes.io/etcd": "true"}


def node(
    name: str, *addresses: str, labels: dict[str, str] | None = None, **annotations: str
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "resourceVersion": "1",
            "labels": labels,
            "annotations": {key.replace("__", "/").replace("_", "."): v for key, v in annotations.items()},
        },
        "status": {"addresses": [{"type": "InternalIP", "address": address} for address in addresses]},
    }


def endpoints(*addresses: str) -> dict[str, Any]:
    ready = [{"ip": address} for address in addresses]
    return {
        "metadata": {"name": "kubernetes", "resourceVersion": "1"},
        "subsets": [{"addresses": ready, "ports": [{"name": "https", "port": 6443}]}],
    }


API_SERVERS = "/api/v1/namespaces/default/endpoints/kubernetes"


@pytest.mark.parametrize("labels", [CONTROL_PLANE, ETCD])
def test_all_that_a_server_is_known_by_is_taken(labels: dict[str, str]) -> None:
    server = node("Server-2", "192.0.2.6", "2001:DB8::6", "Server-2.Example", labels=labels)
    server["metadata"]["annotations"] = {
        "etcd.rke2.cattle.io/node-address": "192.0.2.16",
        "rke2.io/internal-ip": "192.0.2.6,192.0.2.26",
        "rke2.io/external-ip": "198.51.100.6",
        "rke2.io/hostname": "x",
    }
    found = taken(["192.0.2.5"], [server])
    addresses = {"192.0.2.5", "192.0.2.6", "2001:db8::6", "192.0.2.16", "192.0.2.26", "198.51.100.6"}
    assert found.servers == addresses | {"Server-2", "server-2.example"}
    assert found.nodes == {}


def test_an_agents_addresses_are_its_own_whatever_it_says_of_itself() -> None:
    # A kubelet may annotate its node, and must not make others' addresses servers' with that.
    pretender = node("three", "192.0.2.7", "three.example")
    pretender["metadata"]["annotations"] = {"etcd.rke2.cattle.io/node-address": "192.0.2.9"}
    twin = node("four", "192.0.2.7")
    found = taken([], [pretender, twin, {"metadata": {"name": "new"}}])
    assert found.servers == frozenset()
    assert found.nodes == {"192.0.2.7": {"three", "four"}}


def serving_certificate(supervisor: Supervisor, name: str, ips: str) -> tuple[int, str]:
    answer = supervisor.ask(
        "/v1-rke2/serving-kubelet.crt",
        method="POST",
        user="node",
        headers=node_headers(name, ips=ips),
        body=request_for(keys.make()),
    )
    return answer.status, answer.text


@pytest.mark.parametrize("labels", [CONTROL_PLANE, ETCD])
def test_no_node_gets_the_address_of_a_server_that_is_down_or_has_etcd_alone(
    supervisor: Supervisor, api: Api, labels: dict[str, str]
) -> None:
    api.store.objects[API_SERVERS] = endpoints("192.0.2.5")
    api.nodes = [node("server-2", "192.0.2.6", labels=labels)]
    status, text = serving_certificate(supervisor, "evil", "192.0.2.6")
    assert (status, "192.0.2.6 belongs to a server of this cluster" in text) == (403, True)
    status, text = serving_certificate(supervisor, "server-2", "192.0.2.9")
    assert (status, "server-2 belongs to a server of this cluster" in text) == (403, True)
    status, text = serving_certificate(supervisor, "good", "192.0.2.9")
    assert status == 200 and signing.names_of(text) == {"good", "192.0.2.9"}


@pytest.mark.parametrize("path", [API_SERVERS, "/api/v1/nodes"])
@pytest.mark.parametrize(
    "reply", [refused(500, "InternalError"), refused(403, "Forbidden"), Reply(cut=True)]
)
def test_nobody_gets_an_address_while_nobody_knows_whose_it_is(
    supervisor: Supervisor, api: Api, path: str, reply: Reply
) -> None:
    def answer(request: ApiRequest) -> Reply:
        return reply if request.path == path else api.answer(request)

    api.server.answer = answer
    assert serving_certificate(supervisor, "two", "192.0.2.9")[0] == 503
    # What failed is not kept.
    api.server.answer = api.answer
    assert serving_certificate(supervisor, "two", "192.0.2.9")[0] == 200


def test_the_first_node_of_a_cluster_joins_before_there_is_any_other(
    supervisor: Supervisor, api: Api
) -> None:
    assert serving_certificate(supervisor, "two", "192.0.2.9")[0] == 200
    assert serving_certificate(supervisor, "evil", "192.0.2.5")[0] == 403


def test_another_nodes_address_is_waited_for_and_the_journal_says_so(
    supervisor: Supervisor, api: Api
) -> None:
    api.nodes = [node("old", "192.0.2.9"), node("two", "192.0.2.8")]
    status, text = serving_certificate(supervisor, "two", "192.0.2.9")
    assert (status, "if old no longer exists: kubectl delete node old" in text) == (409, True)
    assert "kubectl delete node old" in supervisor.journal
    assert serving_certificate(supervisor, "two", "192.0.2.8")[0] == 200


def test_nodes_that_join_at_once_are_one_question(supervisor: Supervisor, api: Api) -> None:
    for number in range(2):
        assert serving_certificate(supervisor, f"node-{number}", f"192.0.2.{20 + number}")[0] == 200
    asked = [request for request in api.server.requests if request.path == "/api/v1/nodes"]
    assert len(asked) == 1
