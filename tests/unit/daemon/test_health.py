"""How the daemon learns that components answer no more, and that they do again."""

import threading
import time
from collections.abc import Iterator

import pytest

from rke2_units.daemon import health
from rke2_units.daemon.health import Health
from rke2_units.lean.http import Identity
from rke2_units.lean.json_table import Table
from rke2_units.lean.settings import HealthCheck
from tests.unit.health_server import HealthServer


@pytest.fixture
def component() -> Iterator[HealthServer]:
    server = HealthServer()
    server.thread.start()
    yield server
    server.server.shutdown()
    server.server.server_close()


def until(condition: object, expected: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 10
    while condition() != expected:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_does_not_answer_is_asked_more_often_until_it_does(
    component: HealthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_HEALTH_INTERVAL", 0.4)
    monkeypatch.setattr(health, "_TROUBLED_INTERVAL", 0.1)
    woken = threading.Semaphore(0)
    check = HealthCheck("etcd", Table("test", {"url": component.url}))
    watched = Health({"etcd": check}, "", component.url, Identity(), woken.release)
    watched.ask_for_registration()
    until(lambda: watched.registered, True)
    assert watched.silent == {}
    component.code = 503
    until(lambda: list(watched.silent), ["etcd"])
    asked, began = component.requests, time.monotonic()
    until(lambda: component.requests >= asked + 4, True)
    assert time.monotonic() - began < 4 * 0.4
    component.code = 200
    until(lambda: watched.silent, {})
    # Registered, silent, and not silent any more.
    for _ in range(3):
        assert woken.acquire(timeout=5)
