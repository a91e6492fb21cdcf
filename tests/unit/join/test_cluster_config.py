import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.config import derived
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.join import cluster_config, critical
from rke2_units.model import NodeFacts
from rke2_units.plan.cluster_config import describe_cluster
from rke2_units.unit_names import Role
from tests.unit.configs import make_config
from tests.unit.join.supervisor import config
from tests.unit.plan.cases import make_node

FACTS = NodeFacts("one", ("192.0.2.1",))
AGENT = {"server": "https://one.example:9345", "token": "secret"}
SIX = {"IP": "fd00:42::", "Mask": "/////////wAAAAAAAAAAAA=="}


def test_the_values_that_every_node_goes_by_are_read_from_rke2s_answer() -> None:
    assert cluster_config.values(config()) == {
        "cluster-cidr": ("10.44.0.0/16",),
        "service-cidr": ("10.45.0.0/16",),
        "cluster-dns": ("10.45.0.10",),
        "cluster-domain": ("cluster.example",),
        "disable-kube-proxy": ("false",),
        "disable-cloud-controller": ("true",),
    }


def test_a_service_load_balancer_that_is_not_disabled_is_one() -> None:
    assert cluster_config.values({"DisableServiceLB": False}) == {"enable-servicelb": ("true",)}


def test_an_agents_images_come_from_where_its_servers_come_from() -> None:
    found = cluster_config.values({"SystemDefaultRegistry": "registry.example:5000/rke2"})
    assert found == {"system-default-registry": ("registry.example:5000/rke2",)}
    agent = make_config(Role.AGENT, {"server": "https://one.example:9345", "token": "t"})
    joined = cluster_config.over(agent, found, "the cluster's servers")
    assert derived.default_registry(joined) == "registry.example:5000/rke2"
    assert cluster_config.values({"SystemDefaultRegistry": ""}) == {}


def test_ranges_of_both_families_and_the_single_fields_of_old_servers_are_read() -> None:
    two = {**config(), "ClusterIPRanges": [SIX, {"IP": "10.44.0.0", "Mask": "//8AAA=="}]}
    assert cluster_config.values(two)["cluster-cidr"] == ("fd00:42::/56", "10.44.0.0/16")
    old: dict[str, object] = {
        "ClusterIPRanges": None,
        "ClusterIPRange": SIX,
        "ClusterDNSs": [],
        "ClusterDNS": "10.45.0.10",
    }
    assert cluster_config.values(old) == {"cluster-cidr": ("fd00:42::/56",), "cluster-dns": ("10.45.0.10",)}


@pytest.mark.parametrize(
    "field",
    [
        {"ClusterIPRange": {"IP": "10.0.0.0"}},
        {"ClusterIPRange": {"IP": "10.0.0.0", "Mask": "/wD/AA=="}},  # with a hole
        {"ClusterIPRange": {"IP": "10.0.0.1", "Mask": "//8AAA=="}},  # an address in it
        {"ClusterIPRange": {"IP": "10.0.0.0", "Mask": "!"}},
        {"ServiceIPRanges": ["nothing"]},
        {"ClusterDNS": 7},
        {"ClusterDomain": ["a", {}]},
        {"DisableKubeProxy": "no"},
        {"DisableServiceLB": 0},
    ],
)
def test_a_field_that_cannot_be_read_is_named(field: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(field))):
        cluster_config.values(field)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["IP", "Mask", "x"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(config())), json_values))
def test_no_answer_does_more_than_be_refused(found: dict[str, object]) -> None:
    try:
        values = cluster_config.values(found)
        cluster_config.over(make_config(Role.AGENT, AGENT), values, "servers")
    except UserError as error:
        assert str(error)


def test_the_clusters_values_act_over_the_agents_defaults() -> None:
    own = make_config(Role.AGENT, AGENT)
    joined = cluster_config.over(own, cluster_config.values(config()), "the cluster's servers")
    assert derived.cluster_dns(joined, FACTS) == ("10.45.0.10",)
    assert derived.cluster_cidrs(joined, FACTS) == ("10.44.0.0/16",)
    assert joined.text("cluster-domain") == "cluster.example"
    assert joined.boolean("disable-cloud-controller")
    assert joined.text("server") == own.text("server")
    assert not own.is_set("cluster-domain")


def test_a_value_that_no_file_could_hold_is_refused_with_its_source() -> None:
    own = make_config(Role.AGENT, AGENT)
    with pytest.raises(ConfigurationError, match="the cluster's servers: cluster-domain must be"):
        cluster_config.over(own, {"cluster-domain": ("a b\nc",)}, "the cluster's servers")


def test_only_the_clusters_values_are_taken_from_what_was_kept() -> None:
    joined = cluster_config.over(make_config(Role.AGENT, AGENT), {"node-name": ("evil",)}, "servers")
    assert not joined.is_set("node-name")


def test_what_was_kept_is_read_again_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    assert cluster_config.kept(str(path)) is None
    file = cluster_config.file(str(path), cluster_config.values(config()))
    path.write_text(file.content)
    assert file.mode == 0o600
    assert cluster_config.kept(str(path)) == cluster_config.values(config())
    for damaged in ("", "[]", "{", '{"a": 1}'):
        path.write_text(damaged)
        assert cluster_config.kept(str(path)) is None


def server(**settings: object) -> dict[str, object]:
    given = {name.replace("_", "-"): value for name, value in settings.items()}
    return json.loads(json.dumps(describe_cluster(make_node(given, FACTS))))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cluster_cidr": "10.50.0.0/16"}, "cluster-cidr is 10.42.0.0/16 here and 10.50.0.0/16 there"),
        ({"service_cidr": "10.51.0.0/16"}, "service-cidr is 10.43.0.0/16 here and 10.51.0.0/16 there"),
        ({"cluster_dns": "10.43.0.11"}, "cluster-dns is 10.43.0.10 here and 10.43.0.11 there"),
        ({"cluster_domain": "a.example"}, "cluster-domain is cluster.local here and a.example there"),
        ({"disable_kube_proxy": True}, "disable-kube-proxy is false here and true there"),
        ({"disable_cloud_controller": True}, "disable-cloud-controller is false here and true there"),
        ({"secrets_encryption_provider": "secretbox"}, "aescbc here and secretbox there"),
    ],
)
def test_each_critical_setting_that_differs_is_named_with_both_values(
    settings: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        critical.compare(server(), server(**settings))
    assert caught.value.message.startswith("critical configuration value mismatch between servers: ")
    assert said in caught.value.message


def test_servers_that_differ_in_other_settings_go_together() -> None:
    critical.compare(
        server(), server(tls_san="lb.example", node_name="two", system_default_registry="r.example")
    )
    critical.compare(server(), {})


def test_what_another_server_sends_cannot_break_out_of_one_line() -> None:
    with pytest.raises(ConfigurationError) as caught:
        critical.compare(server(), {"ClusterDomain": "a\n\x1b[31m" + "b" * 1000})
    assert caught.value.message.isprintable() and len(caught.value.message) < 500
