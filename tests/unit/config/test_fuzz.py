"""Whatever is in the files, the outcome is a configuration or an error of one line."""

import string
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rke2_units.config import derived, grammar, yaml_file
from rke2_units.config.config import Config
from rke2_units.config.keys import KEYS, OTHER_COMMANDS
from rke2_units.config.load import load
from rke2_units.errors import ConfigurationError
from rke2_units.model import NodeFacts
from rke2_units.unit_names import Role
from tests.unit.configs import make_config, of_files

NAMES = [key.name for key in KEYS]
FACTS = NodeFacts(hostname="n", node_ips=("10.0.0.5",))
SECRET = "hunter2hunter2"
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.text("0123456789abcdef.:/-,=K", max_size=30)
    | st.sampled_from(
        [
            "none",
            "10.0.0.0/8",
            "fd00::/64",
            "10.0.0.1",
            "::1",
            "/a",
            "/a:/b:ro",
            "etcd-cpu=1",
            "a=b",
            "a:NoExecute",
        ]
        + ["K10::a:b", "1h", "0644", "https://a:1", "external", "cis", "https://[::1%a]:1", "*.a"]
        + ["etcd-startup-period-seconds=3", "multus,canal", "1" * 400, "\ud800", "\x00"]
    )
)
VALUES = SCALARS | st.lists(SCALARS, max_size=4) | st.lists(st.lists(SCALARS, max_size=2), max_size=2)
WRITTEN = st.sampled_from(
    NAMES + [f"{name}+" for name in NAMES] + ["c", "t+", "nonsense", *sorted(OTHER_COMMANDS)]
)
ROLES = st.sampled_from(Role)
FRAGMENTS = st.sampled_from(
    [
        *NAMES,
        ": ",
        "\n",
        "- ",
        "  ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        '"',
        "&a ",
        "*a",
        "!!int ",
        "!!str ",
        "! ",
        "|\n",
        ">\n",
    ]
    + [
        "#",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "? ",
        "<<",
        "=",
        "no",
        "0x",
        "0b",
        "08",
        "1:99",
        ".inf",
        ".nan",
        "~",
        "\t",
    ]
    + ["2026-13-99", "\\x", "\ufeff", "\x85", "é", "+", "10.0.0.0/8", SECRET]
)


def everything_derived(config: Config) -> None:
    for key in KEYS:
        config.source(key.name)
        config.items(key.name)
    derived.data_directory(config)
    derived.default_registry(config)
    derived.protect_kernel_defaults(config)
    derived.probe_values(config)
    derived.node_taints(config)
    for component in grammar.COMPONENTS:
        derived.extra_mounts(config, component)
        derived.extra_environment(config, component)
        derived.runs(config, component)
    derived.subject_alternative_names(config, FACTS)
    derived.cluster_dns(config, FACTS)


def one_line(error: ConfigurationError) -> None:
    assert str(error).isprintable()
    assert len(str(error)) < 1500
    str(error).encode()


@settings(deadline=None)
@given(ROLES, st.dictionaries(WRITTEN, VALUES, max_size=6))
def test_any_values_of_known_keys_make_a_configuration_or_an_error(
    role: Role, values: dict[str, object]
) -> None:
    try:
        everything_derived(make_config(role, values))
    except ConfigurationError as error:
        one_line(error)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(NAMES), VALUES)
def test_any_value_of_one_key_makes_a_configuration_or_an_error(name: str, value: object) -> None:
    try:
        everything_derived(make_config(Role.SERVER, {name: value}))
    except ConfigurationError as error:
        one_line(error)


def from_bytes(role: Role, content: bytes) -> None:
    try:
        everything_derived(of_files(role, [yaml_file.parse(content, "f")]))
    except ConfigurationError as error:
        one_line(error)


@settings(deadline=None)
@given(
    ROLES,
    st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode(errors="surrogatepass")),
)
@example(Role.SERVER, b"tls-san: [&a [x], *a]")
@example(Role.SERVER, b"debug: !!bool maybe")
@example(Role.SERVER, b"token: !!float x")
@example(Role.SERVER, b"\xfe\xff\x00a")
@example(Role.SERVER, b"lb-server-port: " + b"9" * 5000)
@example(Role.SERVER, b"node-name: 0b" + b"1" * 20000)
def test_any_bytes_make_a_configuration_or_an_error(role: Role, content: bytes) -> None:
    from_bytes(role, content)


@settings(deadline=None)
@given(ROLES, st.lists(FRAGMENTS | st.text(string.printable, max_size=3), max_size=14).map("".join))
def test_any_yaml_makes_a_configuration_or_an_error(role: Role, content: str) -> None:
    from_bytes(role, content.encode())


@settings(deadline=None)
@given(
    st.sampled_from([key.name for key in KEYS if key.secret]),
    st.text(string.printable, max_size=8),
    st.text(string.printable, max_size=8),
)
@example("token", "K10", "")
@example("token", "*", "")
@example("token", "&", " 'x")
@example("token", "'", "")
@example("token", "!", " x")
@example("token", "{", ": b}")
@example("kube-apiserver-extra-env", "", "")
@example("datastore-endpoint", "mysql://u:", "@h")
def test_errors_never_show_a_secret(name: str, before: str, after: str) -> None:
    content = f"{name}: {before}{SECRET}{after}\n".encode()
    try:
        entries = yaml_file.parse(content, "f")
        assert SECRET not in repr(of_files(Role.SERVER, [entries])) + repr(entries)
    except ConfigurationError as error:
        # A line end in front of it makes it another key, or another key's value: no secret then.
        said = " ".join(map(str, error.each()))
        assert SECRET not in said or set(before) & set("\n\r#,")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60), name=st.sampled_from(["token", "agent-token"]))
def test_any_token_file_makes_a_configuration_or_an_error(tmp_path: Path, content: bytes, name: str) -> None:
    token = tmp_path / "token"
    token.write_bytes(content)
    config = tmp_path / "config.yaml"
    config.write_text(f"{name}-file: {token}\n")
    try:
        text = load(Role.SERVER, config_file=str(config), environment={}).text(name)
    except ConfigurationError as error:
        one_line(error)
    else:
        assert text == content.decode().strip() != ""


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([key.environment for key in KEYS if key.environment]),
        st.text(max_size=20),
        max_size=4,
    ),
    st.lists(st.tuples(WRITTEN, st.text(max_size=20)), max_size=4),
)
def test_any_environment_and_arguments_make_a_configuration_or_an_error(
    environment: dict[str, str], arguments: list[tuple[str, str]]
) -> None:
    try:
        load(Role.SERVER, environment=environment, arguments=arguments)
    except ConfigurationError as error:
        assert str(error)
