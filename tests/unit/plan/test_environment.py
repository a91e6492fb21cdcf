import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rke2_units.plan import environment
from tests.unit.plan.cases import MACHINE, make_node

INSIDE = "10.42.0.0/16,10.43.0.0/16,.svc,.cluster.local"


def proxies(**variables: str) -> dict[str, str]:
    facts = replace(MACHINE, environment=variables)
    return environment.proxies(make_node({}, facts))


def test_without_a_proxy_nothing_is_handed_on() -> None:
    assert proxies(HOME="/root", RKE2_TOKEN="secret") == {}


@pytest.mark.parametrize(
    ("given_to_us", "handed_on"),
    [
        ({"HTTP_PROXY": "p"}, {"HTTP_PROXY": "p", "NO_PROXY": INSIDE}),
        ({"https_proxy": "p", "no_proxy": "a"}, {"https_proxy": "p", "no_proxy": f"a,{INSIDE}"}),
        ({"NO_PROXY": "a,", "no_proxy": "b"}, {"NO_PROXY": f"a,{INSIDE}", "no_proxy": f"b,{INSIDE}"}),
        ({"NO_PROXY": ".svc"}, {"NO_PROXY": ".svc,10.42.0.0/16,10.43.0.0/16,.cluster.local"}),
        ({"MY_PROXY_HOST": "p"}, {"MY_PROXY_HOST": "p", "NO_PROXY": INSIDE}),
        # Not a name that a unit or a pod could hold.
        ({"proxy-host": "p"}, {}),
        ({"CONTAINERD_HTTP_PROXY": "p"}, {}),
    ],
)
def test_what_is_inside_the_cluster_is_never_proxied(
    given_to_us: dict[str, str], handed_on: dict[str, str]
) -> None:
    assert proxies(**given_to_us) == handed_on


@pytest.mark.parametrize(
    ("given_to_us", "containerds"),
    [
        ({"CONTAINERD_HTTPS_PROXY": "p"}, {"HTTPS_PROXY": "p", "NO_PROXY": INSIDE}),
        ({"CONTAINERD_https_proxy": "p"}, {"https_proxy": "p", "NO_PROXY": INSIDE}),
        (
            {"CONTAINERD_HTTP_PROXY": "p", "CONTAINERD_NO_PROXY": ".example.com"},
            {"HTTP_PROXY": "p", "NO_PROXY": f".example.com,{INSIDE}"},
        ),
        (
            {"CONTAINERD_https_proxy": "p", "CONTAINERD_no_proxy": ".y,.svc"},
            {"https_proxy": "p", "no_proxy": ".y,.svc,10.42.0.0/16,10.43.0.0/16,.cluster.local"},
        ),
        # CONTAINERD_NO_PROXY takes the place of the other list, and not that of the cluster's ranges.
        (
            {"HTTPS_PROXY": "p", "NO_PROXY": "10.0.0.0/8", "CONTAINERD_NO_PROXY": ".y"},
            {"HTTPS_PROXY": "p", "NO_PROXY": f".y,{INSIDE}"},
        ),
        (
            {"HTTPS_PROXY": "p", "no_proxy": "a", "CONTAINERD_NO_PROXY": "b"},
            {"HTTPS_PROXY": "p", "NO_PROXY": f"b,{INSIDE}", "no_proxy": f"a,{INSIDE}"},
        ),
        ({"HTTP_PROXY": "p", "CONTAINERD_HTTP_PROXY": "q"}, {"HTTP_PROXY": "q", "NO_PROXY": INSIDE}),
        ({"CONTAINERD_GOGC": "50", "CONTAINERD_LOG_LEVEL": "debug"}, {"GOGC": "50"}),
        ({"CONTAINERD_MY-PROXY": "p"}, {}),
    ],
)
def test_containerd_never_sends_the_clusters_traffic_to_a_proxy(
    given_to_us: dict[str, str], containerds: dict[str, str]
) -> None:
    facts = replace(MACHINE, environment=given_to_us)
    assert environment.containerd(make_node({}, facts)) == containerds


def read_by_systemd(text: str) -> dict[str, str]:
    """What systemd reads: a backslash stands for itself but before one of " \\ ` $."""
    found = re.findall(r'^(\w+)="((?:[^"\\]|\\.)*)"$', text, re.DOTALL | re.MULTILINE | re.ASCII)
    return {name: re.sub(r'\\(["\\`$])', r"\1", value) for name, value in found}


@settings(deadline=None)
@given(
    values=st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        max_size=4,
    )
)
def test_systemd_reads_back_what_was_meant(values: dict[str, str]) -> None:
    assert read_by_systemd(environment.file_text(values)) == values
