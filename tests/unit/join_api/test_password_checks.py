"""Nodes whose passwords wait for their hash: told when to come again, and then it is done."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rke2_units.join import agent
from rke2_units.join.http import Unreachable
from rke2_units.join_api import slots
from rke2_units.join_api.password_checks import PasswordChecks
from rke2_units.join_api.refusal import Refusal

from .conftest import Api, running
from .test_joining import CONFIG, joining_agent, url


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "WAIT_SECONDS", 0.01)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("others, pause", [(0, "2"), (9, "2"), (50, "11"), (400, "30"), (512, "30")])
def test_who_has_to_wait_is_told_for_how_long(others: int, pause: str) -> None:
    async def scenario() -> None:
        checks = PasswordChecks()

        async def check() -> None:
            await asyncio.Event().wait()

        first = [checks.end_of(f"node-{number}", "a password", check) for number in range(others)]
        refused = await asyncio.gather(*first, return_exceptions=True)
        assert all(isinstance(each, Refusal) and each.status == 429 for each in refused)
        with pytest.raises(Refusal) as refusal:
            await checks.end_of("another", "a password", check)
        assert (refusal.value.status, refusal.value.headers) == (429, {"Retry-After": pause})
        assert len(checks._checks) == min(others + 1, 512)

    asyncio.run(scenario())


@pytest.mark.usefixtures("impatient")
def test_a_no_that_came_too_late_is_there_when_its_node_comes_again() -> None:
    async def scenario() -> None:
        checks, begun, answer = PasswordChecks(), 0, asyncio.Event()

        async def check() -> None:
            nonlocal begun
            begun += 1
            await answer.wait()
            raise Refusal(403, "no")

        statuses = []
        for _ in range(3):
            with pytest.raises(Refusal) as refusal:
                await checks.end_of("one", "wrong", check)
            statuses.append(refusal.value.status)
            if len(statuses) == 2:
                answer.set()
                await asyncio.sleep(0)
        assert (statuses, begun) == ([429, 429, 403], 1)
        assert not checks._checks

    asyncio.run(scenario())


def test_an_agent_that_was_refused_for_the_queue_gets_in_when_it_comes_again(
    material: Path, api: Api, tmp_path: Path
) -> None:
    # Shorter than any hash takes.
    before = "from rke2_units.join_api import slots; slots.WAIT_SECONDS = 0.005"
    with running(material, api, before, config=CONFIG) as supervisor:
        joining = joining_agent(supervisor, tmp_path)
        with pytest.raises(Unreachable, match="429 Too Many Requests: too many nodes at once") as busy:
            agent.fetch((url(supervisor),), joining, datetime.now(UTC))
        assert busy.value.pause == 2
        while True:
            try:
                assert agent.fetch((url(supervisor),), joining, datetime.now(UTC)).files
            except Unreachable:
                continue
            break
        # One hash for all tries, or its Secret would not be the only one.
        secrets = [request for request in api.server.requests if request.method == "POST"]
        assert len(secrets) == 1
