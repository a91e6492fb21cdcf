"""The table of keys against RKE2's flags, and with itself."""

import ast
from pathlib import Path

import pytest

from rke2_units.config import grammar, keys, reference
from rke2_units.config.keys import BOTH, KEYS, OTHER_COMMANDS, SERVER, Key, Kind
from rke2_units.errors import ConfigurationError
from rke2_units.unit_names import Role
from tests.unit.configs import make_config

RKE2_KEYS = {
    words[0]: words[1:]
    for line in (Path(__file__).parent / "rke2_keys.txt").read_text().splitlines()
    if not line.startswith("#") and (words := line.split())
}
# For each rejected key a value that would do something.
ACTING = {
    Kind.TEXT: "/else/where",
    Kind.BOOLEAN: True,
    Kind.NUMBER: 7,
    Kind.DURATION: "7m",
    Kind.LIST: ["something"],
}
ACTING_BY_NAME: dict[str, object] = {
    "tls-san-security": False,
    "egress-selector-mode": "cluster",
    "cloud-provider-name": "harvester",
}
REJECTED = [key for key in KEYS if key.rejected]


def test_the_table_has_every_key_of_rke2_and_no_other() -> None:
    of_rke2 = [key.name for key in KEYS if not key.own]
    assert set(of_rke2) == set(RKE2_KEYS)
    assert len(of_rke2) == len(RKE2_KEYS)


def test_every_key_can_be_found_by_its_name_in_the_table() -> None:
    written = [
        ast.unparse(field.value)
        for node in ast.walk(ast.parse(Path(keys.__file__).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Key"
        for field in node.keywords
        if field.arg == "name"
    ]
    assert sorted(written) == sorted(repr(key.name) for key in KEYS)


def test_the_reference_says_which_keys_are_not_those_of_rke2() -> None:
    own = {key.name for key in KEYS if key.own}
    assert "content" in own and not own & set(RKE2_KEYS)
    text = reference.markdown_table()
    for name in own:
        assert "Not an RKE2 key" in text.split(f"**{name}**", 1)[1].split("\n**", 1)[0]


@pytest.mark.parametrize("key", [key for key in KEYS if not key.own], ids=lambda key: key.name)
def test_one_letter_names_and_roles_are_those_of_rke2(key: Key) -> None:
    marks = RKE2_KEYS[key.name]
    assert key.alias == next((mark for mark in marks if len(mark) == 1), None)
    assert key.roles == (SERVER if "server" in marks else BOTH)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_default_is_accepted_when_it_is_written_out(key: Key) -> None:
    if not key.default:
        return
    config = make_config(Role.SERVER, {key.name: key.default})
    plain = make_config(Role.SERVER, {})
    if key.kind is Kind.LIST:
        assert config.items(key.name) == plain.items(key.name) != ()
    elif key.kind is Kind.BOOLEAN:
        assert config.boolean(key.name) == plain.boolean(key.name)
    elif key.kind in (Kind.NUMBER, Kind.OCTAL):
        assert config.number(key.name) == plain.number(key.name)
    elif key.kind is Kind.DURATION:
        assert config.seconds(key.name) == plain.seconds(key.name) > 0
    else:
        assert config.text(key.name) == plain.text(key.name) == key.default


@pytest.mark.parametrize("key", REJECTED, ids=lambda key: key.name)
def test_a_rejected_key_that_would_do_something_is_an_error_with_the_reason(key: Key) -> None:
    value = ACTING_BY_NAME.get(key.name, ACTING[key.kind])
    with pytest.raises(ConfigurationError) as error:
        make_config(Role.SERVER, {key.name: value})
    assert str(error.value) == f"test: {key.name} cannot be used: {key.rejected}"


@pytest.mark.parametrize(
    "values",
    [
        {"selinux": False},
        {"cluster-reset": False},
        {"egress-selector-mode": "disabled"},
        {"egress-selector-mode": "agent"},
        {"cloud-provider-name": "external"},
        {"disable-etcd": False},
        {"datastore-endpoint": ""},
        {"helm-controller-arg": []},
        {"secrets-encryption": False},
        {"disable": ["rke2-ingress-nginx", "rke2-metrics-server"]},
    ],
    ids=str,
)
def test_a_rejected_key_that_does_nothing_passes(values: dict[str, object]) -> None:
    make_config(Role.SERVER, values)


@pytest.mark.parametrize("role", Role)
def test_a_node_may_name_the_server_that_it_joins(role: Role) -> None:
    config = make_config(role, {"server": "https://10.0.0.1:9345", "token": "x"})
    assert config.text("server") == "https://10.0.0.1:9345"


def test_keys_of_what_is_not_there_yet_are_rejected() -> None:
    rejected = {key.name for key in REJECTED}
    for prefix in ("datastore-",):
        assert {name for name in RKE2_KEYS if name.startswith(prefix)} <= rejected
    assert not [name for name in rejected if name.startswith(("etcd-s3", "etcd-snapshot"))]
    assert {"cloud-provider-name", "embedded-registry", "selinux"} <= rejected


def test_keys_of_other_commands_are_no_keys_of_a_node() -> None:
    assert not OTHER_COMMANDS & set(RKE2_KEYS)
    # `rke2 etcd-snapshot` has those of S3 without etcd- in front.
    assert {name.removeprefix("etcd-") for name in RKE2_KEYS if name.startswith("etcd-s3")} < OTHER_COMMANDS
    assert {"etcd-token", "snapshot-compress", "groups", "kubeconfig"} <= OTHER_COMMANDS


def test_environment_variables_belong_to_one_key_each() -> None:
    variables = [key.environment for key in KEYS if key.environment]
    assert len(set(variables)) == len(variables)
    assert [variable for variable in variables if not variable.startswith("RKE2_")] == [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ]


def test_each_component_has_its_mounts_and_variables() -> None:
    for component in grammar.COMPONENTS:
        assert {f"{component}-extra-mount", f"{component}-extra-env"} <= set(RKE2_KEYS)


def test_the_reference_explains_every_key() -> None:
    text = reference.markdown_table()
    for key in KEYS:
        entry = text.split(f"**{key.name}**", 1)[1].split("\n**", 1)[0]
        assert "Used by: " in entry
        assert ("Rejected: " in entry or " accepted: " in entry) == bool(key.rejected)
        if key.environment:
            assert f"`{key.environment}`" in entry


def test_the_reference_escapes_markdown_once() -> None:
    entry = reference.markdown_table().split("**etcd-snapshot-schedule-cron**", 1)[1].split("\n**", 1)[0]
    assert "Default: `0 */12 * * *`." in entry
    entry = reference.markdown_table().split("**etcd-extra-mount**", 1)[1].split("\n**", 1)[0]
    assert r"SOURCE:DESTINATION\[:ro\|rw\[:TYPE\]\]." in entry
