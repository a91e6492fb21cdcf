"""What is asked for: from the options and config.yaml to a request that can be done, or RKE2's refusals."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from rke2_units.certificates import credentials
from rke2_units.certificates.token import Token
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.layout import Paths
from rke2_units.node.cluster_reset import before_start, progress
from rke2_units.snapshots import restore
from rke2_units.snapshots.s3_config import S3Config

_NO_SECRET = (
    "cannot use S3 config secret when restoring snapshot; configuration must be set in CLI or config file"
)


@dataclass(frozen=True)
class Request:
    """`snapshot` is a file, with `s3` the name of an object, and "" for a reset without a snapshot."""

    snapshot: str
    token: Token
    s3: S3Config | None = None
    # The folder of snapshots, into which one of S3 is downloaded.
    snapshots: str = field(default="")

    @property
    def file(self) -> str:
        """Where the snapshot is, or will be."""
        return f"{self.snapshots}/{self.snapshot}" if self.s3 else self.snapshot


def make(config: Config, option: str, token: str, s3: S3Config | None) -> Request:
    """The request for the options (snapshot and token, "" where not given). `s3` is set with etcd-s3.

    ConfigurationError and UserError have RKE2's words, where RKE2 refuses too.
    """
    paths = derived.paths(config)
    if not derived.server_roles(config).etcd:
        raise config.error("disable-etcd", "is true, and cluster-reset is for servers with etcd")
    if config.is_set("server"):
        raise config.error(
            "server",
            "is set: cannot perform cluster-reset while server URL is set - remove server from "
            "configuration before resetting",
        )
    snapshot = option or config.text("cluster-reset-restore-path")
    begun = progress.read(paths.reset_progress)
    if begun is None:
        _refuse(paths, snapshot, s3)
    snapshots = derived.snapshot_directory(config)
    found = snapshot if s3 or not snapshot else os.path.abspath(snapshot)
    request = Request(found, _token(config, paths, token, is_restored=bool(snapshot)), s3, snapshots)
    if begun is not None and snapshot and request.file != begun.snapshot:
        raise ConfigurationError(
            f"a cluster-reset from {begun.snapshot or 'the data of this server'} was interrupted",
            hint="complete it first: run rke2-units cluster-reset without --restore",
        )
    return request


def _refuse(paths: Paths, snapshot: str, s3: S3Config | None) -> None:
    if not snapshot:
        if os.path.exists(paths.reset_flag):
            raise ConfigurationError(
                "Managed etcd cluster membership was previously reset, please start rke2-server normally",
                hint=before_start.another(paths),
            )
        if not os.path.exists(f"{paths.etcd_data}/member"):
            raise ConfigurationError(
                f"this server has no data of etcd in {paths.etcd_data}",
                hint="to restore a snapshot on it, give --restore",
            )
    elif s3 is None:
        _check_file(paths, snapshot)
    elif snapshot != os.path.basename(snapshot) or snapshot in ("", ".", ".."):
        raise ConfigurationError(
            f"{snapshot} is not the name of a snapshot in S3",
            hint="with etcd-s3 a name is given without a folder; for a file on this machine add --no-s3",
        )
    elif s3.config_secret and not s3.bucket:
        raise ConfigurationError(_NO_SECRET)


def _check_file(paths: Paths, snapshot: str) -> None:
    try:
        restore.check_is_file(snapshot)
    except UserError as error:
        other = f"{paths.snapshots}/{os.path.basename(snapshot)}"
        hint = f"there is {other}" if os.path.isfile(other) else None
        raise UserError(error.message, hint=hint) from None


def _token(config: Config, paths: Paths, given: str, *, is_restored: bool) -> Token:
    """That of the options, else of config.yaml, else the one on disk; two must not differ."""
    texts: Mapping[str, str] = {
        "--token-file": given,
        f"token ({config.source('token')})": config.text("token"),
    }
    found = {what: credentials.configured(text, what) for what, text in texts.items() if text}
    if len({token.password for token in found.values()}) > 1:
        raise ConfigurationError(
            f"{' and '.join(found)} differ, and the next start would use the latter",
            hint="remove it from the configuration, or give the same",
        )
    if found:
        return next((token for token in found.values() if token.ca_hash), next(iter(found.values())))
    on_disk = (files.read_text(paths.token) or "").strip()
    if not on_disk:
        what = "restoration" if is_restored else "reset"
        raise ConfigurationError(
            f"{paths.token} does not exist, please pass --token-file to complete the {what}",
            hint="it is server/token of a server of that cluster",
        )
    # Its hash is that of the authority on this disk, which may not be the cluster's.
    return Token(password=credentials.configured(on_disk, paths.token).password)
