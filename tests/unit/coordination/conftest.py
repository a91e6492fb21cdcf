"""A Kubernetes API that keeps what it is given."""

import pytest

from tests.unit.kubernetes_api import ApiServer, Store


@pytest.fixture
def store(server: ApiServer) -> Store:
    server.answer = store = Store()
    return store
