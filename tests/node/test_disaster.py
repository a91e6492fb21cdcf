"""Three servers and an agent, under writing clients, lose what a cluster can lose and get it back.

In the order of the file, one cluster goes through all of it: snapshots at the same moment and without a
leader, two of three servers lost, then all of them with their disks. Its agent, which knows the servers by a
name, is never touched.
"""

import json
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from tests.node.helpers import product, s3_server, snapshots, writes
from tests.node.helpers.cluster import (
    AGENT,
    Cluster,
    Writer,
    at_once,
    install,
    keep_accounts,
    machines,
    members,
    numbers,
    writer_credentials,
    writing,
)
from tests.node.helpers.documentation import block
from tests.node.helpers.snapshots import FOLDER
from tests.nodes.content import content
from tests.nodes.errors import NodeError
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode
from tests.package import build_deb

pytestmark = [pytest.mark.alone, pytest.mark.long]

SUITE = "bookworm"
# What agents and users call the servers; DNS is /etc/hosts here.
NAME = "registration.test"
CONFIG = f"tls-san: {NAME}\n"
PAGE = "backup-and-restore.md"
# Of the page: what a new machine is made of.
RELEASE, SNAPSHOT = "v1.36.4+rke2r1", "etcd-snapshot-server-1-1790000000"
AUTHORITY = "/etc/ssl/certs/s3-ca.pem"
SERVER_FOLDER, TOKEN_FILE = "/var/lib/rancher/rke2/server", "/root/kept-token"
# Seconds for the agent to find a server with another address.
FOUND_AGAIN = 240.0

Record = Callable[[str, object], None]


@dataclass
class Disaster:
    """A cluster whose machines come and go."""

    cluster: Cluster
    stack: ExitStack

    def boot(self, name: str) -> NspawnNode:
        node = NspawnNode.boot(name, SUITE, content(SUITE), replace=True)
        self.stack.callback(remove, name)
        return node

    def lead_to(self, server: Node) -> None:
        """The name leads to this server from now on."""
        lead(self.cluster.agent, server)

    def lose_disks(self, *servers: NspawnNode) -> None:
        """Their machines end within the same moment, and nothing of them is left."""
        at_once(*(server.crash for server in servers))
        for server in servers:
            server.remove()

    def join_two_more(self, *names: str) -> None:
        """New machines become servers of the one that is there."""
        [first] = self.cluster.servers
        for name in names:
            node = self.boot(name)
            install(node, server=first, config=CONFIG)
            product.start(node, timeout=360)
            self.cluster.servers.append(node)
        self.cluster.wait_until_whole()

    def forget_nodes(self, *names: str) -> None:
        """What the page says of machines that do not come back."""
        self.cluster.servers[0].kubectl("delete", "node", *names, timeout=120)


def remove(name: str) -> None:
    try:
        NspawnNode.attach(name).remove()
    except NodeError:
        # It was lost in a test.
        pass


def lead(node: Node, server: Node) -> None:
    hosts = [line for line in node.read("/etc/hosts").splitlines() if NAME not in line]
    node.write("/etc/hosts", "\n".join([*hosts, f"{server.address} {NAME}", ""]))


@pytest.fixture(scope="module")
def disaster() -> Iterator[Disaster]:
    names = [f"disaster-{name}" for name in ("1", "2", "3", "agent")]
    with ExitStack() as stack:
        first, second, third, agent = stack.enter_context(machines(SUITE, *names))
        build_deb(SUITE)
        at_once(
            lambda: install(first, config=CONFIG),
            lambda: install(second, server=first, config=CONFIG),
            lambda: install(third, server=first, config=CONFIG),
        )
        cluster = Cluster(SUITE, [first, second, third], agent)
        at_once(*(partial(product.start, node, timeout=360) for node in cluster.servers))
        lead(agent, first)
        install(agent, "agent", at=f"https://{NAME}:9345")
        agent.run("systemctl", "start", AGENT, timeout=120)
        cluster.wait_until_whole()
        yield Disaster(cluster, stack)


def test_three_servers_save_at_the_same_moment_and_the_cluster_knows_all_of_it(disaster: Disaster) -> None:
    servers = disaster.cluster.servers
    at_once(*(partial(snapshots.save, server, "together") for server in servers))

    def known() -> set[str]:
        listed = servers[0].kubectl("get", "etcdsnapshotfiles", "-o", "jsonpath={.items[*].spec.location}")
        return set(re.findall(r"file://\S*/together-(\S+)-\d+", listed.stdout))

    servers[0].wait_for(
        "all three to be known",
        lambda: known() == {server.name for server in servers},
        timeout=60,
    )
    for server in servers:
        said = snapshots.verify(server, "--latest")
        assert "it can be restored and has what live etcd had" in said
        snapshots.nothing_is_half_made(server)


def test_a_snapshot_is_whole_or_not_there_while_the_leader_changes(disaster: Disaster) -> None:
    cluster = disaster.cluster
    with writing(cluster, cluster.agent):
        for number in range(3):
            leader = cluster.leader()
            saver = cluster.others(leader)[0]
            errors: list[str] = []
            at_once(partial(try_to_save, saver, f"election-{number}", errors), partial(end_etcd, leader))
            # An election may end it: with a reason, and with nothing left.
            assert "Traceback" not in "".join(errors)
            snapshots.nothing_is_half_made(saver)
            if not errors:
                assert "it can be restored" in snapshots.verify(saver, "--latest")
            cluster.wait_until_whole()


def try_to_save(node: NspawnNode, name: str, errors: list[str]) -> None:
    try:
        snapshots.save(node, name)
    except NodeError as error:
        errors.append(str(error))


def end_etcd(node: NspawnNode) -> None:
    """etcd ends from one moment to the next; the kubelet starts it again."""
    node.sh("pkill -KILL -x etcd")


def test_with_two_of_three_lost_the_third_goes_on_with_every_write(
    disaster: Disaster, record_property: Record
) -> None:
    cluster = disaster.cluster
    kept, *lost = cluster.servers
    with writing(cluster, cluster.agent):
        pass
    # Nobody else wrote at the moment of the loss: all that was acknowledged must be there.
    since = time.time()
    disaster.lose_disks(*lost)
    snapshots.reset(kept)
    snapshots.come_back(kept)
    record_property("seconds until the server was back", time.time() - since)
    cluster.servers = [kept]
    assert members(kept) == [(kept.name, True)]
    cluster.check_writes()
    disaster.lead_to(kept)
    disaster.forget_nodes(*(server.name for server in lost))
    disaster.join_two_more("disaster-4", "disaster-5")
    with writing(cluster, cluster.agent, *cluster.servers):
        pass


def lose_everything(disaster: Disaster, keep: Callable[[NspawnNode], None]) -> tuple[float, float]:
    """All servers are lost under writing clients, after one of them kept a snapshot.

    Returns the time within which that was taken.
    """
    cluster = disaster.cluster
    saver = cluster.servers[1]
    writers = [Writer(cluster.agent, f"lost-{saver.name}-{number}") for number in range(2)]
    for writer in writers:
        writer.start(writer_credentials(saver))
        writer.wait_until_acknowledged(more_than=20)
    since = time.time()
    keep(saver)
    until = time.time()
    for writer in writers:
        writer.wait_until_acknowledged(until, more_than=20)
    disaster.lose_disks(*cluster.servers)
    keep_accounts(cluster, writers)
    return since, until


def last_renewal(via: Node, of: Node) -> float:
    """When this node's kubelet has renewed its lease: the Node itself is Ready as the snapshot has it."""
    lease = ["lease", of.name, "--namespace=kube-node-lease", "-o", "jsonpath={.spec.renewTime}"]
    return datetime.fromisoformat(via.kubectl("get", *lease).stdout).timestamp()


def the_cluster_is_back(
    disaster: Disaster, node: NspawnNode, lost: set[str], since: float, until: float, record: Record
) -> None:
    """On this node alone, as the snapshot has it; and the agent comes back."""
    cluster = disaster.cluster
    cluster.servers = [node]
    assert members(node) == [(node.name, True)]
    cluster.check_restored(since, until)
    disaster.lead_to(node)
    began = time.time()
    node.wait_for(
        "the agent's kubelet", lambda: last_renewal(node, cluster.agent) > began, timeout=FOUND_AGAIN
    )
    record("seconds until the agent was back", time.time() - began)
    disaster.forget_nodes(*lost)


def test_a_new_machine_has_the_cluster_again_from_what_the_page_has_kept(
    disaster: Disaster, tmp_path: Path, record_property: Record
) -> None:
    lost = {server.name for server in disaster.cluster.servers}
    # Before the others are gone: it has another address than each of them.
    node = disaster.boot("disaster-6")

    def keep(saver: NspawnNode) -> None:
        snapshots.save(saver, "last")
        saver.sh(block(PAGE, "mkdir -p /root/backup\n"))
        shutil.copytree(saver.root / "root/backup", tmp_path / "backup")

    since, until = lose_everything(disaster, keep)
    [snapshot] = (tmp_path / "backup/snapshots").glob("last-*")
    config = tmp_path / "backup/rancher/rke2/config.yaml"
    config.write_text(f"{product.BASIC_CONFIG}{CONFIG}")
    began = time.time()
    node.copy_in(tmp_path / "backup", "/root/backup")
    node.copy_in(build_deb(SUITE), "/root/rke2-units.deb")
    node.sh(block(PAGE, "cp /root/backup"))
    script = block(PAGE, "--token-file").replace(RELEASE, content(SUITE).release)
    snapshots.confirmed(node, f"cd /root\n{script.replace(SNAPSHOT, snapshot.name)}", timeout=900)
    product.wait_until_running(node)
    record_property("seconds until the server was back", time.time() - began)
    the_cluster_is_back(disaster, node, lost, since, until, record_property)
    disaster.join_two_more("disaster-7", "disaster-8")
    with writing(disaster.cluster, disaster.cluster.agent, *disaster.cluster.servers):
        pass


def test_a_new_machine_has_the_cluster_again_from_s3_and_the_token(
    disaster: Disaster, record_property: Record
) -> None:
    cluster = disaster.cluster
    lost = {server.name for server in cluster.servers}
    node, s3 = disaster.boot("disaster-9"), s3_server.run(disaster.boot("disaster-s3"))
    keys = "".join(f"{key}: {json.dumps(value)}\n" for key, value in s3.configuration(AUTHORITY).items())
    kept: dict[str, str] = {}

    def keep(saver: NspawnNode) -> None:
        saver.write(AUTHORITY, s3.authority)
        saver.write(product.CONFIG, saver.read(product.CONFIG) + keys)
        # On its disk as well, which is lost.
        kept["name"] = snapshots.save(saver, "remote")
        kept["token"] = saver.read(f"{SERVER_FOLDER}/token")

    since, until = lose_everything(disaster, keep)
    assert kept["name"] in s3.names()
    config = f"{product.BASIC_CONFIG}{CONFIG}{keys}"
    began = time.time()
    product.install(node, build_deb(SUITE), content(SUITE).release, config)
    node.write(AUTHORITY, s3.authority)
    node.write(TOKEN_FILE, kept["token"], mode=0o600)
    snapshots.reset(node, "--restore", kept["name"], "--token-file", TOKEN_FILE)
    snapshots.come_back(node)
    record_property("seconds until the server was back", time.time() - began)
    the_cluster_is_back(disaster, node, lost, since, until, record_property)
    disaster.join_two_more("disaster-10", "disaster-11")
    with writing(cluster, cluster.agent, *cluster.servers):
        pass


@pytest.fixture(scope="module")
def alone() -> Iterator[NspawnNode]:
    """A server on its own that runs."""
    with machines(SUITE, "disaster-alone") as [node]:
        install(node)
        product.start(node)
        product.wait_until_running(node)
        yield node


def test_a_restore_that_was_killed_at_any_moment_completes_when_it_is_run_again(
    alone: NspawnNode, record_property: Record
) -> None:
    chance = random.Random(20)
    # How long one takes that nobody kills.
    began = time.monotonic()
    snapshots.reset(alone, "--restore", f"{FOLDER}/{snapshots.save(alone, 'whole')}")
    whole = time.monotonic() - began
    snapshots.come_back(alone)
    interrupted = 0
    for number in range(20):
        writer = Writer(alone, f"killed-{number}")
        writer.start(writer_credentials(alone))
        writer.wait_until_acknowledged()
        since = time.time()
        path = f"{FOLDER}/{snapshots.save(alone, writer.run)}"
        until = time.time()
        writer.wait_until_acknowledged(until)
        writer.stop()
        moment = chance.uniform(0, whole)
        interrupted += killed_after(moment, alone, "--restore", path)
        snapshots.reset(alone, "--restore", path)
        snapshots.come_back(alone)
        account = writes.as_of(writer.account(), since, until)
        wrong = writes.faults(account, writer.run, numbers(alone))
        assert not wrong, (f"killed after {moment:.2f} s of {whole:.2f} s", wrong)
        snapshots.clean(alone)
        snapshots.nothing_is_half_made(alone)
    record_property("seconds of a restore that nobody kills", whole)
    record_property("killed while they worked", interrupted)
    # Moments that come too late are no test of it.
    assert interrupted > 10


def killed_after(seconds: float, node: NspawnNode, *options: str) -> bool:
    """Whether a reset still worked when it was killed after this time, with all that it had started."""
    unit = "killed-reset.service"
    node.systemctl("stop", product.SERVER)
    node.run("systemd-run", "--quiet", f"--unit={unit}", "rke2-units", "cluster-reset", "--yes", *options)
    time.sleep(seconds)
    node.systemctl("kill", "--signal=KILL", unit, check=False)
    node.wait_for(
        "it to be gone", lambda: product.state(node, unit) not in ("active", "deactivating"), timeout=30
    )
    result = node.systemctl("show", "--property=Result", "--value", unit).stdout.strip()
    node.systemctl("reset-failed", unit, check=False)
    return result == "signal"
