"""The entry point: creates and renews all key material of a node."""

import grp
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from rke2_units.certificates import credentials, encryption, kubeconfig, table
from rke2_units.certificates.request import Request
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.model import File
from rke2_units.plan.directories import of_server
from rke2_units.unit_names import Role

if TYPE_CHECKING:
    from rke2_units.certificates.authority import Authority

__all__ = ["Request", "ensure", "make_directories"]

# Kubeconfig below server/cred, and its certificate below server/tls.
_SERVER_KUBECONFIGS = {
    "admin": "client-admin",
    "supervisor": "client-supervisor",
    "controller": "client-controller",
    "scheduler": "client-scheduler",
    "api-server": "client-kube-apiserver",
    "cloud-controller": "client-rke2-cloud-controller",
}


def ensure(request: Request, now: datetime) -> list[str]:
    """Creates what is missing, renews what is due, and returns the written paths. `now` has a time zone.

    Everything is read, checked and created in memory before the first file is written: an error changes
    nothing. A second call writes nothing.
    """
    node_password = credentials.node_password(request.node_directory)
    if request.role is Role.AGENT:
        # An agent fetches everything else from its servers.
        return _write([node_password], ())
    authorities = _authorities(request, now)
    server_ca = authorities[table.SERVER_CA]
    tokens = credentials.token_files(request, server_ca.bundle, server_ca.existed)
    # In the order of writing: an authority before what it issues, a key before its certificate.
    made = [file for authority in authorities.values() for file in authority.files]
    made += _leaves(request, authorities, now)
    made += _agent_authorities(request, authorities)
    made += _kubeconfigs(request, {file.path: file.content for file in made})
    made += tokens.files
    made += _single_files(request)
    made.append(node_password)
    make_directories(request)
    return _write(made, tokens.links) + _hand_over(request)


def make_directories(request: Request) -> None:
    """Makes a server's folders, before anything is written into them."""
    for directory in of_server(request.paths, request.etcd_owner):
        files.make_directory(directory.path, directory.mode, directory.user, directory.group)


def _server_leaves(request: Request) -> list[table.Leaf]:
    return [leaf for leaf in table.SERVER_LEAVES if request.etcd or not leaf.etcd_member]


def _authorities(request: Request, now: datetime) -> dict[str, "Authority"]:
    from rke2_units.certificates import authority

    tls = request.paths.tls
    found = {}
    for entry in table.AUTHORITIES:
        candidates = [
            f"{tls}/{leaf.name}.crt" for leaf in table.SERVER_LEAVES if leaf.authority == entry.name
        ]
        issued = [path for path in candidates if os.path.exists(path)]
        found[entry.name] = authority.ensure(entry, tls, issued, now, request.etcd_owner)
    return found


def _leaves(request: Request, authorities: Mapping[str, "Authority"], now: datetime) -> list[File]:
    from rke2_units.certificates import leaf

    made: list[File] = []

    def add(entry: table.Leaf, base: str, mode: int) -> None:
        wanted = leaf.Wanted(
            entry.common_name.format(node_name=request.node_name),
            entry.organization,
            entry.usages,
            table.alternative_names(entry.names, request),
        )
        owner = request.etcd_owner if entry.etcd_member else (0, 0)
        made.extend(leaf.ensure(wanted, base, authorities[entry.authority], now, mode=mode, owner=owner))

    for entry in _server_leaves(request):
        add(entry, f"{request.paths.tls}/{entry.name}", 0o644)
    for entry in table.AGENT_LEAVES:
        add(entry, f"{request.paths.agent}/{entry.name}", 0o600)
    for name in table.SHARED_KEYS:
        path = f"{request.paths.tls}/{name}.key"
        made.append(File(path, leaf.ensure_key(path)[1], 0o600, secret=True))
    return made


def _agent_authorities(request: Request, authorities: Mapping[str, "Authority"]) -> list[File]:
    return [
        File(f"{request.paths.agent}/{name}.crt", authorities[name].bundle, 0o600)
        for name in (table.CLIENT_CA, table.SERVER_CA)
    ]


def _kubeconfigs(request: Request, made: Mapping[str, str]) -> list[File]:
    """`made`: contents of certificates and keys, by path."""
    paths, server = request.paths, request.apiserver_url
    authority = f"{paths.tls}/{table.SERVER_CA}.crt"
    found = {
        f"{paths.credentials}/{name}.kubeconfig": (authority, f"{paths.tls}/{base}")
        for name, base in _SERVER_KUBECONFIGS.items()
    }
    agent_authority = f"{paths.agent}/{table.SERVER_CA}.crt"
    found[paths.kubelet_kubeconfig] = (agent_authority, f"{paths.agent}/client-kubelet")
    found[paths.kube_proxy_kubeconfig] = (agent_authority, f"{paths.agent}/client-kube-proxy")
    found[paths.controller_kubeconfig] = (agent_authority, f"{paths.agent}/client-rke2-controller")
    configs = [
        File(path, kubeconfig.with_paths(server, trusted, base), 0o600)
        for path, (trusted, base) in found.items()
    ]
    admin = f"{paths.tls}/client-admin"
    text = kubeconfig.with_data(
        server, request.kubeconfig_name, made[authority], made[f"{admin}.crt"], made[f"{admin}.key"]
    )
    group = _group(request.kubeconfig_group)
    configs.append(File(request.kubeconfig_path, text, request.kubeconfig_mode, 0, group, secret=True))
    return configs


def _group(name: str) -> int:
    if not name or name.isdecimal():
        return int(name or 0)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise ConfigurationError(
            f"write-kubeconfig-group: there is no group {name!r} on this machine",
            hint=f"create it (addgroup --system {name}), or correct the key",
        ) from error


def _single_files(request: Request) -> list[File]:
    from rke2_units.certificates import service_account

    paths = request.paths
    made = [
        *service_account.ensure(paths.tls),
        credentials.ipsec_key(paths.ipsec_key),
        *encryption.ensure(paths, request.secrets_encryption_provider),
    ]
    if request.etcd:
        made.append(credentials.etcd_name(request))
    return made


def _write(made: Sequence[File], links: Sequence[tuple[str, str]]) -> list[str]:
    # A killed start can leave a half-written file, which may be secret.
    for path in sorted({os.path.dirname(file.path) for file in made}):
        files.clean(path)
    written = files.write_all(made)
    return written + [path for path, target in links if _link(path, target)]


def _link(path: str, target: str) -> bool:
    """Creates or replaces the symbolic link atomically; False if it was correct."""
    temporary = f"{os.path.dirname(path)}/{files.TEMPORARY_PREFIX}{os.path.basename(path)}.{os.getpid()}"
    try:
        if os.path.islink(path) and os.readlink(path) == target:
            return False
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        os.symlink(target, temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot create the symbolic link {path}: {error.strerror or error}") from error
    return True


def _hand_over(request: Request) -> list[str]:
    """Gives etcd's data to its pod's user, if a profile was set after the first start; changed paths."""
    if not request.etcd or request.etcd_owner == (0, 0) or os.geteuid() != 0:
        return []
    changed = []
    user, group = request.etcd_owner
    # By descriptors, without following links: the pod's user can change this folder at any time.
    for folder, folders, names, descriptor in os.fwalk(request.paths.etcd_data):
        for name in (*folders, *names):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if (found.st_uid, found.st_gid) != request.etcd_owner:
                os.chown(name, user, group, dir_fd=descriptor, follow_symlinks=False)
                changed.append(f"{folder}/{name}")
    return changed
