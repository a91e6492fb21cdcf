import threading
import time
from collections.abc import Callable, Iterator

import pytest

from rke2_units.daemon import servers
from rke2_units.daemon.servers import ServerWatch
from rke2_units.errors import UserError
from rke2_units.join.server_list import of_apiservers
from rke2_units.lean.etcd import Etcd, Member, Value
from rke2_units.lean.http import Identity
from rke2_units.model import ServerList
from tests.unit.kubernetes_api import ApiServer, Object, Reply, Request, served

ONE = of_apiservers(["10.0.0.1:6443"])
TWO = of_apiservers(["10.0.0.1:6443", "10.0.0.2:6443"])
THREE = of_apiservers(["10.0.0.1:6443", "10.0.0.2:6443", "10.0.0.3:6443"])


@pytest.fixture(autouse=True)
def _settles_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_SETTLING", 0.2)


@pytest.fixture
def woken() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture
def quiet(woken: threading.Semaphore) -> ServerWatch:
    """One that asks nobody: what it sees, the test says."""
    return ServerWatch(lambda saw, stop: None, ONE, woken.release)


def endpoints(*addresses: str, version: str = "1") -> Object:
    ports = [{"name": "https", "port": 6443}]
    metadata = {"namespace": "default", "name": "kubernetes", "resourceVersion": version}
    return {
        "metadata": metadata,
        "subsets": [{"addresses": [{"ip": ip} for ip in addresses], "ports": ports}],
    }


def test_servers_that_come_one_after_another_are_one_change(
    quiet: ServerWatch, woken: threading.Semaphore
) -> None:
    quiet.saw(TWO)
    quiet.saw(THREE)
    assert quiet.take() is None
    assert woken.acquire(timeout=5)
    assert quiet.take() == THREE
    assert quiet.take() is None
    assert not woken.acquire(timeout=0.5)


def test_a_change_that_is_taken_back_at_once_is_none(quiet: ServerWatch, woken: threading.Semaphore) -> None:
    quiet.saw(TWO)
    quiet.saw(ONE)
    assert woken.acquire(timeout=5)
    assert quiet.take() is None


def test_the_list_that_is_known_and_an_empty_one_change_nothing(
    quiet: ServerWatch, woken: threading.Semaphore
) -> None:
    quiet.saw(ONE)
    quiet.saw(ServerList())
    assert not woken.acquire(timeout=0.5)
    assert quiet.take() is None


def api(*events: Object) -> Callable[[Request], Reply]:
    """One server at first; then what the events say."""

    def answer(request: Request) -> Reply:
        assert request.path == "/api/v1/namespaces/default/endpoints"
        assert request.query["fieldSelector"] == "metadata.name=kubernetes"
        if "watch" in request.query:
            return Reply(stream=[{"type": "MODIFIED", "object": event} for event in events])
        return Reply(body={"metadata": {"resourceVersion": "1"}, "items": [endpoints("10.0.0.1")]})

    return answer


def taken(watch: ServerWatch) -> ServerList:
    """The first list that it takes; it watches no longer then."""
    deadline = time.monotonic() + 10
    while (found := watch.take()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    watch.stop.set()
    return found


@pytest.fixture
def api_server() -> Iterator[ApiServer]:
    """In the end nobody asks it any more: what a thread goes on to say would be read by other tests."""
    with served() as server:
        yield server
    for thread in threading.enumerate():
        if thread.name == "server list":
            thread.join(10)
            assert not thread.is_alive()


def test_the_endpoints_of_the_api_are_followed(api_server: ApiServer, woken: threading.Semaphore) -> None:
    api_server.answer = api(endpoints("10.0.0.1", "10.0.0.2", version="2"))
    assert taken(ServerWatch(servers.of_api(api_server.url, Identity()), ONE, woken.release)) == TWO


def test_servers_that_left_while_nobody_looked_are_noticed(
    api_server: ApiServer, woken: threading.Semaphore
) -> None:
    api_server.answer = api()
    assert taken(ServerWatch(servers.of_api(api_server.url, Identity()), THREE, woken.release)) == ONE


def test_when_no_server_answers_the_one_that_the_name_leads_to_is_added(
    api_server: ApiServer, woken: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_LOST", 2)
    replaced = {"https://registration.test:9345": of_apiservers(["192.0.2.9:6443"])}
    monkeypatch.setattr("rke2_units.join.server_list.looked_up", replaced.__getitem__)
    source = servers.of_api("http://127.0.0.1:1", Identity(), "https://registration.test:9345", ONE)
    found = taken(ServerWatch(source, ONE, woken.release))
    assert found == of_apiservers(["10.0.0.1:6443", "192.0.2.9:6443"])


def test_as_long_as_a_server_answers_the_name_is_not_looked_up(
    api_server: ApiServer, woken: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rke2_units.join.server_list.looked_up", lambda _: pytest.fail("looked up"))
    api_server.answer = api(endpoints("10.0.0.1", "10.0.0.2", version="2"))
    source = servers.of_api(api_server.url, Identity(), "https://registration.test:9345", ONE)
    assert taken(ServerWatch(source, ONE, woken.release)) == TWO


class AskedEtcd(Etcd):
    """etcd that answers what a test says."""

    def __init__(self, members: list[Member], value: str | None = None) -> None:
        super().__init__("etcdctl", [])
        self._members = members
        self._value = value

    def members(self) -> list[Member]:
        return self._members

    def get(self, key: str) -> Value | None:
        assert key == "rke2/apiaddresses"
        return None if self._value is None else Value(self._value, 1)


def member(number: int, *, learner: bool = False) -> Member:
    return Member(number, f"node{number}-1", (), (f"https://10.0.0.{number}:2379",), learner)


def test_the_members_that_a_server_without_etcd_goes_to_are_those_that_vote() -> None:
    etcd = AskedEtcd([member(1), member(2, learner=True), member(3)])
    assert servers.members_of(etcd)() == ServerList(members=("10.0.0.1:2379", "10.0.0.3:2379"))


@pytest.mark.parametrize(
    ("value", "expected"), [('["10.0.0.1:6443"]', ONE), (None, ServerList()), ("[]", ServerList())]
)
def test_a_server_that_has_etcd_alone_finds_the_api_servers_in_it(
    value: str | None, expected: ServerList
) -> None:
    assert servers.api_addresses_in(AskedEtcd([], value))() == expected


def test_what_is_no_list_of_api_servers_is_an_error() -> None:
    with pytest.raises(UserError, match="rke2/apiaddresses in etcd is not JSON"):
        servers.api_addresses_in(AskedEtcd([], "?"))()


def test_etcd_is_asked_again_until_it_answers(
    woken: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_FIRST_INTERVAL", 0.05)
    answers: Iterator[UserError | ServerList] = iter([UserError("no answer"), ServerList(), TWO])

    def question() -> ServerList:
        answer = next(answers)
        if isinstance(answer, UserError):
            raise answer
        return answer

    assert taken(ServerWatch(servers.asking(question), ONE, woken.release)) == TWO
