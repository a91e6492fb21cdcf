"""What unit tests of several rooms share."""

from collections.abc import Callable, Iterator

import pytest

from rke2_units.certificates.request import Request
from rke2_units.doors.kubernetes import Client
from tests.unit.health_server import HealthServer
from tests.unit.join.supervisor import Supervisor, request, running
from tests.unit.kubernetes_api import ApiServer, served


@pytest.fixture
def make_health_server() -> Iterator[Callable[[], HealthServer]]:
    servers: list[HealthServer] = []

    def make() -> HealthServer:
        servers.append(HealthServer())
        servers[-1].thread.start()
        return servers[-1]

    yield make
    for server in servers:
        server.server.shutdown()
        server.server.server_close()


@pytest.fixture
def health_server(make_health_server: Callable[[], HealthServer]) -> HealthServer:
    return make_health_server()


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A Kubernetes API; what it answers is the test's to say."""
    with served() as server:
        yield server


@pytest.fixture
def client(server: ApiServer) -> Iterator[Client]:
    client = Client(server.url, timeout=5)
    yield client
    client.close()


@pytest.fixture(scope="session")
def server_request(tmp_path_factory: pytest.TempPathFactory) -> Request:
    """What a server's key material is made from; it is made once."""
    return request(tmp_path_factory.mktemp("server"))


@pytest.fixture
def supervisor(server_request: Request) -> Iterator[Supervisor]:
    """A cluster's server that answers whoever joins."""
    with running(Supervisor(server_request)) as found:
        yield found
