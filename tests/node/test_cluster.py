"""Three servers and an agent, with clients that write through the API all the time.

In the order of the file, one cluster goes through all of it; on etcd 3.5 and on a newer systemd in the long
series only. It takes two processors for itself.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.node.helpers import product
from tests.node.helpers.cluster import (
    AGENT,
    Cluster,
    at_once,
    install,
    longest_pause,
    members,
    three_servers_and_an_agent,
    voters,
    wait_until_agent_runs,
    writing,
)
from tests.node.helpers.product import SERVER, state
from tests.nodes.content import content
from tests.nodes.nspawn import NspawnNode

pytestmark = pytest.mark.alone

# Seconds: writes go on within the first of losing one server of three; for the second, they are looked at.
WITHIN, WATCHED = 20.0, 30.0

Record = Callable[[str, object], None]


@pytest.fixture(scope="module", params=["bookworm", pytest.param("trixie", marks=pytest.mark.long)])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with three_servers_and_an_agent(request.param, "cluster") as made:
        yield made


def test_three_servers_started_at_the_same_moment_end_as_three_voters(cluster: Cluster) -> None:
    names = {server.name for server in cluster.servers}
    assert all(voters(server) == names for server in cluster.servers)
    # One after the other: who is not first says what it waits for.
    joined = [server.journal("rke2-etcd-join.service") for server in cluster.servers[1:]]
    assert any("waiting" in said for said in joined)
    assert "rke2-etcd-join" not in cluster.servers[0].journal(SERVER)


def test_a_short_token_is_taken_with_a_warning_that_names_the_risk(cluster: Cluster) -> None:
    for node, unit in ((cluster.agent, AGENT), (cluster.servers[1], SERVER)):
        said = node.journal(unit)
        assert "no hash of the cluster's authority" in said and "receives the token" in said


def test_writes_go_on_and_the_agent_starts_without_the_server_it_was_told(
    cluster: Cluster, record_property: Record
) -> None:
    first, *others = cluster.servers
    with writing(cluster, cluster.agent, *others) as writers:
        since = time.time()
        first.crash()
        pause = longest_pause(writers, since, WATCHED)
        record_property("seconds without a write", pause)
        assert pause < WITHIN
        cluster.agent.systemctl("restart", AGENT, timeout=60)
        wait_until_agent_runs(cluster.agent)
        first.power_on(timeout=180)
        cluster.wait_until_whole()


@pytest.mark.parametrize(
    ("lose", "regain"),
    [
        pytest.param(NspawnNode.unplug, NspawnNode.plug_in, id="cut off"),
        pytest.param(NspawnNode.pause, NspawnNode.resume, id="paused", marks=pytest.mark.long),
    ],
)
def test_writes_go_on_without_the_leader_and_nothing_comes_back_from_it(
    cluster: Cluster,
    lose: Callable[[NspawnNode], None],
    regain: Callable[[NspawnNode], None],
    record_property: Record,
) -> None:
    leader = cluster.leader()
    with writing(cluster, cluster.agent, *cluster.servers) as writers:
        outside = [writer for writer in writers if writer.node is not leader]
        since = time.time()
        lose(leader)
        try:
            pause = longest_pause(outside, since, WATCHED)
        finally:
            regain(leader)
        record_property("seconds without a write", pause)
        assert pause < WITHIN
        cluster.wait_until_whole()
        # The lost one's own client writes again, too.
        for writer in writers:
            writer.wait_until_acknowledged(more_than=20)


@pytest.mark.long
def test_all_servers_reboot_one_after_the_other(cluster: Cluster, record_property: Record) -> None:
    with writing(cluster, cluster.agent) as [writer]:
        since = time.time()
        for server in cluster.servers:
            server.reboot(timeout=180)
            cluster.wait_until_whole()
        pause = writer.longest_pause(since, time.time())
        record_property("seconds without a write", pause)
        assert pause < WITHIN


@pytest.mark.long
def test_two_lost_servers_stop_all_writes_and_bring_them_back_with_them(
    cluster: Cluster, record_property: Record
) -> None:
    kept, *lost = cluster.servers
    with writing(cluster, cluster.agent, kept) as writers:
        at_once(*(server.crash for server in lost))
        # What was on its way is answered by then.
        time.sleep(10)
        since = time.time()
        assert longest_pause(writers, since, WATCHED) == pytest.approx(WATCHED)
        assert state(kept, SERVER) == "active"
        assert "degraded" in product.status_text(kept)
        back = time.time()
        at_once(*(partial(server.power_on, timeout=240) for server in lost))
        for writer in writers:
            writer.wait_until_acknowledged(back, timeout=120)
        record_property("seconds until writes went on", time.time() - back)
        cluster.wait_until_whole()


@pytest.mark.long
@pytest.mark.parametrize("number", [2, 0], ids=["a server that joined", "the first server"])
def test_a_server_whose_disk_is_lost_is_replaced_with_the_token_alone(cluster: Cluster, number: int) -> None:
    lost = cluster.servers[number]
    first, *_ = others = cluster.others(lost)
    with writing(cluster, cluster.agent, *others):
        lost.remove()
        first.kubectl("delete", "node", lost.name)
        first.wait_for(
            "its member to be removed",
            lambda: sorted(members(first)) == sorted((server.name, True) for server in others),
            timeout=60,
        )
        new = NspawnNode.boot(lost.name, cluster.suite, content(cluster.suite))
        cluster.servers[number] = new
        install(new, server=first)
        product.start(new)
        cluster.wait_until_whole()


@pytest.mark.always
def test_every_write_that_was_acknowledged_holds_on_every_server(cluster: Cluster) -> None:
    assert all(len(account) > 20 for account in cluster.runs.values())
    cluster.check_writes()
