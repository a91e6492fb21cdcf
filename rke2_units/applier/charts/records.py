"""helm's own records of its releases: Secrets or ConfigMaps, one for each revision. Pure.

The labels hold revision and status; the release itself is JSON, gzipped and in base64, under the key
"release". Anybody who may write Secrets in a chart's target namespace can forge records: they are inflated
up to a limit, and only the necessary parts of the JSON are read. helm always writes the fields of a release
in this order: name, info, chart (metadata first), and near the end how it was applied.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rke2_units.doors.kubernetes import path_to
from rke2_units.errors import UserError
from rke2_units.printable import line

HASH_LABEL = "helmcharts.helm.cattle.io/configHash"
_COLLECTION = {"secret": "secrets", "configmap": "configmaps"}
# Bytes of a release: the largest of RKE2's charts are below 10 MB, and a packed record is below 1.5 MB.
_LARGEST = 16 << 20
# The first bytes, which contain info and the chart's metadata.
_HEAD = 1 << 20
_TAIL = 4096
# Quotation marks in JSON strings are escaped, so these match keys only; the first match is the right one.
_INFO = re.compile(rb'"info"\s*:\s*(?=\{)')
_CHART = re.compile(rb'"chart"\s*:\s*\{\s*"metadata"\s*:\s*(?=\{)')
# A field of the outermost object: nothing opens or closes between it and the end.
_SERVER_SIDE = re.compile(rb'"apply_method"\s*:\s*"ssa"[^{}\[\]]*\}\s*\Z')
_LONGEST_TEXT = 200


@dataclass(frozen=True)
class Record:
    """The newest revision of a release, by its labels. `object` is the name of the record's own object."""

    revision: int
    status: str
    hash: str
    object: str


@dataclass(frozen=True)
class Deployed:
    """The chart's version, when it was deployed (RFC 3339), and whether by server-side apply."""

    version: str
    since: str
    server_side: bool


def path(driver: str, namespace: str, name: str = "") -> str:
    """Where the records of a namespace are, or the one of this name."""
    collection = path_to("/api/v1/namespaces", namespace, _COLLECTION[driver])
    return path_to(collection, name) if name else collection


def selector(release: str) -> str:
    return f"owner=helm,name={release}"


def latest(objects: Iterable[Mapping[str, Any]]) -> Record | None:
    """The record of the highest revision among the objects, of which only the metadata is looked at."""
    found: Record | None = None
    for obj in objects:
        labels = obj["metadata"].get("labels") or {}
        revision = labels.get("version", "")
        if revision.isdecimal() and (found is None or int(revision) > found.revision):
            status, digest = labels.get("status", ""), labels.get(HASH_LABEL, "")
            found = Record(int(revision), status, digest, obj["metadata"]["name"])
    return found


def deployed(obj: Mapping[str, Any]) -> Deployed:
    """The details of the release in a record's object; UserError if it is not a record."""
    release = _release(obj)
    _, info, _ = _object_at(_INFO, release, obj)
    _, metadata, _ = _object_at(_CHART, release, obj)
    return Deployed(
        _text(metadata.get("version")),
        _text(info.get("last_deployed")),
        _SERVER_SIDE.search(release[-_TAIL:]) is not None,
    )


def failed(obj: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that marks a record as failed, so that helm continues with the release.

    It contains the record's resourceVersion, so that it cannot overwrite what a running helm writes.
    """
    release = _release(obj)
    start, info, end = _object_at(_INFO, release, obj)
    info.update(status="failed", description=f"was {info.get('status')}; set by rke2-helm-applier")
    release = release[:start] + json.dumps(info).encode() + release[end:]
    text = base64.b64encode(gzip.compress(release))
    if obj.get("kind") != "ConfigMap":
        text = base64.b64encode(text)
    labels = {"status": "failed", "modifiedAt": str(int(time.time()))}
    metadata = {"labels": labels, "resourceVersion": obj["metadata"]["resourceVersion"]}
    return {"metadata": metadata, "data": {"release": text.decode()}}


def _release(obj: Mapping[str, Any]) -> bytes:
    """The release's JSON."""
    try:
        packed = obj["data"]["release"].encode()
        if obj.get("kind") != "ConfigMap":
            packed = base64.b64decode(packed, validate=True)
        inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        release = inflate.decompress(base64.b64decode(packed, validate=True), _LARGEST)
    except (KeyError, TypeError, AttributeError, ValueError, binascii.Error, zlib.error):
        raise _no_record(obj) from None
    if not inflate.eof:
        raise _no_record(obj, f": it is damaged, or larger than {_LARGEST >> 20} MiB")
    return release


def _object_at(
    key: re.Pattern[bytes], release: bytes, obj: Mapping[str, Any]
) -> tuple[int, dict[str, Any], int]:
    """The object of this key in the release's JSON, between its start and end offsets in bytes."""
    if found := key.search(release, 0, _HEAD):
        # surrogateescape: invalid UTF-8 must not shift the end.
        text = release[found.end() : found.end() + _HEAD].decode(errors="surrogateescape")
        try:
            value, length = json.JSONDecoder().raw_decode(text)
        except (ValueError, RecursionError):
            pass
        else:
            return found.end(), value, found.end() + len(text[:length].encode(errors="surrogateescape"))
    raise _no_record(obj)


def _no_record(obj: Mapping[str, Any], why: str = "") -> UserError:
    metadata = obj["metadata"]
    return UserError(f"{metadata['name']} in {metadata['namespace']} is not a release record of helm{why}")


def _text(value: object) -> str:
    return line(value)[:_LONGEST_TEXT] if isinstance(value, str) else ""
