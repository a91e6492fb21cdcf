"""registries.yaml: what it means, and what of it is refused, with file and line."""

import base64
import string
from textwrap import dedent

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rke2_units.config import registries
from rke2_units.config.registries import Auth, Host, Mirror, Registries, Tls, parse
from rke2_units.errors import ConfigurationError

SECRET = "hunter2hunter2"
A_REGISTRY = "a registry such as registry.example:5000"
A_URL = "a URL such as https://registry.example:5000"
A_LOGIN = "f:2: configs.a.auth.auth must be the Base64 form of user:password"
LOGIN = base64.b64encode(b"me:se:cret").decode()


def message(text: str | bytes) -> str:
    with pytest.raises(ConfigurationError) as error:
        parse(dedent(text) if isinstance(text, str) else text, "f")
    return str(error.value)


def test_a_whole_file_is_read() -> None:
    text = """
        mirrors:
          docker.io:
            endpoint:
              - registry.example.com:5000
              - https://registry.example.com:5000/v2/
              - http://other.example/hub/v2
            rewrite:
              "^rancher/(.*)": "mirror/rancher/$1"
              "^library/(?P<name>[a-z]+)$": "copies/${name}"
          ghcr.io:
          "*": {endpoint: [https://cache.example.com/]}
        configs:
          "registry.example.com:5000":
            auth:
              username: 0815
              password: no
            tls:
              ca_file: /etc/ca.pem
              cert_file: /etc/node.pem
              key_file: /etc/node.key
          other.example:
            auth: {identity_token: abc}
            tls: {insecure_skip_verify: yes}
          "[fd00::1]:5000": {}
    """
    assert parse(dedent(text), "f") == Registries(
        mirrors={
            "docker.io": Mirror(
                ("https://registry.example.com:5000/v2", "http://other.example/hub/v2"),
                (
                    ("^rancher/(.*)", "mirror/rancher/$1"),
                    ("^library/(?P<name>[a-z]+)$", "copies/${name}"),
                ),
            ),
            "ghcr.io": Mirror(),
            "*": Mirror(("https://cache.example.com/v2",)),
        },
        configs={
            "registry.example.com:5000": Host(
                Auth("0815", "no"), Tls("/etc/ca.pem", "/etc/node.pem", "/etc/node.key")
            ),
            "other.example": Host(Auth(identity_token="abc"), Tls(insecure_skip_verify=True)),
            "[fd00::1]:5000": Host(),
        },
    )


@pytest.mark.parametrize(
    "text", ["", "# nothing", "---", "~", "{}", "mirrors:", "mirrors: {}\nconfigs: ~", '{"mirrors": {}}']
)
def test_a_file_with_nothing_in_it_configures_nothing(text: str) -> None:
    assert parse(text, "f") == Registries()


def test_anchors_stand_for_what_they_name() -> None:
    found = parse("configs:\n  a: &both {auth: {username: u}}\n  b: *both", "f")
    assert found.configs == {name: Host(Auth("u")) for name in "ab"}


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("registry.example.com", "https://registry.example.com/v2"),
        ("registry.example.com:443", "https://registry.example.com:443/v2"),
        ("registry.example.com/v2", "https://registry.example.com/v2"),
        ("registry.example.com/prefix/v2", "https://registry.example.com/prefix/v2"),
        ("https://registry.example.com/project/", "https://registry.example.com/project"),
        ("HTTPS://registry.example.com", "https://registry.example.com/v2"),
        ("http://registry.example.com:80/", "http://registry.example.com:80/v2"),
        ("192.0.2.1:5000", "https://192.0.2.1:5000/v2"),
        ("[fd00::1]:5000", "https://[fd00::1]:5000/v2"),
        ("localhost", "https://localhost/v2"),
        ("localhost:443", "https://localhost:443/v2"),
        ("localhost:5000", "http://localhost:5000/v2"),
        ("localhost:80", "http://localhost:80/v2"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/v2"),
        ("127.9.9.9:5000", "http://127.9.9.9:5000/v2"),
        ("[::1]:5000", "http://[::1]:5000/v2"),
        ("https://127.0.0.1:5000", "https://127.0.0.1:5000/v2"),
        ("docker.io", "https://registry-1.docker.io/v2"),
        ("https://index.docker.io", "https://registry-1.docker.io/v2"),
        ("registry-1.docker.io/v2/", "https://registry-1.docker.io/v2"),
    ],
)
def test_endpoints_are_completed_as_rke2_completes_them(text: str, url: str) -> None:
    assert registries.endpoint(text) == url
    assert registries.endpoint(url) == url
    assert registries.has_own_path(url) == (
        not url.endswith((".com/v2", "io/v2")) and "example.com/p" in url
    )


@pytest.mark.parametrize("name", ["index.docker.io", "registry-1.docker.io", "docker.io"])
def test_docker_hub_is_one_registry_whatever_it_is_called(name: str) -> None:
    found = parse(f"mirrors: {{{name}: {{endpoint: [a]}}}}\nconfigs: {{{name}: {{auth: {{}}}}}}", "f")
    assert found == Registries({"docker.io": Mirror(("https://a/v2",))}, {"docker.io": Host(Auth())})
    assert registries.host_of(registries.endpoint(name)) == "docker.io"


def test_a_login_is_the_same_in_either_form() -> None:
    found = parse(f"configs: {{a: {{auth: {{auth: {LOGIN}}}}}, b: {{auth: {{username: me}}}}}}", "f")
    assert [host.auth.login() for host in found.configs.values() if host.auth] == [
        ("me", "se:cret"),
        ("me", ""),
    ]
    both = f"configs: {{a: {{auth: {{auth: {LOGIN}, username: me, password: 'se:cret'}}}}}}"
    assert parse(both, "f").configs["a"] == Host(Auth("me", "se:cret", LOGIN))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a", "f:1: the file must be a map, got a list"),
        ("mirrors: a", "f:1: mirrors must be a map, got text"),
        ("\nmirror: {}", "f:2: mirror is not a key that is known here (did you mean mirrors?)"),
        ("auths: {}", "f:1: auths is not a key that is known here (known: mirrors, configs)"),
        ("a: [\n", "f:1: not valid YAML: did not find expected node content"),
        (b"configs:\n  a: \xff", "f:2: not UTF-8 text"),
        ("---\na: b\n---\nc: d", "f:3: a second YAML document, but a configuration file has one"),
        (
            """\
            mirrors:
              docker.io:
                endpoints: [a]
            """,
            "f:3: mirrors.docker.io.endpoints is not a key that is known here (did you mean endpoint?)",
        ),
        (
            "mirrors:\n  docker.io: {}\n  docker.io: {}",
            "f:3: docker.io is set a second time, first in f:2",
        ),
        (
            "mirrors:\n  docker.io: {}\n  index.docker.io: {}",
            "f:3: mirrors.index.docker.io is the same registry as docker.io (f:2)",
        ),
        (
            "mirrors:\n  https://docker.io: {}",
            f"f:2: mirrors.https://docker.io must be {A_REGISTRY}, without https:// and path, or '*'",
        ),
        (
            "configs:\n  '*.example.com': {}",
            f"f:2: configs.*.example.com must be {A_REGISTRY}, or '*'",
        ),
        ("configs: {'a:99999': {}}", f"f:1: configs.a:99999 must be {A_REGISTRY}, or '*'"),
        ("configs: {..: {}}", f"f:1: configs... must be {A_REGISTRY}, or '*'"),
        ("mirrors: {a: {endpoint: b}}", "f:1: mirrors.a.endpoint must be a list of texts, got text"),
        ("mirrors: {a: {endpoint: [{}]}}", "f:1: mirrors.a.endpoint must be text, got a map"),
        ("mirrors: {a: {endpoint: [~]}}", "f:1: mirrors.a.endpoint must be text, got nothing"),
        *(
            (
                f"mirrors:\n  a:\n    endpoint:\n    - b\n    - {text}",
                f"f:5: mirrors.a.endpoint must be {expected}",
            )
            for text, expected in (
                ('""', A_REGISTRY),
                ("https://", A_REGISTRY),
                ("https:///v2", A_REGISTRY),
                ("a b", A_URL),
                ("https://a?b", A_URL),
                ("https://a/b'\"", A_URL),
                ("https://a:0", A_REGISTRY),
                ("https://a:port", A_REGISTRY),
                ("'[fd00::g]:1'", A_REGISTRY),
                ("'[fd00:::1]:1'", A_REGISTRY),
                ("ftp://a", "a URL that begins with https:// or http://"),
                ("https://a/../v2", "a URL without //, ., .. and @ in its path"),
                ("https://a/v2/@", "a URL without //, ., .. and @ in its path"),
                ("https://a//v2", "a URL without //, ., .. and @ in its path"),
                (f"https://u:{SECRET}@a", "a URL without user and password, which belong into configs"),
            )
        ),
        (
            "mirrors:\n  a:\n    rewrite:\n      a: b",
            "f:3: mirrors.a.rewrite does nothing without an endpoint (add an endpoint)",
        ),
        (
            "mirrors:\n  a:\n    endpoint: [b]\n    rewrite:\n      (: b",
            "f:5: mirrors.a.rewrite.( is not a regular expression",
        ),
        ("mirrors: {a: {endpoint: [b], rewrite: [c]}}", "f:1: mirrors.a.rewrite must be a map, got a list"),
        (
            "mirrors: {a: {endpoint: [b], rewrite: {c: [d]}}}",
            "f:1: mirrors.a.rewrite.c must be text, got a list",
        ),
        ("configs: {a: {auth: x}}", "f:1: configs.a.auth must be a map, got text"),
        (
            "configs:\n  a:\n    auth:\n      token: x",
            "f:4: configs.a.auth.token is not a key that is known here (known: username, password, auth, "
            "identity_token)",
        ),
        ("configs: {a: {auth: {password: x}}}", "f:1: configs.a.auth.password needs username"),
        (
            "configs: {a: {auth: {username: x, identity_token: y}}}",
            "f:1: configs.a.auth.identity_token cannot be used together with a user and password",
        ),
        *(
            (f"configs:\n  a: {{auth: {{auth: '{value}'}}}}", A_LOGIN)
            for value in ("x", "me:secret", "bWU=", "OnNlY3JldA==", "bWU6AAo=", "bWU6/w==", "bWU6c2VjcmV0 ")
        ),
        (
            f"configs: {{a: {{auth: {{auth: {LOGIN}, username: you}}}}}}",
            "f:1: configs.a.auth.auth says something else than username and password",
        ),
        (
            'configs: {a: {auth: {username: "a\\nb"}}}',
            "f:1: configs.a.auth.username must be one line of printable text",
        ),
        ("configs: {a: {tls: {ca_file: ca.pem}}}", "f:1: configs.a.tls.ca_file must be an absolute path"),
        ("configs: {a: {tls: {cert_file: /c}}}", "f:1: configs.a.tls.cert_file needs key_file"),
        ("configs: {a: {tls: {key_file: /k}}}", "f:1: configs.a.tls.key_file needs cert_file"),
        (
            "configs: {a: {tls: {insecure_skip_verify: maybe}}}",
            "f:1: configs.a.tls.insecure_skip_verify must be true or false",
        ),
        (
            "configs: {a: {tls: {insecure_skip_verify: 'true'}}}",
            "f:1: configs.a.tls.insecure_skip_verify must be true or false",
        ),
    ],
)
def test_what_is_not_right_is_named_with_its_line(text: str | bytes, problem: str) -> None:
    assert message(text) == problem


def test_a_tls_file_that_is_not_there_is_named_with_the_line_that_names_it() -> None:
    text = "configs:\n  a:\n    tls:\n      ca_file: /ca.pem"
    with pytest.raises(ConfigurationError) as error:
        parse(text, "f", lambda path: "cannot be read: No such file or directory")
    assert str(error.value) == (
        "f:4: configs.a.tls.ca_file /ca.pem cannot be read: No such file or directory"
    )
    assert parse(text, "f", lambda path: None).configs["a"] == Host(None, Tls("/ca.pem"))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_an_error_like_any_other(opening: str) -> None:
    assert message("mirrors:\n" + opening * 200_000).startswith("f:2: ")


def one_line(error: ConfigurationError) -> None:
    assert str(error).isprintable()
    assert len(str(error)) < 1500
    assert SECRET not in str(error)
    str(error).encode()


NAMES = st.sampled_from(
    ["docker.io", "*", "index.docker.io", "a:5000", "[::1]", "https://a", "..", "ghcr.io"]
)
TEXTS = st.none() | st.booleans() | st.integers() | st.text(max_size=12)
URLS = st.sampled_from(["a", "https://a:5000", "http://b/c/v2", "docker.io", "localhost:1"]) | TEXTS
REWRITES = st.dictionaries(st.text("()[]\\.*+?^$|{},:<>-1aP=!#", max_size=8), st.text("$1a{}", max_size=5))
FILES = st.fixed_dictionaries(
    {},
    optional={
        "mirrors": st.dictionaries(
            NAMES,
            st.fixed_dictionaries(
                {}, optional={"endpoint": st.lists(URLS, max_size=3), "rewrite": REWRITES | TEXTS}
            ),
        ),
        "configs": st.dictionaries(
            NAMES,
            st.fixed_dictionaries(
                {},
                optional={
                    "auth": st.dictionaries(
                        st.sampled_from(["username", "password", "auth", "identity_token", "token"]),
                        TEXTS | st.just(LOGIN) | st.just(SECRET),
                    ),
                    "tls": st.dictionaries(
                        st.sampled_from(["ca_file", "cert_file", "key_file", "insecure_skip_verify"]),
                        TEXTS | st.just("/a"),
                    ),
                },
            ),
        ),
        "nonsense": TEXTS,
    },
)
FRAGMENTS = st.sampled_from(
    ["mirrors", "configs", "docker.io", "endpoint", "rewrite", "auth", "tls", "ca_file", "username"]
    + [
        ": ",
        "\n",
        "- ",
        "  ",
        "    ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        '"',
        "&a ",
        "*a",
        "'*'",
        "!!int ",
        "|\n",
    ]
    + ["#", "---\n", "? ", "<<", "no", "0x", "~", "\t", "2026-13-99", "\\x", "\ufeff", "\x85", "é"]
)


@settings(deadline=None)
@given(FILES)
def test_any_file_of_the_right_shape_is_read_or_refused_in_one_line(content: object) -> None:
    try:
        found = parse(yaml.safe_dump(content), "f")
    except ConfigurationError as error:
        one_line(error)
        return
    for mirror in found.mirrors.values():
        assert mirror.endpoints == tuple(map(registries.endpoint, mirror.endpoints))
    for host in found.configs.values():
        assert host.auth is None or all(isinstance(text, str) for text in host.auth.login())
    assert SECRET not in repr(found)


@settings(deadline=None)
@given(
    st.binary(max_size=80)
    | st.text(max_size=80)
    | st.lists(FRAGMENTS | st.text(string.printable, max_size=3), max_size=16).map("".join)
)
@example("mirrors: &a {x: *a}")
@example("\ud800")
@example("mirrors: {a: {endpoint: [!!float x]}}")
def test_any_text_is_read_or_refused_in_one_line(content: str | bytes) -> None:
    try:
        parse(content, "f")
    except ConfigurationError as error:
        one_line(error)


@settings(deadline=None)
@given(st.text("abz019.:/-_@[]?#% \\\"'\x00é", max_size=20))
def test_any_text_is_an_endpoint_of_one_form_or_none(text: str) -> None:
    try:
        url = registries.endpoint(text)
    except ValueError:
        return
    assert url.isascii() and not set(url) & set(' \\"\x00?#@')
    assert registries.endpoint(url) == url
    assert "/" not in registries.host_of(url)
