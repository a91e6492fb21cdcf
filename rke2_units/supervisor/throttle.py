"""How often one address may fail: a bucket of tokens each, refilled with time. Pure but for its clock."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

# Addresses that are remembered; the one that failed longest ago is forgotten first.
_ADDRESSES = 4096
# Who has one IPv6 address has all of its network.
_IPV6_PREFIX = 64


class Throttle:
    """`burst` failures at once, then one in `seconds`."""

    def __init__(self, burst: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._seconds = seconds
        self._clock = clock
        # By address: the tokens that were left, and when.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str) -> bool:
        """Whether this address may try (again)."""
        return self._tokens(network(address)) >= 1

    def spend(self, address: str) -> bool:
        """Counts a failure; False when there was nothing left to count it against."""
        key = network(address)
        tokens = self._tokens(key)
        if tokens < 1:
            return False
        self._left[key] = (tokens - 1, self._clock())
        self._left.move_to_end(key)
        if len(self._left) > _ADDRESSES:
            self._left.popitem(last=False)
        return True

    def pause(self, address: str) -> int:
        """Whole seconds until this address may try again."""
        missing = 1 - self._tokens(network(address))
        return max(0, -int(-missing * self._seconds // 1))

    def _tokens(self, key: str) -> float:
        if key not in self._left:
            return self._burst
        tokens, since = self._left[key]
        return min(self._burst, tokens + (self._clock() - since) / self._seconds)


def network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    found = ipaddress.ip_network((int(parsed) >> 64 << 64, _IPV6_PREFIX))
    return str(found)
