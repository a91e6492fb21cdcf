"""Strangers who guess tokens, at once and before a slow apiserver, and what nodes have of that."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from rke2_units.certificates import node_passwords
from rke2_units.join_api.known_passwords import KnownPasswords

from ..kubernetes_api import Reply
from ..kubernetes_api import Request as ApiRequest
from .conftest import Api, Supervisor, bootstrap_token
from .test_attacks import unharmed
from .test_places import ATTACKER

GUESSES = 40
GUESS = "Authorization: Bearer abcdef.0123456789abcde"


def guess(supervisor: Supervisor, path: str, number: int) -> int:
    """The status of the answer."""
    with supervisor.speak(ATTACKER) as tls:
        head = f"GET {path} HTTP/1.0\r\n{GUESS}{number % 10}\r\n\r\n"
        tls.sendall(head.encode())
        return int(tls.recv(100).split()[1])


@contextmanager
def guessing(supervisor: Supervisor, path: str) -> Iterator[Counter[int]]:
    """Guesses at once; the answers are there in the end."""
    statuses: Counter[int] = Counter()
    with ThreadPoolExecutor(GUESSES) as threads:
        asked = [threads.submit(guess, supervisor, path, number) for number in range(GUESSES)]
        yield statuses
        statuses.update(each.result() for each in asked)


@pytest.fixture
def slow(api: Api) -> Iterator[tuple[threading.Semaphore, threading.Event]]:
    """Questions about tokens wait for the event; each that comes is counted."""
    came, answer = threading.Semaphore(0), threading.Event()
    usual = api.answer

    def wait(request: ApiRequest) -> Reply:
        if "bootstrap-token" in request.path or "tokenreviews" in request.path:
            came.release()
            answer.wait(10)
            if "tokenreviews" in request.path:
                return Reply(201, {"status": {"authenticated": False}})
        return usual(request)

    api.server.answer = wait
    path, secret = bootstrap_token(**{"token-secret": "another-secret-0"})
    api.store.put(path, secret)
    yield came, answer
    answer.set()


@pytest.mark.parametrize("path", ["/v1-rke2/config", "/metrics"])
def test_guesses_at_once_are_as_many_as_guesses_one_after_another(
    supervisor: Supervisor, slow: tuple[threading.Semaphore, threading.Event], path: str
) -> None:
    came, answer = slow
    answer.set()
    with unharmed_by_certificate(supervisor), guessing(supervisor, path) as statuses:
        pass
    assert set(statuses) == {401, 429}
    # One more for each 2 s that it took.
    assert 10 <= statuses[401] <= 14
    assert sum(came.acquire(blocking=False) for _ in range(GUESSES)) == statuses[401]


@pytest.mark.parametrize("path", ["/v1-rke2/config", "/metrics"])
def test_nodes_do_not_wait_for_questions_of_strangers(
    supervisor: Supervisor, slow: tuple[threading.Semaphore, threading.Event], path: str
) -> None:
    came, answer = slow
    with unharmed(supervisor), guessing(supervisor, path):
        assert came.acquire(timeout=10) and came.acquire(timeout=10)
        # No third one of this address, whoever asks first.
        began = time.monotonic()
        assert supervisor.ask("/v1-rke2/apiservers", client="node-two").status == 200
        assert time.monotonic() - began < 1
        assert not came.acquire(blocking=False)
        answer.set()


@contextmanager
def unharmed_by_certificate(supervisor: Supervisor) -> Iterator[None]:
    """As unharmed(): a node with a certificate is answered."""
    with unharmed(supervisor):
        yield
        assert supervisor.ask("/v1-rke2/apiservers", client="node-two").status == 200


def test_a_password_is_known_with_its_own_hash_only() -> None:
    known = KnownPasswords()
    secret = node_passwords.secret("one", "right")
    known.add(secret, "right")
    assert known.has(secret, "right") and not known.has(secret, "wrong")
    assert not known.has(node_passwords.secret("one", "right"), "right")
    assert not known.has(None, "right")
