"""RKE2's rules for several files, the environment and the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rke2_units.config.config import Config
from rke2_units.config.load import load
from rke2_units.errors import ConfigurationError
from rke2_units.unit_names import Role

Load = Callable[..., Config]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Loads files that are given as texts: the first is config.yaml, the others are in config.yaml.d."""

    def call(
        *texts: str,
        role: Role = Role.SERVER,
        environment: dict[str, str] | None = None,
        arguments: tuple[tuple[str, str], ...] = (),
    ) -> Config:
        base = tmp_path / "config.yaml"
        base.write_text(texts[0] if texts else "")
        base.chmod(0o600)
        drop_ins = tmp_path / "config.yaml.d"
        drop_ins.mkdir()
        for index, text in enumerate(texts[1:]):
            (drop_ins / f"{index}.yaml").write_text(text)
        return load(role, config_file=str(base), environment=environment or {}, arguments=arguments)

    return call


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["tls-san: a"], ("a",)),
        (["tls-san: [a, b]"], ("a", "b")),
        (["tls-san: a,b"], ("a", "b")),
        (["tls-san: [a]", "tls-san: [b]"], ("b",)),
        (["tls-san: [a]", "tls-san+: [b]"], ("a", "b")),
        (["tls-san: a", "tls-san+: b"], ("a", "b")),
        (["tls-san+: a", "tls-san+: [b, c]"], ("a", "b", "c")),
        (["tls-san: [a]", "tls-san+: [b]", "tls-san: [c]"], ("c",)),
        (["tls-san: [a]", "tls-san+: [b]", "tls-san+: [c]"], ("a", "b", "c")),
        (["tls-san: [a]\ntls-san+: [b]"], ("a", "b")),
        (["tls-san+: [b]\ntls-san: [a]"], ("a",)),
        (["tls-san: [a]", "tls-san:"], ()),
        (["tls-san:", "tls-san+: [b]"], ("b",)),
        (["tls-san: [a]", "tls-san: []"], ()),
        (["", "tls-san: [a]"], ("a",)),
        (["# nothing\n---\n", "tls-san: [a]\n...\n"], ("a",)),
    ],
    ids=str,
)
def test_lists_of_several_files_follow_rke2(
    loaded: Load, texts: list[str], expected: tuple[str, ...]
) -> None:
    assert loaded(*texts).items("tls-san") == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["node-name: a", "node-name: b"], "b"),
        (["node-name: a", "node-name+: b"], "b"),
        (["node-name: a", 'node-name: ""'], ""),
        (["node-name: a", "node-name: ~"], ""),
    ],
    ids=str,
)
def test_of_single_values_the_last_one_wins(loaded: Load, texts: list[str], expected: str) -> None:
    assert loaded(*texts).text("node-name") == expected


def test_each_item_of_a_merged_list_knows_its_line(loaded: Load, tmp_path: Path) -> None:
    config = loaded("tls-san:\n- a\n- b\n", "\ntls-san+: c\n")
    assert config.source("tls-san", 0) == f"{tmp_path}/config.yaml:2"
    assert config.source("tls-san", 1) == f"{tmp_path}/config.yaml:3"
    assert config.source("tls-san") == f"{tmp_path}/config.yaml.d/0.yaml:2"


def test_files_rank_above_the_environment_and_the_command_line_above_files(
    loaded: Load, tmp_path: Path
) -> None:
    config = loaded(
        "node-name: file\nwrite-kubeconfig-name: file\n",
        environment={"RKE2_NODE_NAME": "environment", "RKE2_CNI": "none", "RKE2_RESOLV_CONF": "/e"},
        arguments=(("node-name", "line"),),
    )
    assert (config.text("node-name"), config.source("node-name")) == ("line", "command line")
    assert config.source("write-kubeconfig-name") == f"{tmp_path}/config.yaml:2"
    assert (config.items("cni"), config.source("cni")) == (("none",), "environment RKE2_CNI")
    assert config.text("resolv-conf") == "/e"
    assert config.source("debug") == "default"


def test_a_file_value_hides_the_environment_even_when_it_appends(loaded: Load) -> None:
    config = loaded("kube-proxy-extra-env+: [A=1]", environment={"RKE2_KUBE_PROXY_EXTRA_ENV": "B=2"})
    assert config.items("kube-proxy-extra-env") == ("A=1",)


def test_a_list_on_the_command_line_replaces_that_of_the_files(loaded: Load) -> None:
    config = loaded("tls-san: [a, b]", arguments=(("tls-san", "c"), ("tls-san", "d")))
    assert config.items("tls-san") == ("c", "d")


def test_of_a_repeated_single_argument_the_last_one_wins(loaded: Load) -> None:
    assert loaded("", arguments=(("node-name", "a"), ("node-name", "b"))).text("node-name") == "b"


def test_an_empty_environment_variable_is_not_there(loaded: Load) -> None:
    config = loaded("", environment={"RKE2_DEBUG": "", "RKE2_NODE_NAME": ""})
    assert not config.is_set("debug")
    assert not config.is_set("node-name")


def test_one_letter_keys_are_known_in_files_and_on_the_command_line(loaded: Load) -> None:
    config = loaded("t: secret\no: /root/kubeconfig\n", arguments=(("d", "/srv/rke2"),))
    assert config.text("token") == "secret"
    assert config.text("write-kubeconfig") == "/root/kubeconfig"
    assert config.text("data-dir") == "/srv/rke2"


def test_keys_of_the_other_role_and_of_other_commands_pass_whatever_they_hold(loaded: Load) -> None:
    config = loaded(
        "cluster-cidr: nonsense\netcd-s3: true\ns3-bucket: b\netcd-token: x\nsnapshot-retention: [1]\n",
        role=Role.AGENT,
        environment={"RKE2_CNI": "nonsense"},
    )
    assert not config.is_set("cluster-cidr")
    assert not config.is_set("cni")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node-name: a\nnode-name: b\n", "{file}:2: node-name is set a second time, first in line 1"),
        ("t: a\ntoken: b\n", "{file}:2: token is set a second time, first in {file}:1"),
        ("tls-sans: a\n", "{file}:1: unknown key 'tls-sans' (did you mean tls-san?)"),
        ("tls_san: a\n", "{file}:1: unknown key 'tls_san' (did you mean tls-san?)"),
        (
            "\nxyzzy: a\n",
            "{file}:2: unknown key 'xyzzy' (rke2-units-config(5) lists all keys)",
        ),
        (
            "flannel-backend: vxlan\n",
            "{file}:1: flannel-backend is a key of k3s, which RKE2 does not have (remove it)",
        ),
        (
            "kube-controller-arg: [v=2]\n",
            "{file}:1: kube-controller-arg is a key of k3s, which RKE2 does not have "
            "(use kube-controller-manager-arg)",
        ),
    ],
)
def test_wrong_keys_name_file_line_and_what_to_do(
    loaded: Load, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        loaded(text)
    assert str(error.value) == message.format(file=tmp_path / "config.yaml")


def test_a_wrong_key_on_the_command_line_is_named(loaded: Load) -> None:
    with pytest.raises(ConfigurationError, match="command line: unknown key 'tls-sn'"):
        loaded("", arguments=(("tls-sn", "a"),))
