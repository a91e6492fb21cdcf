"""The door to files on the web: small ones, whole or not at all."""

import time
from urllib.parse import urljoin, urlsplit

from rke2_units.errors import UserError

_REDIRECTIONS = 5
_REDIRECTED = (301, 302, 303, 307, 308)


def download(url: str, *, limit: int, timeout: float = 30, patience: float = 180) -> bytes:
    """The file at this http or https URL; at most `limit` bytes. Seconds: `timeout` for a silent server,
    `patience` for everything.

    Redirections are followed, from https to https only. The proxies are those of the process's environment.
    UserError with the URL and the cause.
    """
    from rke2_units.doors import web

    deadline = time.monotonic() + patience
    place = url
    try:
        for _ in range(_REDIRECTIONS + 1):
            left = deadline - time.monotonic()
            answer = web.get(place, timeout=timeout, patience=left, limit=limit, proxies=True)
            if answer.status == 200:
                return answer.body
            target = answer.headers.get("Location")
            if answer.status not in _REDIRECTED or not target:
                raise UserError(f"HTTP {answer.status} {answer.reason}".strip())
            place = _checked(urljoin(place, target), place)
        raise UserError(f"more than {_REDIRECTIONS} redirections")
    except UserError as error:
        via = f" (redirected to {urlsplit(place).netloc})" if place != url else ""
        raise UserError(f"cannot fetch {url}{via}: {error.message}") from None


def _checked(target: str, origin: str) -> str:
    allowed = ("https",) if urlsplit(origin).scheme == "https" else ("http", "https")
    if urlsplit(target).scheme not in allowed:
        raise UserError("redirected to a URL that is not https")
    return target
