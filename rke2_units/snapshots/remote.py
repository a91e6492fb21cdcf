"""The part of an operation that works in S3. The bucket is opened when it is first used."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from rke2_units.doors.kubernetes import Client
from rke2_units.errors import UserError
from rke2_units.lean import console
from rke2_units.snapshots import cluster, s3_config
from rke2_units.snapshots.notes import Notes
from rke2_units.snapshots.outcome import Outcome, explain
from rke2_units.snapshots.progress import Progress
from rke2_units.snapshots.s3_config import S3Config
from rke2_units.snapshots.snapshot import Snapshot

if TYPE_CHECKING:
    from rke2_units.snapshots.bucket import Bucket


class NoSecret(UserError):
    """The Secret with the configuration cannot be read, now or at all."""


class Remote:
    """A context manager. Errors are the outcome's where a method takes one, else UserError."""

    def __init__(self, config: S3Config, client: Callable[[], Client], notes: Notes) -> None:
        self._given = config
        self._client = client
        self._notes = notes
        self._config: S3Config | None = None
        self._bucket: Bucket | None = None
        # Why there is none: it may have taken minutes to find out.
        self._error: UserError | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def config(self) -> S3Config:
        """The configuration, which was checked; NoSecret when it is in a Secret that cannot be read."""
        if self._config is None:
            config = self._given
            if config.config_secret and s3_config.is_default(config):
                config = self._of_secret()
            elif config.config_secret:
                text = f"the Secret {config.config_secret} is ignored: other S3 options are set"
                console.say(text, console.WARNING)
            s3_config.check(config)
            self._config = config
        return self._config

    def open(self) -> Bucket:
        """The bucket, which is there."""
        if self._error:
            raise self._error
        if self._bucket is None:
            # It brings a large library, which a node without S3 need not have.
            from rke2_units.snapshots.bucket import Bucket

            try:
                self._bucket = self._stack.enter_context(Bucket(self.config()))
            except UserError as error:
                self._error = error
                raise
        return self._bucket

    def upload(self, outcome: Outcome, path: str, snapshot: Snapshot, say: Callable[[str], None]) -> None:
        """Uploads the file of this node's snapshot."""
        began = time.monotonic()
        progress = Progress(f"uploading {snapshot.name} to S3", snapshot.size, say)
        try:
            uploaded = self.open().upload(path, snapshot, self._cluster_id(), progress.report)
            console.say(f"Snapshot {snapshot.name} uploaded to {uploaded.location}")
        except (UserError, OSError) as error:
            message = explain(error)
            outcome.fail(f"failed to upload snapshot {snapshot.name} to S3: {message}")
            outcome.failed.append(self._failed(snapshot, message))
            self._notes.observe("save_s3", began, is_good=False)
        else:
            self._notes.observe("save_s3", began, is_good=True)

    def prune(self, outcome: Outcome, base: str) -> None:
        """Applies the retention to the snapshots of the base name, of all nodes together."""
        if self._error:
            return  # the upload has said so
        with outcome.failing("failed to apply S3 snapshot retention policy"):
            for old in self.open().expired(base, self._cluster_id()):
                if outcome.saved is None or old.name != outcome.saved.name:
                    self.delete(outcome, old.name)

    def delete(self, outcome: Outcome, name: str) -> None:
        """Removes a snapshot, if there is one of this name."""
        with outcome.failing(f"failed to delete snapshot {name} from S3"):
            if self.open().delete(name):
                outcome.deleted.append(name)
                console.say(f"Removing S3 snapshot {name}")

    def list(self) -> list[Snapshot] | None:
        """The snapshots in S3; None when they cannot be listed, which is a warning."""
        was_said = self._error is not None
        try:
            return self.open().list()
        except (UserError, OSError) as error:
            if not was_said:
                console.say(f"failed to list snapshots in S3: {explain(error)}", console.WARNING)
            return None

    def _of_secret(self) -> S3Config:
        name = self._given.config_secret
        try:
            client = self._client()
            secret = cluster.secret(client, name)
        except UserError as error:
            raise NoSecret(f"failed to get config from etcd-s3-config-secret {name}: {error}") from None
        return s3_config.of_secret(
            secret,
            lambda config_map: cluster.config_map(client, config_map),
            retention=self._given.retention,
        )

    def _cluster_id(self) -> str:
        """A note on the object, which it may lack."""
        try:
            return cluster.identifier(self._client())
        except UserError:
            return ""

    def _failed(self, snapshot: Snapshot, error: str) -> Snapshot:
        """What would lie in S3 if it had been uploaded."""
        config = self.config()
        location = f"s3://{config.bucket}/{config.prefix}{snapshot.name}"
        return replace(snapshot, location=location, size=0, s3=s3_config.public(config), error=error)
