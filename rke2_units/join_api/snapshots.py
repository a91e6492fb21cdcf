"""Relays requests about snapshots, and shows the metrics of snapshots.

The supervisor can neither read the database nor write a snapshot. A program that systemd starts for each
connection to its socket does the work: it reads the request, a JSON object, until the end of the stream, and
answers with lines of JSON, of which the last one is the answer. Lines before it report progress.
"""

import asyncio
import contextlib
import json
import re
from dataclasses import dataclass

from rke2_units import layout
from rke2_units.join_api import heap
from rke2_units.join_api.refusal import Refusal

# A client of RKE2 waits for 2 minutes, and for the time limit of a transfer to or from S3 if there is one.
_PATIENCE, _S3_TIMEOUT = 120.0, "5m"
# Whatever the request says.
_LONGEST = 30 * 60.0
# After that the answer, if only that of the time limit, is sent.
GRACE_SECONDS = 10.0
# An entry of a list has about 700 bytes.
LARGEST_ANSWER = 8 << 20
_LARGEST_METRICS = 64 << 10
# The text of a larger answer leaves so much unused memory that it is worth returning it.
_LARGE = 256 << 10
_PIECE = 64 << 10
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{0,9})?)(h|ms|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
_OPERATIONS = {
    "save": "save a snapshot",
    "list": "list snapshots",
    "prune": "prune snapshots",
    "delete": "delete snapshots",
    "verify": "verify a snapshot",
}
_UNIT = "rke2-etcd-snapshot-request"


@dataclass(frozen=True)
class Wanted:
    """What the journal says of the request, and how long (s) its answer may take."""

    operation: str
    seconds: float


def parse(body: bytes) -> Wanted:
    """The operation and its time limit; Refusal 400 if the body is not a JSON object.

    The program judges everything else.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refusal(400, "the body is not a JSON object")
    operation = found.get("operation")
    wanted = _OPERATIONS.get(operation) if isinstance(operation, str) else None
    s3 = found.get("s3")
    patience = _PATIENCE
    if isinstance(s3, dict):
        timeout = s3.get("timeout")
        patience += _duration(timeout if isinstance(timeout, str) else _S3_TIMEOUT)
    return Wanted(wanted or "do an unknown operation on snapshots", min(patience, _LONGEST))


def _duration(text: str) -> float:
    """Seconds of a duration as Go writes it; 0 for another text, which the program rejects."""
    return sum(float(count) * _SECONDS[unit] for count, unit in _DURATION.findall(text[:64]))


async def relay(folder: str, body: bytes, seconds: float) -> bytes:
    """All that the program behind the socket in this folder sends; Refusal without an answer."""
    try:
        async with asyncio.timeout(seconds):
            return await _exchange(f"{folder}/{layout.SNAPSHOT_SOCKET_NAME}", body)
    except TimeoutError:
        raise Refusal(
            504,
            f"the operation did not end within {seconds:.0f} s and may still end: "
            f"journalctl -u '{_UNIT}@*' on this server shows it",
        ) from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise Refusal(
            503,
            f"this server does not take requests about snapshots: systemctl start {_UNIT}.socket on it",
            headers={"Retry-After": "2"},
        ) from None
    except OSError as error:
        raise _no_answer(error.strerror or type(error).__name__) from None


async def _exchange(path: str, body: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        # It may answer, and end, before it has read everything.
        with contextlib.suppress(ConnectionError):
            writer.write(body)
            await writer.drain()
            writer.write_eof()
        answer = bytearray()
        while piece := await reader.read(_PIECE):
            answer += piece
            if len(answer) > LARGEST_ANSWER:
                raise Refusal(
                    500,
                    f"the answer is larger than {LARGEST_ANSWER >> 20} MiB: are there too many snapshots?",
                )
        return bytes(answer)
    finally:
        writer.transport.abort()


def unpack(answer: bytes) -> tuple[int, bytes]:
    """The status and the body (JSON) in the last line of the answer; Refusal for a malformed one."""
    try:
        found = json.loads(answer.strip().rpartition(b"\n")[2])
    except (ValueError, RecursionError):
        raise _no_answer("it sent no JSON" if answer else "it sent nothing") from None
    match found:
        case {"status": int(status), "body": dict(body)} if status == 200 or 400 <= status < 600:
            content = json.dumps(body).encode()
        case _:
            raise _no_answer("it sent another kind of JSON")
    if len(answer) > _LARGE:
        del found, body
        heap.give_back()
    return status, content


def _no_answer(why: str) -> Refusal:
    text = f"the program for snapshots has not answered: journalctl -u '{_UNIT}@*' on this server shows why"
    return Refusal(500, text, why=f"{text} ({why})")


def metrics(folder: str) -> str:
    """The metrics that the programs for snapshots have written as text; "" without them."""
    if not folder:
        return ""
    try:
        with open(f"{folder}/{layout.SNAPSHOT_METRICS_NAME}", "rb") as file:
            content = file.read(_LARGEST_METRICS + 1)
    except OSError:
        return ""
    return content.decode(errors="replace") if len(content) <= _LARGEST_METRICS else ""
