"""Whoever reaches port 9345 of a server: refused, logged, and nobody else waits for it.

The attacker has an address of its own, outside all nodes; callers with a token go on meanwhile.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.node.helpers import product
from tests.node.helpers.attacker import LASTING
from tests.node.helpers.cluster import SUPERVISOR, SUPERVISOR_PORT
from tests.nodes import network
from tests.nodes.machine import Node

pytestmark = pytest.mark.alone

# The limits: seconds for the answer to a valid request, and MB that the process may grow by.
PATIENCE, GROWTH = 1.0, 20.0
# Seconds that a connection has for its handshake, and again for its first request.
ENDS_WITHIN = 25
# Connections that there may be, and seconds for which an attack goes on that could go on for ever.
ALL_CONNECTIONS, LASTS = 256, 5
STATIC = "/var/lib/rancher/rke2/server/static/attacks"
CREDENTIALS = "/root/attacks/curl"
TOKEN = "/var/lib/rancher/rke2/server/token"


def memory(node: Node) -> float:
    """MB that the supervisor has for itself. What it shares counts less the more others have it too."""
    rollup = node.read(f"/proc/{node.main_pid(SUPERVISOR)}/smaps_rollup")
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Anonymous:")) / 1000


@cache
def memory_before(node: Node, pid: int) -> float:
    """What the process with this PID had when the tests first looked."""
    assert node.main_pid(SUPERVISOR) == pid
    return memory(node)


@pytest.fixture
def supervisor(server: Node) -> Node:
    """A server whose supervisor has been asked before, and a file for curl that holds a server's token."""
    user = server.read(TOKEN).strip().rpartition("::")[2]
    server.write(CREDENTIALS, f'user = "{user}"\n', mode=0o600)
    for _ in range(20):
        valid_request(server)
    return server


def valid_request(node: Node) -> float:
    """Seconds that somebody with a token waits for an answer."""
    options = [
        "--silent",
        "--insecure",
        "--config",
        CREDENTIALS,
        "--output",
        "/dev/null",
        "--max-time",
        "10",
    ]
    options += ["--write-out", "%{http_code} %{time_total}"]
    url = f"https://{node.address}:{SUPERVISOR_PORT}/v1-rke2/config"
    status, seconds = node.run("curl", *options, url, check=False).stdout.split()
    assert status == "200", f"a valid request got {status}"
    return float(seconds)


def growth(node: Node) -> float:
    """MB by which the supervisor is larger than before all attacks."""
    return memory(node) - memory_before(node, node.main_pid(SUPERVISOR))


@contextmanager
def nobody_waits(node: Node) -> Iterator[None]:
    """Whatever happens inside: valid requests are answered in time, the process and its memory stay."""
    pid = node.main_pid(SUPERVISOR)
    memory_before(node, pid)
    yield
    assert valid_request(node) < PATIENCE
    assert node.main_pid(SUPERVISOR) == pid
    assert growth(node) < GROWTH


def ask_while(attack: "subprocess.Popen[str]", node: Node) -> str:
    """Make valid requests until the attack is over, and look at the memory; what the attacker printed."""
    waited, grown = [], []
    while attack.poll() is None:
        waited.append(valid_request(node))
        grown.append(growth(node))
        time.sleep(0.2)
    assert max(waited, default=0.0) < PATIENCE, waited
    assert max(grown, default=0.0) < GROWTH, grown
    output, _ = attack.communicate()
    assert attack.returncode == 0
    return output


def outside(*command: str) -> "subprocess.Popen[str]":
    """Start a program of the tests outside all nodes, at the gateway's address."""
    enter = ["ip", "netns", "exec", network.NAMESPACE]
    return subprocess.Popen([*enter, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def is_logged(node: Node, since: str) -> bool:
    return network.GATEWAY in node.journal(SUPERVISOR, since=since)


@pytest.mark.parametrize(
    "kind, count, answers",
    [
        ("silent", 200, set()),
        ("half_a_handshake", 200, set()),
        ("garbage", 200, set()),
        ("half_a_request", 100, {"400", "408"}),
        ("large_header", 1, {"400", "431"}),
        ("large_body", 3, {"401", "413", "429"}),
        ("large_chunked_body", 3, {"401", "413", "429"}),
    ],
)
def test_connections_that_say_nothing_valid_are_ended_and_hold_nobody_up(
    supervisor: Node, kind: str, count: int, answers: set[str]
) -> None:
    since = supervisor.now()
    program = str(Path(__file__).parent / "helpers/attacker.py")
    with nobody_waits(supervisor):
        words = (kind, supervisor.address, str(SUPERVISOR_PORT), str(count), str(ENDS_WITHIN))
        found = json.loads(ask_while(outside(sys.executable, program, *words), supervisor))
        assert found["ended"] == count
        assert {line.split()[1] for line in found["answers"]} <= answers
    supervisor.wait_for("the journal to say so", lambda: is_logged(supervisor, since), timeout=5)


@pytest.fixture
def large_file(supervisor: Node) -> Iterator[None]:
    """One for /static/attacks/large."""
    supervisor.sh(f"mkdir -p {STATIC} && head -c 16M /dev/zero > {STATIC}/large")
    yield
    supervisor.sh(f"rm -r {STATIC}")


@pytest.mark.long
@pytest.mark.usefixtures("large_file")
@pytest.mark.parametrize("kind", LASTING)
def test_whoever_keeps_all_connections_busy_holds_no_node_up(supervisor: Node, kind: str) -> None:
    program = str(Path(__file__).parent / "helpers/attacker.py")
    with nobody_waits(supervisor):
        words = (kind, supervisor.address, str(SUPERVISOR_PORT), str(ALL_CONNECTIONS), str(LASTS))
        assert json.loads(ask_while(outside(sys.executable, program, *words), supervisor))["made"]


TRICKS = (
    "/static/../tls/server-ca.key",
    "/static/..%2ftls%2fserver-ca.key",
    "/static/%2e%2e/%2e%2e/server/token",
    "/static//etc/passwd",
    "/static/%00",
    "/static/",
    "/cacerts/../v1-rke2/server-bootstrap",
    "/ping/..;/v1-rke2/server-bootstrap",
    "//v1-rke2/server-bootstrap",
    "/v1-rke2//server-bootstrap",
    "/v1-rke2/./server-bootstrap",
    "/V1-RKE2/server-bootstrap",
    "/v1-rke2/server-bootstrap?token=1",
    "/v1-k3s/server-bootstrap",
    "/%76%31-rke2/server-bootstrap",
    "/db/info/",
    "/" + "a" * 20000,
    "/.git/config",
)


def test_no_trick_with_a_path_leads_to_anything(supervisor: Node) -> None:
    base = f"https://{supervisor.address}:{SUPERVISOR_PORT}"
    with nobody_waits(supervisor):
        for path in TRICKS:
            options = ["--silent", "--insecure", "--path-as-is", "--max-time", "10"]
            said = outside("curl", *options, "--write-out", "\n%{http_code}", f"{base}{path}")
            body, _, status = said.communicate()[0].rpartition("\n")
            assert 400 <= int(status) < 500, (path, status, body)
            assert not any(word in body for word in ("PRIVATE KEY", "root:", "K10", "Content")), (path, body)


def test_failed_logins_are_logged_and_throttled_by_address(supervisor: Node) -> None:
    since = supervisor.now()
    url = f"https://{supervisor.address}:{SUPERVISOR_PORT}/v1-rke2/server-bootstrap"
    with nobody_waits(supervisor):
        login = f"curl -sk -u server:guess$i -w '%{{http_code}}\\n' -o /dev/null {url}"
        script = f"for i in $(seq 100); do {login}; done"
        statuses = ask_while(outside("sh", "-c", script), supervisor).split()
    assert set(statuses) == {"401", "429"}
    assert statuses[0] == "401" and statuses.count("401") < 60
    said = supervisor.journal(SUPERVISOR, since=since)
    assert 1 < said.count(network.GATEWAY) < 60
    assert "guess" not in said


def test_what_a_client_calls_the_server_becomes_no_part_of_its_certificate(supervisor: Node) -> None:
    target = f"{supervisor.address}:{SUPERVISOR_PORT}"
    shown = "openssl x509 -noout -ext subjectAltName"
    for name in ("attacker.example", "another.example"):
        script = f"openssl s_client -connect {target} -servername {name} </dev/null 2>/dev/null | {shown}"
        assert "example" not in supervisor.sh(script).stdout
        header = f"Host: {name}"
        assert supervisor.run("curl", "-sk", "-H", header, f"https://{target}/ping").stdout.strip() == "pong"


def test_the_server_is_as_it_was(supervisor: Node) -> None:
    assert product.is_running(supervisor)
    assert int(supervisor.unit(SUPERVISOR)["NRestarts"]) == 0
