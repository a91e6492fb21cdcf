"""Passwords of nodes that are gone, and the roles that every cluster has."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rke2_units.certificates.node_passwords import COLLECTION
from rke2_units.controllers import rbac
from rke2_units.controllers.passwords import NodePasswords
from rke2_units.doors.kubernetes import ApiError
from rke2_units.errors import ConfigurationError
from rke2_units.plan import templates
from tests.unit.controllers.conftest import Cluster

ROLES = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "system:kube-proxy"}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: kube-system}
---
"""


@pytest.fixture
def passwords(cluster: Cluster) -> NodePasswords:
    return NodePasswords(cluster.client, cluster.nodes, cluster.held)


def add_secret(cluster: Cluster, name: str, age: timedelta = timedelta()) -> None:
    created = (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%SZ")
    cluster.api.put(f"{COLLECTION}/{name}", {"metadata": {"name": name, "creationTimestamp": created}})


def secrets(cluster: Cluster) -> set[str]:
    return {path.rpartition("/")[2] for path in cluster.api.objects if path.startswith(COLLECTION)}


def test_a_deleted_nodes_password_is_forgotten(cluster: Cluster, passwords: NodePasswords) -> None:
    for name in ("Agent1", "agent2"):
        cluster.add_node(name)
        add_secret(cluster, f"{name.lower()}.node-password.rke2")
    cluster.delete_node("Agent1")
    passwords.step()
    assert secrets(cluster) == {"agent2.node-password.rke2"}
    # One that has none, and one that was seen to.
    add_secret(cluster, "agent1.node-password.rke2")
    passwords.step()
    assert "agent1.node-password.rke2" in secrets(cluster)


def test_without_the_lease_none_is(cluster: Cluster, passwords: NodePasswords) -> None:
    cluster.add_node("agent1")
    add_secret(cluster, "agent1.node-password.rke2")
    cluster.delete_node("agent1")
    cluster.held.clear()
    passwords.step()
    assert secrets(cluster) == {"agent1.node-password.rke2"}


def test_passwords_that_were_missed_go_when_no_node_has_claimed_them(
    cluster: Cluster, passwords: NodePasswords
) -> None:
    cluster.add_node("here")
    day = timedelta(days=1)
    add_secret(cluster, "here.node-password.rke2", day)
    add_secret(cluster, "old.node-password.rke2", day)
    add_secret(cluster, "joining.node-password.rke2", timedelta(minutes=50))
    add_secret(cluster, "something-else", day)
    passwords.sweep()
    assert secrets(cluster) == {"here.node-password.rke2", "joining.node-password.rke2", "something-else"}


def test_roles_are_applied_where_they_belong(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "roles.yaml").write_text(ROLES)
    rbac.apply(cluster.client, str(tmp_path / "roles.yaml"))
    group = "/apis/rbac.authorization.k8s.io/v1"
    assert [path for path, _ in cluster.api.applied] == [
        f"{group}/clusterrolebindings/system:kube-proxy",
        f"{group}/namespaces/kube-system/rolebindings/reader",
    ]


def test_a_role_that_is_not_to_be_updated_is_left_alone(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "roles.yaml").write_text(ROLES)
    group = "/apis/rbac.authorization.k8s.io/v1"
    for path, update in (
        (f"{group}/clusterrolebindings/system:kube-proxy", "false"),
        (f"{group}/namespaces/kube-system/rolebindings/reader", "true"),
    ):
        annotations = {"rbac.authorization.kubernetes.io/autoupdate": update}
        cluster.api.put(path, {"metadata": {"name": "any", "annotations": annotations}})
    rbac.apply(cluster.client, str(tmp_path / "roles.yaml"))
    assert [path for path, _ in cluster.api.applied] == [
        f"{group}/namespaces/kube-system/rolebindings/reader"
    ]


def test_the_projects_own_roles_are_all_roles_and_bindings(tmp_path: Path) -> None:
    (tmp_path / "roles.yaml").write_text(templates.render("rbac.yaml"))
    objects = rbac.read(str(tmp_path / "roles.yaml"))
    assert "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:rke2-controller" in map(
        rbac.path_in_api, objects
    )
    for obj in objects:
        assert obj["metadata"]["labels"]["rke2.io/bootstrapping"] == "rbac-defaults"


@pytest.mark.parametrize("text", ["a: [", "kind: Secret\napiVersion: v1\nmetadata: {name: a}\n"])
def test_what_is_no_role_is_refused(cluster: Cluster, tmp_path: Path, text: str) -> None:
    (tmp_path / "roles.yaml").write_text(text)
    with pytest.raises(ConfigurationError):
        rbac.apply(cluster.client, str(tmp_path / "roles.yaml"))
    assert cluster.api.applied == []


def test_a_name_does_not_become_another_path() -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "../secrets/a"},
    }
    with pytest.raises(ApiError):
        rbac.path_in_api(role)
