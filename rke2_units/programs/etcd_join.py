"""`etcd_join --settings FILE`: this server becomes a learner of the cluster's etcd, before its own starts.

ExecStart= of rke2-etcd-join.service. What the member needs for its first start goes to db/etcd/initial.json.
A cluster takes in one learner at a time: others wait here, for as long as it takes. A run that was
interrupted after the cluster had taken this server in finds itself there and goes on.
"""

import base64
import json
import os
import time
from collections.abc import Callable

from rke2_units import ports
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean import console, http, server_certificate, write
from rke2_units.lean.etcd import Etcd, EtcdError, Member, parse_members
from rke2_units.lean.settings import Settings

_INTERVAL = 2.0
# A node that was deleted a moment ago may still have its member: this long (s) its name is waited for.
_PATIENCE = 30.0
_ANOTHER = "another server is joining"
_DUPLICATE = "duplicate node name found, please use a unique name for this node"


class Taken(ConfigurationError):
    """A member of the cluster has this node's name or address."""


def program(settings: Settings, arguments: list[str]) -> None:
    if arguments:
        raise UserError("etcd_join takes no arguments", hint="etcd_join --settings FILE")
    table = settings.etcd_join
    name, peer_url, initial = table.text("member_name"), table.text("peer_url"), table.text("initial")
    files = [table.text(key) for key in ("authority", "certificate", "key")]
    etcdctl, server = table.text("etcdctl"), table.text("server")
    authority, token_file = table.text("server_authority"), table.text("token_file")

    def attempt() -> list[Member]:
        found = ask_members(server, authority, token_file)
        etcd = Etcd(etcdctl, endpoints(found), authority=files[0], certificate=files[1], key=files[2])
        has_data = os.path.exists(f"{os.path.dirname(initial)}/member/wal")
        return join(found, etcd, settings.node_name, name, peer_url, has_data=has_data)

    members = until_joined(attempt)
    write_initial(initial, initial_cluster(members, name, peer_url))
    console.say(f"this server is a learner of etcd, one of {len(members)} members")


def until_joined(attempt: Callable[[], list[Member]]) -> list[Member]:
    """Retries until an attempt succeeds, and reports what it waits for; Taken when the name stays taken."""
    waiting = console.Waiting()
    taken_since: float | None = None
    while True:
        try:
            return attempt()
        except Taken as error:
            taken_since = taken_since or time.monotonic()
            if time.monotonic() - taken_since >= _PATIENCE:
                raise
            waiting.report("this node's name to become free", error.message)
        except ConfigurationError:
            raise
        except UserError as error:
            taken_since = None
            waiting.report(*_awaited(error))
        time.sleep(_INTERVAL)


def join(
    found: list[Member], etcd: Etcd, node: str, name: str, peer_url: str, *, has_data: bool = False
) -> list[Member]:
    """The members after this server (NODE, as member NAME at this URL) has become one of them.

    `has_data`: its etcd has started meanwhile.
    Raises Taken, and EtcdError while etcd does not take it in.
    """
    own = next((member for member in found if peer_url in member.peer_urls), None)
    if own is None:
        _refuse_duplicate(found, node)
        if any(member.is_learner for member in found):
            raise EtcdError(_ANOTHER)
        return etcd.add_learner(name, peer_url)
    if own.name and not (own.name == name and has_data):
        raise Taken(
            f"{_DUPLICATE}: etcd has a member {own.name} at {peer_url}, but its data is not on this node",
            hint=f"if that was this node, `kubectl delete node {own.node}` on another server first",
        )
    # An earlier run added it. Ask etcd again: the join API's answer may be older than that.
    return etcd.members()


def _refuse_duplicate(found: list[Member], node: str) -> None:
    for member in found:
        if member.node == node:
            raise Taken(
                f"{_DUPLICATE}: etcd has a member {member.name} at {', '.join(member.peer_urls)}",
                hint=f"if that was this node, `kubectl delete node {node}` on another server first",
            )


def endpoints(members: list[Member]) -> list[str]:
    """The client URLs of the voting members: learners answer almost no request."""
    found = [url for member in members if not member.is_learner for url in member.client_urls]
    if not found:
        raise EtcdError("none of etcd's members has started")
    return found


def initial_cluster(members: list[Member], name: str, peer_url: str) -> str:
    """etcd's initial-cluster: all members, and this server under its name."""
    parts = []
    for member in members:
        own = peer_url in member.peer_urls
        # A member that has not started has no name. etcd requires one, but compares only the URLs.
        called = name if own else member.name or f"unstarted-{member.identifier:x}"
        parts += [f"{called}={url}" for url in member.peer_urls]
    if f"{name}={peer_url}" not in parts:
        raise EtcdError(f"etcd does not list {peer_url} among its members")
    return ",".join(parts)


def write_initial(path: str, cluster: str) -> None:
    """Writes atomically the file from which etcd's configuration is made."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    content = {"initial-cluster": cluster, "initial-cluster-state": "existing"}
    with write.replace(path, 0o600) as file:
        file.write(json.dumps(content).encode())


def ask_members(server: str, authority: str, token_file: str) -> list[Member]:
    """etcd's members as the server's join API lists them (/db/info). UserError when it does not answer."""
    url = f"{server.rstrip('/')}/db/info"
    headers = {"Authorization": f"Basic {_credentials(token_file)}"}

    def accept(certificate: object) -> None:
        if not server_certificate.is_servers(certificate):
            raise UserError(f"{url}: {server_certificate.NOT_A_SERVERS}")

    try:
        _, host, port, path = http.split(url, ports.SUPERVISOR_PORT)
        with http.Connection(host, port, http.Identity(authority), accept=accept) as connection:
            answer = connection.ask(path, headers)
    except (OSError, ValueError) as error:
        raise UserError(f"{url}: {error}") from None
    if answer.status in (401, 403):
        raise ConfigurationError(
            f"{url} refuses this server's token (HTTP {answer.status})",
            hint=f"{token_file} must match server/token of another server; was that token rotated?",
        )
    if answer.status != 200:
        raise UserError(f"{url}: HTTP {answer.status}")
    try:
        return parse_members(json.loads(answer.body))
    except ValueError:
        raise UserError(f"{url}: the answer is not JSON") from None


def _credentials(token_file: str) -> str:
    """USER:PASSWORD of the K10 form in this file, as basic authentication has it."""
    try:
        with open(token_file, encoding="utf-8") as file:
            credentials = file.read().strip().partition("::")[2]
    except OSError as error:
        raise UserError(f"{token_file}: {error.strerror}") from None
    return base64.b64encode(credentials.encode()).decode()


def _awaited(error: UserError) -> tuple[str, str]:
    """The subject and the reason for the line "waiting for ..."."""
    if _ANOTHER in error.message or "too many learner" in error.message:
        return "another server, which is joining", ""
    if "unhealthy cluster" in error.message:
        return "all members of etcd to be healthy", ""
    return "etcd to accept this server", str(error)


if __name__ == "__main__":
    console.main(program, "etcd_join --settings FILE")
