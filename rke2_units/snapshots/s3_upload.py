"""One upload to S3: of a large file in parts, two at a time, which become one object at the end."""

import os
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any

from rke2_units.snapshots import names
from rke2_units.snapshots.file_part import FilePart
from rke2_units.snapshots.limit import Limit, OutOfTime

# Bytes. S3 takes so many parts, each of at least 5 MiB.
PART_SIZE = 16 << 20
_MOST_PARTS = 10_000
_THREADS = 2
# Seconds to remove what an upload that failed has left.
_CLEANUP = 20.0


class Upload:
    """`place` is the bucket and the key, `described` what else the object gets: as boto3 takes them."""

    def __init__(self, api: Any, place: dict[str, str], described: dict[str, Any], limit: Limit) -> None:
        self._api = api
        self._place = place
        self._described = described
        self._limit = limit
        self._id = ""

    def send(self, path: str, progress: Callable[[int], None]) -> int:
        """Uploads the file; returns its size. `progress` is called with the bytes that have arrived."""
        size = os.stat(path).st_size
        part_size = max(PART_SIZE, -(-size // _MOST_PARTS))
        if size <= part_size:
            with open(path, "rb") as file:
                body = FilePart(file, 0, size, self._limit)
                self._api.put_object(**self._place, **self._described, Body=body)
            progress(size)
            return size
        self._id = self._api.create_multipart_upload(**self._place, **self._described)["UploadId"]
        parts = self._send_parts(path, size, part_size, progress)
        self._limit.check()
        self._api.complete_multipart_upload(
            **self._place, UploadId=self._id, MultipartUpload={"Parts": parts}
        )
        self._id = ""
        return size

    def abort(self) -> None:
        """Removes the parts of an upload that is not complete, if the server can be reached."""
        self._limit.stop()
        if self._id:
            self._abort(self._place["Key"], self._id)

    def abort_older(self) -> None:
        """Does so for uploads of this node that were killed: it is never in two at a time."""
        base = _base(self._place["Key"])
        # A server may not know this question, and the keys may not be allowed to ask it.
        with suppress(Exception):
            found = self._api.list_multipart_uploads(Bucket=self._place["Bucket"], Prefix=base)
            for upload in found.get("Uploads", ()):
                if base and _base(upload["Key"]) == base:
                    self._abort(upload["Key"], upload["UploadId"])

    def _abort(self, key: str, upload: str) -> None:
        place = {**self._place, "Key": key, "UploadId": upload}
        with suppress(Exception, OutOfTime):
            Limit(_CLEANUP).run(lambda: self._api.abort_multipart_upload(**place))

    def _send_parts(
        self, path: str, size: int, part_size: int, progress: Callable[[int], None]
    ) -> list[dict[str, object]]:
        """Uploads all parts; returns them as S3 wants them. The first error stops all threads."""
        results: SimpleQueue[tuple[int, str] | BaseException] = SimpleQueue()
        count = -(-size // part_size)

        def send(first: int) -> None:
            try:
                # Of its own: what another thread closes could be another file at the next read.
                with open(path, "rb") as file:
                    for number in range(first, count + 1, _THREADS):
                        start = (number - 1) * part_size
                        body = FilePart(file, start, min(part_size, size - start), self._limit)
                        place = {**self._place, "UploadId": self._id, "PartNumber": number}
                        results.put((number, self._api.upload_part(**place, Body=body)["ETag"]))
            except BaseException as error:
                results.put(error)

        for first in range(1, _THREADS + 1):
            Thread(target=send, args=(first,), daemon=True).start()
        tags: dict[int, str] = {}
        while len(tags) < count:
            result = results.get()
            if isinstance(result, BaseException):
                self._limit.stop()
                raise result
            number, tag = result
            tags[number] = tag
            progress(min(len(tags) * part_size, size))
        return [{"PartNumber": number, "ETag": tags[number]} for number in sorted(tags)]


def _base(key: str) -> str:
    """The key without the time in its name, "" when it has none."""
    return "" if names.seconds_of(key) is None else key.removesuffix(names.ZIP).rpartition("-")[0] + "-"
