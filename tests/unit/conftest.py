"""What unit tests of several rooms share."""

from collections.abc import Callable, Iterator

import pytest

from tests.unit.health_server import HealthServer


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
