"""helm's own records of its releases: Secrets or ConfigMaps, one a revision. Pure.

The labels tell revision and status; the release itself is JSON, gzipped and in base64, under the key
"release".
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rke2_units.errors import UserError

HASH_LABEL = "helmcharts.helm.cattle.io/configHash"
_COLLECTION = {"secret": "secrets", "configmap": "configmaps"}
# A record is below 1.5 MB packed; what unpacks to more is none of helm's.
_LARGEST = 64 << 20


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
    return f"/api/v1/namespaces/{namespace}/{_COLLECTION[driver]}" + (f"/{name}" if name else "")


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


def unpack(obj: Mapping[str, Any]) -> dict[str, Any]:
    """The release in a record's object; UserError when it is not one."""
    try:
        packed = obj["data"]["release"].encode()
        if obj.get("kind") != "ConfigMap":
            packed = base64.b64decode(packed, validate=True)
        packed = base64.b64decode(packed, validate=True)
        inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        release = json.loads(inflate.decompress(packed, _LARGEST))
        if isinstance(release, dict):
            return release
    except (KeyError, AttributeError, ValueError, binascii.Error, zlib.error):
        pass
    raise UserError(f"{obj['metadata']['name']} in {obj['metadata']['namespace']} is not a record of helm's")


def failed(obj: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that makes a record say "failed", so that helm takes the release up again.

    It holds the record's resourceVersion: a helm that still works on it is not overwritten.
    """
    release = unpack(obj)
    release.setdefault("info", {}).update(
        status="failed", description=f"was {release.get('info', {}).get('status')}; set by rke2-helm-applier"
    )
    text = base64.b64encode(gzip.compress(json.dumps(release).encode())).decode()
    if obj.get("kind") != "ConfigMap":
        text = base64.b64encode(text.encode()).decode()
    labels = {"status": "failed", "modifiedAt": str(int(time.time()))}
    metadata = {"labels": labels, "resourceVersion": obj["metadata"]["resourceVersion"]}
    return {"metadata": metadata, "data": {"release": text}}


def deployed(release: Mapping[str, Any]) -> Deployed:
    """What an unpacked release tells."""
    metadata = (release.get("chart") or {}).get("metadata") or {}
    info = release.get("info") or {}
    return Deployed(
        str(metadata.get("version") or ""),
        str(info.get("last_deployed") or ""),
        release.get("apply_method") == "ssa",
    )
