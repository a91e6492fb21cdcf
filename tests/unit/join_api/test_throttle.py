"""How often one address may fail."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.join_api.throttle import FailedLogins, Throttle, host, network


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


@pytest.mark.parametrize(
    "address, its_host, its_network",
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201", "64:ff9b::c000:201"),
        ("64:ff9b:1::c000:201", "64:ff9b:1::c000:201", "64:ff9b:1::c000:201"),
        ("somewhere", "somewhere", "somewhere"),
    ],
)
def test_what_one_machine_may_have_all_of(address: str, its_host: str, its_network: str) -> None:
    assert (host(address), network(address)) == (its_host, its_network)


def fail(logins: FailedLogins, address: str) -> int:
    """How often this address may fail now."""
    count = 0
    while logins.count(address):
        count += 1
    return count


def test_one_machine_of_an_ipv6_network_does_not_keep_the_others_out() -> None:
    logins = FailedLogins(Clock())
    assert fail(logins, "2001:db8::1") == 10
    assert not logins.allow("2001:db8::1") and logins.pause("2001:db8::1") == 2
    assert logins.allow("2001:db8::2")


def test_an_ipv6_network_has_a_limit_of_its_own() -> None:
    logins = FailedLogins(Clock())
    assert sum(fail(logins, f"2001:db8::{number:x}") for number in range(1, 100)) == 100
    assert not logins.allow("2001:db8::ffff") and logins.allow("2001:db8:0:1::1")


def test_hosts_behind_a_translator_do_not_keep_each_other_out() -> None:
    logins = FailedLogins(Clock())
    assert sum(fail(logins, f"64:ff9b::c000:2{number:02x}") for number in range(20)) == 200


def test_logins_under_way_count_as_failed_until_they_are_over() -> None:
    logins = FailedLogins(Clock())
    with ExitStack() as stack:
        assert all(stack.enter_context(logins.trying("192.0.2.1")) for _ in range(10))
        with logins.trying("192.0.2.1") as may_try:
            assert not may_try
    assert fail(logins, "192.0.2.1") == 10


def test_failures_from_many_networks_make_it_forget_nobody_who_is_held_back() -> None:
    clock = Clock()
    logins = FailedLogins(clock)
    fail(logins, "192.0.2.1")
    for number in range(8192):
        clock.now += 1e-4
        assert logins.count(f"198.{18 + number // 65536}.{number // 256 % 256}.{number % 256}")
    assert not logins.allow("192.0.2.1")


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
