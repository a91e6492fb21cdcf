"""docs/hardening.md: what it calls passed is in the table, and what is rendered for each release passes."""

import re
from collections import defaultdict
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from rke2_units.layout import Paths
from rke2_units.model import Plan
from rke2_units.plan import make_plan
from rke2_units.release.table import DEFAULT, release
from rke2_units.unit_names import Role
from tests.cis import APISERVER, CONTROLS, MANAGER, SCHEDULER, Control, Seen
from tests.unit.configs import make_config
from tests.unit.plan.cases import MACHINE

PATHS = Paths()
PAGE = Path(__file__).parents[3] / "docs/hardening.md"
RENDERED = [control for control in CONTROLS if control.is_rendered]


def planned(of: str, values: dict[str, object]) -> Plan:
    config = make_config(Role.SERVER, values)
    return make_plan(Role.SERVER, config, replace(MACHINE, etcd_user=(998, 997)), release(of))


def seen(plan: Plan) -> Seen:
    def read(path: str) -> Any:
        return yaml.safe_load(plan.file(path).content)

    flags: dict[str, dict[str, list[str]]] = {}
    for component in (APISERVER, MANAGER, SCHEDULER):
        [container] = read(PATHS.staged_manifest(component))["spec"]["containers"]
        flags[component] = defaultdict(list)
        for argument in container["args"]:
            name, _, value = argument.removeprefix("--").partition("=")
            flags[component][name].append(value)
    kubelet = read(PATHS.kubelet_config)
    return Seen(None, flags, kubelet, kubelet, read(PATHS.etcd_config))


@pytest.mark.parametrize("of", [DEFAULT, "v1.20.2+rke2r1"])
@pytest.mark.parametrize("control", RENDERED, ids=lambda control: control.number)
def test_a_control_passes_as_rendered(control: Control, of: str) -> None:
    assert control.look(_hardened(of)) == ""


@cache
def _hardened(of: str) -> Seen:
    return seen(planned(of, {"profile": "cis"}))


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, {"1.2.16", "1.2.17", "1.2.18", "1.2.19", "1.2.30", "3.2.1"}),
        (
            {
                "profile": "cis",
                "kube-apiserver-arg": [
                    *("anonymous-auth=true", "profiling=true", "authorization-mode=AlwaysAllow"),
                    *("token-auth-file=/etc/tokens", "enable-admission-plugins=AlwaysAdmit"),
                    *("disable-admission-plugins=ServiceAccount,NamespaceLifecycle", "etcd-cafile="),
                    *("tls-cipher-suites=TLS_RSA_WITH_3DES_EDE_CBC_SHA", "service-account-lookup=false"),
                ],
                "kube-scheduler-arg": ["bind-address=0.0.0.0"],
                "etcd-arg": ["client-transport-security.client-cert-auth=false"],
            },
            {
                *("1.2.1", "1.2.2", "1.2.6", "1.2.7", "1.2.8", "1.2.10", "1.2.12", "1.2.13"),
                *("1.2.15", "1.2.21", "1.2.26", "1.2.29", "1.4.2"),
            },
        ),
    ],
)
def test_the_look_ups_find_what_is_wrong(values: dict[str, object], found: set[str]) -> None:
    view = seen(planned(DEFAULT, values))
    assert {control.number for control in RENDERED if control.look(view)} == found


def told(heading: str) -> list[str]:
    """The controls in the first column of the table below this heading."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d[^|]*) \|", section, re.MULTILINE)
    return [number for row in rows for number in row.split()]


def test_the_page_and_the_table_name_the_same_controls() -> None:
    passed = told("What passes")
    assert sorted(passed) == sorted(control.number for control in CONTROLS)
    assert len(passed) == len(set(passed)) > 80
    theirs = told("What is yours")
    assert len(theirs) > 20 and not set(theirs) & set(passed)
