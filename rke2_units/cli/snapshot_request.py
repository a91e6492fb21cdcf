"""The body of POST /db/snapshot, with RKE2's fields, from the configuration and the command line. Pure."""

from collections.abc import Sequence

from rke2_units.config.config import Config


def make(operation: str, config: Config, names: Sequence[str] = ()) -> dict[str, object]:
    """The request for this operation. What nobody has set is left to the server."""
    made: dict[str, object] = {"operation": operation}
    if names:
        made["name"] = list(names)
    if config.is_set("etcd-snapshot-dir"):
        made["dir"] = config.text("etcd-snapshot-dir")
    if config.is_set("etcd-snapshot-compress"):
        made["compress"] = config.boolean("etcd-snapshot-compress")
    if operation == "save":
        # What is saved by hand removes nothing.
        made["retention"] = 0
    elif config.is_set("etcd-snapshot-retention"):
        made["retention"] = config.number("etcd-snapshot-retention")
    if config.boolean("etcd-s3"):
        made["s3"] = _s3(config, 0 if operation == "save" else _s3_retention(config))
    return made


def _s3(config: Config, retention: int) -> dict[str, object]:
    """It replaces the server's configuration of S3, so it is complete."""
    texts = {
        "accessKey": "access-key",
        "bucket": "bucket",
        "configSecret": "config-secret",
        "endpoint": "endpoint",
        "endpointCA": "endpoint-ca",
        "folder": "folder",
        "proxy": "proxy",
        "region": "region",
        "secretKey": "secret-key",
        "sessionToken": "session-token",
    }
    return {
        **{field: config.text(f"etcd-s3-{key}") for field, key in texts.items()},
        "bucketLookup": config.text("etcd-s3-bucket-lookup-type") or "auto",
        "insecure": config.boolean("etcd-s3-insecure"),
        "skipSSLVerify": config.boolean("etcd-s3-skip-ssl-verify"),
        "retention": retention,
        "timeout": duration(config.seconds("etcd-s3-timeout")),
    }


def _s3_retention(config: Config) -> int:
    own = config.is_set("etcd-s3-retention")
    return config.number("etcd-s3-retention" if own else "etcd-snapshot-retention")


def duration(seconds: float) -> str:
    """The text that Go writes for a duration, to the millisecond: `5m0s`, `1h0m0s`, `500ms`."""
    milliseconds = round(seconds * 1000)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if minutes >= 60:
        return f"{minutes // 60}h{minutes % 60}m{text}"
    return f"{minutes}m{text}" if minutes else text
