"""docs/backup-and-restore.md followed to the letter, on a server that runs."""

import re
import time
from collections.abc import Iterator

import pytest

from tests.node.helpers import pods, product, snapshots, writes
from tests.node.helpers.cluster import Writer, numbers, writer_credentials
from tests.node.helpers.documentation import block
from tests.node.helpers.snapshots import FOLDER
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode

PAGE = "backup-and-restore.md"
SLEEP = "while :; do sleep 1; done"
# The snapshot that the page restores.
SNAPSHOT = "before-upgrade-server-1-1790000000"


def follow(node: Node, words: str, timeout: float = 120) -> str:
    """Type the page's commands; what they print."""
    done = node.sh(block(PAGE, words), timeout=timeout)
    return done.stdout + done.stderr


@pytest.fixture(autouse=True)
def _leaves_nothing(server: Node) -> Iterator[None]:
    """The server is other files' as well."""
    yield
    snapshots.clean(server)
    pods.remove(server, "before")
    server.kubectl("delete", "configmaps", "after", "--ignore-not-found")
    server.sh(f"rm -f {FOLDER}/before-upgrade-* {FOLDER}/damaged-*")


def test_a_server_goes_back_to_a_snapshot_that_was_taken_and_verified(server: Node) -> None:
    assert isinstance(server, NspawnNode)
    pods.apply(server, pods.manifest(server, "before", SLEEP))
    pods.wait_until_running(server, "before")
    writer = Writer(server, "backup")
    writer.start(writer_credentials(server))
    writer.wait_until_acknowledged(more_than=20)

    since = time.time()
    name = snapshots.name_of(follow(server, "etcd-snapshot save --name"))
    until = time.time()
    assert re.fullmatch(rf"before-upgrade-{server.name}-\d+", name)
    said = follow(server, "verify --latest", timeout=300)
    assert name in said and "it can be restored and has what live etcd had" in said
    snapshots.nothing_is_half_made(server)

    writer.wait_until_acknowledged(until)
    server.kubectl("create", "configmap", "after")
    server.kubectl("delete", "pod", "before", "--now")
    writer.stop()
    script = block(PAGE, "stop rke2-server\nrke2-units cluster-reset --restore").replace(SNAPSHOT, name)
    snapshots.confirmed(server, script)
    product.wait_until_running(server)

    account = writer.account()
    assert len(writes.acknowledged(account)) > 20
    found = numbers(server)
    assert writes.faults(writes.as_of(account, since, until), "backup", found) == []
    assert "after" not in server.kubectl("get", "configmaps", "-o", "name").stdout
    # It was deleted after the snapshot: it is there again, and not in the API alone.
    server.wait_for("the pod to run again", lambda: "before" in product.pods_of(server), timeout=60)
    server.wait_for("all to be well", ["rke2-units", "status"], timeout=60)


def test_what_the_page_has_kept_elsewhere_is_all_that_a_restore_needs(server: Node) -> None:
    name = snapshots.save(server, "before-upgrade")
    server.sh(block(PAGE, "mkdir -p /root/backup\n"))
    kept = server.sh("cd /root/backup && find . -type f").stdout.split()
    assert {"./token", "./rancher/rke2/config.yaml", f"./snapshots/{name}"} <= set(kept)
    assert server.sh("find /root/backup -perm /077 -type f -name token").stdout == ""
    assert server.sh("stat -c %a /root/backup").stdout.strip() == "700"
    server.sh("rm -r /root/backup")


def test_a_snapshot_that_cannot_be_restored_is_told_and_not_restored(server: Node) -> None:
    name = snapshots.save(server, "damaged")
    path = f"{FOLDER}/{name}"
    server.sh(f"dd if=/dev/zero of={path} bs=1 seek=8192 count=64 conv=notrunc status=none")
    verified = server.run("rke2-units", "etcd-snapshot", "verify", name, check=False, timeout=300)
    assert verified.returncode == 1 and "is damaged" in verified.stdout + verified.stderr
    since = server.now()
    server.systemctl("stop", product.SERVER)
    with product.containers_live_on(server):
        refused = server.run(
            "rke2-units", "cluster-reset", "--yes", "--restore", path, check=False, timeout=300
        )
    product.start(server)
    product.wait_until_running(server)
    assert refused.returncode != 0 and "is damaged" in refused.stderr
    assert server.run("rke2-units", "etcd-snapshot", "delete", name).returncode == 0
    assert "Traceback" not in server.journal(since=since)
