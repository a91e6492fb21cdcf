"""A cluster of several nodes: how the tests make one, what they ask it, and who writes to it meanwhile."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests import plain_nodes
from tests.node.helpers import product, writes
from tests.node.helpers.product import BASIC_CONFIG
from tests.node.helpers.writes import Write
from tests.nodes.content import Content, content
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode
from tests.package import build_deb

AGENT = "rke2-agent.service"
PROXY = "rke2-api-proxy.service"
SUPERVISOR = "rke2-supervisor.service"
SUPERVISOR_PORT = 9345
# What the cluster is given before there is one, so that all its servers can start at the same moment.
TOKEN = "correct-horse-battery-staple"
AGENT_UNITS = plain_nodes.started_units(plain_nodes.AGENT)
TLS = "/var/lib/rancher/rke2/server/tls"
_TOKEN_FILE = "/root/token"
_ETCDCTL = "/root/etcdctl"
_WRITER = "/root/writer"


def at_once(*actions: Callable[[], object]) -> None:
    """Do all of it at the same time; the first failure is raised after the last one has ended."""
    with ThreadPoolExecutor(len(actions)) as pool:
        for future in [pool.submit(action) for action in actions]:
            future.result()


def url(server: Node, port: int = SUPERVISOR_PORT) -> str:
    return f"https://{server.address}:{port}"


@contextmanager
def machines(suite: str, *names: str) -> Iterator[list[NspawnNode]]:
    """Nodes with the content of their suite, and nothing of ours on them."""
    with ExitStack() as stack:
        made = content(suite)
        boot = NspawnNode.boot
        yield [stack.enter_context(boot(name, suite, made, replace=True)) for name in names]


def install(
    node: Node,
    role: str = "server",
    *,
    token: str = TOKEN,
    server: Node | None = None,
    at: str = "",
    config: str = "",
) -> None:
    """The package, the role, and what it takes to join; nothing is started.

    `server` or the URL `at` is what the node joins, `config` is more configuration.
    """
    made = content(node.suite)
    node.write(_TOKEN_FILE, f"{token}\n", mode=0o600)
    options = ["--token-file", _TOKEN_FILE]
    at = url(server) if server is not None else at
    options += ["--server", at] if at else []
    basic = BASIC_CONFIG if role == "server" else ""
    product.install(node, build_deb(node.suite), made.release, basic + config, role=role, options=options)
    if role == "server":
        _bring_etcdctl(node, made)


def agent_is_running(node: Node) -> bool:
    """The daemon is up, every unit of an agent is, and the daemon has nothing to complain of."""
    return (
        set(product.states(node, AGENT, *AGENT_UNITS)) == {"active"}
        and node.unit(AGENT)["StatusText"] == "running"
    )


def wait_until_agent_runs(node: Node, timeout: float = product.PATIENCE) -> None:
    node.wait_for("rke2-agent and all its units to run", lambda: agent_is_running(node), timeout=timeout)


def wait_until_ready(via: Node, *names: str, timeout: float = 120) -> None:
    """Wait until these nodes are Ready, as the API of another one tells."""

    def ready() -> bool:
        lines = via.kubectl("get", "nodes", "--no-headers").stdout.splitlines()
        return set(names) <= {line.split()[0] for line in lines if line.split()[1] == "Ready"}

    via.wait_for(f"{', '.join(names)} to be Ready", ready, timeout=timeout, interval=0.5)


# -- etcd, asked with its own client -----------------------------------------------------------------


def _bring_etcdctl(node: Node, made: Content) -> None:
    node.copy_in(made.programs / "etcdctl", _ETCDCTL)


def _etcdctl(node: Node, *arguments: str) -> str:
    material = [f"--cacert={TLS}/etcd/server-ca.crt"]
    material += [f"--cert={TLS}/etcd/client.crt", f"--key={TLS}/etcd/client.key"]
    endpoint = "--endpoints=https://127.0.0.1:2379"
    return node.run(_ETCDCTL, endpoint, *material, *arguments, "--write-out=json").stdout


def voters(via: Node) -> set[str]:
    """The nodes whose members of etcd vote."""
    return {node for node, voter in members(via) if voter}


def members(via: Node) -> list[tuple[str, bool]]:
    """Each member's node ("" before its first start), and whether it votes."""
    listed = json.loads(_etcdctl(via, "member", "list"))["members"]
    # The member of a node is called NODE-12345678.
    return [(each.get("name", "")[:-9], not each.get("isLearner", False)) for each in listed]


def leads(node: Node) -> bool:
    """Whether the node's own member is the leader."""
    [endpoint] = json.loads(_etcdctl(node, "endpoint", "status"))
    status = endpoint["Status"]
    return bool(status["leader"] == status["header"]["member_id"])


# -- a cluster ---------------------------------------------------------------------------------------


@dataclass
class Cluster:
    """Servers, an agent, and the accounts of all who have written through its API so far."""

    suite: str
    servers: list[NspawnNode]
    agent: NspawnNode
    runs: dict[str, list[Write]] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        return {node.name for node in (*self.servers, self.agent)}

    def others(self, *without: Node) -> list[NspawnNode]:
        """The servers but these."""
        return [server for server in self.servers if server not in without]

    def leader(self) -> NspawnNode:
        """The server whose member of etcd leads."""
        for _ in range(50):
            for server in self.servers:
                if leads(server):
                    return server
            # An election.
            time.sleep(0.2)
        raise TimeoutError("etcd has no leader")

    def wait_until_whole(self, timeout: float = 240) -> None:
        """Wait until every node runs with all its units, every server votes, and every node is Ready."""
        deadline = time.monotonic() + timeout

        def left() -> float:
            return max(1.0, deadline - time.monotonic())

        first = self.servers[0]
        for server in self.servers:
            product.wait_until_running(server, timeout=left())
        first.wait_for(
            "every server to vote",
            lambda: sorted(members(first)) == sorted((server.name, True) for server in self.servers),
            timeout=left(),
        )
        wait_until_agent_runs(self.agent, timeout=left())
        wait_until_ready(first, *self.names, timeout=left())

    def check_restored(self, since: float, until: float) -> None:
        """The cluster is that of a snapshot which was taken within this time, on each of its servers."""
        self.runs = {run: writes.as_of(account, since, until) for run, account in self.runs.items()}
        self.check_writes()

    def check_writes(self) -> None:
        """What the accounts say must be there, each server's API says too."""
        for server in self.servers:
            found = numbers(server)
            wrong = [
                fault for run, account in self.runs.items() for fault in writes.faults(account, run, found)
            ]
            assert not wrong, (server.name, wrong)


def numbers(server: Node) -> dict[str, int]:
    """All that writers have left, as one API has it."""
    listed = json.loads(server.kubectl("get", "configmaps", "-o", "json").stdout)["items"]
    return {
        each["metadata"]["name"]: int(each["data"]["number"])
        for each in listed
        if "number" in (each.get("data") or {})
    }


@contextmanager
def three_servers_and_an_agent(suite: str, prefix: str) -> Iterator[Cluster]:
    """A cluster whose servers were started at the same moment, and its agent after them."""
    names = [f"{prefix}-{name}" for name in ("1", "2", "3", "agent")]
    with machines(suite, *names) as [first, second, third, agent]:
        build_deb(suite)
        at_once(
            lambda: install(first),
            lambda: install(second, server=first),
            lambda: install(third, server=first),
            lambda: install(agent, "agent", server=first),
        )
        cluster = Cluster(suite, [first, second, third], agent)
        at_once(*(partial(product.start, node, timeout=360) for node in cluster.servers))
        agent.run("systemctl", "start", AGENT, timeout=120)
        cluster.wait_until_whole()
        yield cluster


# -- who writes meanwhile ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Writer:
    """A client that writes through a node's own way to the API: an agent's proxy, a server's apiserver."""

    node: NspawnNode
    run: str

    def start(self, credentials: Mapping[str, str]) -> None:
        for name, text in credentials.items():
            self.node.write(f"{_WRITER}/{name}", text, mode=0o600)
        self.node.copy_in(Path(__file__).with_name("writer.py"), f"{_WRITER}/writer.py")
        command = ["python3", f"{_WRITER}/writer.py", "https://127.0.0.1:6443", _WRITER, self.run]
        self.node.run("systemd-run", "--quiet", f"--unit={self.run}", *command)

    def stop(self) -> None:
        # It is gone already when its machine was.
        self.node.systemctl("stop", self.run, check=False)

    def wait_until_acknowledged(self, since: float = 0, timeout: float = 20, more_than: int = 3) -> None:
        """Wait until the API has acknowledged more than so many writes that were begun since then."""

        def some() -> bool:
            acknowledged = [each for each in writes.acknowledged(self.account()) if each.began >= since]
            return len(acknowledged) > more_than

        self.node.wait_for(f"{self.run} to write", some, timeout=timeout, interval=0.5)

    def account(self) -> list[Write]:
        return writes.parse(self.node.read(f"{_WRITER}/{self.run}.jsonl"))

    def longest_pause(self, since: float, until: float) -> float:
        """Seconds without an acknowledged write in this time, at most."""
        return writes.longest_pause(self.account(), since, until)


def writer_credentials(server: Node) -> dict[str, str]:
    """The cluster's administrator, as a writer wants it."""
    return {
        "ca.crt": server.read(f"{TLS}/server-ca.crt"),
        "client.crt": server.read(f"{TLS}/client-admin.crt"),
        "client.key": server.read(f"{TLS}/client-admin.key"),
    }


@contextmanager
def writing(cluster: Cluster, *nodes: NspawnNode) -> Iterator[list[Writer]]:
    """Somebody writes on each of these nodes all the time; in the end all that was acknowledged holds."""
    credentials = writer_credentials(cluster.servers[0])
    started = len(cluster.runs)
    writers = [Writer(node, f"writer-{started + number}") for number, node in enumerate(nodes)]
    for writer in writers:
        writer.start(credentials)
    for writer in writers:
        writer.wait_until_acknowledged()
    yield writers
    keep_accounts(cluster, writers)
    cluster.check_writes()


def keep_accounts(cluster: Cluster, writers: Iterable[Writer]) -> None:
    """Nobody writes any more; what was acknowledged is part of the cluster's account."""
    for writer in writers:
        writer.stop()
    cluster.runs |= {writer.run: writer.account() for writer in writers}


def longest_pause(writers: Sequence[Writer], since: float, seconds: float) -> float:
    """Wait until so many seconds have gone by since then; in these, nobody was without an acknowledged write
    for longer than this."""
    time.sleep(max(0.0, since + seconds - time.time()))
    return max(writer.longest_pause(since, since + seconds) for writer in writers)
