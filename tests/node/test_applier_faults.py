"""What comes between a manifest or a chart and its being applied; in the end all is there, and once.

On a server that nothing else uses: its apiserver ends, its applier is killed, its disks get full.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.helpers import applier, product
from tests.node.helpers.applier import (
    APPLIER,
    MANIFESTS,
    chart,
    config_map,
    find,
    place,
    placed,
    release,
    uid,
    wait_for_journal,
    wait_for_object,
    wait_for_release,
    wait_until_applied,
    wait_until_gone,
)
from tests.node.helpers.product import SERVER, pod_unit
from tests.nodes import charts
from tests.nodes.content import content
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode

WEB = charts.content_of("web", "1.0.0")
APISERVER = pod_unit("kube-apiserver")
WORK = "/run/rke2-units/applier"
LEASE = "rke2-helm-applier"
# The limit for another applier to take over, in seconds; a lease is looked at now and then only.
TAKE_OVER = 15
MANY = 100


@pytest.fixture(scope="module")
def node(deb: Path) -> Iterator[Node]:
    made = content("bookworm")
    with NspawnNode.boot("applier", made.suite, made, replace=True) as booted:
        applier.bring_helm(booted)
        product.install(booted, deb, made.release)
        product.start(booted)
        product.wait_until_running(booted)
        yield booted


def write_many(node: Node, prefix: str, turn: str) -> None:
    """Write MANY manifests of a ConfigMap each at once."""
    script = f"""import os
for n in range({MANY}):
    path = f"{MANIFESTS}/{prefix}-{{n}}.yaml"
    with open(path + ".new", "w") as file:
        file.write('''{{"apiVersion": "v1", "kind": "ConfigMap", "data": {{"turn": "{turn}"}},
            "metadata": {{"name": "{prefix}-%s", "namespace": "default"}}}}''' % n)
    os.rename(path + ".new", path)
"""
    node.run("python3", "-c", script)


def turns(node: Node, prefix: str) -> list[str]:
    """What those ConfigMaps have, as far as they are there."""
    found = applier.every(node, "configmap")
    return [each["data"]["turn"] for each in found if each["metadata"]["name"].startswith(f"{prefix}-")]


def wait_for_many(node: Node, prefix: str, turn: str, timeout: float = 120) -> None:
    node.wait_for(
        f"all of {prefix} to be at {turn}",
        lambda: turns(node, prefix) == [turn] * MANY,
        timeout=timeout,
    )


def remove_many(node: Node, prefix: str) -> None:
    node.sh(f"for file in {MANIFESTS}/{prefix}-*.yaml; do echo '#' >$file; done")
    node.wait_for(f"all of {prefix} to go", lambda: not turns(node, prefix), timeout=120)
    node.sh(f"rm {MANIFESTS}/{prefix}-*.yaml")


def kill(node: Node) -> None:
    """SIGKILL to the applier and to everything that it has started."""
    before = node.main_pid(APPLIER)
    node.systemctl("kill", "--signal=KILL", APPLIER)
    product.wait_for_another_process(node, APPLIER, before, timeout=15)


def kill_apiserver(node: Node) -> None:
    """SIGKILL to kube-apiserver; the kubelet starts it again."""
    before = apiserver_process(node)
    node.kill(before)
    node.wait_for("another kube-apiserver", lambda: apiserver_process(node) not in (0, before), timeout=60)


def apiserver_process(node: Node) -> int:
    """Its PID, 0 while there is none."""
    return max((each.pid for each in node.containers().values() if each.name == "kube-apiserver"), default=0)


def test_manifests_are_all_applied_when_the_apiserver_restarts_in_the_middle(node: Node) -> None:
    applier_pid = node.main_pid(APPLIER)
    write_many(node, "restarted", "1")
    node.wait_for("some of them", lambda: turns(node, "restarted"), timeout=30)
    node.run("systemctl", "restart", APISERVER, timeout=180)
    wait_for_many(node, "restarted", "1")
    # A watch and a connection that were cut are no reason to end.
    assert node.main_pid(APPLIER) == applier_pid
    place(node, "then.yaml", config_map("then"))
    wait_for_object(node, "configmap", "then")
    applier.remove(node, "then.yaml")
    remove_many(node, "restarted")


def test_what_changes_while_there_is_no_apiserver_is_applied_when_it_is_back(node: Node) -> None:
    with placed(node, "offline.yaml", config_map("offline", turn="0"), config_map("offline-goes")):
        node.run("systemctl", "stop", APISERVER, timeout=90)
        place(node, "offline.yaml", config_map("offline", turn="1"))
        place(node, "offline-new.yaml", config_map("offline-new"))
        node.run("sleep", "5")
        node.run("systemctl", "start", APISERVER, timeout=180)
        wait_until_applied(node, "offline.yaml", timeout=60)
        wait_until_applied(node, "offline-new.yaml")
        found = find(node, "configmap", "offline")
        assert found is not None and found["data"] == {"turn": "1"}
        assert find(node, "configmap", "offline-goes") is None
        applier.remove(node, "offline-new.yaml")


def test_manifests_are_all_applied_when_the_applier_is_killed_in_the_middle(node: Node) -> None:
    for turn in ("1", "2", "3"):
        write_many(node, "killed", turn)
        node.wait_for("some of them", lambda turn=turn: turn in turns(node, "killed"), timeout=30)  # type: ignore[misc]
        kill(node)
        wait_for_many(node, "killed", turn)
    remove_many(node, "killed")


def test_what_was_to_be_pruned_is_pruned_when_the_applier_was_killed_before(node: Node) -> None:
    brought = [config_map(f"half-{n}", turn="0") for n in range(50)]
    with placed(node, "half.yaml", *brought):
        kept = uid(node, "configmap", "half-0")
        place(node, "half.yaml", brought[0])
        kill(node)
        wait_until_applied(node, "half.yaml")
        node.wait_for("the rest to go", lambda: len(turns(node, "half")) == 1, timeout=30)
        assert uid(node, "configmap", "half-0") == kept


def test_a_full_disk_is_named_and_more_room_is_all_that_is_needed(node: Node) -> None:
    node.systemctl("stop", APPLIER)
    node.sh(f"mkdir -p {WORK}; mount -t tmpfs -o size=64k,mode=0700 tmpfs {WORK}")
    since = node.now()
    try:
        node.sh(f"head -c 60k /dev/zero >{WORK}/filler")
        node.systemctl("start", APPLIER)
        place(node, "full.yaml", chart("full", chartContent=WEB), config_map("beside-full"))
        wait_for_object(node, "configmap", "beside-full")
        wait_for_journal(node, since, "No space left on device", timeout=60)
        applier.wait_until_failed(node, "full", "No space left on device")
        node.sh(f"rm {WORK}/filler; mount -o remount,size=100m {WORK}")
        wait_for_release(node, "full", timeout=120)
        applier.remove(node, "full.yaml")
        wait_until_gone(node, "helmcharts.helm.cattle.io", "full", "kube-system", timeout=60)
    finally:
        node.systemctl("stop", APPLIER)
        node.run("umount", WORK)
        node.systemctl("start", APPLIER)


def test_an_upgrade_that_was_killed_in_the_middle_is_repaired(node: Node) -> None:
    place(node, "mended.yaml", chart("mended", chartContent=WEB, set={"text": "first"}))
    wait_for_release(node, "mended")
    before = uid(node, "deployment", "mended", "kube-system")
    place(node, "mended.yaml", chart("mended", chartContent=WEB, set={"text": "2", "hook": "hang"}))
    wait_for_release(node, "mended", holds=lambda found: found["status"] == "pending-upgrade")
    wait_for_object(node, "job", "mended-hook", "kube-system")
    place(node, "mended.yaml", chart("mended", chartContent=WEB, set={"text": "third"}))
    kill(node)
    wait_for_release(node, "mended", timeout=120)
    found = wait_for_object(
        node,
        "configmap",
        "mended-values",
        "kube-system",
        holds=lambda found: json.loads(found["data"]["values"])["text"] == "third",
        timeout=60,
    )
    assert found["data"]["values"].count("third") == 1
    # Repaired, not made anew; and nothing that helm was given is left.
    assert uid(node, "deployment", "mended", "kube-system") == before
    assert node.sh(f"find {WORK} -name '*.yaml' -o -name '*.tgz'").stdout == ""
    history = json.loads(
        applier.run_helm(node, "history", "mended", "--namespace", "kube-system", "--output", "json")
    )
    assert [each["status"] for each in history].count("deployed") == 1
    assert not [each for each in history if each["status"].startswith("pending")]


def test_an_installation_that_was_killed_in_the_middle_is_done_again(node: Node) -> None:
    place(node, "fresh.yaml", chart("fresh", chartContent=WEB, set={"hook": "hang"}))
    wait_for_object(node, "job", "fresh-hook", "kube-system", timeout=60)
    place(node, "fresh.yaml", chart("fresh", chartContent=WEB))
    kill(node)
    wait_for_release(node, "fresh", timeout=120)
    for name in ("fresh", "mended"):
        applier.remove(node, f"{name}.yaml")
        wait_until_gone(node, "helmcharts.helm.cattle.io", name, "kube-system", timeout=60)
        assert release(node, name) is None


def test_charts_are_installed_when_the_apiserver_is_killed_in_the_middle(node: Node) -> None:
    names = [f"cut-{n}" for n in range(3)]
    place(node, "cut.yaml", *(chart(name, chartContent=WEB) for name in names))
    wait_for_object(node, "helmcharts.helm.cattle.io", "cut-2", "kube-system")
    kill_apiserver(node)
    for name in names:
        wait_for_release(node, name, timeout=120)
    applier.remove(node, "cut.yaml")
    for name in names:
        wait_until_gone(node, "helmcharts.helm.cattle.io", name, "kube-system", timeout=60)


def test_the_restart_of_the_server_ends_no_helm_and_makes_no_revision(node: Node) -> None:
    place(node, "steady.yaml", chart("steady", chartContent=WEB))
    wait_for_release(node, "steady")
    node.systemctl("restart", SERVER)
    product.wait_until_running(node)
    with placed(node, "marker.yaml", config_map("marker")):
        pass
    found = release(node, "steady")
    assert found is not None and found["revision"] == "1"
    applier.remove(node, "steady.yaml")
    wait_until_gone(node, "helmcharts.helm.cattle.io", "steady", "kube-system", timeout=60)


def test_one_applier_acts_at_a_time_and_another_takes_over_within_15_s(node: Node) -> None:
    second = "second-applier.service"
    command = node.sh(f"systemctl cat {APPLIER} | sed -n 's/^ExecStart=//p'").stdout.split()
    settings = json.loads(node.read(command[command.index("--settings") + 1]))
    settings |= {"node_name": "another", "manifests": "/root/manifests", "work": "/run/second-applier"}
    node.write("/root/second.json", json.dumps(settings), mode=0o600)
    node.run("mkdir", "-p", "/root/manifests", settings["work"])
    node.write("/root/manifests/second.yaml", applier.text_of(config_map("second")))
    command[command.index("--settings") + 1] = "/root/second.json"
    node.run("systemd-run", "--quiet", f"--unit={second}", "--service-type=notify", "--no-block", *command)

    def holder() -> str:
        found = find(node, "leases.coordination.k8s.io", LEASE, "kube-system")
        assert found is not None
        return str(found["spec"]["holderIdentity"])

    node.run("sleep", "8")
    assert holder().startswith(node.name) and find(node, "configmap", "second") is None
    node.kill(APPLIER, "STOP")
    stopped = time.monotonic()
    node.wait_for("the other to act", lambda: find(node, "configmap", "second"), timeout=TAKE_OVER + 5)
    assert time.monotonic() - stopped < TAKE_OVER
    assert holder().startswith("another")
    # The first comes back from wherever it was, and lets the other be.
    node.kill(APPLIER, "CONT")
    place(node, "third.yaml", config_map("third"))
    node.run("sleep", "8")
    assert holder().startswith("another") and find(node, "configmap", "third") is None
    node.systemctl("kill", "--signal=KILL", second)
    wait_for_object(node, "configmap", "third", timeout=TAKE_OVER + 5)
    applier.remove(node, "third.yaml")
    node.kubectl("delete", "configmap", "second")


def test_its_sandbox_scores_at_most_3(node: Node) -> None:
    done = node.run("systemd-analyze", "security", "--no-pager", "--threshold=30", APPLIER, check=False)
    assert done.returncode == 0, done.stdout[-300:]
