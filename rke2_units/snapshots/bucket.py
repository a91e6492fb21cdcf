"""Snapshots in a bucket of S3: FOLDER/NAME, with metadata in FOLDER/.metadata/NAME, as RKE2 has them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TypeVar

from rke2_units.errors import UserError
from rke2_units.lean import write
from rke2_units.lean.file_systems import name_full
from rke2_units.printable import line
from rke2_units.snapshots import names, retention, s3_client, s3_config, s3_errors
from rke2_units.snapshots.limit import Limit, OutOfTime
from rke2_units.snapshots.s3_config import S3Config
from rke2_units.snapshots.s3_upload import Upload
from rke2_units.snapshots.snapshot import Snapshot

_METADATA = ".metadata/"
# User metadata of objects, in lower case: servers return the names as they like.
_CLUSTER_ID, _NODE_NAME, _TOKEN_HASH = "rke2-cluster-id", "rke2-node-name", "rke2-token-hash"
_LONGEST_NOTE = 253
# Bytes.
_CHUNK = 1 << 16
_LARGEST_METADATA = 1 << 20
_LONGEST_NAME = 255
# Objects in a folder.
_MOST_OBJECTS = 5_000
# Seconds to find credentials. boto3 waits a second or two for each place where there may be some.
_CREDENTIALS = 60.0
# The last second that datetime knows.
_LAST_SECOND = 253402300799

_T = TypeVar("_T")


class Bucket:
    """A context manager. Whatever fails is a UserError; each operation may take as long as the timeout."""

    def __init__(self, config: S3Config) -> None:
        s3_config.check(config)
        self._config = config
        self._client: s3_client.Client | None = None

    def __enter__(self) -> Bucket:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Connects, and checks that the bucket is there and may be read."""
        s3_client.library()
        # It looks for credentials, perhaps at a service that does not answer.
        with self._explaining("open", "", Limit(_CREDENTIALS)) as limit:
            self._client = limit.run(lambda: s3_client.Client(self._config))
        try:
            # In place of a question about the bucket: its answer would not say what is wrong.
            self._run("open", "", lambda api, _: api.list_objects_v2(Bucket=self._config.bucket, MaxKeys=1))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def list(self, prefix: str = "") -> list[Snapshot]:
        """The snapshots whose name begins so. Folders below the bucket's folder are not looked into."""

        def listed(api: Any, limit: Limit) -> list[Snapshot]:
            found = []
            # Without content, it may be what a program shows as a folder.
            objects = [name for name, size in self._objects(api, "", prefix, limit) if size > 0]
            described = {name for name, _ in self._objects(api, _METADATA, prefix, limit)} if objects else ()
            for name in objects:
                limit.check()
                head = self._head(api, name)
                if head is not None:
                    metadata = self._metadata(api, name) if name in described else {}
                    found.append(self._snapshot(name, head, metadata))
            return found

        return self._run("list", prefix, listed)

    def expired(self, base: str, cluster_id: str) -> Sequence[Snapshot]:
        """Those that are too old to be kept, by the retention of the configuration: one count for all nodes.

        Only what this cluster has uploaded is counted.
        """
        own = [one for one in self.list(base) if one.cluster_id == cluster_id != ""]
        return retention.expired(own, base, self._config.retention)

    def metadata(self, name: str) -> Mapping[str, str]:
        """The extra metadata of a snapshot, {} without any."""
        return self._run("read", self._checked(name), lambda api, _: self._metadata(api, name))

    def upload(
        self,
        path: str,
        snapshot: Snapshot,
        cluster_id: str,
        progress: Callable[[int], None] = lambda size: None,
    ) -> Snapshot:
        """Uploads the file under the snapshot's name, and its metadata; returns the snapshot in S3.

        The object appears when it is complete. `progress` is called with the bytes that have arrived.
        """
        name = self._checked(snapshot.name)
        notes = {_CLUSTER_ID: cluster_id, _NODE_NAME: snapshot.node, _TOKEN_HASH: snapshot.token_hash}
        described = {"Metadata": {key.title(): value for key, value in notes.items() if value}}
        kind = "application/zip" if name.endswith(names.ZIP) else "application/octet-stream"

        def uploaded(api: Any, limit: Limit) -> Snapshot:
            upload = Upload(api, self._place(name), {**described, "ContentType": kind}, limit)
            uploads.append(upload)
            upload.abort_older()
            if snapshot.metadata:
                body = json.dumps(dict(snapshot.metadata)).encode()
                place = self._place(_METADATA + name)
                api.put_object(**place, **described, ContentType="application/json", Body=body)
            size = upload.send(path, progress)
            head = self._head(api, name) or {}
            if head.get("ContentLength") != size:
                raise UserError(
                    f"{head.get('ContentLength', 0)} of {size} bytes have arrived", hint="try again"
                )
            return self._snapshot(name, head, snapshot.metadata)

        uploads: list[Upload] = []
        try:
            return self._run("upload", name, uploaded, path)
        except BaseException:
            for upload in uploads:
                upload.abort()
            raise

    def download(self, name: str, path: str) -> None:
        """Downloads a snapshot to the file (0600), and its metadata to that beside it.

        The file appears when it is complete.
        """
        name = self._checked(name)

        def downloaded(api: Any, limit: Limit) -> None:
            answer = api.get_object(**self._place(name))
            with closing(answer["Body"]) as body:
                size = answer["ContentLength"]
                _check_space(os.path.dirname(path), size)
                with write.replace(path, 0o600, temporary=path + names.PART) as file:
                    while file.tell() < size and (chunk := body.read(_CHUNK)):
                        file.write(chunk)
                        limit.check()
                    if file.tell() != size:
                        message = f"the connection was cut after {file.tell()} of {size} bytes"
                        raise UserError(message, hint="try again")
                    _write_metadata(names.metadata_path(path), self._metadata(api, name))
                    limit.check()

        try:
            self._run("download", name, downloaded, path)
        except BaseException:
            # A thread that was left behind may still wait for a byte.
            write.discard(path + names.PART)
            raise

    def delete(self, name: str) -> bool:
        """Removes a snapshot and its metadata; False when there was no such snapshot."""
        name = self._checked(name)

        def deleted(api: Any, limit: Limit) -> bool:
            was_there = self._head(api, name) is not None
            for key in (name, _METADATA + name):
                limit.check()
                api.delete_object(**self._place(key))
            return was_there

        return self._run("delete", name, deleted)

    def _run(self, action: str, name: str, work: Callable[[Any, Limit], _T], path: str = "") -> _T:
        """What it returns within the time limit; `path` is the file that it reads or writes."""
        if self._client is None:
            raise RuntimeError("the bucket is not open")
        api = self._client.api
        with self._explaining(action, name, Limit(self._config.timeout), path) as limit:
            return limit.run(lambda: work(api, limit))

    @contextmanager
    def _explaining(self, action: str, name: str, limit: Limit, path: str = "") -> Iterator[Limit]:
        """Errors become UserErrors that say what was done where, without credentials."""
        try:
            yield limit
            return
        except OutOfTime:
            hint: str | None = "etcd-s3-timeout is the limit"
            cause = f"not done within {self._config.timeout:g} s"
        except UserError as error:
            cause, hint = error.message, error.hint
        except Exception as error:
            cause, hint = self._explained(error, action, path)
        finally:
            limit.stop()
        place = f"s3://{self._config.bucket}/{self._config.prefix}{name}"
        message = f"cannot {action} {place} at {self._config.url}: {cause}"
        for secret in s3_config.secrets(self._config):
            message = message.replace(secret, "***")
        raise UserError(message, hint=hint) from None

    def _explained(self, error: Exception, action: str, path: str) -> tuple[str, str | None]:
        code = s3_errors.code_of(error)
        if code == "NoSuchBucket" or (code == "NoSuchKey" and action in ("open", "list")):
            return f"bucket {self._config.bucket} does not exist", "create it, or check etcd-s3-bucket"
        if isinstance(error, OSError) and not s3_errors.is_of_library(error):
            return name_full(f"{error.filename or path}: {error.strerror or error}"), None
        return s3_errors.explained(error)

    def _place(self, name: str) -> dict[str, str]:
        return {"Bucket": self._config.bucket, "Key": self._config.prefix + name}

    def _checked(self, name: str) -> str:
        if not _is_name(name):
            raise UserError(
                f"invalid snapshot name {line(name)[:_LONGEST_NAME]!r}: it is not the name of a file"
            )
        return name

    def _objects(self, api: Any, folder: str, prefix: str, limit: Limit) -> Iterator[tuple[str, int]]:
        """Names and sizes of the objects in the folder, which is "" or ends with a slash."""
        folder = self._config.prefix + folder
        pages = api.get_paginator("list_objects_v2")
        count = 0
        for page in pages.paginate(Bucket=self._config.bucket, Prefix=folder + prefix, Delimiter="/"):
            limit.check()
            for found in page.get("Contents", ()):
                count += 1
                name = str(found.get("Key", "")).removeprefix(folder)
                if _is_name(name):
                    yield name, int(found.get("Size", 0))
            if count > _MOST_OBJECTS:
                message = f"there are more than {_MOST_OBJECTS} objects"
                raise UserError(message, hint="give the snapshots a folder of their own (etcd-s3-folder)")

    def _head(self, api: Any, name: str) -> dict[str, Any] | None:
        """What the server says about the object; None when there is no such object."""
        try:
            found: dict[str, Any] = api.head_object(**self._place(name))
        except Exception as error:
            if s3_errors.code_of(error) == "NoSuchKey":
                return None
            raise
        return found

    def _metadata(self, api: Any, name: str) -> dict[str, str]:
        try:
            with closing(api.get_object(**self._place(_METADATA + name))["Body"]) as body:
                values = json.loads(body.read(_LARGEST_METADATA))
        except (ValueError, RecursionError):
            return {}
        except Exception as error:
            if s3_errors.code_of(error) == "NoSuchKey":
                return {}
            raise
        items = values.items() if isinstance(values, dict) else ()
        return {key: value for key, value in items if isinstance(value, str)}

    def _snapshot(self, name: str, head: Mapping[str, Any], metadata: Mapping[str, str]) -> Snapshot:
        found = head.get("Metadata", {}).items()
        notes = {key.lower(): line(value)[:_LONGEST_NOTE] for key, value in found}
        return Snapshot(
            name=name,
            node=notes.get(_NODE_NAME, ""),
            location=f"s3://{self._config.bucket}/{self._config.prefix}{name}",
            size=int(head.get("ContentLength", 0)),
            created=_created(name, head.get("LastModified")),
            metadata=metadata,
            token_hash=notes.get(_TOKEN_HASH, ""),
            s3=s3_config.public(self._config),
            cluster_id=notes.get(_CLUSTER_ID, ""),
        )


def _is_name(name: str) -> bool:
    """Whether it can be a file's name that a line of text can hold."""
    is_short = len(os.fsencode(name)) <= _LONGEST_NAME
    return is_short and name.isprintable() and "/" not in name and not name.startswith(".") and name != ""


def _created(name: str, modified: object) -> datetime:
    """By its name, as RKE2 has it, else when it was uploaded."""
    seconds = names.seconds_of(name)
    if seconds is not None and seconds <= _LAST_SECOND:
        return datetime.fromtimestamp(seconds, UTC)
    return modified if isinstance(modified, datetime) else datetime.now(UTC)


def _check_space(folder: str, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        message = f"it has {size >> 20} MiB, and {folder} has {free >> 20} MiB free"
        raise UserError(message, hint="free some space, then try again")


def _write_metadata(path: str, metadata: Mapping[str, str]) -> None:
    """Makes the file hold the metadata; without any there is no file."""
    if metadata:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with write.replace(path, 0o600) as file:
            file.write(json.dumps(dict(metadata)).encode())
    else:
        with suppress(FileNotFoundError):
            os.remove(path)
