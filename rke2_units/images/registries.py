"""Where an image is pulled from: the endpoints that registries.yaml gives it, and how to speak to each.

The plan resolves registries.yaml into one file (JSON, mode 0600, `layout.Paths.program_registries`):

{"mirrors": {"docker.io": [{"url": "https://registry.example.com:5000/v2",
                            "rewrites": [["^rancher/(.*)", "mirror/rancher/$1"]]},
                           {"url": "https://registry-1.docker.io/v2", "rewrites": []}],
             "*": [{"url": "https://cache.example.com/v2", "rewrites": []}, {"url": "", "rewrites": []}]},
 "hosts": {"registry.example.com:5000": {"username": "", "password": "", "identity_token": "",
                                         "ca": "/...", "certificate": "/...", "key": "/...",
                                         "insecure": false}}}

A mirror's endpoints are in the order to try; the empty url is the image's own registry.
"""

import os
import posixpath
import re

from rke2_units.images.references import normalise
from rke2_units.lean import json_table
from rke2_units.lean.json_table import Table

_DOCKER_HUB = "docker.io"
_DOCKER_HUB_SERVER = "registry-1.docker.io"
# The Docker Hub's names; skopeo knows the first.
_DOCKER_HUB_HOSTS = (_DOCKER_HUB, _DOCKER_HUB_SERVER, "index.docker.io")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# The path that every registry's API begins with; skopeo asks nowhere else.
_API = "/v2"
# Go's regexp.Expand: $1, $name, ${name}, and $$ for a dollar sign.
_GROUP = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))", re.ASCII)


class Host:
    """Credentials, and files for TLS, of a registry's host."""

    def __init__(self, table: Table) -> None:
        self.username = table.text("username", "")
        self.password = table.text("password", "")
        self.identity_token = table.text("identity_token", "")
        # By the names that tell skopeo what they are for (containers-certs.d(5)).
        named = {"ca.crt": "ca", "client.cert": "certificate", "client.key": "key"}
        self.files = {name: file for name, key in named.items() if (file := table.text(key, ""))}
        self.insecure = table.boolean("insecure")

    @property
    def has_credentials(self) -> bool:
        return bool(self.username or self.password or self.identity_token)

    @property
    def missing_file(self) -> str:
        """Which file is missing, else "": skopeo would ignore that it is."""
        missing = [file for file in self.files.values() if not os.path.isfile(file)]
        return f"{missing[0]}, named in registries.yaml, is missing" if missing else ""


class Endpoint:
    """One place to pull an image from.

    `url` is for people; `registry` is the host[:port] that skopeo's `source` (docker://...) begins with.
    With a `problem` it cannot be used: a text that says why. `verify` is false for http, too.
    """

    def __init__(self, url: str, host: Host, registry: str, image: str, problem: str = "") -> None:
        self.url = url
        self.host = host
        self.registry = registry
        self.source = f"docker://{registry}/{image}"
        self.verify = url.startswith("https://") and not host.insecure
        self.problem = problem


class _Mirror:
    def __init__(self, table: Table) -> None:
        self.url = table.text("url")
        self.rewrites = []
        for pattern, replacement in table.pairs("rewrites"):
            try:
                self.rewrites.append((re.compile(pattern), replacement))
            except re.error as error:
                raise table.wrong("rewrites", f"a regular expression: {pattern}: {error}") from None

    def repository(self, repository: str) -> str:
        """The path of a repository at this endpoint: the first rewrite that changes it is applied."""
        for pattern, replacement in self.rewrites:
            rewritten = _replaced(pattern, replacement, repository)
            if rewritten != repository:
                return rewritten
        return repository


class Registries:
    """registries.yaml, as far as pulling needs it."""

    def __init__(self, table: Table) -> None:
        mirrors = table.table("mirrors")
        self._mirrors = {name: [_Mirror(item) for item in mirrors.tables(name)] for name in mirrors.values}
        hosts = table.table("hosts")
        self._hosts = {name: Host(hosts.table(name)) for name in hosts.values}

    def endpoints(self, reference: str) -> list[Endpoint]:
        """Where to pull this image from, in order; empty when registries.yaml allows no endpoint."""
        registry, _, image = normalise(reference).partition("/")
        mirrors = self._mirrors.get(registry, self._mirrors.get("*", [_Mirror(_ITSELF)]))
        found = [self._endpoint(mirror, registry, image) for mirror in mirrors]
        # With the default endpoint also named as a mirror it would be asked twice.
        return list({(endpoint.url, endpoint.source): endpoint for endpoint in found}.values())

    def _endpoint(self, mirror: _Mirror, registry: str, image: str) -> Endpoint:
        url = mirror.url or default_url(registry)
        scheme, _, rest = url.partition("://")
        address, _, path = rest.partition("/")
        host = self._host(address)
        path = posixpath.normpath(f"/{path.strip('/')}").rstrip("/")
        if scheme not in ("http", "https") or not address:
            return Endpoint(url, host, address, image, "it is neither http:// nor https://")
        if path != _API and not path.startswith(f"{_API}/"):
            return Endpoint(
                url,
                host,
                address,
                image,
                f"skopeo, which pulls the image, supports no registry below {path or '/'}",
            )
        separator = "@" if "@" in image else ":"
        repository, _, version = image.rpartition(separator)
        # containerd joins and cleans the paths: a rewrite may begin with a slash.
        asked = posixpath.normpath(f"{path}/{mirror.repository(repository)}")
        image = asked.removeprefix(f"{_API}/") + separator + version
        problem = "" if asked.startswith(f"{_API}/") else f"a rewrite leads to {asked}, outside {_API}/"
        server = _DOCKER_HUB if address in _DOCKER_HUB_HOSTS else address
        return Endpoint(url, host, server, image, problem)

    def _host(self, address: str) -> Host:
        names = _DOCKER_HUB_HOSTS if address in _DOCKER_HUB_HOSTS else ()
        for name in (address, *names, "*"):
            if name in self._hosts:
                return self._hosts[name]
        return Host(_NOTHING)


def read(path: str) -> Registries:
    """What the plan wrote; with "" no image has a mirror. ConfigurationError for a file that is damaged."""
    return Registries(json_table.read(path) if path else _NOTHING)


def default_url(registry: str) -> str:
    """The address of a registry that is not configured: http on a loopback address with a port."""
    if registry in _DOCKER_HUB_HOSTS:
        return f"https://{_DOCKER_HUB_SERVER}{_API}"
    host, separator, port = registry.rpartition(":")
    plain = separator and host in _LOOPBACK and port.isdigit() and port != "443"
    return f"{'http' if plain else 'https'}://{registry}{_API}"


def _replaced(pattern: re.Pattern[str], template: str, text: str) -> str:
    """As Go's ReplaceAllString: no empty match right behind another one, as Python's sub() has it."""
    parts, end, position = [], 0, 0
    while position <= len(text) and (match := pattern.search(text, position)):
        parts.append(text[end : match.start()])
        if match.end() > end or match.start() == 0:
            parts.append(_expand(template, match))
        end = match.end()
        position = max(end, position + 1)
    return "".join(parts) + text[end:]


def _expand(template: str, match: re.Match[str]) -> str:
    def value(group: re.Match[str]) -> str:
        if group[1]:
            return "$"
        name = group[2] or group[3]
        try:
            return match[int(name) if name.isdigit() else name] or ""
        except IndexError:
            # As in Go: a group that is not there is empty.
            return ""

    return _GROUP.sub(value, template)


_NOTHING = Table("", {})
_ITSELF = Table("", {"url": ""})
