"""Asks a server for snapshots: HTTPS to its join API, as nodes do that join."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from rke2_units import ports
from rke2_units.certificates.token import Token
from rke2_units.config import grammar
from rke2_units.errors import UserError
from rke2_units.join import validate
from rke2_units.join.http import Busy, Refused, Unreachable
from rke2_units.plan import addresses, supervisor_settings
from rke2_units.unit_names import Role

_PATH = "/db/snapshot"
# RKE2's client waits so long, and for the time limit of S3 if that is in use.
_PATIENCE = 120.0
# The server has the same limit, and should be the one to say what became of the operation.
_GRACE = 15.0
# A list of some 10,000 snapshots. rke2-units' servers send less.
_LARGEST = 9 << 20
_SEE_LOG = "the log of that server has the details: journalctl -u 'rke2-etcd-snapshot-request@*'"
_MAY_END = "the server may still complete it: rke2-units etcd-snapshot ls shows whether it did"


@dataclass(frozen=True)
class SnapshotServer:
    """A server with etcd, and the token of servers. `s3_seconds`: the time limit of S3, 0.0 without S3."""

    url: str
    token: Token = field(repr=False)
    s3_seconds: float

    def ask(self, request: Mapping[str, object]) -> dict[str, object]:
        """The answer to a request; UserError, which says what to do, for all others."""
        body = json.dumps(request).encode()
        headers = {"Content-Type": "application/json"}
        try:
            trusted = validate.trust(self.url, self.token)
            seconds = _PATIENCE + self.s3_seconds + _GRACE
            with validate.connect(trusted, self.token, timeout=seconds, largest=_LARGEST) as connection:
                content = connection.ask("POST", _PATH, body, headers)
        except Busy as error:
            pause = f"in {error.pause:.0f} s" if error.pause else "later"
            raise UserError(error.message, hint=f"try again {pause}") from None
        except Unreachable as error:
            raise UserError(error.message, hint=_hint(error)) from None
        except Refused as error:
            raise UserError(error.message, hint=error.hint or _refused(error.status)) from None
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UserError(f"{self.url}{_PATH}: the answer is not a JSON object")
        return found


def local(bind_address: str) -> str:
    """The URL of this machine's join API, which listens on this address."""
    host = addresses.LOOPBACK if bind_address in supervisor_settings.WILDCARDS else bind_address
    return addresses.url("https", host, ports.SUPERVISOR_PORT)


def check_url(text: str) -> str:
    """The URL of a server; UserError for another text."""
    try:
        return grammar.server_url(text)
    except ValueError as error:
        raise UserError(f"--etcd-server must be {error}") from None


def names(answer: Mapping[str, object], key: str) -> list[str]:
    """The names of snapshots in this list of the answer."""
    found = answer.get(key) or []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _hint(error: Unreachable) -> str:
    if error.status == 503:
        return f"try again in {error.pause:.0f} s" if error.pause else "try again later"
    if error.status == 504 or "no answer in time" in error.message:
        return _MAY_END
    if error.status:
        return _SEE_LOG
    return f"is {Role.SERVER.unit} running there? --etcd-server names another server with etcd"


def _refused(status: int) -> str:
    if status in (401, 403):
        return "it needs the token of servers: server/token in the data directory of a server"
    if status == 404:
        return "a server without etcd has no snapshots: --etcd-server names a server with etcd"
    return _SEE_LOG
