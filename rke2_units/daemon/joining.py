"""What a node does before it has a plan: fetch its data from the cluster's servers, write and use it."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from rke2_units.certificates import token as tokens
from rke2_units.certificates.ensure import ensure, make_directories
from rke2_units.certificates.node_request import make_request
from rke2_units.cluster_names import ETCD_REMOVE_ANNOTATION
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.doors import files, journal
from rke2_units.doors.journal import Level
from rke2_units.errors import ConfigurationError
from rke2_units.join import agent, candidates, cluster_config, required, server, server_list, validate
from rke2_units.join.http import Refused, Unreachable
from rke2_units.model import File
from rke2_units.plan import api_proxy
from rke2_units.plan.cluster_config import describe_cluster
from rke2_units.plan.node import Node
from rke2_units.unit_names import Role

_Answer = TypeVar("_Answer")


class Ask(Protocol):
    """Repeats a question until it is answered, that is, as long as it raises Unreachable."""

    def __call__(self, question: Callable[[], _Answer]) -> _Answer: ...


def join_agent(node: Node, ask: Ask) -> tuple[Config, str | None]:
    """Fetches all that an agent needs from its servers; returns its configuration with the cluster's values.

    The second value is a warning or None. If no server answers, a node that has joined before uses the data
    that it already has.
    """
    config = node.config
    required.check(config)
    source = _token_source(config)
    token = validate.parse(
        config.text("token"), source, user="node", pin_required=config.boolean("token-require-ca-pin")
    )
    request = make_request(node)
    paths = request.paths
    urls = server_list.urls(server_list.read(paths.server_list), config.text("server"))
    now = datetime.now(UTC)
    ensure(request, now)  # the password by which servers know this node again
    password = agent.node_password(request.node_directory)
    joining = agent.Agent(request, token, password, api_proxy.apiserver_url(config))

    def question() -> agent.Fetched:
        try:
            return agent.fetch(urls, joining, now)
        except Unreachable as error:
            values = cluster_config.kept(paths.cluster_config) if agent.is_complete(request) else None
            if values is None:
                raise
            journal.log(
                Level.WARNING, f"no server answers, starting with the data of an earlier start: {error}"
            )
            return agent.Fetched((), values)

    fetched = _told(ask, question, config)
    # Before anything is written, because the values may be invalid.
    joined = cluster_config.over(config, fetched.values, "the cluster's servers")
    _write(fetched.files)
    return joined, validate.unverified(token, source)


def join_server(node: Node, ask: Ask) -> str | None:
    """Fetches the CAs and keys that a further server shares with the others.

    A server without etcd also fetches the addresses of etcd's members; once it has these it has joined, and
    asks nobody. Returns a warning or None.
    """
    config, paths = node.config, node.paths
    has_etcd = derived.server_roles(config).etcd
    if not has_etcd and os.path.exists(paths.etcd_wal):
        raise config.error(
            "disable-etcd",
            f"cannot be true while this server is a member of etcd ({paths.etcd_data})",
            hint=f"kubectl annotate node {node.name} {ETCD_REMOVE_ANNOTATION}=true, "
            "and when its member has been removed, remove that folder",
        )
    if not has_etcd and server_list.read(paths.server_list).members:
        return None
    required.check(config)
    source = _token_source(config)
    text = config.text("token")
    token = validate.parse(text, source, user="server", pin_required=config.boolean("token-require-ca-pin"))
    if token.bootstrap or token.user != "server":
        raise ConfigurationError(
            f"{source} is for agents, a server cannot join with it",
            hint="use the token in server/token of another server",
        )
    request = make_request(node)
    agent_token = tokens.parse(request.agent_token, "agent-token") if request.agent_token else token
    joining = server.Server(request.paths, token, agent_token.password, describe_cluster(node))
    url = config.text("server")
    made = _told(ask, lambda: candidates.first((url,), lambda one: server.fetch(one, joining)), config)
    if not has_etcd:
        known = _told(
            ask, lambda: candidates.first((url,), lambda one: server.members(one, joining)), config
        )
        # Last: if this file exists, so do all others.
        made = (*made, server_list.file(paths.server_list, known))
    make_directories(request)
    _write(made)
    return validate.unverified(token, source)


def forget_invitation(config: Config) -> None:
    """Removes the values for etcd's first start: without etcd's data they may be outdated, so join again.

    The other servers remove a member that never starts; a member that still exists is found again at once.
    """
    paths = derived.paths(config)
    if config.is_set("server") and not os.path.exists(paths.etcd_wal):
        files.remove(paths.etcd_initial)


def _told(ask: Ask, question: Callable[[], _Answer], config: Config) -> _Answer:
    """The answer; the error for a wrong setting of this node names the setting."""
    try:
        return ask(question)
    except validate.NoJoinApi as error:
        if error.url != config.text("server"):
            raise
        raise config.error("server", f"leads elsewhere: {error.message}", hint=error.hint) from None
    except Refused as error:
        if error.status != 401:
            raise
        whose = "server/token" if config.role is Role.SERVER else "server/token or server/agent-token"
        raise Refused(
            f"{_token_source(config)} is rejected: {error.message}",
            error.status,
            hint=f"use the cluster's token: it is in {derived.data_directory(config)}/{whose} of a server;"
            " it may have been rotated, or a bootstrap token has expired (rke2-units token create)",
        ) from None


def _write(made: Sequence[File]) -> None:
    # A half-written file of a killed start may contain a secret.
    for folder in sorted({os.path.dirname(file.path) for file in made}):
        files.clean(folder)
    files.write_all(made)


def _token_source(config: Config) -> str:
    return f"token ({config.source('token')})"
