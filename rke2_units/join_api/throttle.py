"""How often one address may do something: a bucket of tokens each, refilled with time.

Pure but for the clock.
"""

import ipaddress
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Buckets that each throttle remembers.
_REMEMBERED = 4096
# This many are forgotten at once.
_FORGOTTEN = 512
# Somebody with one IPv6 address can use its whole network.
_IPV6_PREFIX = 64
# Hosts of IPv4 behind a translator (RFC 6052, RFC 8215): each of these addresses is another host's.
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
# Failed logins of one address: how many at once, then the seconds for each further one. A network is allowed
# more: one machine in it must not lock the others out.
_FAILURES, _FAILURE_SECONDS = 10, 2.0
_NETWORK_FAILURES, _NETWORK_FAILURE_SECONDS = 100, 0.2


class Throttle:
    """For each key `burst` tries at once, then one in `seconds`."""

    def __init__(self, burst: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._seconds = seconds
        self._clock = clock
        # By key: when its bucket will be full again.
        self._full: dict[str, float] = {}

    def allows(self, key: str) -> bool:
        """Whether there is a token left."""
        return self._missing(key) <= self._burst - 1

    def spend(self, key: str) -> bool:
        """Takes a token; False when there is none."""
        if not self.allows(key):
            return False
        self._full[key] = max(self._clock(), self._full.get(key, 0.0)) + self._seconds
        if len(self._full) > _REMEMBERED:
            # Forget those with the most tokens: failures from many networks do not free a suspended one,
            # unless this many are suspended at the same time, which limited memory cannot avoid.
            for known in sorted(self._full, key=self._full.__getitem__)[:_FORGOTTEN]:
                del self._full[known]
        return True

    def give_back(self, key: str) -> None:
        """Puts back a token that was taken."""
        if key in self._full:
            self._full[key] -= self._seconds

    def pause(self, key: str) -> int:
        """Whole seconds until there is a token (again)."""
        return max(0, -int(-(self._missing(key) - self._burst + 1) * self._seconds // 1))

    def _missing(self, key: str) -> float:
        return max(0.0, self._full.get(key, 0.0) - self._clock()) / self._seconds


class FailedLogins:
    """Counts the failed logins of an address, and of the network that it is in."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._throttles = (
            Throttle(_FAILURES, _FAILURE_SECONDS, clock),
            Throttle(_NETWORK_FAILURES, _NETWORK_FAILURE_SECONDS, clock),
        )

    def allow(self, address: str) -> bool:
        """Whether this address may try (again)."""
        return all(throttle.allows(key) for throttle, key in self._buckets(address))

    def count(self, address: str) -> bool:
        """Counts a failure; False if the address was suspended already."""
        if not self.allow(address):
            return False
        for throttle, key in self._buckets(address):
            throttle.spend(key)
        return True

    @contextmanager
    def trying(self, address: str) -> Iterator[bool]:
        """Counts a login as failed until its result is known. Yields False if the address is suspended."""
        counted = self.count(address)
        try:
            yield counted
        finally:
            if counted:
                for throttle, key in self._buckets(address):
                    throttle.give_back(key)

    def pause(self, address: str) -> int:
        """Whole seconds until this address may try again."""
        return max(throttle.pause(key) for throttle, key in self._buckets(address))

    def _buckets(self, address: str) -> Iterator[tuple[Throttle, str]]:
        return zip(self._throttles, (host(address), network(address)), strict=True)


def host(address: str) -> str:
    """The address in canonical form; an IPv4 address if it is an IPv4-mapped one."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(parsed) if parsed else address


def network(address: str) -> str:
    """The addresses that one machine may use: an IPv6 network, or one IPv4 address."""
    parsed = _parsed(host(address))
    if not isinstance(parsed, ipaddress.IPv6Address) or any(parsed in known for known in _TRANSLATED):
        return host(address)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, _IPV6_PREFIX)))


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None
