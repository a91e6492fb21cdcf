"""What is to be known of etcd's snapshots: one JSON file, and what their units are told beside it."""

import json
import posixpath

from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.plan import controllers_settings, image_programs
from rke2_units.plan.node import Node

# What a run may take (s) without S3: until another one has ended, for the snapshot, and to list all of them.
_SECONDS = 1800
# As often S3 is asked in one run: for an upload, to remove what is too old, for a list.
_OPERATIONS = 3


def text(node: Node) -> str:
    """The settings file's content."""
    config, paths = node.config, node.paths
    programs = posixpath.dirname(image_programs.etcdctl(node).path)
    directory = derived.snapshot_directory(config)
    settings = {
        "node_name": node.name,
        "etcd": {
            **controllers_settings.members(node),
            # Whether the image has it shows when it is needed.
            "etcdutl": f"{programs}/etcdutl",
            "program": f"{programs}/etcd",
        },
        "kubernetes": controllers_settings.kubernetes(paths),
        "token_file": paths.token,
        "directory": directory,
        "is_own_directory": directory == paths.snapshots,
        "base_name": config.text("etcd-snapshot-name"),
        "retention": str(config.number("etcd-snapshot-retention")),
        "compress": config.boolean("etcd-snapshot-compress"),
        "verify": config.boolean("etcd-snapshot-verify"),
        "records": paths.snapshot_records,
        **({"s3": _s3(config)} if config.boolean("etcd-s3") else {}),
    }
    return json.dumps(settings, indent=2) + "\n"


def _s3(config: Config) -> dict[str, object]:
    def text(name: str) -> str:
        return config.text(f"etcd-s3-{name}")

    retention = "etcd-s3-retention" if config.is_set("etcd-s3-retention") else "etcd-snapshot-retention"
    return {
        "endpoint": text("endpoint"),
        "endpoint_ca": text("endpoint-ca"),
        "skip_ssl_verify": config.boolean("etcd-s3-skip-ssl-verify"),
        "access_key": text("access-key"),
        "secret_key": text("secret-key"),
        "session_token": text("session-token"),
        "bucket": text("bucket"),
        "bucket_lookup": text("bucket-lookup-type"),
        "region": text("region"),
        "folder": text("folder"),
        "retention": str(config.number(retention)),
        "proxy": text("proxy"),
        "config_secret": text("config-secret"),
        "insecure": config.boolean("etcd-s3-insecure"),
        "timeout": str(config.seconds("etcd-s3-timeout")),
    }


def foreign_directory(config: Config) -> tuple[str, str] | None:
    """The administrator's folder of snapshots, and that of their metadata; None: they are in ours."""
    directory = derived.snapshot_directory(config)
    if directory == derived.paths(config).snapshots:
        return None
    return directory, posixpath.join(posixpath.dirname(directory), ".metadata")


def writes(config: Config) -> tuple[str, ...]:
    """The paths that the units write to, in the spelling of ReadWritePaths=.

    The program explains what is wrong with a folder that is missing.
    """
    ours = posixpath.dirname(derived.paths(config).snapshots)
    return ours, *(f"-{path}" for path in foreign_directory(config) or ())


def seconds(config: Config) -> int:
    """How long a run may take."""
    in_s3 = _OPERATIONS * config.seconds("etcd-s3-timeout")
    return _SECONDS + int(in_s3)
