"""What the supervisor counts, and whom it shows that."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..kubernetes_api import Reply
from ..kubernetes_api import Request as ApiRequest
from .conftest import Api, Supervisor, running

OBSERVER = "system:serviceaccount:monitoring:prometheus"
TOKEN = "e.y.j"


class Reviews:
    """An apiserver that knows one token, and lets `allowed` (names and groups) read /metrics."""

    def __init__(self, api: Api, *allowed: str) -> None:
        self.asked: list[Any] = []
        self._allowed = set(allowed)
        api.server.answer = self.answer

    def answer(self, request: ApiRequest) -> Reply:
        spec = request.body["spec"]
        self.asked.append(spec)
        if request.path == "/apis/authentication.k8s.io/v1/tokenreviews":
            status: dict[str, Any] = {"authenticated": spec["token"] == TOKEN}
            if status["authenticated"]:
                status["user"] = {"username": OBSERVER, "groups": ["system:serviceaccounts"]}
            return Reply(201, {"status": status})
        assert request.path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        allowed = bool(self._allowed & {spec["user"], *spec["groups"]})
        return Reply(201, {"status": {"allowed": allowed}})


@pytest.fixture
def alone(material: Path, api: Api) -> Iterator[Supervisor]:
    with running(material, api) as started:
        yield started


def samples(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_a_service_account_that_may_read_them_gets_what_was_counted(alone: Supervisor) -> None:
    reviews = Reviews(alone.api, OBSERVER)
    alone.ask("/ping")
    alone.ask("/ping")
    alone.ask("/v1-rke2/config", user="node:wrong")
    alone.ask("/nobody-knows-this")
    answer = alone.ask("/metrics", token=TOKEN)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4")
    found = samples(answer.text)
    requests = "rke2_units_supervisor_requests_total"
    assert found[f'{requests}{{code="200",method="GET",path="/ping"}}'] == 2
    assert found[f'{requests}{{code="401",method="GET",path="/v1-rke2/config"}}'] == 1
    assert found[f'{requests}{{code="404",method="other",path="other"}}'] == 1
    assert found["rke2_units_supervisor_failed_logins_total"] == 1
    assert found["rke2_units_supervisor_connections"] >= 1
    assert found["process_resident_memory_bytes"] > 1 << 20
    assert found["process_cpu_seconds_total"] > 0
    assert {"user": OBSERVER, "groups": ["system:authenticated", "system:serviceaccounts"]}.items() <= (
        reviews.asked[-1].items()
    )
    assert reviews.asked[-1]["nonResourceAttributes"] == {"path": "/metrics", "verb": "get"}


def test_a_certificate_counts_with_all_its_organizations(alone: Supervisor) -> None:
    Reviews(alone.api, "rke2:server")
    assert alone.ask("/metrics", client="pretender").status == 200
    assert alone.ask("/metrics", client="masters").status == 403


@pytest.mark.parametrize(
    "credentials",
    [{"token": "another"}, {"user": "server"}, {"user": "node"}, {}],
    ids=["unknown-token", "server-password", "agent-password", "nothing"],
)
def test_nobody_else_gets_them(alone: Supervisor, credentials: dict[str, str]) -> None:
    Reviews(alone.api, "system:authenticated")
    assert alone.ask("/metrics", **credentials).status == 401  # type: ignore[arg-type]


def test_who_may_not_read_them_is_in_the_journal(alone: Supervisor) -> None:
    Reviews(alone.api)
    assert alone.ask("/metrics", token=TOKEN).status == 403
    assert f"{OBSERVER} may not get /metrics" in alone.journal
    assert TOKEN not in alone.journal


def test_without_an_apiserver_nobody_can_tell(alone: Supervisor) -> None:
    alone.api.ready = False
    assert alone.ask("/metrics", token=TOKEN).status == 503


def test_there_are_none_unless_they_are_asked_for(material: Path, api: Api) -> None:
    with running(material, api, config={"SupervisorMetrics": False}) as supervisor:
        assert supervisor.ask("/metrics", token=TOKEN).status == 404
