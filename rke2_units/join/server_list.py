"""The servers that a node knows: a file (with RKE2's name and place) that survives restarts.

Entries are HOST:PORT, with an IPv6 address in brackets. Anything else is dropped, because the list is
written into a proxy's configuration.
"""

import ipaddress
import json
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from rke2_units import ports
from rke2_units.config import grammar
from rke2_units.doors import files
from rke2_units.model import File, ServerList


def file(path: str, known: ServerList) -> File:
    content = {"servers": known.servers, "apiservers": known.apiservers, "members": known.members}
    return File(path, json.dumps(content, indent=2) + "\n", 0o600)


def read(path: str) -> ServerList:
    """The list on disk; an empty one if it is missing or damaged."""
    try:
        content = json.loads(files.read_text(path) or "")
    except ValueError:
        return ServerList()
    if not isinstance(content, dict):
        return ServerList()
    return ServerList(*(_entries(content.get(name)) for name in ("servers", "apiservers", "members")))


def of_apiservers(answer: object, supervisor_port: int = ports.SUPERVISOR_PORT) -> ServerList:
    """From the answer of /v1-rke2/apiservers, a JSON array of IP:PORT; a supervisor is beside each."""
    apiservers = tuple(entry for entry in _entries(answer) if _is_address(_host(entry)))
    return ServerList(_sorted(_join(_host(entry), supervisor_port) for entry in apiservers), apiservers)


def of_endpoints(endpoints: object) -> ServerList:
    """From the Endpoints default/kubernetes, in which every kube-apiserver has its address."""
    subsets = endpoints.get("subsets") if isinstance(endpoints, dict) else None
    found: list[object] = []
    for subset in subsets if isinstance(subsets, list) else ():
        addresses, listed = subset.get("addresses") or (), subset.get("ports") or ()
        port = next(
            (entry["port"] for entry in listed if entry.get("name") == "https"), ports.APISERVER_PORT
        )
        found += [_join(str(address.get("ip")), port) for address in addresses]
    return of_apiservers(found)


def of_members(client_urls: Iterable[str]) -> ServerList:
    """From the client URLs of etcd's members."""
    found: list[object] = []
    for url in client_urls:
        try:
            parts = urlsplit(url)
            found.append(_join(parts.hostname or "", parts.port or ports.ETCD_CLIENT_PORT))
        except ValueError:
            continue
    return ServerList(members=_entries(found))


def of_url(url: str) -> ServerList:
    """From a join URL alone: its supervisor, and the others at the default ports of that host."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return ServerList(
        (_join(host, parts.port or ports.SUPERVISOR_PORT),),
        (_join(host, ports.APISERVER_PORT),),
        (_join(host, ports.ETCD_CLIENT_PORT),),
    )


def looked_up(url: str) -> ServerList:
    """From a join URL: the addresses that its host has now, with a supervisor and an API server at each."""
    parts = urlsplit(url)
    port = parts.port or ports.SUPERVISOR_PORT
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError:
        return ServerList()
    return of_apiservers([_join(str(address[0]), ports.APISERVER_PORT) for *_, address in found], port)


def united(one: ServerList, other: ServerList) -> ServerList:
    """All servers that are in one of the lists."""
    return ServerList(
        _sorted(one.servers + other.servers),
        _sorted(one.apiservers + other.apiservers),
        _sorted(one.members + other.members),
    )


def urls(known: ServerList, configured: str) -> tuple[str, ...]:
    """The URLs to try, in this order: the servers of the list, then the configured join URL; each once."""
    found = [f"https://{entry}" for entry in known.servers]
    return tuple(dict.fromkeys([*found, configured] if configured else found))


def _entries(values: object) -> tuple[str, ...]:
    if not isinstance(values, list):
        return ()
    return _sorted(value for value in values if isinstance(value, str) and _is_entry(value))


def _sorted(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def _is_entry(text: str) -> bool:
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    try:
        grammar.port(port)
        # A wildcard is valid in a certificate, but not as an address.
        return not grammar.host(bare).startswith("*") and _join(bare, int(port)) == text
    except ValueError:
        return False


def _host(entry: str) -> str:
    return entry.rpartition(":")[0].removeprefix("[").removesuffix("]")


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
