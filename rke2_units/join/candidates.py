"""Tries several servers until one of them succeeds."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from rke2_units.join.http import Refused, Unreachable

_Found = TypeVar("_Found")


def first(urls: Sequence[str], attempt: Callable[[str], _Found], *, all_refuse: bool = False) -> _Found:
    """Returns the result of `attempt` for the first URL with which it succeeds.

    If it fails for all URLs, raises the first Refused if there is one, else Unreachable. With `all_refuse`,
    raises Refused only if `attempt` raised Refused for every URL.
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
    # A server that names no time to retry (0.0) may be back at any moment.
    pause = min((error.pause for error in failed if isinstance(error, Unreachable)), default=0.0)
    raise Unreachable("; ".join(error.message for error in failed), pause=pause)
