"""How often one address may fail."""

from hypothesis import given
from hypothesis import strategies as st

from rke2_units.supervisor.throttle import Throttle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_address_may_fail_so_many_times_and_again_later() -> None:
    clock = Clock()
    throttle = Throttle(3, 2.0, clock)
    assert [throttle.spend("192.0.2.1") for _ in range(4)] == [True, True, True, False]
    assert not throttle.allows("192.0.2.1") and throttle.pause("192.0.2.1") == 2
    assert throttle.allows("192.0.2.2") and throttle.pause("192.0.2.2") == 0
    clock.now = 2.0
    assert throttle.allows("192.0.2.1")
    assert [throttle.spend("192.0.2.1") for _ in range(2)] == [True, False]
    clock.now = 100.0
    assert [throttle.spend("192.0.2.1") for _ in range(4)] == [True, True, True, False]


def test_a_network_of_ipv6_is_one_address_and_mapped_ones_are_ipv4() -> None:
    throttle = Throttle(1, 2.0, Clock())
    assert throttle.spend("2001:db8::1")
    assert not throttle.allows("2001:db8::ffff:1")
    assert throttle.allows("2001:db8:0:1::1")
    assert throttle.spend("::ffff:192.0.2.1")
    assert not throttle.allows("192.0.2.1")


def test_there_is_a_limit_to_what_is_remembered() -> None:
    throttle = Throttle(1, 1000.0, Clock())
    for number in range(5000):
        assert throttle.spend(f"192.0.{number // 256}.{number % 256}")
    assert throttle.allows("192.0.0.0")
    assert not throttle.allows(f"192.0.{4999 // 256}.{4999 % 256}")


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["a", "b"]))))
def test_no_address_fails_more_often_than_its_bucket_allows(steps: list[tuple[float, str]]) -> None:
    clock = Clock()
    throttle = Throttle(3, 2.0, clock)
    counted = {"a": 0, "b": 0}
    for pause, address in steps:
        clock.now += pause
        counted[address] += throttle.spend(address)
    assert all(count <= 3 + clock.now / 2.0 + 1e-6 for count in counted.values())
