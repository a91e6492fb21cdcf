"""Tokens and passwords on disk: token files, passwd, IPsec key, the node's password, etcd's member name."""

import csv
import io
import os
import re
import secrets
from dataclasses import dataclass

from rke2_units.certificates import token as tokens
from rke2_units.certificates.request import Request
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError
from rke2_units.layout import Paths
from rke2_units.model import File

_SERVER = "server"
_NODE = "node"
_MEMBER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*-[0-9a-f]{8}")


@dataclass(frozen=True)
class TokenFiles:
    """`links`: symbolic links beside the token file, as path and target."""

    files: tuple[File, ...]
    links: tuple[tuple[str, str], ...]


def node_password(directory: str) -> File:
    """The password with which the node identifies itself to servers: 16 random bytes in hex."""
    path = f"{directory}/password"
    return File(path, _kept(path) or f"{secrets.token_hex(16)}\n", 0o600, secret=True)


def ipsec_key(path: str) -> File:
    """48 random bytes in hex."""
    return File(path, _kept(path) or f"{secrets.token_hex(48)}\n", 0o600, secret=True)


def etcd_name(request: Request) -> File:
    """The name of this server's etcd member: `<node>-<8 hex digits>`, without a final newline as in RKE2."""
    path = request.paths.etcd_name
    user, group = request.etcd_owner
    name = _kept(path).strip() or f"{request.node_name}-{secrets.token_hex(4)}"
    # The etcd pod owns the folder: if it puts a link there, no other file may be copied for it.
    if not _MEMBER_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{path} does not hold the name of an etcd member",
            hint="it is <node>-<8 hexadecimal digits>, as `etcdctl member list` shows it",
        )
    return File(path, name, 0o600, user, group)


def token_files(request: Request, bundle: str, had_authority: bool) -> TokenFiles:
    """Token files and passwd for the server authority in `bundle`; nothing is written yet.

    `had_authority`: whether it existed before this start. A long token is rejected if it did not (as in
    RKE2: the hash is that of another cluster's authority), and if its hash does not match the authority.
    """
    paths = request.paths
    ca_hash = tokens.authority_hash(bundle.encode())
    password = _server_password(request)
    _check_hash(request.token, "token", ca_hash, had_authority)
    _check_hash(request.agent_token, "agent-token", ca_hash, had_authority)
    agent_password = (
        _password(request.agent_token, "agent-token", _NODE) if request.agent_token else password
    )
    written = [
        _token_file(paths.token, tokens.Token(ca_hash, _SERVER, password)),
        File(paths.passwd, _passwd(paths, password, agent_password), 0o600, secret=True),
    ]
    links = [(paths.node_token, os.path.basename(paths.token))]
    if agent_password == password:
        links.append((paths.agent_token, os.path.basename(paths.token)))
    else:
        written.append(_token_file(paths.agent_token, tokens.Token(ca_hash, _NODE, agent_password)))
    return TokenFiles(tuple(written), tuple(links))


def server_password(paths: Paths) -> str:
    """The password of the server token on disk, "" if there is none yet."""
    return _password_on_disk(paths)


def rotated(paths: Paths, bundle: str, before: str, password: str) -> tuple[File, ...]:
    """The token file and passwd with this password of the server token instead of `before`.

    Agents use it as well, unless they have their own token. `bundle`: content of server-ca.crt.
    """
    node = next((row[0] for row in _rows(paths) if row[1] == _NODE), before)
    ca_hash = tokens.authority_hash(bundle.encode())
    return (
        File(
            paths.passwd, _passwd(paths, password, password if node == before else node), 0o600, secret=True
        ),
        _token_file(paths.token, tokens.Token(ca_hash, _SERVER, password)),
    )


def of_cluster(paths: Paths, bundle: str, password: str) -> tuple[File, ...]:
    """passwd, as it is, with this password of the server token; the token file; that of agents if they have
    a token of their own. `bundle`: content of server-ca.crt."""
    node = next((row[0] for row in _rows(paths) if row[1] == _NODE), password)
    ca_hash = tokens.authority_hash(bundle.encode())
    made = [
        File(paths.passwd, _passwd(paths, password, node), 0o600, secret=True),
        _token_file(paths.token, tokens.Token(ca_hash, _SERVER, password)),
    ]
    if node != password:
        made.append(_token_file(paths.agent_token, tokens.Token(ca_hash, _NODE, node)))
    return tuple(made)


def configured(text: str, what: str) -> tokens.Token:
    """The server token in this text; ConfigurationError, which names `what`, for one of agents."""
    _password(text, what, _SERVER)
    return tokens.parse(text, what)


def new_password(text: str, bundle: str) -> str:
    """The password of a new server token, short or long; ConfigurationError for another cluster's."""
    _check_hash(text, "the new token", tokens.authority_hash(bundle.encode()), had_authority=True)
    return _password(text, "the new token", _SERVER)


def _kept(path: str) -> str:
    content = files.read_text(path) or ""
    return content if content.strip() else ""


def _token_file(path: str, token: tokens.Token) -> File:
    return File(path, f"{token.text()}\n", 0o600, secret=True)


def _password(text: str, what: str, user: str) -> str:
    """The password of a configured token for this user."""
    token = tokens.parse(text, what)
    if token.bootstrap:
        raise ConfigurationError(
            f"{what} has the form of a bootstrap token, which only agents can use",
            hint="use a password of another form",
        )
    if token.user not in ("", user):
        raise ConfigurationError(f"{what} is for the user {token.user!r}, not for {user!r}")
    return token.password


def _check_hash(text: str, what: str, ca_hash: str, had_authority: bool) -> None:
    token = tokens.parse(text, what) if text else tokens.Token()
    if token.ca_hash and not had_authority:
        raise ConfigurationError(
            f"{what} names the authority of an existing cluster, but this server starts a new one",
            hint="give the password alone, or put the cluster's authorities in place first",
        )
    if not token.names_authority(ca_hash):
        raise ConfigurationError(
            f"the hash in {what} does not match this server's authority (server-ca.crt)",
            hint="use the token in server/token on a server of this cluster, or the password alone",
        )


def _server_password(request: Request) -> str:
    """The configured password, else the one on disk, else a new one."""
    paths = request.paths
    on_disk = _password_on_disk(paths)
    if not request.token:
        return on_disk or secrets.token_hex(16)
    password = _password(request.token, "token", _SERVER)
    # The cluster's data in etcd is encrypted with the one on disk; only a rotation changes both.
    if on_disk and on_disk != password and os.path.isdir(f"{paths.etcd_data}/member"):
        raise ConfigurationError(
            f"token differs from the one in {paths.token}, which this server's cluster uses",
            hint="set that one, or remove the key from the configuration; to change the token, run "
            "rke2-units token rotate --new-token-file FILE on each server",
        )
    return password


def _password_on_disk(paths: Paths) -> str:
    text = _kept(paths.token).strip()
    if text:
        return _password(text, paths.token, _SERVER)
    return next((row[0] for row in _rows(paths) if row[1] == _SERVER), "")


def _rows(paths: Paths) -> list[list[str]]:
    """passwd: password, user, user ID, group."""
    rows = [row for row in csv.reader(io.StringIO(_kept(paths.passwd))) if row]
    if any(len(row) < 4 for row in rows):
        raise ConfigurationError(
            f"{paths.passwd} has a line without the four fields password, user, user ID, group",
            hint="correct it, or remove it: it is then created from the tokens",
        )
    return rows


def _passwd(paths: Paths, password: str, agent_password: str) -> str:
    """passwd with the users node and server; other lines are kept."""
    others = [row for row in _rows(paths) if row[1] not in (_NODE, _SERVER)]
    ours = [
        [agent_password, _NODE, _NODE, "rke2:agent"],
        [password, _SERVER, _SERVER, "rke2:server"],
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(ours + others)
    return text.getvalue()
