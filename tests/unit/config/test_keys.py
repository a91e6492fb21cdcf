"""The table of settings against RKE2's flags, and with itself."""

from pathlib import Path

import pytest

from rke2_units.config import grammar, reference
from rke2_units.config.keys import BOTH, OTHER_COMMANDS, SERVER, SETTINGS, Kind, Setting
from rke2_units.config.load import make_config
from rke2_units.errors import ConfigurationError
from rke2_units.unit_names import Role

RKE2_KEYS = {
    words[0]: words[1:]
    for line in (Path(__file__).parent / "rke2_keys.txt").read_text().splitlines()
    if not line.startswith("#") and (words := line.split())
}
# For each refused setting a value that would do something.
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
REFUSED = [setting for setting in SETTINGS if setting.refused]


def test_the_table_has_every_key_of_rke2_and_no_other() -> None:
    of_rke2 = [setting.name for setting in SETTINGS if not setting.own]
    assert set(of_rke2) == set(RKE2_KEYS)
    assert len(of_rke2) == len(RKE2_KEYS)


def test_keys_of_our_own_are_none_of_rke2s_and_are_said_to_be_ours() -> None:
    own = {setting.name for setting in SETTINGS if setting.own}
    assert "content" in own and not own & set(RKE2_KEYS)
    text = reference.markdown_table()
    for name in own:
        assert "RKE2 does not know it" in text.split(f"**{name}**", 1)[1].split("\n**", 1)[0]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_one_letter_names_and_roles_are_those_of_rke2(setting: Setting) -> None:
    marks = RKE2_KEYS.get(setting.name, [])
    assert setting.alias == next((mark for mark in marks if len(mark) == 1), None)
    assert setting.roles == (SERVER if "server" in marks else BOTH)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_default_is_accepted_when_it_is_written_out(setting: Setting) -> None:
    if not setting.default:
        return
    config = make_config(Role.SERVER, {setting.name: setting.default})
    plain = make_config(Role.SERVER, {})
    if setting.kind is Kind.LIST:
        assert config.items(setting.name) == plain.items(setting.name) != ()
    elif setting.kind is Kind.BOOLEAN:
        assert config.boolean(setting.name) == plain.boolean(setting.name)
    elif setting.kind in (Kind.NUMBER, Kind.OCTAL):
        assert config.number(setting.name) == plain.number(setting.name)
    elif setting.kind is Kind.DURATION:
        assert config.seconds(setting.name) == plain.seconds(setting.name) > 0
    else:
        assert config.text(setting.name) == plain.text(setting.name) == setting.default


@pytest.mark.parametrize("setting", REFUSED, ids=lambda setting: setting.name)
def test_a_refused_key_that_would_do_something_is_refused_with_its_reason(setting: Setting) -> None:
    value = ACTING_BY_NAME.get(setting.name, ACTING[setting.kind])
    with pytest.raises(ConfigurationError) as error:
        make_config(Role.SERVER, {setting.name: value})
    assert str(error.value) == f"test: {setting.name} cannot be used: {setting.refused}"


@pytest.mark.parametrize(
    "values",
    [
        {"selinux": False},
        {"etcd-disable-snapshots": True},
        {"etcd-snapshot-retention": 5},
        {"etcd-s3": False},
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
def test_a_refused_key_that_does_nothing_passes(values: dict[str, object]) -> None:
    make_config(Role.SERVER, values)


@pytest.mark.parametrize("role", Role)
def test_a_node_may_name_the_server_that_it_joins(role: Role) -> None:
    config = make_config(role, {"server": "https://10.0.0.1:9345", "token": "x"})
    assert config.text("server") == "https://10.0.0.1:9345"


def test_what_the_issue_refuses_is_refused() -> None:
    refused = {setting.name for setting in REFUSED}
    for prefix in ("datastore-", "etcd-s3", "etcd-snapshot-", "cluster-reset"):
        assert {name for name in RKE2_KEYS if name.startswith(prefix)} <= refused
    assert {"cloud-provider-name", "embedded-registry", "selinux"} <= refused


def test_keys_of_other_commands_are_not_settings() -> None:
    assert not OTHER_COMMANDS & set(RKE2_KEYS)
    assert {
        "etcd-token",
        "s3",
        "s3-access-key",
        "snapshot-compress",
        "groups",
        "kubeconfig",
    } <= OTHER_COMMANDS


def test_environment_variables_belong_to_one_setting_each() -> None:
    variables = [setting.environment for setting in SETTINGS if setting.environment]
    assert len(set(variables)) == len(variables)
    assert all(variable.startswith("RKE2_") for variable in variables)


def test_each_component_has_its_mounts_and_variables() -> None:
    for component in grammar.COMPONENTS:
        assert {f"{component}-extra-mount", f"{component}-extra-env"} <= set(RKE2_KEYS)


def test_the_reference_explains_every_setting() -> None:
    text = reference.markdown_table()
    for setting in SETTINGS:
        entry = text.split(f"**{setting.name}**", 1)[1].split("\n**", 1)[0]
        assert "Used by: " in entry
        assert ("Refused" in entry) == bool(setting.refused)
        if setting.environment:
            assert setting.environment.replace("_", "\\_") in entry


def test_the_reference_escapes_markdown_once() -> None:
    entry = reference.markdown_table().split("**etcd-snapshot-schedule-cron**", 1)[1].split("\n**", 1)[0]
    assert r"Default: 0 \*/12 \* \* \*." in entry
    assert r"Refused but for 0 \*/12 \* \* \*: " in entry
