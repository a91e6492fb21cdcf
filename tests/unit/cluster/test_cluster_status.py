"""Any node tells the whole cluster: its nodes, their roles, whether they are ready, who votes in etcd."""

import json
import os
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.certificates import kubeconfig
from rke2_units.cli.status_text import as_json, as_tree
from rke2_units.cluster import cluster_status
from rke2_units.cluster.cluster_status import Cluster, ClusterNode, node_from
from rke2_units.layout import Paths
from rke2_units.node.status import Status, unit_from
from tests.unit.kubernetes_api import ApiServer, Reply, Request, refused, served, unused_port

SINCE = "2026-11-22T10:00:00Z"
SECONDS = 1795341600.0


def node(
    name: str = "server-1", ready: str = "True", message: str = "posting", **more: Any
) -> dict[str, Any]:
    conditions = [
        {"type": "MemoryPressure", "status": "False"},
        {"type": "Ready", "status": ready, "message": message, "lastTransitionTime": SINCE},
        *more.pop("conditions", ()),
    ]
    return {
        "metadata": {"name": name, "resourceVersion": "7", **more.pop("metadata", {})},
        "spec": more.pop("spec", {}),
        "status": {
            "conditions": conditions,
            "addresses": [
                {"type": "InternalIP", "address": "192.0.2.1"},
                {"type": "InternalIP", "address": "2001:db8::1"},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {"kubeletVersion": "v1.20.2"},
        },
    }


def test_a_server_is_told_with_its_roles_version_and_vote() -> None:
    roles = {f"node-role.kubernetes.io/{role}": "true" for role in ("master", "control-plane", "etcd")}
    voter = {"type": "EtcdIsVoter", "status": "True"}
    found = node_from(node(metadata={"labels": {**roles, "other": "x"}}, conditions=[voter]))
    assert found == ClusterNode(
        "server-1", "192.0.2.1", ("control-plane", "etcd", "master"), "v1.20.2", True, SECONDS, "voter"
    )


@pytest.mark.parametrize(("voter", "etcd"), [("True", "voter"), ("False", "learner"), ("Unknown", "")])
def test_the_condition_tells_voters_from_learners(voter: str, etcd: str) -> None:
    assert node_from(node(conditions=[{"type": "EtcdIsVoter", "status": voter}])).etcd == etcd


@pytest.mark.parametrize("ready", ["False", "Unknown"])
def test_a_node_that_is_not_ready_has_its_reason(ready: str) -> None:
    found = node_from(node(ready=ready, message="Kubelet stopped\nposting node status.\x1b[2J"))
    assert not found.ready
    assert found.problem == "it is not ready: Kubelet stopped posting node status. [2J"


def test_a_node_without_any_condition_is_not_ready() -> None:
    found = node_from({"metadata": {"name": "new", "labels": None}, "status": {"conditions": None}})
    assert (found.ready, found.since, found.version, found.roles) == (False, 0.0, "", ())
    assert found.problem == "it is not ready: its kubelet has not reported yet"


def test_a_node_that_is_cordoned_or_being_deleted_is_remarked() -> None:
    assert node_from(node(spec={"unschedulable": True})).remarks == "cordoned"
    leaving = node(spec={"unschedulable": True}, metadata={"deletionTimestamp": SINCE})
    assert node_from(leaving).remarks == "cordoned, being deleted"


REMOVE, REMOVED = "etcd.rke2.cattle.io/remove", "etcd.rke2.cattle.io/removed-node-name"


@pytest.mark.parametrize(
    ("annotations", "etcd", "remarks"),
    [
        ({}, "voter", ""),
        ({REMOVE: "true"}, "voter", "leaving etcd"),
        # Nobody takes the condition back.
        ({REMOVE: "true", REMOVED: "server-1-0a1b2c3d"}, "", "has left etcd"),
        ({REMOVE: "false", REMOVED: "server-1-0a1b2c3d"}, "voter", ""),
        # An old wish, of a member that has come back as another meanwhile.
        ({REMOVED: "server-1-0a1b2c3d"}, "voter", ""),
    ],
)
def test_a_server_that_is_retired_shows_how_far_it_has_come(
    annotations: dict[str, str], etcd: str, remarks: str
) -> None:
    voter = {"type": "EtcdIsVoter", "status": "True"}
    found = node_from(node(metadata={"annotations": annotations}, conditions=[voter]))
    assert (found.etcd, found.remarks) == (etcd, remarks)


@given(st.text())
def test_no_kubelets_words_take_the_terminal(text: str) -> None:
    obj = node(ready="False", message=text)
    obj["status"]["nodeInfo"]["kubeletVersion"] = text
    found = node_from(obj)
    assert found.problem.isprintable() and found.version.isprintable()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A node with kube-proxy's certificate, which is the server's as well."""
    paths = Paths(os.fspath(tmp_path))
    base = f"{paths.agent}/client-kube-proxy"
    os.makedirs(paths.agent)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=system:kube-proxy", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", f"{base}.key", "-out", f"{base}.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    Path(f"{paths.agent}/server-ca.crt").write_bytes(Path(f"{base}.crt").read_bytes())
    return paths


@pytest.fixture
def server(paths: Paths) -> Iterator[ApiServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    base = f"{paths.agent}/client-kube-proxy"
    context.load_cert_chain(f"{base}.crt", f"{base}.key")
    context.load_verify_locations(f"{base}.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    with served(context) as server:
        point_to(paths, server.port)
        yield server


def point_to(paths: Paths, port: int) -> None:
    text = kubeconfig.with_paths(
        f"https://127.0.0.1:{port}", f"{paths.agent}/server-ca.crt", f"{paths.agent}/client-kube-proxy"
    )
    Path(paths.kube_proxy_kubeconfig).write_text(text)


def test_the_nodes_are_asked_for_with_kube_proxys_certificate(paths: Paths, server: ApiServer) -> None:
    items = [node("b", ready="Unknown"), node("a")]
    page = {"kind": "NodeList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": items}
    server.answer = lambda request: Reply(body=page)
    found = cluster_status.ask(paths, 5)
    assert found is not None and found.problem == ""
    assert [(each.name, each.ready) for each in found.nodes] == [("a", True), ("b", False)]
    assert [request.path for request in server.requests] == ["/api/v1/nodes"]


def test_an_api_that_refuses_or_is_silent_is_told_and_is_no_error(paths: Paths, server: ApiServer) -> None:
    server.answer = lambda request: refused(403, "Forbidden", "nodes is forbidden")
    assert cluster_status.ask(paths, 5) == Cluster(problem="nodes is forbidden")
    port = unused_port()
    point_to(paths, port)
    found = cluster_status.ask(paths, 5)
    assert found is not None and "Connection refused" in found.problem and str(port) in found.problem


def server_node(name: str) -> dict[str, Any]:
    return node(name, metadata={"labels": {"node-role.kubernetes.io/etcd": "true"}})


def snapshot(name: str, node: str, created: str, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": f"local-{name}", "resourceVersion": "7"},
        "spec": {"snapshotName": name, "nodeName": node, "location": f"file:///{name}"},
        "status": {"readyToUse": True, "creationTime": created, **status},
    }


@pytest.fixture
def servers(paths: Paths, server: ApiServer) -> list[dict[str, Any]]:
    """Of a server, whose API has two servers; returns the list of their snapshots' objects."""
    os.makedirs(paths.credentials)
    Path(paths.admin_kubeconfig).write_text(Path(paths.kube_proxy_kubeconfig).read_text())
    items: list[dict[str, Any]] = []

    def answer(request: Request) -> Reply:
        found = [server_node("a"), server_node("b")] if request.path == "/api/v1/nodes" else items
        kind = "NodeList" if found is not items else "ETCDSnapshotFileList"
        return Reply(
            body={"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": found}
        )

    server.answer = answer
    return items


def test_each_server_has_the_time_of_its_newest_good_snapshot(
    paths: Paths, server: ApiServer, servers: list[dict[str, Any]]
) -> None:
    failed = {"readyToUse": False, "error": {"message": "no space left"}, "creationTime": None}
    servers += [
        snapshot("1", "a", "2026-11-21T10:00:00Z"),
        snapshot("2", "a", SINCE),
        snapshot("3", "a", "2026-11-23T10:00:00Z", **failed),
        snapshot("4", "a", "2026-11-22T09:00:00Z"),
        snapshot("5", "gone", SINCE),
        {"metadata": {"name": "broken", "resourceVersion": "7"}, "spec": None},
    ]
    found = cluster_status.ask(paths, 5)
    assert found is not None
    assert [(each.name, each.snapshot) for each in found.nodes] == [("a", SECONDS), ("b", 0)]
    asked = server.requests[1]
    assert asked.path == "/apis/k3s.cattle.io/v1/etcdsnapshotfiles"
    selector = "etcd.rke2.cattle.io/snapshot-storage-node"
    assert asked.query["labelSelector"] == f"{selector},{selector}!=s3"
    lines = as_tree(Status("agent", "v1", (UNIT,), cluster=found), now=SECONDS + 7200).splitlines()
    assert lines[-2].endswith("etcd; snapshot 2 h ago") and lines[-1].endswith("; etcd")


def test_a_cluster_without_objects_of_snapshots_shows_its_nodes(
    paths: Paths, server: ApiServer, servers: list[dict[str, Any]]
) -> None:
    whole = server.answer

    def without(request: Request) -> Reply:
        return (
            whole(request) if request.path == "/api/v1/nodes" else refused(404, "NotFound", "no such kind")
        )

    server.answer = without
    found = cluster_status.ask(paths, 5)
    assert found is not None and found.problem == ""
    assert [each.snapshot for each in found.nodes] == [0, 0]


def test_agents_and_single_servers_do_not_ask_for_snapshots(paths: Paths, server: ApiServer) -> None:
    items = [server_node("a"), node("b")]
    server.answer = lambda request: Reply(
        body={"kind": "NodeList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": items}
    )
    cluster_status.ask(paths, 5)
    # An agent of two servers has no admin's kubeconfig.
    items.append(server_node("c"))
    cluster_status.ask(paths, 5)
    assert {request.path for request in server.requests} == {"/api/v1/nodes"}


def test_a_node_that_was_never_started_is_in_no_cluster(tmp_path: Path) -> None:
    assert cluster_status.ask(Paths(os.fspath(tmp_path)), 5) is None


UNIT = replace(
    unit_from("rke2-agent.service", {"LoadState": "loaded", "ActiveState": "active"}), since=1000.0
)


def test_the_tree_ends_with_the_cluster() -> None:
    nodes = (
        ClusterNode("a", "192.0.2.1", ("control-plane", "etcd"), "v1.20.2", True, 1090.0, "voter"),
        ClusterNode("b", "192.0.2.2", (), "v1.20.2", False, 1240.0, "", "cordoned", "it is not ready: x"),
    )
    status = Status("agent", "v1.20.2+rke2r1", (UNIT,), cluster=Cluster(nodes))
    lines = [" ".join(line.split()) for line in as_tree(status, now=1300.0).splitlines()]
    assert lines[0] == "agent v1.20.2+rke2r1: all is well"
    assert lines[2:] == [
        "cluster: 1 of 2 nodes ready, 1 etcd voters",
        "● node a ready 3 min 192.0.2.1; v1.20.2; control-plane, etcd; etcd voter",
        "× node b not ready 60 s 192.0.2.2; v1.20.2; cordoned",
        "it is not ready: x",
    ]
    assert json.loads(as_json(status))["cluster"]["nodes"][1]["problem"] == "it is not ready: x"


def test_a_cluster_that_cannot_be_asked_says_why() -> None:
    status = Status("agent", "v1.20.2+rke2r1", (UNIT,), cluster=Cluster(problem="nobody answers"))
    assert as_tree(status, now=1300.0).splitlines()[-1] == "cluster: unknown: nobody answers"
    assert status.well
