"""Fetches what a further server needs from an existing one: the CAs and keys that all servers share."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from rke2_units.certificates import bootstrap, certificate, keys, pem
from rke2_units.certificates.token import Token
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.join import cluster_config, critical, server_list, validate
from rke2_units.join.http import Unreachable
from rke2_units.layout import Paths
from rke2_units.lean.etcd import parse_members
from rke2_units.model import File, ServerList

_API = "/v1-rke2"
_MEMBERS = "/db/info"
# The logical names of CA certificates; the name of each key is that name followed by Key.
_AUTHORITIES = tuple(name for name in bootstrap.FILES if name.endswith("CA"))
# A server that lacked one of these would create its own, and would not belong to the cluster.
_KEYS = tuple(f"{name}Key" for name in _AUTHORITIES)
_NEEDED = (*_AUTHORITIES, *_KEYS, "ServiceKey", "PasswdFile", "EncryptionConfig")
# No data of a server without an etcd member depends on these, so the cluster's own may replace them.
_REPLACEABLE = ("PasswdFile", "IPSECKey", "EncryptionConfig", "EncryptionHash")


@dataclass(frozen=True)
class Server:
    """The server that joins. `agent_password`: the password for agents in its configuration.

    `configuration`: its own answer to /v1-rke2/config.
    """

    paths: Paths
    token: Token
    agent_password: str = field(repr=False)
    configuration: Mapping[str, object]


def fetch(url: str, server: Server) -> tuple[File, ...]:
    """The files that make this server a member of the cluster at `url`; nothing is written.

    Raises Unreachable without a valid answer, Refused, and ConfigurationError for what a person must change
    on one of the two servers: critical values that differ, or files of another cluster on this server.
    """
    trusted = validate.trust(url, server.token)
    with validate.connect(trusted, server.token) as connection:
        try:
            contents = bootstrap.unpack(connection.get(f"{_API}/server-bootstrap"))
            there = cluster_config.parse(connection.get(f"{_API}/config"))
            _check(contents, trusted.authority)
        except (ConfigurationError, Unreachable):
            raise
        except UserError as error:
            raise Unreachable(f"{url}: {error.message}") from None
    critical.compare(server.configuration, there)
    _compare_agent_password(contents["PasswdFile"], server)
    _refuse_other_cluster(server.paths, contents, url)
    return tuple(_file(server.paths, name, content) for name, content in contents.items())


def members(url: str, server: Server) -> ServerList:
    """etcd's voting members, from the server at `url`. Raises the same errors as `fetch`."""
    trusted = validate.trust(url, server.token)
    with validate.connect(trusted, server.token) as connection:
        answer = connection.get(_MEMBERS)
    try:
        voters = [member for member in parse_members(json.loads(answer)) if not member.is_learner]
    except (ValueError, UserError):
        raise Unreachable(f"{url}{_MEMBERS}: the answer is not a list of members") from None
    found = server_list.of_members(member_url for member in voters for member_url in member.client_urls)
    if not found.members:
        raise Unreachable(f"{url}{_MEMBERS}: no etcd member has started")
    return found


def path(paths: Paths, name: str) -> str:
    """The path of the file with this logical name."""
    return f"{paths.server}/{bootstrap.FILES[name]}"


def _file(paths: Paths, name: str, content: bytes) -> File:
    public = name in _AUTHORITIES
    return File(path(paths, name), content.decode(), 0o644 if public else 0o600, secret=not public)


def _check(contents: Mapping[str, bytes], authority: bytes) -> None:
    """Raises UserError if the bootstrap data is incomplete or damaged. `authority` is /cacerts."""
    missing = [name for name in _NEEDED if name not in contents]
    if missing:
        raise UserError(f"the bootstrap data lacks {', '.join(missing)}")
    for name, content in contents.items():
        try:
            content.decode()
        except UnicodeDecodeError:
            raise UserError(f"the bootstrap data's {name} is not text") from None
    for name in _AUTHORITIES:
        found = certificate.load_first(contents[name].decode())
        key = _key(contents[f"{name}Key"].decode())
        if found is None or not certificate.is_authority(found):
            raise UserError(f"the bootstrap data's {name} is not a CA certificate")
        if key is None or not certificate.has_key(found, key.public_key()):
            raise UserError(f"the bootstrap data's {name} and {name}Key do not belong together")
    if contents["ServerCA"] != authority:
        raise UserError("the bootstrap data's ServerCA differs from /cacerts")
    if pem.first_private_key(contents["ServiceKey"].decode()) is None:
        raise UserError("the bootstrap data's ServiceKey is not a private key")
    try:
        json.loads(contents["EncryptionConfig"])
    except ValueError:
        raise UserError("the bootstrap data's EncryptionConfig is not JSON") from None
    _rows(contents["PasswdFile"])


def _key(text: str) -> keys.PrivateKey | None:
    try:
        return keys.load("", text, hint="")
    except UserError:
        return None


def _rows(content: bytes) -> dict[str, str]:
    """The passwords in passwd, by user."""
    rows = [row for row in csv.reader(io.StringIO(content.decode())) if row]
    if any(len(row) < 4 for row in rows):
        raise UserError("the bootstrap data's PasswdFile has a line without four fields")
    return {row[1]: row[0] for row in rows}


def _compare_agent_password(passwd: bytes, server: Server) -> None:
    there = _rows(passwd).get("node")
    if there is not None and there != server.agent_password:
        raise ConfigurationError(
            "critical configuration value mismatch between servers: agent-token differs",
            hint="set agent-token as on the other servers, or remove it here if it is not set there",
        )


def _refuse_other_cluster(paths: Paths, contents: Mapping[str, bytes], url: str) -> None:
    for name, content in contents.items():
        here = files.read_bytes(path(paths, name))
        if here and here != content and name not in _REPLACEABLE:
            raise ConfigurationError(
                f"{path(paths, name)} differs from that of the cluster at {url}",
                hint=f"this server has a cluster of its own: to give that up, remove {paths.server} and"
                " start again; to keep it, remove server from the configuration",
            )
