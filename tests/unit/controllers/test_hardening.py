"""profile cis: policies are made once, accounts restricted, and flannel's hosts let in."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.controllers import hardening
from rke2_units.controllers.hardening import ACCOUNT_NAMESPACES, NAMESPACES, Hardening
from rke2_units.doors.kubernetes import ApiError
from rke2_units.plan import controllers_settings
from tests.unit.controllers.conftest import Cluster
from tests.unit.kubernetes_api import Reply, Request, refused
from tests.unit.plan.cases import make_node

# RKE2's (docs.rke2.io, Default Policy Configuration): name -> the annotation that tells of it.
EXCEPTIONS = {
    "default-network-dns-policy": "np.rke2.io/dns",
    "default-network-ingress-policy": "np.rke2.io/ingress",
    "default-network-ingress-webhook-policy": "np.rke2.io/ingress-webhook",
    "default-network-traefik-policy": "np.rke2.io/traefik",
    "default-network-snapshot-validation-webhook-policy": "np.rke2.io/snapshot-validation-webhook",
    "default-network-metrics-server-policy": "np.rke2.io/metrics-server",
}


@pytest.mark.parametrize(
    ("values", "is_hardened", "lets_flannel_in"),
    [
        ({}, False, False),
        ({"profile": "etcd"}, False, False),
        ({"profile": "cis"}, True, True),
        ({"profile": "cis", "cni": ["multus", "canal"]}, True, True),
        ({"profile": "cis", "cni": "cilium"}, True, False),
    ],
)
def test_the_plan_says_what_is_to_be_done(
    values: dict[str, object], is_hardened: bool, lets_flannel_in: bool
) -> None:
    settings = json.loads(controllers_settings.text(make_node(values)))
    assert (settings["is_hardened"], settings["lets_flannel_in"]) == (is_hardened, lets_flannel_in)


@pytest.fixture
def hardened(cluster: Cluster) -> Hardening:
    for namespace in ACCOUNT_NAMESPACES:
        path = f"/api/v1/namespaces/{namespace}"
        cluster.api.put(path, {"metadata": {"name": namespace, "annotations": {"mine": "yes"}}})
        cluster.api.put(f"{path}/serviceaccounts/default", {"metadata": {"name": "default"}})
    return Hardening(cluster.client, cluster.nodes)


def policies(cluster: Cluster) -> dict[tuple[str, str], Any]:
    """The specs of what was applied, by namespace and name; each was applied once."""
    found = {}
    for path, obj in cluster.api.applied:
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        assert path == "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies/{}".format(*key)
        assert key not in found and obj["kind"] == "NetworkPolicy"
        found[key] = obj["spec"]
    return found


def annotations(cluster: Cluster, namespace: str) -> dict[str, str]:
    found: dict[str, str] = cluster.api.objects[f"/api/v1/namespaces/{namespace}"]["metadata"]["annotations"]
    return found


def test_the_policies_are_rke2s(cluster: Cluster, hardened: Hardening) -> None:
    hardened.make_policies()
    made = policies(cluster)
    own = {(namespace, "default-network-policy") for namespace in NAMESPACES}
    assert set(made) == own | {("kube-system", name) for name in EXCEPTIONS}
    for key in own:
        within: dict[str, Any] = {"from": [{"podSelector": {}}]}
        assert made[key] == {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [within]}
    # An exception without a selector would be one for all pods, one without a rule none at all.
    for name in EXCEPTIONS:
        spec = made["kube-system", name]
        assert spec["podSelector"]["matchLabels"] and spec["policyTypes"] == ["Ingress"]
        [rule] = spec["ingress"]
        assert set(rule) == {"ports"} and rule["ports"]
    dns = made["kube-system", "default-network-dns-policy"]
    assert dns["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 53}, {"protocol": "UDP", "port": 53}]
    assert annotations(cluster, "default") == {"mine": "yes", "np.rke2.io": "resolved"}
    assert annotations(cluster, "kube-system") == {
        "mine": "yes",
        "np.rke2.io": "resolved",
        **dict.fromkeys(EXCEPTIONS.values(), "resolved"),
    }


def test_what_is_resolved_is_the_administrators(cluster: Cluster, hardened: Hardening) -> None:
    hardened.make_policies()
    cluster.api.applied.clear()
    hardened.make_policies()
    hardened.forget()
    hardened.make_policies()
    assert cluster.api.applied == []
    # As RKE2 documents it: without the annotation the policy comes back.
    del annotations(cluster, "kube-system")["np.rke2.io/dns"]
    hardened.forget()
    hardened.make_policies()
    assert list(policies(cluster)) == [("kube-system", "default-network-dns-policy")]


def test_a_cluster_of_rke2s_has_its_policies_already(cluster: Cluster, hardened: Hardening) -> None:
    for namespace in NAMESPACES:
        for policy in hardening.POLICIES:
            annotations(cluster, namespace)[policy.annotation] = "resolved"
    hardened.make_policies()
    assert cluster.api.applied == []


@pytest.mark.parametrize("refusals", [1, 3, 8])
def test_who_is_interrupted_goes_on_where_it_was(
    cluster: Cluster, hardened: Hardening, refusals: int
) -> None:
    writes = 0

    def answer(request: Request) -> Reply:
        nonlocal writes
        if request.method == "PATCH":
            writes += 1
            if writes == refusals:
                return refused(500, "InternalError")
        return cluster.api(request)

    cluster.server.answer = answer
    with pytest.raises(ApiError):
        hardened.make_policies()
    hardened.make_policies()
    names = {(body["metadata"]["namespace"], body["metadata"]["name"]) for _, body in cluster.api.applied}
    assert len(names) == 3 + len(EXCEPTIONS)
    assert "np.rke2.io" in annotations(cluster, "default")


def test_a_namespace_that_is_yet_to_come_is_waited_for(cluster: Cluster, hardened: Hardening) -> None:
    missing = cluster.api.objects.pop("/api/v1/namespaces/kube-public")
    hardened.make_policies()
    assert ("kube-public", "default-network-policy") not in policies(cluster)
    cluster.api.put("/api/v1/namespaces/kube-public", missing)
    hardened.make_policies()
    assert ("kube-public", "default-network-policy") in policies(cluster)


def test_default_accounts_give_no_tokens_unasked(cluster: Cluster, hardened: Hardening) -> None:
    late = cluster.api.objects.pop("/api/v1/namespaces/default/serviceaccounts/default")
    hardened.restrict_accounts()
    cluster.api.put("/api/v1/namespaces/default/serviceaccounts/default", late)
    hardened.restrict_accounts()
    for namespace in ACCOUNT_NAMESPACES:
        account = cluster.api.objects[f"/api/v1/namespaces/{namespace}/serviceaccounts/default"]
        assert account["automountServiceAccountToken"] is False
    asked = len(cluster.server.requests)
    hardened.restrict_accounts()
    assert len(cluster.server.requests) == asked


def add_node(cluster: Cluster, name: str, cidrs: list[str], *, flannel: bool = True) -> None:
    cluster.add_node(name, annotations={hardening.FLANNEL: "192.0.2.1"} if flannel else {})
    cluster.api.objects[f"/api/v1/nodes/{name}"]["spec"] = {"podCIDR": cidrs[0], "podCIDRs": cidrs}


def test_flannels_hosts_are_let_in_and_kept_up(cluster: Cluster, hardened: Hardening) -> None:
    hardened.let_hosts_in()
    add_node(cluster, "other", ["10.42.9.0/24"], flannel=False)
    hardened.let_hosts_in()
    assert cluster.server.requests == []
    add_node(cluster, "b", ["10.42.1.0/24", "fd00:42:0:1::/64"])
    add_node(cluster, "a", ["10.42.0.0/24"])
    hardened.let_hosts_in()
    for namespace in NAMESPACES:
        spec = policies(cluster)[namespace, "rke2-flannel-host-networking"]
        assert spec["podSelector"] == {}
        [rule] = spec["ingress"]
        assert [peer["ipBlock"]["cidr"] for peer in rule["from"]] == [
            "10.42.0.0/32", "10.42.1.0/32", "fd00:42:0:1::/128",
        ]  # fmt: skip
    asked = len(cluster.server.requests)
    hardened.let_hosts_in()
    assert len(cluster.server.requests) == asked
    cluster.api.applied.clear()
    cluster.delete_node("b")
    hardened.let_hosts_in()
    assert len(policies(cluster)) == 3
    assert "10.42.1.0" not in str(cluster.api.applied)


def test_no_policy_ever_lets_everybody_in(cluster: Cluster, hardened: Hardening) -> None:
    cluster.add_node("a", annotations={hardening.FLANNEL: "192.0.2.1"})
    hardened.let_hosts_in()
    assert cluster.api.applied == []
    cluster.delete_node("a")
    hardened.let_hosts_in()
    assert cluster.api.applied == []


@given(
    st.dictionaries(st.sampled_from(["podCIDR", "podCIDRs"]), st.none() | st.text() | st.lists(st.text()))
)
def test_a_nodes_ranges_may_be_anything(spec: dict[str, Any]) -> None:
    assert all("/" in block for block in hardening.first_addresses(spec))


def test_a_node_that_has_come_from_rke2_can_be_deleted(cluster: Cluster, hardened: Hardening) -> None:
    cluster.add_node("new", finalizers=["mine"])
    cluster.add_node("old", finalizers=["mine", "wrangler.cattle.io/cisnetworkpolicy-node"])
    cluster.add_node("gone", finalizers=["wrangler.cattle.io/cisnetworkpolicy-node"])
    cluster.delete_node("gone")
    version = cluster.metadata("new")["resourceVersion"]
    hardened.release_nodes()
    cluster.look()
    assert cluster.metadata("old")["finalizers"] == ["mine"]
    assert "gone" not in cluster.nodes.metadata()
    assert cluster.metadata("new")["resourceVersion"] == version


def test_a_node_that_has_changed_meanwhile_is_seen_to_the_next_time(
    cluster: Cluster, hardened: Hardening
) -> None:
    cluster.add_node("old", finalizers=["wrangler.cattle.io/cisnetworkpolicy-node"])
    path = "/api/v1/nodes/old"
    cluster.api.put(path, cluster.api.objects[path])
    hardened.release_nodes()
    assert cluster.metadata("old")["finalizers"]
    cluster.look()
    hardened.release_nodes()
    assert not cluster.metadata("old").get("finalizers")
