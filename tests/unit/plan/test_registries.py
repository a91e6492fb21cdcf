"""What containerd and our own programs are told about registries: the same endpoints in the same order."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rke2_units.config.config import Config
from rke2_units.config.registries import Auth, Host, Mirror, Registries, Tls, endpoint, parse
from rke2_units.errors import ConfigurationError
from rke2_units.layout import Paths
from rke2_units.plan import containerd, make_plan, registries
from rke2_units.plan.node import Node
from rke2_units.release.table import DEFAULT, RELEASES, release
from rke2_units.unit_names import Role
from tests.unit.configs import make_config
from tests.unit.plan.cases import MACHINE

PATHS = Paths()
CERTIFICATES = f"{PATHS.containerd_etc}/certs.d/"
NO_FALLBACK: dict[str, object] = {"disable-default-registry-endpoint": True}
# What containerd allows at a server that says nothing about it.
ALL = ["pull", "resolve", "push"]


def config(text: str | Registries = "", values: Mapping[str, object] | None = None) -> Config:
    found = parse(dedent(text), "registries.yaml") if isinstance(text, str) else text
    return replace(make_config(Role.SERVER, values or {}), registries=found)


def hosts(of: Config) -> dict[str, dict[str, Any]]:
    """hosts.toml as containerd reads it, by the folder's name."""
    return {
        file.path.removeprefix(CERTIFICATES).removesuffix("/hosts.toml"): tomllib.loads(file.content)
        for file in registries.files(of, release(DEFAULT))
        if file.path.startswith(CERTIFICATES)
    }


def resolved(of: Config) -> dict[str, Any]:
    files = {file.path: file for file in registries.files(of, release(DEFAULT))}
    found: dict[str, Any] = json.loads(files[PATHS.program_registries].content)
    return found


def asked_by_containerd(of: Config, registry: str) -> list[str]:
    """The URLs that containerd asks for an image, in order (remotes/docker/config/hosts.go)."""
    files = hosts(of)
    file = files.get(registry, files.get("_default", {}))
    asked = [
        url for url, host in file.get("host", {}).items() if {"pull", "resolve"} <= {*host["capabilities"]}
    ]
    # The server is the last host in every case; without an address it is the registry itself, for pulls too.
    server = file.get("server", "")
    if not server or {"pull", "resolve"} <= {*file.get("capabilities", ALL)}:
        asked.append(server or endpoint(registry))
    return asked


def asked_by_us(of: Config, registry: str) -> list[str]:
    mirrors = resolved(of)["mirrors"]
    found = mirrors.get(registry, mirrors.get("*", [{"url": ""}]))
    return [item["url"] or endpoint(registry) for item in found]


BOTH_WAYS = """
    mirrors:
      docker.io: {endpoint: [a, "localhost:5000"]}
      ghcr.io:
      quay.io: {endpoint: [a, quay.io]}
      gcr.io: {endpoint: [gcr.io, a]}
"""
WITH_DEFAULT = (
    BOTH_WAYS + '      "*": {endpoint: [c]}\n    configs:\n      known.io: {auth: {username: u}}\n'
)


@pytest.mark.parametrize(
    ("text", "registry", "asked", "asked_without_fallback"),
    [
        ("", "docker.io", ["registry-1.docker.io"], ["registry-1.docker.io"]),
        (BOTH_WAYS, "docker.io", ["a", "localhost:5000", "docker.io"], ["a", "localhost:5000"]),
        (BOTH_WAYS, "ghcr.io", ["ghcr.io"], ["ghcr.io"]),
        (BOTH_WAYS, "quay.io", ["a", "quay.io"], ["a", "quay.io"]),
        (BOTH_WAYS, "gcr.io", ["gcr.io", "a", "gcr.io"], ["gcr.io", "a"]),
        (BOTH_WAYS, "other.io", ["other.io"], ["other.io"]),
        (WITH_DEFAULT, "docker.io", ["a", "localhost:5000", "docker.io"], ["a", "localhost:5000"]),
        (WITH_DEFAULT, "ghcr.io", ["ghcr.io"], ["ghcr.io"]),
        (WITH_DEFAULT, "known.io", ["known.io"], ["known.io"]),
        (WITH_DEFAULT, "other.io", ["c", "other.io"], ["c"]),
        (WITH_DEFAULT, "127.0.0.1:5000", ["c", "127.0.0.1:5000"], ["c"]),
    ],
)
def test_endpoints_are_asked_in_order_and_the_registry_itself_last_or_never(
    text: str, registry: str, asked: list[str], asked_without_fallback: list[str]
) -> None:
    for values, expected in (({}, asked), (NO_FALLBACK, asked_without_fallback)):
        wanted = [endpoint(host) for host in expected]
        assert asked_by_containerd(config(text, values), registry) == wanted
        assert asked_by_us(config(text, values), registry) == wanted


def test_a_mirror_is_rendered_as_rke2_renders_it() -> None:
    text = """
        mirrors:
          docker.io:
            endpoint: [registry.example.com:5000, http://b/prefix/v2, https://registry-1.docker.io]
            rewrite: {"^rancher/(.*)": "mirror/rancher/$1"}
        configs:
          registry.example.com:5000:
            tls: {ca_file: /ca.pem, cert_file: /node.pem, key_file: /node.key}
          docker.io: {tls: {insecure_skip_verify: true}}
    """
    found = hosts(config(text))
    assert found == {
        "docker.io": {
            "server": "https://registry-1.docker.io/v2",
            "capabilities": ["pull", "resolve", "push"],
            "skip_verify": True,
            "host": {
                "https://registry.example.com:5000/v2": {
                    "capabilities": ["pull", "resolve"],
                    "ca": ["/ca.pem"],
                    "client": [["/node.pem", "/node.key"]],
                    "rewrite": {"^rancher/(.*)": "mirror/rancher/$1"},
                },
                "http://b/prefix/v2": {
                    "capabilities": ["pull", "resolve"],
                    "override_path": True,
                    "rewrite": {"^rancher/(.*)": "mirror/rancher/$1"},
                },
            },
        },
        "registry.example.com:5000": {
            "server": "https://registry.example.com:5000/v2",
            "capabilities": ["pull", "resolve", "push"],
            "ca": ["/ca.pem"],
            "client": [["/node.pem", "/node.key"]],
            "host": {},
        },
    }


def test_without_a_fallback_the_server_is_one_that_nothing_is_pulled_from() -> None:
    text = 'mirrors: {docker.io: {endpoint: [a]}, "*": {endpoint: [c, d]}}'
    found = hosts(config(text, NO_FALLBACK))
    assert {name: (file["server"], file["capabilities"]) for name, file in found.items()} == {
        "docker.io": ("https://registry-1.docker.io/v2", ["push"]),
        "_default": ("https://c/v2", ["push"]),
    }


def test_the_default_for_all_registries_names_no_server_so_that_each_is_its_own() -> None:
    found = hosts(config('mirrors: {"*": {endpoint: [c]}}\nconfigs: {"*": {tls: {ca_file: /ca.pem}}}'))
    assert found == {
        "_default": {
            "server": "",
            "capabilities": ALL,
            "ca": ["/ca.pem"],
            "host": {"https://c/v2": {"capabilities": ["pull", "resolve"], "ca": ["/ca.pem"]}},
        }
    }


def test_what_says_nothing_to_containerd_has_no_folder() -> None:
    assert hosts(config("mirrors: {a: {endpoint: [a]}, b: }\nconfigs: {c: {auth: {username: u}}}")) == {}
    assert registries.directories(config("mirrors: {a: }")) == ()


def test_the_entry_of_a_host_comes_before_that_of_all_hosts() -> None:
    text = """
        mirrors: {docker.io: {endpoint: [a, b, "localhost:1"]}}
        configs:
          "*": {auth: {username: all, password: p}, tls: {insecure_skip_verify: true}}
          a: {auth: {username: me, password: q}}
          c: {auth: {identity_token: t}}
          d: {auth: {}}
          docker.io: {auth: {auth: aHViOnB3}}
    """
    of = config(text)
    found = hosts(of)["docker.io"]["host"]
    assert {url: host.get("skip_verify") for url, host in found.items()} == {
        "https://a/v2": None,
        "https://b/v2": True,
        "http://localhost:1/v2": True,
    }
    assert registries.credentials(of) == {
        "a": {"auth": {"username": "me", "password": "q"}},
        "b": {"auth": {"username": "all", "password": "p"}},
        "localhost:1": {"auth": {"username": "all", "password": "p"}},
        "c": {"auth": {"identitytoken": "t"}},
        # containerd asks for credentials by the host that it speaks to.
        "registry-1.docker.io": {"auth": {"username": "hub", "password": "pw"}},
    }


@pytest.mark.parametrize(
    ("name", "plugin"),
    [("v1.20.2+rke2r1", "io.containerd.grpc.v1.cri"), (DEFAULT, "io.containerd.cri.v1.images")],
)
def test_credentials_are_in_containerds_configuration_which_is_a_secret_then(name: str, plugin: str) -> None:
    login = {"username": 'me"\\', "password": "sesame\u00e9$1"}
    for text, secret in ((Registries(configs={"a:1": Host(Auth(**login))}), True), ("", False)):
        of = config(text)
        files = {file.path: file for file in containerd.files(Node(of, MACHINE, release(name)))}
        file = files[PATHS.containerd_config]
        found = tomllib.loads(file.content)["plugins"][plugin]["registry"]
        assert found == {
            "config_path": CERTIFICATES.rstrip("/"),
            **({"configs": {"a:1": {"auth": login}}} if secret else {}),
        }
        assert (file.secret, file.mode) == (secret, 0o600)


def test_our_own_programs_get_everything_resolved() -> None:
    text = """
        mirrors:
          docker.io: {endpoint: [a, docker.io], rewrite: {"^b": "c$0"}}
          "*": {endpoint: ["d:1/e"]}
        configs:
          a: {auth: {auth: aHViOnB3}, tls: {ca_file: /ca.pem, cert_file: /c, key_file: /k}}
          "*": {auth: {identity_token: t}, tls: {insecure_skip_verify: true}}
    """
    nothing = {"username": "", "password": "", "identity_token": "", "ca": "", "certificate": "", "key": ""}
    assert resolved(config(text)) == {
        "mirrors": {
            "a": [{"url": "https://a/v2", "rewrites": []}],
            "docker.io": [
                {"url": "https://a/v2", "rewrites": [["^b", "c$0"]]},
                {"url": "https://registry-1.docker.io/v2", "rewrites": []},
            ],
            "*": [{"url": "https://d:1/e", "rewrites": []}, {"url": "", "rewrites": []}],
        },
        "hosts": {
            "a": {
                "username": "hub",
                "password": "pw",
                "identity_token": "",
                "ca": "/ca.pem",
                "certificate": "/c",
                "key": "/k",
                "insecure": False,
            },
            "*": {**nothing, "identity_token": "t", "insecure": True},
        },
    }


def test_the_registry_itself_has_its_images_under_their_own_names() -> None:
    text = "mirrors: {docker.io: {endpoint: [docker.io, a], rewrite: {b: c}}}"
    found = resolved(config(text, NO_FALLBACK))["mirrors"]["docker.io"]
    assert [(item["url"], item["rewrites"]) for item in found] == [
        ("https://registry-1.docker.io/v2", []),
        ("https://a/v2", [["b", "c"]]),
    ]
    assert "rewrite" not in hosts(config(text, NO_FALLBACK))["docker.io"]["host"][found[0]["url"]]


REWRITE = "\nmirrors:\n  a:\n    endpoint: [b]\n    rewrite: {c: d}"


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        (DEFAULT, {}, None),
        ("v1.20.2+rke2r1", {}, "the containerd of v1.20.2+rke2r1 has none"),
        (DEFAULT, {"content": "host"}, "content: host runs Debian's containerd, which has no rewrites"),
        (
            DEFAULT,
            {"container-runtime-endpoint": "/run/containerd/containerd.sock"},
            "container-runtime-endpoint names a containerd that rke2-units does not configure",
        ),
    ],
)
def test_rewrites_that_containerd_would_not_follow_are_refused(
    name: str, values: dict[str, object], reason: str | None
) -> None:
    of = config(REWRITE, values)
    if reason is None:
        assert registries.files(of, release(name))
        return
    with pytest.raises(ConfigurationError) as error:
        registries.files(of, release(name))
    assert str(error.value) == (
        f"registries.yaml:5: mirrors.a.rewrite cannot be used: {reason} "
        "(let the mirror have the images under their own names)"
    )
    registries.files(config("mirrors: {a: {endpoint: [b]}}", values), release(name))


def test_a_containerd_that_is_not_ours_gets_no_configuration_of_ours() -> None:
    of = config(
        "mirrors: {a: {endpoint: [b]}}", {"container-runtime-endpoint": "/run/containerd/containerd.sock"}
    )
    assert hosts(of) == {}
    assert registries.directories(of) == ()
    assert asked_by_us(of, "a") == ["https://b/v2", "https://a/v2"]


def test_the_files_are_root_s_alone_and_no_pull_waits_for_a_restart() -> None:
    of = config("mirrors: {docker.io: {endpoint: [a]}}")
    plan = make_plan(Role.SERVER, of, MACHINE, release(DEFAULT))
    file = plan.file(f"{CERTIFICATES}docker.io/hosts.toml")
    assert (file.mode, file.restarts, file.secret) == (0o600, (), False)
    assert file.content.startswith("# Written by rke2-units from registries.yaml")
    assert {folder.path: folder.mode for folder in plan.directories}[f"{CERTIFICATES}docker.io"] == 0o700
    programs = plan.file(PATHS.program_registries)
    assert (programs.mode, programs.secret) == (0o600, True)


def test_the_programs_are_told_what_to_pull_and_by_which_names() -> None:
    values = {
        "system-default-registry": "registry.example.com:5000/mirror",
        "airgap-extra-registry": ["one.example", "two.example:5000"],
    }
    plan = make_plan(Role.SERVER, config("", values), MACHINE, release(DEFAULT))
    found = json.loads(plan.file(PATHS.program_settings).content)
    image = f"registry.example.com:5000/mirror/{release(DEFAULT).images['runtime-image']}"
    assert found["registries"] == PATHS.program_registries
    assert (found["content"]["image"], found["content"]["pull"]) == (image, image)
    assert found["images"]["extra_registries"] == ["one.example", "two.example:5000"]
    plain = make_plan(
        Role.SERVER,
        config("", {"system-default-registry": "registry.example.com:5000"}),
        MACHINE,
        release(DEFAULT),
    )
    content = json.loads(plain.file(PATHS.program_settings).content)["content"]
    assert content["pull"] == f"registry.example.com:5000/{content['image']}"


REGISTRY_NAMES = ["docker.io", "ghcr.io", "a:5000", "localhost:5000", "[::1]:80", "*"]
URLS = st.sampled_from(
    [endpoint(name) for name in REGISTRY_NAMES[:-1]] + ["http://x/y/v2", "https://ghcr.io/v2/z"]
)
MIRRORS = st.builds(
    lambda urls: Mirror(tuple(dict.fromkeys(urls)), (("a", "b"),) if urls else ()),
    st.lists(URLS, max_size=3),
)
LOGINS = st.builds(Auth, st.text("a\"'\\é]\n", max_size=3), st.text("a\"'\\é]\n", max_size=3))
TLS = st.builds(Tls, st.sampled_from(["", "/ca"]), insecure_skip_verify=st.booleans())
REGISTRIES = st.builds(
    Registries,
    st.dictionaries(st.sampled_from(REGISTRY_NAMES), MIRRORS),
    st.dictionaries(st.sampled_from(REGISTRY_NAMES), st.builds(Host, st.none() | LOGINS, st.none() | TLS)),
)


@settings(deadline=None)
@given(REGISTRIES, st.booleans(), st.sampled_from([*REGISTRY_NAMES[:-1], "unknown.io"]))
def test_containerd_and_our_programs_always_ask_the_same_endpoints(
    found: Registries, fallback: bool, registry: str
) -> None:
    of = config(found, {} if fallback else NO_FALLBACK)
    asked = asked_by_containerd(of, registry)
    assert asked == asked_by_us(of, registry) != []
    mirror = found.mirrors.get(registry)
    if mirror is not None and mirror.endpoints:
        assert asked[: len(mirror.endpoints)] == list(mirror.endpoints)
        assert (len(asked) > len(mirror.endpoints)) <= fallback
    if fallback:
        assert asked[-1] == endpoint(registry)


@settings(deadline=None)
@given(REGISTRIES, st.sampled_from([name for name in RELEASES if RELEASES[name].rewrites]))
def test_everything_that_is_written_is_read_back(found: Registries, name: str) -> None:
    of = config(found)
    for file in registries.files(of, release(name)):
        if file.path == PATHS.program_registries:
            json.loads(file.content)
        else:
            # containerd 1.x takes a file without a host table for damaged.
            assert "host" in tomllib.loads(file.content)
    file = containerd.files(Node(of, MACHINE, release(name)))[0]
    assert tomllib.loads(file.content) == containerd.settings(Node(of, MACHINE, release(name)))
