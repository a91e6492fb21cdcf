"""Which snapshots are too old to be kept."""

from collections.abc import Callable, Iterable

from rke2_units.snapshots import damage, names
from rke2_units.snapshots.snapshot import Snapshot


def expired(
    snapshots: Iterable[Snapshot],
    base: str,
    keep: int,
    is_good: Callable[[Snapshot], bool] = damage.has_form,
) -> list[Snapshot]:
    """Those whose name begins with BASE, without the newest `keep`; the oldest first. RKE2's rule.

    With less than 1 to keep, all stay. When none of those that stay is good, the newest good one stays too.
    """
    if keep < 1 or not base:
        return []
    found = sorted((one for one in snapshots if one.name.startswith(base)), key=_age, reverse=True)
    kept, old = found[:keep], found[keep:]
    if old and not any(map(is_good, kept)):
        last_good = next(filter(is_good, old), None)
        old = [one for one in old if one is not last_good]
    return old[::-1]


def _age(snapshot: Snapshot) -> tuple[float, str]:
    seconds = names.seconds_of(snapshot.name)
    return (snapshot.created.timestamp() if seconds is None else seconds, snapshot.name)
