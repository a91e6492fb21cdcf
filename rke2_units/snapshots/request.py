"""What POST /db/snapshot is asked, and what it answers: RKE2's, and `verify`."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from rke2_units.errors import UserError
from rke2_units.snapshots import folder, s3_config
from rke2_units.snapshots.s3_config import S3Config

# Bytes.
LARGEST = 1 << 20
OPERATIONS = ("save", "list", "prune", "delete", "verify")
# Bytes of a base name: a file's name has 255, and a node's name, a time and endings are part of it.
_LONGEST_BASE = 128
_REASONS = {400: "BadRequest", 500: "InternalError"}


class BadRequest(UserError):
    """The request cannot be carried out as it is: HTTP 400."""


@dataclass(frozen=True)
class Request:
    """What is None, "" or () is the server's to say. `s3` None: nothing is done in S3."""

    operation: str
    names: tuple[str, ...] = ()
    directory: str = ""
    compress: bool | None = None
    retention: int | None = None
    s3: S3Config | None = None


@dataclass(frozen=True)
class Answer:
    """An HTTP status, and the object that is the body."""

    status: int
    body: Mapping[str, object]

    def line(self) -> str:
        """As it travels over the socket: one line, without its end."""
        return json.dumps({"status": self.status, "body": self.body})


def failure(status: int, message: str) -> Answer:
    """A Kubernetes Status object."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS[status],
        "code": status,
    }
    return Answer(status, body)


def parse(body: bytes | str) -> Request:
    """The request in a JSON object; BadRequest for anything else."""
    if len(body) > LARGEST:
        raise BadRequest("invalid snapshot request: it is larger than 1 MiB")
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("invalid snapshot request: it is not JSON") from None
    if not isinstance(values, dict):
        raise BadRequest("invalid snapshot request: it is not an object")
    # Go, which RKE2 is written in, takes null for "not there", and ignores what it does not know.
    given = {key: value for key, value in values.items() if value is not None}
    operation = given.get("operation")
    if operation not in OPERATIONS:
        raise BadRequest("invalid snapshot operation")
    return Request(
        operation,
        _names(operation, given.get("name", [])),
        _directory(given.get("dir", "")),
        _boolean(given.get("compress")),
        _integer(given.get("retention")),
        _s3(given.get("s3")),
    )


def _names(operation: str, given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise BadRequest("invalid snapshot request: name is not a list of texts")
    for name in given:
        if not folder.is_file_name(name):
            traversal = "/" in name or name in (".", "..")
            why = "path traversal not allowed" if traversal else "it is not the name of a file"
            raise BadRequest(f"invalid snapshot name: {why}")
        # A base name would make files that are passed over as hidden or unfinished.
        if operation == "save" and (name.startswith(".") or len(os.fsencode(name)) > _LONGEST_BASE):
            raise BadRequest(f"invalid snapshot name {name!r}")
    if operation != "delete" and len(given) > 1:
        raise BadRequest(f"invalid snapshot request: {operation} takes one name")
    return tuple(given)


def _directory(given: object) -> str:
    if not isinstance(given, str) or "\0" in given or (given and not given.startswith("/")):
        raise BadRequest("invalid snapshot request: dir is not an absolute path")
    return os.path.normpath(given) if given else ""


def _boolean(given: object) -> bool | None:
    if given is None or isinstance(given, bool):
        return given
    raise BadRequest("invalid snapshot request: compress is neither true nor false")


def _integer(given: object) -> int | None:
    if given is None or (isinstance(given, int) and not isinstance(given, bool)):
        return given
    raise BadRequest("invalid snapshot request: retention is not a whole number")


def _s3(given: object) -> S3Config | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise BadRequest("invalid snapshot request: s3 is not an object")
    try:
        return s3_config.of_request(given)
    except UserError as error:
        raise BadRequest(error.message, hint=error.hint) from None
