"""Has a snapshot of this node verified, by the program behind the local socket, and prints the result."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping

from rke2_units import layout
from rke2_units.errors import UserError
from rke2_units.printable import line

_UNIT = "rke2-etcd-snapshot-request"
# Seconds without a word: systemd ends the program after its time limit, which depends on S3's.
_SILENCE = 3600.0
_LARGEST = 8 << 20
_PIECE = 64 << 10


def verify(
    name: str, report: Callable[[str], None], path: str = layout.SNAPSHOT_SOCKET
) -> dict[str, object]:
    """The result for the snapshot of this name, "" for the newest; `report` is told of the progress.

    UserError if there is no result.
    """
    request = {"operation": "verify", **({"name": [name]} if name else {})}
    answer: object = None
    for text in filter(None, _lines(json.dumps(request).encode())):
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        match answer:
            case {"progress": str(progress)}:
                report(progress)
    match answer:
        case {"status": 200, "body": {"verified": dict(verified)}}:
            return verified
        case {"status": int(), "body": {"message": str(message)}}:
            raise UserError(line(message))
    raise UserError(
        "the snapshot was not verified: the program for snapshots has not answered",
        hint=f"journalctl -u '{_UNIT}@*' shows why",
    )


def _lines(request: bytes) -> Iterator[bytes]:
    """The lines of the answer as they arrive."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_SILENCE)
            connection.connect(layout.SNAPSHOT_SOCKET)
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            rest, left = b"", _LARGEST
            while piece := connection.recv(_PIECE):
                left -= len(piece)
                if left < 0:
                    raise UserError("the answer of the program for snapshots is too long")
                *complete, rest = (rest + piece).split(b"\n")
                yield from complete
            if rest:
                yield rest
    except (FileNotFoundError, ConnectionRefusedError):
        raise UserError(
            "this node does not take requests about snapshots",
            hint=f"on a server with etcd: systemctl start {_UNIT}.socket",
        ) from None
    except OSError as error:
        raise UserError(f"{layout.SNAPSHOT_SOCKET}: {error.strerror or 'no answer in time'}") from None


def table(verified: Mapping[str, object]) -> str:
    """The result for a terminal: what was found, then the number of objects by resource."""
    rest = dict(verified)
    is_good = rest.pop("ok", None) is True
    kinds, differences = rest.pop("kinds", None), rest.pop("differences", None)
    message = rest.pop("message", "")
    rows = [
        ("Snapshot", rest.pop("name", "")),
        ("Result", f"{'good' if is_good else 'NOT GOOD'}: {message}"),
        *((_title(key), value) for key, value in rest.items() if value not in ("", None)),
        *(("Difference", each) for each in (differences if isinstance(differences, list | tuple) else ())),
    ]
    lines = _columns(rows)
    if isinstance(kinds, dict) and kinds:
        lines += ["", *_columns([("RESOURCE", "OBJECTS"), *sorted(kinds.items())])]
    return "\n".join(lines)


def _title(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _columns(rows: list[tuple[str, object]]) -> list[str]:
    shown = [(line(title), line(value)) for title, value in rows]
    width = max(len(title) for title, _ in shown)
    return [f"{title.ljust(width)}  {value}".rstrip() for title, value in shown]
