"""registries.yaml for containerd (certs.d/*/hosts.toml, credentials) and for the programs that pull.

containerd reads hosts.toml at each pull, and its credentials from config.toml at its start. A `hosts.toml`
lists endpoints in order; its `server` comes last and is the registry itself unless it names another one.
containerd always has such a last one: where falling back is switched off, `server` may only be pushed to,
and is therefore never asked for an image.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from rke2_units.config import derived, registries
from rke2_units.config.config import Config
from rke2_units.config.registries import ANY, Auth, Host, Registries
from rke2_units.errors import ConfigurationError
from rke2_units.model import Directory, File
from rke2_units.plan import toml
from rke2_units.release.model import Release

_HEADER = "# Written by rke2-units from registries.yaml, which is the place for changes.\n"
# containerd's folder for registries that have none of their own.
_DEFAULT_FOLDER = "_default"


@dataclass(frozen=True)
class Route:
    """Where images of one registry are asked for, in order.

    `rewrites` act at the endpoints. `fallback` is the registry's own URL, "" where it is not known (ANY),
    None where it is not to be asked.
    """

    endpoints: tuple[str, ...]
    rewrites: tuple[tuple[str, str], ...]
    fallback: str | None


def files(config: Config, release: Release) -> list[File]:
    """The hosts.toml of each registry that is configured, and the file that our own programs read."""
    _refuse_rewrites(config, release)
    folders = _folders(config)
    hosts = [
        File(f"{folder}/hosts.toml", _HEADER + toml.text(_hosts(config, name)), 0o600)
        for name, folder in folders.items()
    ]
    resolved = json.dumps(_resolved(config), indent=2, ensure_ascii=False) + "\n"
    return [*hosts, File(derived.paths(config).program_registries, resolved, 0o600, secret=True)]


def hidden(config: Config) -> tuple[str, ...]:
    """Paths hidden from units that pull: the server's files, unless registries.yaml names one of them."""
    server = derived.paths(config).server
    settings = [host.tls for host in config.registries.configs.values() if host.tls]
    named = [path for tls in settings for path in (tls.ca_file, tls.cert_file, tls.key_file)]
    return () if any(path.startswith(f"{server}/") for path in named) else (server,)


def directories(config: Config) -> tuple[Directory, ...]:
    """The folders of the hosts.toml files."""
    return tuple(Directory(folder, 0o700) for folder in _folders(config).values())


def credentials(config: Config) -> dict[str, object]:
    """containerd's `registry.configs`: the credentials by the host that it asks.

    containerd knows no credentials for all hosts; those of ANY are given to each host that the file names.
    """
    found = config.registries
    urls = [registries.endpoint(name) for name in _named(found)]
    urls += [url for mirror in found.mirrors.values() for url in mirror.endpoints]
    by_host: dict[str, object] = {}
    for url in urls:
        auth = _host(found, url).auth
        if auth is not None and (fields := _containerd_auth(auth)):
            by_host[url.partition("://")[2].partition("/")[0]] = {"auth": fields}
    return by_host


def _containerd_auth(auth: Auth) -> dict[str, str]:
    if auth.identity_token:
        return {"identitytoken": auth.identity_token}
    username, password = auth.login()
    return {"username": username, "password": password} if username else {}


def _refuse_rewrites(config: Config, release: Release) -> None:
    if derived.foreign_containerd(config):
        reason = "container-runtime-endpoint names a containerd that rke2-units does not configure"
    elif derived.uses_host_content(config):
        reason = "content: host runs Debian's containerd, which has no rewrites"
    elif not release.rewrites:
        reason = f"the containerd of {release.name} has none"
    else:
        return
    for name, mirror in config.registries.mirrors.items():
        if mirror.rewrites:
            raise ConfigurationError(
                f"{mirror.source}: mirrors.{name}.rewrite cannot be used: {reason}",
                hint="let the mirror have the images under their own names",
            )


def _folders(config: Config) -> dict[str, str]:
    """The folder of each registry that containerd has to be told something about."""
    found = config.registries
    if derived.foreign_containerd(config):
        return {}
    certificates = f"{derived.paths(config).containerd_etc}/certs.d"
    any_host = found.configs.get(ANY, Host())
    has_default = bool(any_host.tls or (ANY in found.mirrors and found.mirrors[ANY].endpoints))
    folders = {ANY: f"{certificates}/{_DEFAULT_FOLDER}"} if has_default else {}
    for name in _named(found):
        # Beside a default, also what has nothing of its own needs a folder: it is not of the default's.
        if has_default or _route(config, name).endpoints or _host(found, registries.endpoint(name)).tls:
            folders[name] = f"{certificates}/{name}"
    return folders


def _named(found: Registries) -> list[str]:
    """The registries with an entry of their own, in mirrors or in configs: ANY does not stand for these."""
    return sorted({*found.mirrors, *found.configs} - {ANY})


def _route(config: Config, name: str) -> Route:
    mirror = config.registries.mirrors.get(name, registries.Mirror())
    own = "" if name == ANY else registries.endpoint(name)
    if config.boolean("disable-default-registry-endpoint") and mirror.endpoints:
        return Route(mirror.endpoints, mirror.rewrites, None)
    # Written out as the last endpoint, the registry itself is the fallback all the same.
    endpoints = mirror.endpoints[:-1] if mirror.endpoints[-1:] == (own,) else mirror.endpoints
    return Route(endpoints, mirror.rewrites, own)


def _host(found: Registries, url: str) -> Host:
    """The settings for connecting to the endpoint: those of its own host, else those of ANY."""
    default = found.configs.get(ANY, Host())
    return found.configs.get(registries.host_of(url), default) if url else default


def _rewrites(route: Route, url: str, name: str) -> tuple[tuple[str, str], ...]:
    """The registry itself has its images under their own names, wherever it stands in the list."""
    return () if name != ANY and url == registries.endpoint(name) else route.rewrites


def _hosts(config: Config, name: str) -> dict[str, object]:
    """The content of a registry's hosts.toml, as data."""
    route = _route(config, name)
    server: dict[str, object]
    if route.fallback is None:
        server = {
            "server": route.endpoints[0] if name == ANY else registries.endpoint(name),
            "capabilities": ["push"],
        }
    else:
        server = {
            "server": route.fallback,
            "capabilities": ["pull", "resolve", "push"],
            **_tls(config, route.fallback),
        }
    endpoints: dict[str, object] = {}
    for url in route.endpoints:
        rewrites = _rewrites(route, url, name)
        endpoints[url] = {
            "capabilities": ["pull", "resolve"],
            **({"override_path": True} if registries.has_own_path(url) else {}),
            **_tls(config, url),
            **({"rewrite": dict(rewrites)} if rewrites else {}),
        }
    return {**server, "host": endpoints}


def _tls(config: Config, url: str) -> dict[str, object]:
    tls = _host(config.registries, url).tls
    if tls is None:
        return {}
    return {
        **({"ca": [tls.ca_file]} if tls.ca_file else {}),
        **({"client": [[tls.cert_file, tls.key_file]]} if tls.cert_file else {}),
        **({"skip_verify": True} if tls.insecure_skip_verify else {}),
    }


def _resolved(config: Config) -> Mapping[str, object]:
    """registries.yaml with all its rules applied, for programs that only look up (programs.registries)."""
    found = config.registries
    mirrors = {}
    for name in [*_named(found), *([ANY] if ANY in found.mirrors else [])]:
        route = _route(config, name)
        endpoints = [{"url": url, "rewrites": _rewrites(route, url, name)} for url in route.endpoints]
        if route.fallback is not None:
            endpoints.append({"url": route.fallback, "rewrites": ()})
        mirrors[name] = endpoints
    return {"mirrors": mirrors, "hosts": {name: _program_host(host) for name, host in found.configs.items()}}


def _program_host(host: Host) -> dict[str, str | bool]:
    auth, tls = host.auth or Auth(), host.tls or registries.Tls()
    username, password = auth.login()
    return {
        "username": username,
        "password": password,
        "identity_token": auth.identity_token,
        "ca": tls.ca_file,
        "certificate": tls.cert_file,
        "key": tls.key_file,
        "insecure": tls.insecure_skip_verify,
    }
