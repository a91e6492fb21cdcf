"""registries.yaml: mirrors of registries, and the credentials and TLS of each.

The file is RKE2's (`mirrors.<registry>.endpoint` and `.rewrite`, `configs.<registry>.auth` and `.tls`; `*`
for all registries that are not named). What RKE2 ignores is rejected here: unknown keys, endpoints
that are no URLs, a key without its certificate.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from rke2_units.config import grammar, rewrites, yaml_tree
from rke2_units.config.yaml_tree import Section
from rke2_units.errors import ConfigurationError

# What stands for every registry that is not named.
ANY = "*"
DOCKER_HUB = "docker.io"
# The host that serves Docker Hub's images, and the other names by which people know it.
DOCKER_HUB_HOST = "registry-1.docker.io"
_DOCKER_HUB_NAMES = ("index.docker.io", DOCKER_HUB_HOST)

_ENDPOINT = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?([^/?#\s]*)(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?")
_API = "/v2"


@dataclass(frozen=True)
class Auth:
    """Credentials; `auth` is the Base64 form of user:password. None of it is ever shown."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    auth: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def login(self) -> tuple[str, str]:
        """User and password, whichever way they were given."""
        return _decoded(self.auth) if self.auth else (self.username, self.password)


@dataclass(frozen=True)
class Tls:
    """Absolute paths of PEM files, "" for none; a certificate and its key come together."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure_skip_verify: bool = False


@dataclass(frozen=True)
class Mirror:
    """Endpoints as URLs (see `endpoint`) in the order in which they are tried.

    `rewrites` are pairs of a regular expression and its replacement, both in Go's spelling; `source` is
    where they stand.
    """

    endpoints: tuple[str, ...] = ()
    rewrites: tuple[tuple[str, str], ...] = ()
    source: str = field(default="", compare=False)


@dataclass(frozen=True)
class Host:
    auth: Auth | None = None
    tls: Tls | None = None


@dataclass(frozen=True)
class Registries:
    """The file, by registry: HOST or HOST:PORT as image names have it, docker.io, or ANY."""

    mirrors: Mapping[str, Mirror] = field(default_factory=lambda: MappingProxyType({}))
    configs: Mapping[str, Host] = field(default_factory=lambda: MappingProxyType({}))


def parse(
    text: str | bytes, path: str, problem_of_file: Callable[[str], str | None] = lambda path: None
) -> Registries:
    """The registries that a file configures; `path` is the file's name in errors.

    `problem_of_file` tells what is wrong with a TLS file ("cannot be read: ..."), None when nothing is.
    ConfigurationError with file and line for anything that is not right; no value is part of it.
    """
    content = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    file = Section(yaml_tree.parse(content, path), "", ("mirrors", "configs"))
    mirrors, configs = file.section("mirrors"), file.section("configs")
    return Registries(
        {name: _mirror(mirrors, key) for name, key in _names(mirrors).items()},
        {name: _host(configs, key, problem_of_file) for name, key in _names(configs).items()},
    )


def endpoint(text: str) -> str:
    """The URL of a registry's API, from an endpoint or from a registry's name; ValueError if it is neither.

    RKE2's rules: https unless said otherwise, http for this machine's own ports but 443; the path is /v2
    unless there is another one; Docker Hub is served by registry-1.docker.io.
    """
    match = _ENDPOINT.fullmatch(text)
    if match is None or len(text) > 2000:
        raise ValueError("a URL such as https://registry.example:5000")
    scheme, host, path = (match[1] or "").lower(), match[2], (match[3] or "").rstrip("/")
    if "@" in host:
        raise ValueError("a URL without user and password, which belong into configs")
    if scheme not in ("", "http", "https"):
        raise ValueError("a URL that begins with https:// or http://")
    name, port = _host_and_port(host)
    if not scheme:
        scheme = "http" if port not in ("", "443") and _is_local(name) else "https"
    # An @ would begin the digest in the reference of an image.
    if any(part in ("", ".", "..") or "@" in part for part in path.split("/")[1:]):
        raise ValueError("a URL without //, ., .. and @ in its path")
    served = DOCKER_HUB_HOST if registry_name(host) == DOCKER_HUB else host
    return f"{scheme}://{served}{path or _API}"


def host_of(url: str) -> str:
    """HOST[:PORT] of an endpoint, as `configs` names it."""
    host = url.partition("://")[2].partition("/")[0]
    return registry_name(host)


def has_own_path(url: str) -> bool:
    """Whether the endpoint's API is elsewhere than at /v2."""
    return "/" + url.partition("://")[2].partition("/")[2] != _API


def registry_name(name: str) -> str:
    """The registry's name as images have it: Docker Hub has several names."""
    return DOCKER_HUB if name in _DOCKER_HUB_NAMES else name


def _host_and_port(text: str) -> tuple[str, str]:
    host, colon, port = text.rpartition(":") if re.search(r":\d*$", text) else (text, "", "")
    try:
        grammar.registry(text)
        if colon:
            grammar.port(port)
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        raise ValueError("a registry such as registry.example:5000") from None
    return host, port


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _names(section: Section) -> dict[str, str]:
    """The registries that a section names, and the key of each."""
    found: dict[str, str] = {}
    for key in section:
        if key != ANY:
            try:
                if "/" in key:
                    raise ValueError("a registry such as registry.example:5000, without https:// and path")
                _host_and_port(key)
            except ValueError as error:
                raise section.error(key, f"must be {error}, or '*'") from None
        name = registry_name(key)
        if name in found:
            raise section.error(
                key, f"is the same registry as {found[name]} ({section.source(found[name])})"
            )
        found[name] = key
    return found


def _mirror(mirrors: Section, name: str) -> Mirror:
    section = mirrors.section(name, ("endpoint", "rewrite"))
    endpoints = []
    for text, source in section.texts("endpoint"):
        try:
            endpoints.append(endpoint(text))
        except ValueError as error:
            raise ConfigurationError(f"{source}: {section.path}.endpoint must be {error}") from None
    rewrite = section.section("rewrite")
    pairs = [(pattern, rewrite.text(pattern)) for pattern in rewrite]
    for pattern, replacement in pairs:
        try:
            rewrites.check(pattern, replacement)
        except ValueError as error:
            raise rewrite.error(pattern, str(error)) from None
    if pairs and not endpoints:
        raise section.error("rewrite", "does nothing without an endpoint", hint="add an endpoint")
    return Mirror(tuple(dict.fromkeys(endpoints)), tuple(pairs), section.source("rewrite"))


def _host(configs: Section, name: str, problem_of_file: Callable[[str], str | None]) -> Host:
    section = configs.section(name, ("auth", "tls"))
    return Host(
        _auth(section.section("auth", ("username", "password", "auth", "identity_token")))
        if "auth" in section
        else None,
        _tls(section, problem_of_file) if "tls" in section else None,
    )


def _auth(section: Section) -> Auth:
    username, password = section.text("username"), section.text("password")
    auth, token = section.text("auth"), section.text("identity_token")
    if password and not username:
        raise section.error("password", "needs username")
    if token and (username or auth):
        raise section.error("identity_token", "cannot be used together with a user and password")
    if auth:
        try:
            login = _decoded(auth)
        except ValueError:
            raise section.error("auth", "must be the Base64 form of user:password") from None
        if username and login != (username, password):
            raise section.error("auth", "says something else than username and password")
    return Auth(username, password, auth, token)


def _decoded(auth: str) -> tuple[str, str]:
    try:
        login = base64.b64decode(auth, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None
    username, colon, password = login.partition(":")
    if not colon or not username or not login.isprintable():
        raise ValueError("no user and password")
    return username, password


def _tls(host: Section, problem_of_file: Callable[[str], str | None]) -> Tls:
    files = ("ca_file", "cert_file", "key_file")
    section = host.section("tls", (*files, "insecure_skip_verify"))
    paths = {key: section.text(key) for key in files}
    for key, path in paths.items():
        try:
            if path:
                grammar.absolute_path(path)
        except ValueError as error:
            raise section.error(key, f"must be {error}") from None
        problem = problem_of_file(path) if path else None
        if problem is not None:
            raise section.error(key, f"{path} {problem}")
    for key, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if paths[key] and not paths[other]:
            raise section.error(key, f"needs {other}")
    return Tls(**paths, insecure_skip_verify=section.boolean("insecure_skip_verify"))
