"""One server, an agent that joins it, and a stranger that may not.

In the order of the file, the same nodes go through all of it. What a cluster of several servers does is in
test_cluster.py.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.node.helpers import product
from tests.node.helpers.cluster import (
    AGENT,
    SUPERVISOR,
    TLS,
    install,
    machines,
    url,
    wait_until_agent_runs,
    wait_until_ready,
)
from tests.node.helpers.product import KUBELET, SERVER, state
from tests.nodes.content import content
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode

DATA = "/var/lib/rancher/rke2"
AGENT_DATA = f"{DATA}/agent"
PASSWORD_FILE = "/etc/rancher/node/password"
TOKEN_FILE = "/etc/rancher/rke2/token"
MISMATCH = "token CA hash does not match the Cluster CA certificate hash"
REJECTED = "Node password rejected"


@dataclass(frozen=True)
class Nodes:
    """`token` is the server's own, with the hash of its authority."""

    server: NspawnNode
    agent: NspawnNode
    stranger: NspawnNode
    token: str

    @property
    def password(self) -> str:
        return self.token.rpartition(":")[2]


@pytest.fixture(scope="module")
def nodes(deb: Path) -> Iterator[Nodes]:
    with machines("bookworm", "joining", "joining-agent", "joining-stranger") as [server, agent, stranger]:
        product.install(server, deb, content("bookworm").release)
        product.start(server)
        product.wait_until_running(server)
        token = server.read(f"{DATA}/server/node-token").strip()
        install(agent, "agent", token=token, server=server)
        yield Nodes(server, agent, stranger, token)


def ask(
    node: Node,
    server: Node,
    path: str,
    *,
    user: str = "",
    certificate: str = "",
    headers: Mapping[str, str] | None = None,
    request: str = "",
) -> tuple[int, str]:
    """Status and body of what the server's supervisor answers.

    user: USER:PASSWORD. certificate: a client certificate on the node, without .crt and .key. request: a
    file on the node that is posted.
    """
    lines = [f'url = "{url(server)}{path}"', "silent", "show-error", "insecure", "path-as-is"]
    lines += [f'user = "{user}"'] if user else []
    lines += [f'cert = "{certificate}.crt"', f'key = "{certificate}.key"'] if certificate else []
    lines += [f'header = "{name}: {value}"' for name, value in (headers or {}).items()]
    lines += [f'data-binary = "@{request}"'] if request else []
    lines.append(r'write-out = "\n%{http_code}"')
    body, _, status = node.run("curl", "--config", "-", input="\n".join(lines)).stdout.rpartition("\n")
    return int(status), body


def signing_request(node: Node) -> str:
    """A file on the node: a request for a certificate, whose subject asks for more than anybody gets."""
    made = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /root/asked.key"
    node.sh(f"{made} -subj /O=system:masters/CN=admin -outform DER -out /root/asked.der")
    return "/root/asked.der"


def said(node: Node, unit: str, since: str, *words: str) -> None:
    """The unit's journal has all of these words, soon."""
    node.wait_for(
        f"the journal of {unit} to say {words}",
        lambda: all(word in node.journal(unit, since=since) for word in words),
        timeout=5,
    )


# -- an agent joins ----------------------------------------------------------------------------------


def test_an_agent_joins_with_its_servers_token_and_becomes_ready(nodes: Nodes) -> None:
    nodes.agent.systemctl("start", AGENT)
    wait_until_agent_runs(nodes.agent)
    wait_until_ready(nodes.server, nodes.agent.name)
    assert nodes.agent.run("stat", "--format=%a %U", TOKEN_FILE).stdout.split() == ["600", "root"]


def test_the_token_is_in_no_process_no_unit_and_no_journal(nodes: Nodes) -> None:
    for node in (nodes.server, nodes.agent):
        assert nodes.password not in node.run("ps", "-eo", "args", "-ww").stdout
        assert nodes.password not in node.sh("cat /proc/[0-9]*/environ 2>/dev/null || true").stdout
        assert nodes.password not in node.journal()
        assert nodes.password not in node.sh("systemctl cat 'rke2-*'").stdout


def test_an_agent_has_its_keys_for_itself(nodes: Nodes) -> None:
    found = nodes.agent.sh(f"stat --format='%n %a' {AGENT_DATA}/*.key").stdout.splitlines()
    keys = dict(line.removeprefix(f"{AGENT_DATA}/").split() for line in found)
    names = ("serving-kubelet", "client-kubelet", "client-kube-proxy", "client-rke2-controller")
    assert {f"{name}.key" for name in names} <= keys.keys()
    assert set(keys.values()) == {"600"}


def test_a_restarted_agent_changes_nothing(nodes: Nodes) -> None:
    def material() -> str:
        return nodes.agent.sh(f"sha256sum {AGENT_DATA}/*.crt {AGENT_DATA}/*.key").stdout

    before, kubelet = material(), nodes.agent.main_pid(KUBELET)
    with product.containers_live_on(nodes.agent):
        nodes.agent.systemctl("restart", AGENT)
        wait_until_agent_runs(nodes.agent)
    assert (material(), nodes.agent.main_pid(KUBELET)) == (before, kubelet)


@pytest.mark.parametrize("where", ["server", "agent"])
def test_the_status_of_any_node_shows_the_whole_cluster(nodes: Nodes, where: str) -> None:
    node: Node = getattr(nodes, where)
    shown = json.loads(node.run("rke2-units", "status", "--json").stdout)
    found = {each["name"]: each for each in shown["cluster"]["nodes"]}
    assert shown["cluster"]["problem"] == "" and shown["well"]
    assert found.keys() == {nodes.server.name, nodes.agent.name}
    assert all(each["ready"] for each in found.values())
    server, agent = found[nodes.server.name], found[nodes.agent.name]
    assert {"control-plane", "etcd"} <= set(server["roles"]) and server["etcd"] == "voter"
    assert agent["roles"] == [] and agent["etcd"] == ""


# -- a stranger does not ------------------------------------------------------------------------------


def forget(node: Node) -> None:
    """Nothing of an attempt to join is left, but the node's own password."""
    node.run("rke2-units", "killall", timeout=120)
    node.systemctl("reset-failed", AGENT, check=False)
    node.sh(f"rm -rf {AGENT_DATA}/*.crt {AGENT_DATA}/*.key {AGENT_DATA}/*.kubeconfig {AGENT_DATA}/etc")


def expired_token(server: Node) -> str:
    """A bootstrap token that was made for the past."""
    data = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "expiration": "2020-01-01T00:00:00Z",
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": data,
    }
    server.kubectl("apply", "-f", "-", input=json.dumps(secret))
    return f"{data['token-id']}.{data['token-secret']}"


@pytest.mark.parametrize(
    "how, config, words",
    [
        ("a wrong password", "", ("401",)),
        ("the hash of another cluster", "", (MISMATCH,)),
        ("an expired bootstrap token", "", ("401",)),
        ("a short token where that is forbidden", "token-require-ca-pin: true\n", ("token-require-ca-pin",)),
        ("the name of another node", "node-name: joining-agent\n", ("403", REJECTED)),
    ],
)
def test_a_stranger_is_refused_and_both_sides_say_so(
    nodes: Nodes, how: str, config: str, words: tuple[str, ...]
) -> None:
    pin = nodes.token.partition("::")[0]
    token = {
        "a wrong password": f"{pin}::server:wrong",
        "the hash of another cluster": f"K10{'0' * 64}::server:{nodes.password}",
        "an expired bootstrap token": f"{pin}::{expired_token(nodes.server)}",
        "a short token where that is forbidden": nodes.password,
    }.get(how, nodes.token)
    stranger = nodes.stranger
    install(stranger, "agent", token=token, server=nodes.server, config=config)
    here, there = stranger.now(), nodes.server.now()
    assert stranger.systemctl("start", AGENT, check=False, timeout=60).returncode != 0
    said(stranger, AGENT, here, *words)
    assert state(stranger, KUBELET) == "inactive"
    assert not stranger.exists(f"{AGENT_DATA}/client-kubelet.crt")
    if "40" in words[0]:
        said(nodes.server, SUPERVISOR, there, stranger.address)
    forget(stranger)


def test_a_certificate_is_for_the_node_that_asks_and_for_nothing_else(nodes: Nodes) -> None:
    request = signing_request(nodes.agent)
    own = nodes.agent.read(PASSWORD_FILE).strip()
    headers = {"rke2-Node-Name": nodes.agent.name, "rke2-Node-Password": own}
    status, body = ask(
        nodes.agent,
        nodes.server,
        "/v1-rke2/client-kubelet.crt",
        certificate=f"{AGENT_DATA}/client-kubelet",
        headers=headers,
        request=request,
    )
    assert status == 200, body
    shown = nodes.agent.run(
        "openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253", input=body
    ).stdout
    assert shown.strip() == f"subject=CN=system:node:{nodes.agent.name},O=system:nodes"


CERTIFICATES = ("client-kubelet.crt", "serving-kubelet.crt")


@pytest.mark.parametrize("certificate", CERTIFICATES)
def test_nobody_gets_another_nodes_certificate(nodes: Nodes, certificate: str) -> None:
    stranger, agent, server = nodes.stranger, nodes.agent, nodes.server
    path = f"/v1-rke2/{certificate}"
    agents_password = agent.read(PASSWORD_FILE).strip()
    since = server.now()
    # With the token of the cluster, and a password that is not that node's: any, and that of another node.
    for name, password in ((agent.name, "0" * 32), (server.name, agents_password)):
        status, body = ask(
            stranger,
            server,
            path,
            user=f"server:{nodes.password}",
            headers={"rke2-Node-Name": name, "rke2-Node-Password": password},
            request=signing_request(stranger),
        )
        assert status == 403 and "BEGIN" not in body, body
        said(server, SUPERVISOR, since, stranger.address, REJECTED)
    # As a node, and with that very node's password.
    servers_password = server.read(PASSWORD_FILE).strip()
    status, body = ask(
        agent,
        server,
        path,
        certificate=f"{AGENT_DATA}/client-kubelet",
        headers={"rke2-Node-Name": server.name, "rke2-Node-Password": servers_password},
        request=signing_request(agent),
    )
    assert status == 403 and "BEGIN" not in body, body
    said(server, SUPERVISOR, since, agent.address)


def test_no_answer_ever_carries_a_private_key(nodes: Nodes) -> None:
    # RKE2's answer to a GET is its shared key.
    for certificate in (*CERTIFICATES, "client-kube-proxy.crt", "client-rke2-controller.crt"):
        status, body = ask(
            nodes.stranger, nodes.server, f"/v1-rke2/{certificate}", user=f"server:{nodes.password}"
        )
        assert status == 405 and "PRIVATE KEY" not in body, body


@pytest.mark.parametrize("path", ["/v1-rke2/server-bootstrap", "/db/info"])
def test_what_servers_are_told_is_for_servers(nodes: Nodes, path: str) -> None:
    assert ask(nodes.stranger, nodes.server, path)[0] == 401
    assert ask(nodes.stranger, nodes.server, path, user=f"node:{nodes.password}")[0] == 403
    assert ask(nodes.agent, nodes.server, path, certificate=f"{AGENT_DATA}/client-kubelet")[0] == 403
    status, body = ask(nodes.stranger, nodes.server, path, user=f"server:{nodes.password}")
    assert status == 200 and json.loads(body)


# -- a stranger that is let in ------------------------------------------------------------------------


def test_an_agent_waits_for_its_server_and_joins_with_a_bootstrap_token(nodes: Nodes) -> None:
    server, stranger = nodes.server, nodes.stranger
    token = server.run("rke2-units", "token", "create", "--ttl", "10m").stdout.strip()
    listed = server.run("rke2-units", "token", "list").stdout
    assert token.rpartition("::")[2].partition(".")[0] in listed and token.rpartition(".")[2] not in listed
    install(stranger, "agent", token=token, server=server)
    server.systemctl("stop", SERVER)
    stranger.systemctl("start", "--no-block", AGENT)
    stranger.wait_for(
        "the agent to say what it waits for",
        lambda: url(server) in stranger.unit(AGENT)["StatusText"],
        timeout=20,
    )
    product.start(server)
    wait_until_agent_runs(stranger)
    wait_until_ready(server, stranger.name)


def test_a_deleted_node_gives_its_name_free(nodes: Nodes) -> None:
    server, stranger = nodes.server, nodes.stranger
    secret = f"{stranger.name}.node-password.rke2"
    assert server.kubectl("-n", "kube-system", "get", "secret", secret).returncode == 0
    forget(stranger)
    server.kubectl("delete", "node", stranger.name)
    server.wait_for(
        "the Secret with its password to go",
        lambda: (
            server.kubectl("-n", "kube-system", "get", "secret", secret, "--ignore-not-found").stdout == ""
        ),
        timeout=30,
    )
    assert ask(stranger, server, "/cacerts")[1] == server.read(f"{TLS}/server-ca.crt")


def test_another_token_takes_the_place_of_the_servers(nodes: Nodes) -> None:
    server, agent = nodes.server, nodes.agent
    server.run("rke2-units", "token", "rotate", timeout=60)
    new = server.read(f"{DATA}/server/node-token").strip().rpartition(":")[2]
    path = "/v1-rke2/server-bootstrap"
    assert ask(agent, server, path, user=f"server:{nodes.password}")[0] == 401
    assert ask(agent, server, path, user=f"server:{new}")[0] == 200
    again = server.run("rke2-units", "token", "rotate", "--new-token-file", "-", input=new).stdout
    assert "nothing was changed" in again
    # Neither needs the old one any more.
    server.systemctl("restart", SERVER, timeout=120)
    product.wait_until_running(server)
    agent.systemctl("restart", AGENT, timeout=60)
    wait_until_agent_runs(agent)
    for node in (server, agent):
        node.wait_for("all to be well", ["rke2-units", "status"], timeout=30)
