"""Leases on a clock of the tests' own, where nothing waits."""

import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rke2_units.coordination import lease as module
from rke2_units.coordination.lease import Lease
from rke2_units.doors.kubernetes import ApiError, ApiUnavailable, Client
from tests.unit.kubernetes_api import ApiServer, Object, Reply, Request, Store, refused

NAME = "rke2-controllers"
PATH = f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{NAME}"


class Clock:
    """Stands in for `time` in the lease's module."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Stop(threading.Event):
    """Lets `during` act at every pause, with the seconds since the beginning, and ends after `seconds`."""

    def __init__(self, clock: Clock, seconds: float, during: Callable[[float], object]) -> None:
        super().__init__()
        self.clock, self.began, self.seconds, self.during = clock, clock.now, seconds, during

    def wait(self, timeout: float | None = None) -> bool:
        self.during(self.clock.now - self.began)
        self.clock.now += timeout or 0
        if self.clock.now - self.began >= self.seconds:
            self.set()
        return self.is_set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def lease(server: ApiServer, store: Store, clock: Clock) -> Iterator[Lease]:
    client = Client(server.url)
    yield Lease(client, NAME, "here_boot2", work="acts")
    client.close()


def spec(store: Store) -> Object:
    found: Object = store.objects[PATH]["spec"]
    return found


def held_by(store: Store, holder: str | None, renewed: str = "2000-01-01T00:00:00.000000Z") -> None:
    claim = {"holderIdentity": holder, "renewTime": renewed, "leaseTransitions": 4}
    store.put(PATH, {"metadata": {"name": NAME}, "spec": claim})


def history(
    lease: Lease, clock: Clock, seconds: float, during: Callable[[float], object] | None = None
) -> list[float]:
    """When (s) the lease was held, looked at in every pause."""
    held = []

    def look(now: float) -> None:
        if lease.held.is_set():
            held.append(now)
        if during:
            during(now)

    lease.run(Stop(clock, seconds, look))
    return held


def test_a_lease_that_is_not_there_is_created_and_renewed(lease: Lease, clock: Clock, store: Store) -> None:
    seen = []
    assert history(lease, clock, 9, lambda now: seen.append(dict(spec(store)))) == [0, 3, 6]
    assert {(claim["holderIdentity"], claim["leaseDurationSeconds"]) for claim in seen} == {
        ("here_boot2", 10)
    }
    assert len({claim["renewTime"] for claim in seen}) == 3
    assert len({claim["acquireTime"] for claim in seen}) == 1


def test_who_holds_it_asks_once_for_each_renewal(lease: Lease, clock: Clock, server: ApiServer) -> None:
    history(lease, clock, 9)
    # The last one gives it up.
    assert [request.method for request in server.requests] == ["GET", "POST", "PATCH", "PATCH", "PATCH"]


@pytest.mark.parametrize("holder", [None, "", "here_boot1", "here_boot2"])
def test_a_free_lease_and_this_nodes_own_are_taken_at_once(
    lease: Lease, clock: Clock, store: Store, holder: str | None
) -> None:
    held_by(store, holder)
    assert history(lease, clock, 3, lambda now: None) == [0]


def test_a_stop_gives_it_up(lease: Lease, clock: Clock, store: Store) -> None:
    history(lease, clock, 3)
    assert "holderIdentity" not in spec(store)
    assert not lease.held.is_set()


def test_another_holder_that_lives_keeps_it(lease: Lease, clock: Clock, store: Store) -> None:
    held_by(store, "there_boot1")
    renewals = iter(range(1000))
    assert history(lease, clock, 60, lambda now: held_by(store, "there_boot1", str(next(renewals)))) == []
    assert spec(store)["holderIdentity"] == "there_boot1"


@pytest.mark.parametrize("renewed", ["1970-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
def test_another_holder_that_died_is_replaced_within_15_seconds_whatever_its_clock_said(
    lease: Lease, clock: Clock, store: Store, renewed: str
) -> None:
    held_by(store, "there_boot1", renewed)
    taken: list[Object] = []
    held = history(lease, clock, 15, lambda now: taken.append(dict(spec(store))))
    assert held == [10, 13]
    assert [claim["holderIdentity"] for claim in taken] == ["there_boot1"] * 4 + ["here_boot2"] * 2
    assert taken[-1]["leaseTransitions"] == 5


def test_a_change_that_is_no_renewal_keeps_no_dead_holder(lease: Lease, clock: Clock, store: Store) -> None:
    held_by(store, "there_boot1")
    assert history(lease, clock, 15, lambda now: store.put(PATH, store.objects[PATH])) == [10, 13]


def test_a_holder_that_died_just_after_it_was_looked_at_is_replaced_after_13_seconds(
    lease: Lease, clock: Clock, store: Store
) -> None:
    held_by(store, "there_boot1")

    def die(now: float) -> None:
        if now == 0:
            held_by(store, "there_boot1", "2000-01-01T00:00:03.000000Z")

    assert history(lease, clock, 14, die) == [13]


def test_it_acts_no_longer_when_another_took_it(lease: Lease, clock: Clock, store: Store) -> None:
    def rob(now: float) -> None:
        if now == 6:
            held_by(store, "there_boot1")

    # Refused at 9, it looks at 12.
    assert history(lease, clock, 15, rob) == [0, 3, 6, 9]
    assert spec(store)["holderIdentity"] == "there_boot1"


def test_it_stops_to_act_before_others_may_begin(
    lease: Lease, clock: Clock, store: Store, server: ApiServer
) -> None:
    def fail(now: float) -> None:
        if now == 3:
            server.answer = lambda request: refused(500, "InternalError")
        if now >= 18:
            server.answer = store

    # Renewed at 3, so that another counts to 13, when it looks as well.
    assert history(lease, clock, 27, fail) == [0, 3, 6, 9, 22, 25]


def test_it_ends_by_itself_while_an_answer_is_awaited(
    lease: Lease, clock: Clock, server: ApiServer, store: Store
) -> None:
    seen: list[bool] = []

    def slow(request: object) -> Reply:
        clock.now += 9
        seen.append(lease.held.is_set())
        return refused(504, "Timeout")

    def fail(now: float) -> None:
        server.answer = slow

    history(lease, clock, 6, fail)
    assert seen[0] is False


def test_who_waits_for_a_lease_whose_time_is_over_waits_on(lease: Lease, clock: Clock) -> None:
    lease.step()
    assert lease.held.wait(0)
    clock.now += 9
    before = clock.now
    assert not lease.held.wait(0)
    assert clock.now > before


class Api(Client):
    """A store without a network, whose answers take time on the clock, or are lost."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.before, self.after, self.lost = 0.0, 0.0, False

    def ask(self, method: str, path: str, body: Object | None = None) -> Object:
        self.clock.now += self.before
        reply = self.store(Request(method, path, {}, {}, body, 0))
        self.clock.now += self.after
        if self.lost:
            raise ApiUnavailable("lost")
        assert isinstance(reply.body, dict)
        if reply.status >= 400:
            raise ApiError(reply.status, reply.body["reason"], "no")
        return reply.body

    def get(self, path: str) -> Object:
        return self.ask("GET", path)

    def create(self, path: str, obj: Object) -> Object:
        return self.ask("POST", path, obj)

    def merge_patch(self, path: str, patch: Object, subresource: str = "") -> Object:
        return self.ask("PATCH", path, patch)


# Which server asks, after how many seconds, how long its way to the API takes and the way back, and whether
# the answer is lost.
STEP = st.tuples(
    st.sampled_from([0, 1]),
    st.sampled_from([1.0, 3.0, 9.0]),
    st.sampled_from([0.0] * 5 + [7.0]),
    st.sampled_from([0.0] * 5 + [7.0]),
    st.sampled_from([False] * 5 + [True]),
)


@given(st.lists(STEP, min_size=10, max_size=25))
@settings(max_examples=300, deadline=None)
def test_two_servers_never_hold_it_together(steps: list[tuple[int, float, float, float, bool]]) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "time", clock)
        api = Api(Store(), clock)
        leases = [Lease(api, NAME, f"node{number}_boot", work="acts") for number in (0, 1)]
        for who, pause, api.before, api.after, api.lost in steps:  # noqa: B007
            clock.now += pause
            assert not all(lease.held.is_set() for lease in leases)
            leases[who].step()
            assert not all(lease.held.is_set() for lease in leases)


def test_a_holder_is_this_boot_of_this_node() -> None:
    assert module.identity("node1") == module.identity("node1")
    assert module.identity("node1").startswith("node1_") and len(module.identity("node1")) > 30
