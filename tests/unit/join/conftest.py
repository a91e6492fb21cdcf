"""A cluster's server that answers, and the node that joins it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rke2_units.certificates.ensure import ensure
from rke2_units.certificates.request import Request
from rke2_units.join import agent
from rke2_units.join.agent import Agent
from rke2_units.layout import Paths
from rke2_units.unit_names import Role
from tests.unit.join.supervisor import Supervisor, now
from tests.unit.join_api import conftest as supervisors
from tests.unit.kubernetes_api import served


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("supervisor")
    supervisors.make_credentials(directory)
    return directory


@pytest.fixture
def real(material: Path) -> Iterator[supervisors.Supervisor]:
    """The supervisor itself, before an apiserver of the tests."""
    with served() as apiserver, supervisors.running(material, supervisors.Api(apiserver)) as started:
        yield started


@pytest.fixture
def joining_agent(tmp_path: Path, supervisor: Supervisor) -> Agent:
    wanted = Request(
        Paths(str(tmp_path / "data")),
        node_name="agent-1",
        node_ips=("192.0.2.9",),
        names=(),
        role=Role.AGENT,
        node_directory=str(tmp_path / "node"),
    )
    ensure(wanted, now())
    password = agent.node_password(wanted.node_directory)
    return Agent(wanted, supervisor.token(), password, "https://127.0.0.1:6443")
