"""Where and how snapshots lie in S3: the etcd-s3-* keys, the `s3` of a request, the config Secret."""

import base64
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from rke2_units.config import grammar, snapshot_grammar
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean import console
from rke2_units.lean.json_table import Table

ENDPOINT = "s3.amazonaws.com"
REGION = "us-east-1"
RETENTION = 5
TIMEOUT = 300.0
LOOKUP_TYPES = ("auto", "dns", "path")

# That of the keys; the Secret and requests have not been parsed.
_GRAMMAR: dict[str, Callable[[str], object]] = {
    "endpoint": snapshot_grammar.endpoint,
    "endpoint_ca": snapshot_grammar.authorities,
    "bucket": snapshot_grammar.bucket,
    "folder": snapshot_grammar.folder,
    "proxy": snapshot_grammar.proxy,
}
# What boto3 takes.
_REGION = r"(?![0-9]+$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LONGEST_FOLDER = 700


@dataclass(frozen=True)
class S3Config:
    """`timeout` is in seconds. Credentials never appear in its repr."""

    endpoint: str = ENDPOINT
    endpoint_ca: str = ""
    skip_ssl_verify: bool = False
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    bucket: str = ""
    bucket_lookup: str = "auto"
    region: str = REGION
    folder: str = ""
    retention: int = RETENTION
    proxy: str = field(default="", repr=False)
    config_secret: str = ""
    insecure: bool = False
    timeout: float = TIMEOUT

    @property
    def url(self) -> str:
        return f"{'http' if self.insecure else 'https'}://{self.endpoint}"

    @property
    def prefix(self) -> str:
        """What the keys of all snapshots begin with: the folder with a slash behind it, or nothing."""
        folder = posixpath.normpath(f"/{self.folder}").strip("/")
        return f"{folder}/" if folder else ""


_DEFAULT = S3Config()
# Names in RKE2's requests.
_REQUEST = {
    "endpoint": "endpoint",
    "endpoint_ca": "endpointCA",
    "skip_ssl_verify": "skipSSLVerify",
    "access_key": "accessKey",
    "secret_key": "secretKey",
    "session_token": "sessionToken",
    "bucket": "bucket",
    "bucket_lookup": "bucketLookup",
    "region": "region",
    "folder": "folder",
    "retention": "retention",
    "proxy": "proxy",
    "config_secret": "configSecret",
    "insecure": "insecure",
    "timeout": "timeout",
}
# What stands in the object of a snapshot, which anyone who may read it sees; by these names, but for one.
_PUBLIC = ("endpoint", "endpoint_ca", "skip_ssl_verify", "bucket", "bucket_lookup", "region", "insecure")
# An empty text leaves them as they are by default.
_NEVER_EMPTY = ("endpoint", "bucket_lookup", "region")
_EXPECTED: dict[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a duration such as 5m",
}
# In the config Secret: PEM itself, and the name of a ConfigMap with more of it.
_AUTHORITY, _AUTHORITIES = "etcd-s3-endpoint-ca", "etcd-s3-endpoint-ca-name"


def _warn(text: str) -> None:
    console.say(text, console.WARNING)


def of_settings(table: Table) -> S3Config:
    """The `s3` of the settings file, whose names are those of S3Config."""
    return _of(table.values, {name: name for name in _REQUEST}, table.wrong)


def of_request(values: Mapping[str, object]) -> S3Config:
    """The `s3` of a request of /db/snapshot; UserError for what it cannot hold."""

    def wrong(name: str, expected: str) -> UserError:
        return UserError(f"invalid s3 configuration: {_REQUEST[name]} is not {expected}")

    return _of(values, _REQUEST, wrong)


def of_secret(
    data: Mapping[str, bytes],
    config_map: Callable[[str], Mapping[str, bytes]],
    *,
    retention: int = RETENTION,
    warn: Callable[[str], None] = _warn,
) -> S3Config:
    """What the `data` of the config Secret says, decoded; what is not valid in it is ignored with a warning.

    `config_map` gives the values of a ConfigMap in kube-system by its name, or raises UserError. The
    `retention` is kept if the Secret has none.
    """
    values = dict(data)
    authorities = [values.pop(_AUTHORITY)] if values.get(_AUTHORITY) else []
    name = _text(values.pop(_AUTHORITIES, b""))
    try:
        authorities += config_map(name).values() if name else ()
    except UserError as error:
        warn(f"{_AUTHORITIES} of the Secret is ignored: {error}")
    found: dict[str, object] = {"retention": retention}
    for field_name in _REQUEST:
        text = _text(values.get(_key(field_name), b""))
        if not text or field_name == "config_secret":
            continue
        try:
            found[field_name] = _typed(field_name, text)
        except ValueError as error:
            warn(f"{_key(field_name)} of the Secret is ignored: it must be {error}")
    found["endpoint_ca"] = " ".join(base64.b64encode(bundle).decode() for bundle in authorities)
    return _made(found)


def public(config: S3Config) -> dict[str, object]:
    """`spec.s3` of a snapshot's object: no credentials, and nothing that is empty or false."""
    values = {_REQUEST[name]: getattr(config, name) for name in _PUBLIC} | {"prefix": config.folder}
    return {name: value for name, value in values.items() if value}


def secrets(config: S3Config) -> list[str]:
    """The texts that may stand in no message."""
    found = (config.access_key, config.secret_key, config.session_token, _password(config.proxy))
    return [text for text in found if text]


def is_default(config: S3Config) -> bool:
    """Whether nothing was set but its Secret and its retention, which may be that of local files."""
    return replace(config, config_secret="", retention=RETENTION) == _DEFAULT


def check(config: S3Config) -> None:
    """Raises UserError, in RKE2's words where it has some, for what cannot work. Reads no file."""
    if is_default(config):
        raise UserError("s3 configuration was not set", hint="set etcd-s3-bucket, or etcd-s3-config-secret")
    if not config.bucket:
        raise UserError("s3 bucket name was not set", hint="set etcd-s3-bucket")
    for name in _REQUEST:
        try:
            _parsed(name, getattr(config, name))
        except ValueError as error:
            raise ConfigurationError(f"{_key(name)} must be {error}") from None
    if bool(config.access_key) != bool(config.secret_key):
        missing = _key("secret_key" if config.access_key else "access_key")
        raise ConfigurationError(
            f"{missing} is missing", hint="set the access key and the secret key, or none"
        )


def _key(name: str) -> str:
    """The configuration's key of a field."""
    return "etcd-s3-" + ("bucket-lookup-type" if name == "bucket_lookup" else name.replace("_", "-"))


def _of(
    values: Mapping[str, object], names: Mapping[str, str], wrong: Callable[[str, str], UserError]
) -> S3Config:
    """The configuration; `names` has each field's name in the values. What is missing is the default."""
    found: dict[str, object] = {}
    for name, other in names.items():
        value = values.get(other)
        if value is None or (value == "" and name in _NEVER_EMPTY):
            continue
        try:
            found[name] = _typed(name, value)
        except ValueError as error:
            raise wrong(name, str(error)) from None
    return _made(found)


def _made(values: Mapping[str, object]) -> S3Config:
    return replace(_DEFAULT, **values)  # type: ignore[arg-type]


def _typed(name: str, value: object) -> object:
    """The value as its field has it, from itself or from a text. ValueError says what it has to be."""
    kind = type(getattr(_DEFAULT, name))
    match value:
        case str() if kind is str:
            return value.lower() if name == "bucket_lookup" else value
        case str():
            return _parse(kind, value)
        case bool():
            if kind is bool:
                return value
        case int() | float() if kind is float or (kind is int and isinstance(value, int)):
            return kind(value)
    raise ValueError(_EXPECTED[kind])


def _parse(kind: type, text: str) -> object:
    if kind is bool:
        return grammar.boolean(text)
    if kind is int:
        return grammar.number(text)
    # The plan writes seconds.
    return float(text) if re.fullmatch(r"[0-9]{1,9}\.[0-9]{1,9}", text) else grammar.duration(text)


def _text(value: bytes) -> str:
    """Without the line's end that comes with a value from a file."""
    return value.decode(errors="replace").strip()


def _parsed(name: str, value: object) -> None:
    """Raises ValueError, which says what the value must be, for one that cannot work."""
    if name in _GRAMMAR and value:
        _GRAMMAR[name](str(value))
    if name == "bucket_lookup" and value not in LOOKUP_TYPES:
        raise ValueError("auto, dns or path")
    if name == "region" and not re.fullmatch(_REGION, str(value)):
        raise ValueError("a region such as us-east-1: letters, digits and '-'")
    if name == "folder" and not (len(str(value)) <= _LONGEST_FOLDER and str(value).isprintable()):
        raise ValueError(f"at most {_LONGEST_FOLDER} printable characters")
    # Longer than a day nobody waits; systemd and threads have limits of their own.
    if name == "timeout" and not 1 <= float(str(value)) <= 86400:
        raise ValueError("a duration between 1s and 24h")


def _password(proxy: str) -> str:
    try:
        return urlsplit(proxy).password or ""
    except ValueError:
        return ""
