"""One of several servers: the first that gives what is wanted."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from rke2_units.join.http import Refused, Unreachable

_Found = TypeVar("_Found")


def first(urls: Sequence[str], attempt: Callable[[str], _Found], *, all_refuse: bool = False) -> _Found:
    """What `attempt` returns for the first URL that it succeeds with.

    When all have been asked in vain, the first refusal is raised rather than that others are Unreachable;
    with `all_refuse` only when there are no others.
    """
    failed: list[Refused | Unreachable] = []
    for url in urls:
        try:
            return attempt(url)
        except (Refused, Unreachable) as error:
            failed.append(error)
    refused = [error for error in failed if isinstance(error, Refused)]
    if refused and not (all_refuse and len(refused) < len(failed)):
        raise refused[0]
    # Who does not say when to come again may be there at any time.
    pause = min((error.pause for error in failed if isinstance(error, Unreachable)), default=0.0)
    raise Unreachable("; ".join(error.message for error in failed), pause=pause)
