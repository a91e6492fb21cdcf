"""What went wrong with S3: the cause, and what to do about it. boto3's errors are known by their names."""

import email.utils
import errno
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from rke2_units.printable import line

_LONGEST = 300
_KEYS_HINT = "check etcd-s3-access-key and etcd-s3-secret-key"
_REGION_HINT = "check etcd-s3-region and etcd-s3-endpoint"
_BUSY = "the server is overloaded or failing"
# Codes of S3: the cause, and what to do.
_CODES: dict[str, tuple[str, str]] = {
    "InvalidAccessKeyId": ("the server does not know the access key", _KEYS_HINT),
    "SignatureDoesNotMatch": ("the secret key is not that of the access key", _KEYS_HINT),
    "AccessDenied": (
        "access denied",
        "the keys need ListBucket for the bucket and GetObject, PutObject, DeleteObject for what is in it",
    ),
    "ExpiredToken": ("the session token has expired", "renew etcd-s3-session-token and the keys with it"),
    "InvalidToken": ("the session token is not valid", "check etcd-s3-session-token, or leave it out"),
    "PermanentRedirect": ("the bucket lies in another region", _REGION_HINT),
    "AuthorizationHeaderMalformed": ("the server does not accept the region", _REGION_HINT),
    "SlowDown": (f"{_BUSY} (SlowDown)", "try again later"),
    "NoSuchKey": ("it does not exist", "rke2-units etcd-snapshot list shows what there is"),
}
# By HTTP's status, where there is no code: an answer without a body, or a foreign one.
_STATUS = {301: "PermanentRedirect", 403: "AccessDenied", 404: "NoSuchKey"}
# boto3's errors by name that tell all by themselves.
_NAMES: dict[str, tuple[str, str]] = {
    "NoCredentialsError": (
        "no credentials",
        "set etcd-s3-access-key and etcd-s3-secret-key, or write /root/.aws/credentials",
    ),
    "PartialCredentialsError": ("half of the credentials is missing", _KEYS_HINT),
    "CredentialRetrievalError": ("cannot get credentials from the instance's role", "set the keys"),
    "ProxyConnectionError": ("cannot reach the proxy", "check etcd-s3-proxy, or the environment's proxy"),
    "ResponseParserError": ("the answer is not that of an S3 server", "check etcd-s3-endpoint"),
    "ConnectTimeoutError": ("no connection in time", "check etcd-s3-endpoint, and firewalls on the way"),
    "ReadTimeoutError": ("no answer in time", "try again later"),
    # urllib3's of Debian 12.
    "CertificateError": (
        "the server's certificate is not trusted: it is for another host",
        "check etcd-s3-endpoint",
    ),
}
# Names of errors of boto3, urllib3 and http.client for a connection that ends too early.
_CUT = ("the connection was cut", "try again")
_CUT_NAMES = {
    *("BadStatusLine", "ConnectionClosedError", "IncompleteRead", "IncompleteReadError", "ProtocolError"),
    *("RemoteDisconnected", "ResponseStreamingError"),
}


def code_of(error: BaseException) -> str:
    """S3's code of an error, or the one that HTTP's status means; "" for what is no answer."""
    answer = _answer(error)
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(answer.get("Error", {}).get("Code", ""))
    return _STATUS.get(status, code) if code in ("", str(status), "NotFound", "Forbidden") else code


def is_of_library(error: BaseException) -> bool:
    """Whether it is one of boto3's. Some of them are OSErrors, too."""
    return type(error).__module__.partition(".")[0] in ("boto3", "botocore", "urllib3")


def explained(error: BaseException) -> tuple[str, str | None]:
    """The cause and what to do. Texts of the server are shortened to a printable line."""
    if _answer(error):
        return _of_answer(error)
    chain = list(_chain(error))
    for found in chain:
        if type(found).__name__ in _NAMES:
            cause, hint = _NAMES[type(found).__name__]
            return ": ".join(filter(None, (cause, _system(chain)))), hint
    return _of_connection(chain)


def _of_answer(error: BaseException) -> tuple[str, str | None]:
    code = code_of(error)
    answer = _answer(error)
    metadata = answer.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 0)
    if code in ("RequestTimeTooSkewed", "RequestExpired"):
        return _skew(metadata.get("HTTPHeaders", {})), "set the clocks (timedatectl)"
    if code in _CODES:
        return _CODES[code]
    message = line(answer.get("Error", {}).get("Message", ""))[:_LONGEST]
    said = ": ".join(text for text in (line(code)[:60], message) if text)
    if status >= 500 or status == 429:
        return f"{_BUSY} ({said})", "try again later"
    return f"the server refuses: {said}", None


def _skew(headers: dict[str, str]) -> str:
    try:
        theirs = email.utils.parsedate_to_datetime(headers.get("date", ""))
        minutes = abs((datetime.now(UTC) - theirs).total_seconds()) / 60
    except (TypeError, ValueError):
        minutes = 0
    amount = f" by {minutes:.0f} minutes" if minutes >= 1 else ""
    return f"this machine's clock differs from the server's{amount}"


def _of_connection(chain: list[BaseException]) -> tuple[str, str | None]:
    for error in chain:
        match error:
            case ssl.SSLCertVerificationError():
                hint = "put the server's authority into etcd-s3-endpoint-ca"
                return f"the server's certificate is not trusted: {line(error.verify_message)}", hint
            case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | ConnectionResetError() | BrokenPipeError():
                return _CUT
            case ssl.SSLError():
                reason = (error.reason or "an error").lower().replace("_", " ")
                return f"no TLS connection: {reason}", "etcd-s3-insecure: true is for a server without TLS"
            case socket.gaierror():
                return "the host's name cannot be resolved", "check etcd-s3-endpoint and the machine's DNS"
            case TimeoutError():
                return _NAMES["ReadTimeoutError"]
            case OSError(errno=errno.ECONNREFUSED):
                return "connection refused", "is the server running? check etcd-s3-endpoint"
    if _CUT_NAMES & {type(error).__name__ for error in chain}:
        return _CUT
    return _system(chain) or line(f"{type(chain[0]).__name__}")[:_LONGEST], None


def _system(chain: list[BaseException]) -> str:
    """What the system says, of the innermost error that it has words for."""
    texts = [error.strerror for error in chain if isinstance(error, OSError) and error.strerror]
    return line(texts[-1]).lower() if texts else ""


def _answer(error: BaseException) -> dict[str, Any]:
    """The server's refusal as boto3 has it, {} for other errors."""
    found = getattr(error, "response", None)
    return found if isinstance(found, dict) else {}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it, in turn."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
