"""Manifests become what runs in the cluster: RKE2's rules, kept by rke2-helm-applier on a real node."""

import hashlib
import json
from collections.abc import Iterator

import pytest

from tests.node.helpers import applier, product
from tests.node.helpers.applier import (
    APPLIER,
    MANAGER,
    MANIFESTS,
    config_map,
    custom,
    definition,
    find,
    place,
    placed,
    remove,
    uid,
    wait_for_journal,
    wait_for_object,
    wait_until_applied,
    wait_until_gone,
)
from tests.node.helpers.product import BASIC_CONFIG, CONFIG, SERVER
from tests.node.helpers.wakings import wakings
from tests.nodes.machine import Node

# The limit, in KiB.
MEMORY = 40 * 1024


@pytest.fixture(autouse=True)
def _applier_lives(server: Node) -> Iterator[None]:
    """Nothing that a manifest says ends the applier."""
    before = int(server.unit(APPLIER)["NRestarts"])
    yield
    assert int(server.unit(APPLIER)["NRestarts"]) <= before, server.journal(APPLIER, lines=30)


def test_documents_lists_and_json_are_applied_in_an_order_that_works(server: Node) -> None:
    several = [
        config_map("first", "late"),
        {"apiVersion": "v1", "kind": "List", "items": [config_map("second", "late"), config_map("third")]},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "late"}},
    ]
    with placed(server, "several.yaml", "# a comment alone", *several):
        for name, namespace in (("first", "late"), ("second", "late"), ("third", "default")):
            assert find(server, "configmap", name, namespace), name
        with placed(server, "folder/one.json", json.dumps(config_map("fourth"), indent=2)):
            assert find(server, "configmap", "fourth")
        assert find(server, "configmap", "fourth") is None
    assert find(server, "configmap", "third") is None
    wait_until_gone(server, "namespace", "late")


def test_objects_are_applied_by_the_server_with_a_manager_of_their_own(server: Node) -> None:
    with placed(server, "managed.yaml", config_map("managed", mine="1")):
        patch = json.dumps({"data": {"theirs": "1"}})
        server.kubectl("patch", "configmap", "managed", "--type=merge", "-p", patch)
        place(server, "managed.yaml", config_map("managed", mine="2"))
        wait_until_applied(server, "managed.yaml")
        found = find(server, "configmap", "managed")
        assert found is not None and found["data"] == {"mine": "2", "theirs": "1"}
        shown = server.kubectl("get", "configmap", "managed", "-o", "json", check=False).stdout
        managers = {
            each["manager"]: each["operation"] for each in json.loads(shown)["metadata"]["managedFields"]
        }
        assert managers[MANAGER] == "Apply"


def test_an_addon_records_what_was_applied_as_rke2_has_it(server: Node) -> None:
    crd = definition("Recorded")
    with placed(server, "recorded.v1.yaml", config_map("recorded"), crd):
        found = wait_until_applied(server, "recorded.v1.yaml")
        path = f"{MANIFESTS}/recorded.v1.yaml"
        assert found["metadata"]["name"] == "recorded"
        assert found["spec"]["source"] == path
        assert found["spec"]["checksum"] == hashlib.sha256(server.read(path).encode()).hexdigest()
        gvks = found["metadata"]["annotations"]["addon.k3s.cattle.io/gvks"].split(";")
        assert len(gvks) == 2 and any("Kind=ConfigMap" in each for each in gvks)
        events = server.kubectl("-n", "kube-system", "describe", "addons.k3s.cattle.io", "recorded").stdout
        assert "AppliedManifest" in events


def test_what_leaves_a_file_is_removed_and_the_rest_is_not_made_anew(server: Node) -> None:
    with placed(server, "pruned.yaml", config_map("stays"), config_map("leaves"), config_map("also")):
        before = uid(server, "configmap", "stays")
        place(server, "pruned.yaml", config_map("stays"))
        wait_until_applied(server, "pruned.yaml")
        wait_until_gone(server, "configmap", "leaves")
        wait_until_gone(server, "configmap", "also")
        assert uid(server, "configmap", "stays") == before


def test_the_objects_of_a_file_that_vanishes_stay(server: Node) -> None:
    with placed(server, "vanishing.yaml", config_map("kept", turn="0")):
        before = uid(server, "configmap", "kept")
        server.run("rm", f"{MANIFESTS}/vanishing.yaml")
        # Something that is done later shows that this has been seen.
        with placed(server, "after.yaml", config_map("after")):
            assert uid(server, "configmap", "kept") == before
        place(server, "vanishing.yaml", config_map("kept", turn="1"))
        wait_until_applied(server, "vanishing.yaml")
        assert uid(server, "configmap", "kept") == before


def test_an_emptied_file_removes_its_objects(server: Node) -> None:
    with placed(server, "emptied.yaml", config_map("emptied")):
        place(server, "emptied.yaml", "# nothing any more")
        wait_until_applied(server, "emptied.yaml")
        wait_until_gone(server, "configmap", "emptied")


def test_a_skipped_file_is_left_alone(server: Node) -> None:
    with placed(server, "skipped.yaml", config_map("skipped", turn="0")):
        server.run("touch", f"{MANIFESTS}/skipped.yaml.skip")
        place(server, "skipped.yaml", config_map("skipped", turn="1"))
        place(server, ".hidden.yaml", config_map("hidden"))
        with placed(server, "other.yaml", config_map("other")):
            found = find(server, "configmap", "skipped")
            assert found is not None and found["data"] == {"turn": "0"}
            assert find(server, "configmap", "hidden") is None
        server.run("rm", f"{MANIFESTS}/skipped.yaml.skip", f"{MANIFESTS}/.hidden.yaml")
        wait_until_applied(server, "skipped.yaml")


def test_a_resource_comes_after_its_definition_in_whatever_order_they_stand(server: Node) -> None:
    with placed(server, "defined.yaml", custom("Gear", "gear", teeth=8), definition("Gear")):
        found = find(server, "gears.tests.example", "gear")
        assert found is not None and found["spec"] == {"teeth": 8}


def test_a_resource_waits_for_a_definition_that_comes_later_and_holds_nothing_up(server: Node) -> None:
    since = server.now()
    place(server, "early.yaml", custom("Spring", "spring", length=3), config_map("beside"))
    wait_for_object(server, "configmap", "beside")
    assert "early.yaml:1" in wait_for_journal(server, since, "Spring")
    with placed(server, "definition.yaml", definition("Spring")):
        wait_for_object(server, "springs.tests.example", "spring")
        wait_until_applied(server, "early.yaml")
        remove(server, "early.yaml")


def test_a_bad_document_is_named_by_file_and_line_and_holds_up_nothing(server: Node) -> None:
    since = server.now()
    place(server, "bad.yaml", config_map("good-before"), "a: [1,\nb: 2", config_map("good-after"))
    wait_for_object(server, "configmap", "good-before")
    wait_for_object(server, "configmap", "good-after")
    wait_for_journal(server, since, "bad.yaml:")
    with placed(server, "beside-bad.yaml", config_map("beside-bad")):
        pass
    found = applier.addon(server, "bad.yaml")
    assert found is not None
    place(server, "bad.yaml", config_map("good-before"), config_map("good-after"))
    wait_until_applied(server, "bad.yaml")
    remove(server, "bad.yaml")


def test_an_object_that_the_apiserver_refuses_is_named_and_holds_up_nothing(server: Node) -> None:
    since = server.now()
    refused = config_map("Not_A_Name")
    place(server, "refused.yaml", config_map("accepted"), refused, config_map("accepted-too"))
    wait_for_object(server, "configmap", "accepted")
    wait_for_object(server, "configmap", "accepted-too")
    # The document's first line, after one document and two separators.
    wait_for_journal(server, since, "refused.yaml:3", "Not_A_Name")
    remove(server, "refused.yaml")
    assert find(server, "configmap", "accepted") is None


def test_a_yaml_bomb_is_refused_by_name(server: Node) -> None:
    since = server.now()
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    place(server, "bomb.yaml", "\n".join(lines), config_map("beside-bomb"))
    wait_for_journal(server, since, "bomb.yaml")
    wait_for_object(server, "configmap", "beside-bomb")
    assert applier.pss(server) < MEMORY
    remove(server, "bomb.yaml")


def test_a_file_of_5_mb_with_many_documents_is_applied(server: Node) -> None:
    documents = [config_map(f"part-{n}", data="x" * 25_000) for n in range(200)]
    with placed(server, "large.yaml", *documents, timeout=120):
        parts = applier.every(server, "configmap")
        assert sum(each["metadata"]["name"].startswith("part-") for each in parts) == 200
    assert not [each for each in applier.every(server, "configmap") if "part-" in each["metadata"]["name"]]


def test_an_object_larger_than_etcd_takes_is_refused_by_name(server: Node) -> None:
    since = server.now()
    crd = definition("Load")
    place(server, "too-large.yaml", crd, custom("Load", "huge", data="x" * 2_000_000), config_map("small"))
    wait_for_object(server, "configmap", "small")
    said = wait_for_journal(server, since, "too-large.yaml:", "huge")
    assert len(said) < 1000, "the whole object is in the journal"
    assert find(server, "loads.tests.example", "huge") is None
    remove(server, "too-large.yaml")


def test_300_manifests_at_once_are_all_applied_and_leave_the_applier_small_and_idle(server: Node) -> None:
    names = [f"many-{n}" for n in range(300)]
    files = {f"{name}.yaml": applier.text_of(config_map(name, turn="0")) for name in names}
    write_all(server, files)
    server.wait_for("the last of 300 manifests", lambda: count(server, "many-") == 300, timeout=120)
    server.wait_for("all Addons", lambda: recorded(server, files), timeout=60)
    assert applier.pss(server) < MEMORY
    versions = {name: find(server, "configmap", name) for name in names[:3]}

    # Nothing changes: nothing is sent, and nobody asks. It wakes up for its lease, about once a second
    # altogether.
    server.wait_for(
        "the applier to be at rest", lambda: wakings(server, applier.APPLIER, 2) < 10, timeout=60
    )
    lists = list_requests(server)
    assert lists
    before = applier.cpu_time(server)
    assert wakings(server, applier.APPLIER, 20) < 60
    assert applier.cpu_time(server) - before < 0.1
    assert list_requests(server) == lists
    assert {name: find(server, "configmap", name) for name in names[:3]} == versions

    write_all(server, dict.fromkeys(files, "# nothing\n"))
    server.wait_for("all objects to go", lambda: count(server, "many-") == 0, timeout=120)
    server.sh(f"rm {MANIFESTS}/many-*.yaml")
    # In one request: kubectl itself sends five a second.
    others = {each["metadata"]["name"] for each in addons(server)} - set(names)
    but = ",".join(f"metadata.name!={name}" for name in others)
    path = "/apis/k3s.cattle.io/v1/namespaces/kube-system/addons"
    server.kubectl("delete", f"--raw={path}?fieldSelector={but}")


def write_all(node: Node, files: dict[str, str]) -> None:
    """Write manifests, all within a second, each by a rename."""
    script = """import json, os, sys
for name, text in json.load(sys.stdin).items():
    path = os.path.join(sys.argv[1], name)
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)
"""
    node.run("python3", "-c", script, MANIFESTS, input=json.dumps(files))


def count(node: Node, prefix: str) -> int:
    names = node.kubectl("get", "configmap", "-o", "name").stdout.split()
    return sum(name.startswith(f"configmap/{prefix}") for name in names)


def addons(node: Node) -> list[applier.Object]:
    return applier.every(node, "addons.k3s.cattle.io", "-n", "kube-system")


def recorded(node: Node, files: dict[str, str]) -> bool:
    """Whether there is an Addon of each file, with its checksum."""
    found = {each["metadata"]["name"]: each["spec"].get("checksum") for each in addons(node)}
    wanted = {name.split(".")[0]: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    return wanted.items() <= found.items()


def list_requests(node: Node) -> dict[str, str]:
    """How often what the applier watches has been listed in JSON, as the apiserver counts.

    kube-controller-manager lists it as well, some time after its start, as protobuf.
    """
    metrics = node.kubectl("get", "--raw", "/metrics").stdout.splitlines()
    wanted = [
        line
        for line in metrics
        if line.startswith("apiserver_request_total{")
        and 'verb="LIST"' in line
        and 'contentType="application/json"' in line
        and any(group in line for group in ('group="helm.cattle.io"', 'group="k3s.cattle.io"'))
    ]
    return dict(line.rsplit(" ", 1) for line in wanted)


def test_objects_that_rke2_applied_are_taken_over_and_not_made_anew(server: Node) -> None:
    """What RKE2 leaves behind: an Addon with its owner's labels and annotations on the objects."""
    path = f"{MANIFESTS}/moved.yaml"
    text = applier.text_of(config_map("moved"))
    server.systemctl("stop", APPLIER)
    owned = {
        "objectset.rio.cattle.io/id": "",
        "objectset.rio.cattle.io/owner-gvk": "k3s.cattle.io/v1, Kind=Addon",
        "objectset.rio.cattle.io/owner-name": "moved",
        "objectset.rio.cattle.io/owner-namespace": "kube-system",
    }
    # By this hash of the owner RKE2 finds what an Addon owns.
    digest = hashlib.sha1("".join(owned.values()).encode(), usedforsecurity=False).hexdigest()
    label = {"objectset.rio.cattle.io/hash": digest}
    for name in ("moved", "moved-and-gone"):
        brought = config_map(name)
        brought["metadata"] |= {"annotations": owned, "labels": label}
        server.kubectl("create", "-f", "-", input=json.dumps(brought))
    gvks = {"addon.k3s.cattle.io/gvks": "/v1, Kind=ConfigMap"}
    record = {
        "apiVersion": "k3s.cattle.io/v1",
        "kind": "Addon",
        "metadata": {"name": "moved", "namespace": "kube-system", "annotations": gvks},
        "spec": {"source": path, "checksum": hashlib.sha256(b"the file of another release").hexdigest()},
    }
    server.kubectl("create", "-f", "-", input=json.dumps(record))
    before = uid(server, "configmap", "moved")
    server.write(path, text)
    server.systemctl("start", APPLIER)
    wait_until_applied(server, "moved.yaml")
    assert uid(server, "configmap", "moved") == before
    wait_until_gone(server, "configmap", "moved-and-gone")
    remove(server, "moved.yaml")
    assert find(server, "configmap", "moved") is None


def test_an_unchanged_file_is_not_applied_again_by_a_restart(server: Node) -> None:
    with placed(server, "unchanged.yaml", config_map("unchanged")):
        server.kubectl("patch", "configmap", "unchanged", "--type=merge", "-p", '{"data": {"theirs": "1"}}')
        before = find(server, "configmap", "unchanged")
        server.systemctl("restart", APPLIER)
        place(server, "after-restart.yaml", config_map("after-restart"))
        wait_until_applied(server, "after-restart.yaml")
        assert find(server, "configmap", "unchanged") == before
        remove(server, "after-restart.yaml")


def test_what_the_configuration_disables_is_removed_with_file_and_record(server: Node) -> None:
    place(server, "unwanted.yaml", config_map("unwanted"))
    wait_until_applied(server, "unwanted.yaml")
    try:
        server.write(CONFIG, f"{BASIC_CONFIG}disable: [unwanted]\n")
        server.systemctl("restart", SERVER)
        product.wait_until_running(server)
        wait_until_gone(server, "configmap", "unwanted")
        wait_until_gone(server, "addons.k3s.cattle.io", "unwanted", "kube-system")
        assert not server.exists(f"{MANIFESTS}/unwanted.yaml")
    finally:
        server.write(CONFIG, BASIC_CONFIG)
        server.systemctl("restart", SERVER)
        product.wait_until_running(server)
