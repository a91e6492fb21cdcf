"""How often one address may do something: a bucket of tokens each, refilled with time.

Pure but for the clock.
"""

import ipaddress
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Buckets that are remembered, of each throttle.
_REMEMBERED = 4096
# So many are forgotten at once.
_FORGOTTEN = 512
# Who has one IPv6 address has all of its network.
_IPV6_PREFIX = 64
# Hosts of IPv4 behind a translator (RFC 6052, RFC 8215): each of these addresses is another host's.
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
# Failed logins of one address: so many at once, then one in so many seconds. A network has more of them: one
# machine in it must not keep the others out.
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
            # Those with most tokens: who fails from many networks makes it forget none that is held back.
            # Only as many that are held back at the same time could, and what is remembered has to end.
            for known in sorted(self._full, key=self._full.__getitem__)[:_FORGOTTEN]:
                del self._full[known]
        return True

    def give_back(self, key: str) -> None:
        """A token that was taken."""
        if key in self._full:
            self._full[key] -= self._seconds

    def pause(self, key: str) -> int:
        """Whole seconds until there is a token (again)."""
        return max(0, -int(-(self._missing(key) - self._burst + 1) * self._seconds // 1))

    def _missing(self, key: str) -> float:
        return max(0.0, self._full.get(key, 0.0) - self._clock()) / self._seconds


class FailedLogins:
    """What is held against an address for its failed logins, and against the network that it is in."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._throttles = (
            Throttle(_FAILURES, _FAILURE_SECONDS, clock),
            Throttle(_NETWORK_FAILURES, _NETWORK_FAILURE_SECONDS, clock),
        )

    def allow(self, address: str) -> bool:
        """Whether this address may try (again)."""
        return all(throttle.allows(key) for throttle, key in self._buckets(address))

    def count(self, address: str) -> bool:
        """Counts a failure; False when there was nothing left to count it against."""
        if not self.allow(address):
            return False
        for throttle, key in self._buckets(address):
            throttle.spend(key)
        return True

    @contextmanager
    def trying(self, address: str) -> Iterator[bool]:
        """A login whose outcome is not known counts as failed meanwhile. False: the address is held back."""
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
    """The address as one text, an IPv4 address for one that is mapped to IPv6."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(parsed) if parsed else address


def network(address: str) -> str:
    """What one machine may have all of: a network of IPv6, one address of IPv4."""
    parsed = _parsed(host(address))
    if not isinstance(parsed, ipaddress.IPv6Address) or any(parsed in known for known in _TRANSLATED):
        return host(address)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, _IPV6_PREFIX)))


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None
