"""One of several servers: the first that gives what is wanted."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from rke2_units.join.http import Refused, Unreachable

_Found = TypeVar("_Found")


def first(urls: Sequence[str], attempt: Callable[[str], _Found]) -> _Found:
    """What `attempt` returns for the first URL that it succeeds with.

    A refusal is final only after all have been asked; it is raised rather than that others are Unreachable.
    """
    refused: Refused | None = None
    unreachable: list[str] = []
    for url in urls:
        try:
            return attempt(url)
        except Refused as error:
            refused = refused or error
        except Unreachable as error:
            unreachable.append(error.message)
    if refused is not None:
        raise refused
    raise Unreachable("; ".join(unreachable))
