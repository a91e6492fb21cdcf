"""The door to files on the web: small ones, whole or not at all."""

import http.client
import ssl
import time
import urllib.error
import urllib.request
from urllib.parse import urljoin, urlsplit

from rke2_units import __version__
from rke2_units.errors import UserError

_REDIRECTIONS = 5
_REDIRECTED = (301, 302, 303, 307, 308)
_CHUNK = 1 << 16


def download(url: str, *, limit: int, timeout: float = 30, patience: float = 180) -> bytes:
    """The file at this http or https URL; at most `limit` bytes. Seconds: `timeout` for a silent server,
    `patience` for everything.

    Redirections are followed, from https to https only. The proxies are those of the process's environment.
    UserError with the URL and the cause.
    """
    deadline = time.monotonic() + patience
    opener = _opener()
    place = url
    try:
        for _ in range(_REDIRECTIONS + 1):
            request = urllib.request.Request(place, headers={"User-Agent": f"rke2-units/{__version__}"})  # noqa: S310 - _checked
            try:
                with opener.open(request, timeout=timeout) as response:
                    return _read(response, limit, deadline)
            except urllib.error.HTTPError as error:
                with error:
                    target = error.headers.get("Location")
                    if error.code not in _REDIRECTED or not target:
                        raise OSError(f"HTTP {error.code} {error.reason}".strip()) from None
                place = _checked(urljoin(place, target), place)
        raise OSError(f"more than {_REDIRECTIONS} redirections")
    except TimeoutError:
        cause = f"no answer within {timeout:g} seconds"
    except urllib.error.URLError as error:
        cause = _reason(error.reason)
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = _reason(error)
    via = f" (redirected to {urlsplit(place).netloc})" if place != url else ""
    raise UserError(f"cannot fetch {url}{via}: {cause}")


def _opener() -> urllib.request.OpenerDirector:
    """Without the handlers of ftp, files and data, and without redirections that nobody looked at."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _checked(target: str, origin: str) -> str:
    allowed = ("https",) if urlsplit(origin).scheme == "https" else ("http", "https")
    if urlsplit(target).scheme not in allowed:
        raise OSError("redirected to something else than https")
    return target


def _read(response: http.client.HTTPResponse, limit: int, deadline: float) -> bytes:
    content = bytearray()
    while chunk := response.read1(_CHUNK):
        content += chunk
        if len(content) > limit:
            raise OSError(f"larger than {limit} bytes")
        if time.monotonic() > deadline:
            raise OSError("it takes too long")
    # read1 does not tell an end from a connection that was cut.
    if response.length:
        raise OSError(f"the connection was cut after {len(content)} bytes")
    return bytes(content)


def _reason(error: object) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
