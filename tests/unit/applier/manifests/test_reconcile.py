"""What is in the cluster after a file came, changed, went, or could not be applied."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rke2_units.applier.manifests import addon, reconcile
from rke2_units.applier.manifests.reconcile import Reconciler
from rke2_units.doors.kubernetes import ApiError, ApiUnavailable
from tests.unit.applier.manifests.cluster import Cluster

ADDON = "/apis/k3s.cattle.io/v1/namespaces/kube-system/addons/"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps/"


def config_map(name: str, **data: str) -> str:
    metadata = {"name": name}
    return (
        "---\n"
        + json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        + "\n"
    )


def definition(kind: str) -> str:
    names = {"kind": kind, "plural": f"{kind.lower()}s"}
    head = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    spec = {"group": "x.io", "names": names, "versions": [{"name": "v1"}]}
    return "---\n" + json.dumps({**head, "metadata": {"name": f"{kind.lower()}s.x.io"}, "spec": spec}) + "\n"


WIDGET = '---\n{"apiVersion": "x.io/v1", "kind": "Widget", "metadata": {"name": "w"}}\n'


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reconcile, "_SETTLED", 0.0)
    (tmp_path / "manifests").mkdir()
    return tmp_path / "manifests"


@pytest.fixture
def start(cluster: Cluster, folder: Path) -> Callable[..., Reconciler]:
    def begin(*disable: str) -> Reconciler:
        return Reconciler(
            cluster.client(),
            cluster.discovery(),
            cluster.recorder(),
            folder=str(folder),
            disable=disable,
            may_act=lambda: True,
        )

    return begin


Start = Callable[..., Reconciler]


def test_a_file_is_applied_and_its_addon_says_so(cluster: Cluster, folder: Path, start: Start) -> None:
    text = config_map("a") + '---\n{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}'
    (folder / "f.yaml").write_text(text)
    assert start().look() is None
    assert cluster.names("configmaps") == ["a"]
    found = cluster.objects[f"{ADDON}f"]
    assert found["spec"] == {
        "source": f"{folder}/f.yaml",
        "checksum": hashlib.sha256(text.encode()).hexdigest(),
    }
    kinds = found["metadata"]["annotations"]["addon.k3s.cattle.io/gvks"]
    assert kinds == "/v1, Kind=ConfigMap;/v1, Kind=Namespace"
    labels = cluster.objects[f"{CONFIG_MAPS}a"]["metadata"]["labels"]
    assert labels == {addon.HASH_LABEL: addon.owner_hash("f")}
    applied = [call for call in cluster.calls if call.startswith("PATCH") and "addons" not in call]
    assert applied == ["PATCH /api/v1/namespaces/n", f"PATCH {CONFIG_MAPS}a"]
    assert cluster.events == [("f", "AppliedManifest")]


def test_nothing_is_sent_while_nothing_changes(cluster: Cluster, folder: Path, start: Start) -> None:
    (folder / "f.yaml").write_text(config_map("a"))
    reconciler = start()
    reconciler.look()
    cluster.calls.clear()
    (folder / "f.yaml").write_text(config_map("a"))
    reconciler.look()
    assert cluster.calls == []


def test_a_start_applies_again_and_changes_no_addon(cluster: Cluster, folder: Path, start: Start) -> None:
    (folder / "f.yaml").write_text(config_map("a"))
    start().look()
    cluster.calls.clear()
    start().look()
    assert cluster.writes() == [f"PATCH {CONFIG_MAPS}a"]


def test_what_leaves_its_file_is_deleted_unless_a_label_keeps_it(
    cluster: Cluster, folder: Path, start: Start
) -> None:
    (folder / "f.yaml").write_text("".join(map(config_map, "abc")))
    (folder / "g.yaml").write_text(config_map("d"))
    reconciler = start()
    reconciler.look()
    cluster.objects[f"{CONFIG_MAPS}c"]["metadata"]["labels"][addon.PRUNE_LABEL] = "false"
    (folder / "f.yaml").write_text(config_map("a"))
    reconciler.look()
    assert cluster.names("configmaps") == ["a", "c", "d"]


def test_a_file_that_is_being_written_is_left_alone(cluster: Cluster, folder: Path, start: Start) -> None:
    (folder / "f.yaml").write_text(config_map("a") + config_map("b"))
    reconciler = start()
    reconciler.look()
    (folder / "f.yaml").write_text(config_map("a"))
    (folder / "g.yaml").write_text(config_map("c"))
    reconciler.look({f"{folder}/f.yaml"})
    assert cluster.names("configmaps") == ["a", "b", "c"]
    reconciler.look()
    assert cluster.names("configmaps") == ["a", "c"]


def test_an_object_that_moves_to_another_file_is_not_deleted(
    cluster: Cluster, folder: Path, start: Start
) -> None:
    (folder / "f.yaml").write_text(config_map("a"))
    reconciler = start()
    reconciler.look()
    (folder / "f.yaml").write_text("")
    (folder / "g.yaml").write_text(config_map("a"))
    reconciler.look()
    assert cluster.names("configmaps") == ["a"]
    assert not [call for call in cluster.calls if call.startswith("DELETE")]


def test_an_emptied_file_removes_what_it_had_and_a_vanished_one_does_not(
    cluster: Cluster, folder: Path, start: Start
) -> None:
    (folder / "f.yaml").write_text(config_map("a"))
    (folder / "g.yaml").write_text(config_map("b"))
    reconciler = start()
    reconciler.look()
    (folder / "f.yaml").write_text("# nothing\n")
    (folder / "g.yaml").unlink()
    reconciler.look()
    assert cluster.names("configmaps") == ["b"]
    assert cluster.names("addons") == ["f", "g"]


@pytest.mark.parametrize("is_there", [True, False])
def test_disable_removes_objects_addon_and_file(
    cluster: Cluster, folder: Path, start: Start, is_there: bool
) -> None:
    (folder / "f.yaml").write_text(config_map("a"))
    (folder / "g.yaml").write_text(config_map("b"))
    start().look()
    if not is_there:
        (folder / "f.yaml").unlink()
    start("f").look()
    assert cluster.names("configmaps") == ["b"]
    assert cluster.names("addons") == ["g"]
    assert [path.name for path in folder.iterdir()] == ["g.yaml"]
    assert ("f", "DeletingManifest") in cluster.events


def test_a_bad_document_deletes_nothing_and_holds_nothing_up(
    cluster: Cluster, folder: Path, start: Start
) -> None:
    (folder / "f.yaml").write_text("".join(map(config_map, "ab")))
    reconciler = start()
    reconciler.look()
    before = cluster.objects[f"{ADDON}f"]["spec"]["checksum"]
    (folder / "f.yaml").write_text(config_map("a") + "---\n{[\n" + config_map("c"))
    assert reconciler.look() is None
    assert cluster.names("configmaps") == ["a", "b", "c"]
    assert cluster.objects[f"{ADDON}f"]["spec"]["checksum"] == before
    assert [problem.startswith(f"{folder}/f.yaml:4: ") for problem in reconciler.problems()] == [True]
    (folder / "f.yaml").write_text(config_map("a"))
    reconciler.look()
    assert cluster.names("configmaps") == ["a"]
    assert reconciler.problems() == []


def test_an_object_that_is_refused_is_named_with_its_line_and_tried_again_alone(
    cluster: Cluster, folder: Path, start: Start
) -> None:
    def refuse(method: str, path: str) -> None:
        if path == f"{CONFIG_MAPS}b":
            raise ApiError(403, "Forbidden", "no b")

    cluster.hinder = refuse
    (folder / "f.yaml").write_text("".join(map(config_map, "abc")))
    reconciler = start()
    pause = reconciler.look()
    assert pause is not None
    assert 0 < pause <= 1
    assert cluster.names("configmaps") == ["a", "c"]
    assert reconciler.problems() == [f"{folder}/f.yaml:4: ConfigMap b: no b"]
    assert cluster.events == [("f", "ApplyManifestFailed")]
    cluster.hinder = lambda method, path: None
    cluster.calls.clear()
    reconciler._states[f"{folder}/f.yaml"].due = 0.0
    assert reconciler.look() is None
    assert [call for call in cluster.writes() if "configmaps" in call] == [f"PATCH {CONFIG_MAPS}b"]
    assert "checksum" in cluster.objects[f"{ADDON}f"]["spec"]


def test_a_file_that_returns_to_what_it_was_is_applied_although_its_addon_says_so(
    cluster: Cluster, folder: Path, start: Start
) -> None:
    (folder / "f.yaml").write_text(config_map("a", k="old"))
    reconciler = start()
    reconciler.look()
    (folder / "f.yaml").write_text(config_map("a", k="new") + "---\n3\n")
    reconciler.look()
    (folder / "f.yaml").write_text(config_map("a", k="old"))
    reconciler.look()
    assert cluster.objects[f"{CONFIG_MAPS}a"]["data"] == {"k": "old"}


def test_kinds_come_before_what_is_of_them_in_one_file(cluster: Cluster, folder: Path, start: Start) -> None:
    (folder / "f.yaml").write_text(WIDGET + definition("Widget"))
    assert start().look() is None
    assert cluster.names("widgets") == ["w"]


def test_an_unknown_kind_is_applied_when_it_comes(cluster: Cluster, folder: Path, start: Start) -> None:
    (folder / "f.yaml").write_text(WIDGET)
    reconciler = start()
    reconciler.look()
    assert reconciler.awaits_kinds
    (folder / "g.yaml").write_text(definition("Widget"))
    reconciler.look()
    reconciler.kinds_came()
    reconciler.look()
    assert cluster.names("widgets") == ["w"]
    assert reconciler.problems() == []


def test_an_object_too_large_for_etcd_is_refused_by_name(
    cluster: Cluster, folder: Path, start: Start
) -> None:
    (folder / "f.yaml").write_text(config_map("a") + config_map("big", x="y" * 1_600_000))
    reconciler = start()
    reconciler.look()
    assert cluster.names("configmaps") == ["a"]
    (problem,) = reconciler.problems()
    assert problem.startswith(f"{folder}/f.yaml:4: ConfigMap big is not applied: it has 16")


def test_ports_without_protocol_are_tcp_where_the_api_cannot_tell(
    cluster: Cluster, folder: Path, start: Start
) -> None:
    def refuse(method: str, path: str) -> None:
        if method == "PATCH" and cluster.calls.count(f"PATCH {CONFIG_MAPS}a") == 1:
            raise ApiError(500, "", 'element 0: associative list omits key field "protocol" (and...')

    cluster.hinder = refuse
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    (folder / "f.yaml").write_text(f"{head}x: [{{ports: [{{port: 1}}, {{port: 1, protocol: UDP}}]}}]\n")
    start().look()
    ports = cluster.objects[f"{CONFIG_MAPS}a"]["x"][0]["ports"]
    assert [port["protocol"] for port in ports] == ["TCP", "UDP"]


def test_an_api_that_goes_away_in_the_middle_costs_nothing_but_time(
    cluster: Cluster, folder: Path, start: Start
) -> None:
    allowed = 20

    def cut(method: str, path: str) -> None:
        if len(cluster.calls) > allowed:
            raise ApiUnavailable("nobody answers")

    for number in range(30):
        (folder / f"f{number}.yaml").write_text(config_map(f"a{number}"))
    cluster.hinder = cut
    reconciler = start()
    assert reconciler.look() == 1.0
    assert reconciler.problems() == ["manifests cannot be applied now: nobody answers"]
    cluster.hinder = lambda method, path: None
    assert reconciler.look() is None
    assert len(cluster.names("configmaps")) == 30
    assert all("checksum" in cluster.objects[f"{ADDON}f{number}"]["spec"] for number in range(30))
    assert reconciler.problems() == []


def test_what_a_killed_process_left_of_an_earlier_content_is_deleted(
    cluster: Cluster, folder: Path, start: Start
) -> None:
    def die(method: str, path: str) -> None:
        if "addons" in path and method != "GET":
            raise ApiUnavailable("killed")

    (folder / "f.yaml").write_text("".join(map(config_map, "ab")))
    cluster.hinder = die
    start().look()
    assert cluster.names("configmaps") == ["a", "b"]
    cluster.hinder = lambda method, path: None
    (folder / "f.yaml").write_text(config_map("a"))
    start().look()
    assert cluster.names("configmaps") == ["a"]


def test_fields_that_rke2_had_set_become_ours(cluster: Cluster, folder: Path, start: Start) -> None:
    (folder / "f.yaml").write_text(config_map("a", k="v"))
    fields: dict[str, object] = {"f:data": {"f:k": {}, "f:left": {}}}
    metadata = {
        "name": "a",
        "uid": "kept",
        "managedFields": [
            {"manager": "deploy@node", "operation": "Update", "fieldsV1": fields},
            {"manager": "rke2-helm-applier", "operation": "Apply", "fieldsV1": {"f:data": {".": {}}}},
            {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:data": {"f:other": {}}}},
        ],
    }
    cluster.objects[f"{CONFIG_MAPS}a"] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    start().look()
    found = cluster.objects[f"{CONFIG_MAPS}a"]["metadata"]["managedFields"]
    assert {entry["manager"]: entry["fieldsV1"] for entry in found} == {
        "kubectl-edit": {"f:data": {"f:other": {}}},
        "rke2-helm-applier": {"f:data": {".": {}, "f:k": {}, "f:left": {}}},
    }
    # Applied again after that: what is no longer in the file goes.
    assert [call for call in cluster.writes() if "configmaps" in call][-1] == f"PATCH {CONFIG_MAPS}a"
    assert not [call for call in cluster.calls if call.startswith("DELETE")]


def test_a_kind_whose_server_is_down_holds_up_no_other_file(
    cluster: Cluster, folder: Path, start: Start
) -> None:
    reconciler = start()
    secret = '---\n{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}\n'
    (folder / "a.yaml").write_text(config_map("a") + secret)
    (folder / "b.yaml").write_text(config_map("b"))
    reconciler.look()

    def refuse(method: str, path: str) -> None:
        if method == "GET" and path.endswith("/secrets"):
            raise ApiError(503, "ServiceUnavailable", "the webhook does not answer")

    cluster.hinder = refuse
    (folder / "a.yaml").write_text(config_map("a"))
    (folder / "b.yaml").write_text(config_map("c"))
    reconciler.look()
    assert cluster.names("configmaps") == ["a", "c"]
    assert [problem for problem in reconciler.problems() if "the webhook does not answer" in problem] == [
        f"{folder}/a.yaml: Secret cannot be listed: the webhook does not answer",
    ]


def test_what_rke2_applied_of_a_kind_that_ends_in_list_is_not_pruned(
    cluster: Cluster, folder: Path, start: Start
) -> None:
    """The file's Addon names the kind and the object is in the cluster; then the file changes."""
    office = "/apis/x.io/v1/namespaces/default/ipallowlists/office"
    head = '{"apiVersion": "x.io/v1", "kind": "IPAllowList", "metadata": {"name": "office"}, "spec": '
    (folder / "crd.yaml").write_text(definition("IPAllowList"))
    obj = json.loads(f'{head}{{"cidrs": []}}}}')
    addon.mark(obj, "f")
    kinds = (("x.io/v1", "IPAllowList"),)
    addon_object = addon.Addon("f", f"{folder}/f.yaml", "old", kinds).object()
    cluster._put(office, obj)
    cluster._put(f"{ADDON}f", addon_object)
    (folder / "f.yaml").write_text(f'{head}{{"cidrs": ["192.0.2.0/24"]}}}}')
    start().look()
    assert not [call for call in cluster.calls if call.startswith("DELETE")]
    assert cluster.objects[office]["spec"] == {"cidrs": ["192.0.2.0/24"]}
    kinds_said = cluster.objects[f"{ADDON}f"]["metadata"]["annotations"]["addon.k3s.cattle.io/gvks"]
    assert kinds_said == "x.io/v1, Kind=IPAllowList"


BAD = "a:\n\tb: 2\n"


@pytest.mark.parametrize("mend", ["remove", "write", "rename"])
def test_the_journal_says_once_that_a_file_is_mended(
    folder: Path, start: Start, mend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = folder / ("f.yaml" if mend != "rename" else "F.yaml")
    bad.write_text(BAD)
    (folder / "good.yaml").write_text(config_map("b"))
    reconciler = start()
    reconciler.look()
    reconciler.look()
    assert reconciler.problems()
    assert "is resolved" not in capsys.readouterr().err
    if mend == "write":
        bad.write_text(config_map("a"))
    else:
        bad.rename(folder / "f.txt")
    reconciler.look()
    reconciler.look()
    assert reconciler.problems() == []
    said = capsys.readouterr().err
    assert said.count(f"{bad}: the problem is resolved") == said.count("is resolved") == 1


def test_what_is_wrong_in_another_way_is_not_mended(
    folder: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    reconciler = start()
    for text in (BAD, f"# {BAD}x: [\n", config_map("a")):
        capsys.readouterr()
        (folder / "f.yaml").write_text(text)
        reconciler.look()
        assert ("is resolved" in capsys.readouterr().err) is (reconciler.problems() == [])


def test_an_object_that_is_taken_in_the_end_is_told_as_mended(
    cluster: Cluster, folder: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(method: str, path: str) -> None:
        if path.startswith(CONFIG_MAPS):
            raise ApiError(403, "Forbidden", "no")

    cluster.hinder = refuse
    (folder / "f.yaml").write_text(config_map("a"))
    reconciler = start()
    reconciler.look()
    cluster.hinder = lambda method, path: None
    reconciler._states[f"{folder}/f.yaml"].due = 0.0
    reconciler.look()
    assert capsys.readouterr().err.count(f"{folder}/f.yaml: the problem is resolved") == 1
