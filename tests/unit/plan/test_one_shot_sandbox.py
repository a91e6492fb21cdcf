"""The sandbox of the one-shot units: what the configuration names is within reach, wherever it is."""

from dataclasses import replace
from functools import cache

import pytest

from rke2_units import layout, unit_names
from rke2_units.config.registries import Host, Registries, Tls
from rke2_units.layout import Paths
from rke2_units.model import Plan
from rke2_units.plan import make_plan, registries
from rke2_units.release.table import DEFAULT, release
from rke2_units.unit_names import Role
from tests.unit.configs import make_config
from tests.unit.plan.cases import MACHINE

PULLERS = (unit_names.CONTENT_UNIT, unit_names.ETCDCTL_UNIT, unit_names.HELM_UNIT, unit_names.IMAGES_UNIT)
STATIC_PODS = "rke2-static-pod@.service"


LINKED = replace(MACHINE, linked_folders=("/srv/agent",))


@cache
def plan(is_linked: bool) -> Plan:
    return make_plan(
        Role.SERVER, make_config(Role.SERVER, {}), LINKED if is_linked else MACHINE, release(DEFAULT)
    )


def lines_of(unit: str, option: str, *, is_linked: bool = False) -> list[str]:
    content = plan(is_linked).file(f"{layout.UNIT_DIRECTORY}/{unit}").content
    return [line.partition("=")[2] for line in content.splitlines() if line.startswith(f"{option}=")]


@pytest.mark.parametrize("unit", [*PULLERS, STATIC_PODS])
@pytest.mark.parametrize("is_linked", [False, True])
def test_the_data_is_written_to_wherever_links_in_it_lead(unit: str, is_linked: bool) -> None:
    writes = lines_of(unit, "ReadWritePaths", is_linked=is_linked)
    state = [layout.STATE_DIRECTORY] if unit == unit_names.IMAGES_UNIT else []
    assert writes == [*state, Paths().data, *(["/srv/agent"] if is_linked else [])]


@pytest.mark.parametrize("unit", PULLERS)
def test_those_who_pull_do_not_see_the_servers_files(unit: str) -> None:
    assert lines_of(unit, "InaccessiblePaths") == [f"-{Paths().server}"]


@pytest.mark.parametrize(
    ("tls", "is_hidden"),
    [
        (Tls(ca_file="/root/ca.pem"), True),
        (Tls(cert_file="/home/a/crt.pem", key_file="/home/a/key.pem"), True),
        (Tls(ca_file="/data/server/ca.pem"), False),
        (Tls(cert_file="/etc/crt.pem", key_file="/data/server/key.pem"), False),
        (Tls(ca_file="/data/server-ca.pem"), True),
    ],
)
def test_what_registries_yaml_names_is_not_hidden(tls: Tls, is_hidden: bool) -> None:
    found = Registries({}, {"registry.example": Host(None, tls)})
    config = replace(make_config(Role.SERVER, {"data-dir": "/data"}), registries=found)
    assert registries.hidden(config) == (("/data/server",) if is_hidden else ())
