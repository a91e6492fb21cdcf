"""The CustomResourceDefinition of ETCDSnapshotFiles: RKE2's fields, and conditions. Pure."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from rke2_units.snapshots import objects

Object = dict[str, Any]

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAME = "etcdsnapshotfiles.k3s.cattle.io"

_TEXT: Object = {"type": "string"}
_SWITCH: Object = {"type": "boolean"}
_TIME: Object = {"type": "string", "format": "date-time"}


def _said(schema: Object, description: str) -> Object:
    return {**schema, "description": description}


def _table(properties: Object, description: str, required: tuple[str, ...] = ()) -> Object:
    schema = {"type": "object", "description": description, "properties": properties}
    return schema | ({"required": list(required)} if required else {})


_SPEC = _table(
    {
        "snapshotName": _said(_TEXT, "Name of the file, which the commands for snapshots take."),
        "nodeName": _said(_TEXT, "Node that took the snapshot."),
        "location": _said(_TEXT, "Where the snapshot is: file://PATH or s3://BUCKET/KEY."),
        "metadata": {
            "type": "object",
            "description": "Data of the ConfigMap rke2-etcd-snapshot-extra-metadata when it was taken.",
            "additionalProperties": _TEXT,
        },
        "s3": _table(
            {
                "endpoint": _said(_TEXT, "HOST[:PORT] of the S3 service."),
                "endpointCA": _said(_TEXT, "CA certificates of the S3 service."),
                "skipSSLVerify": _said(_SWITCH, "The certificate of the S3 service is not verified."),
                "bucket": _TEXT,
                "bucketLookup": _said(_TEXT, "auto, dns or path."),
                "region": _TEXT,
                "prefix": _said(_TEXT, "Folder in the bucket."),
                "insecure": _said(_SWITCH, "The S3 service is reached without TLS."),
            },
            "Where the snapshot is in S3; absent for a file.",
        ),
    },
    "What the snapshot is.",
    ("location", "nodeName", "snapshotName"),
)
_CONDITIONS: Object = {
    "type": "array",
    "description": "Verified: whether the snapshot could be restored when it was verified last.",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
    "items": {
        "type": "object",
        "required": ["type", "status"],
        "properties": {
            "type": _TEXT,
            "status": _said(_TEXT, "True or False."),
            "reason": _TEXT,
            "message": _TEXT,
            "lastTransitionTime": _said(_TIME, "When the snapshot was verified."),
        },
    },
}
_STATUS = _table(
    {
        "size": {
            "description": "Size in bytes; 0 if the snapshot failed.",
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
        },
        "creationTime": _said(_TIME, "When the snapshot was taken."),
        "readyToUse": _said(_SWITCH, "The snapshot is complete."),
        "error": _table({"time": _TIME, "message": _TEXT}, "Why the snapshot failed."),
        "conditions": _CONDITIONS,
    },
    "How the snapshot is.",
)
_VERIFIED_COLUMN = {
    "name": objects.VERIFIED,
    "type": "string",
    "jsonPath": f".status.conditions[?(@.type=='{objects.VERIFIED}')].status",
}


def definition() -> Object:
    """The whole definition, for a cluster that has none."""
    columns = (
        ("SnapshotName", "string", ".spec.snapshotName"),
        ("Node", "string", ".spec.nodeName"),
        ("Location", "string", ".spec.location"),
        ("Size", "string", ".status.size"),
        ("CreationTime", "date", ".status.creationTime"),
    )
    schema = {
        "type": "object",
        "description": "A snapshot of etcd.",
        "properties": {
            "apiVersion": _TEXT,
            "kind": _TEXT,
            "metadata": {"type": "object"},
            "spec": _SPEC,
            "status": _STATUS,
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [
            *({"name": name, "type": kind, "jsonPath": path} for name, kind, path in columns),
            _VERIFIED_COLUMN,
        ],
    }
    singular = objects.KIND.lower()
    kinds = {"kind": objects.KIND, "listKind": f"{objects.KIND}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": objects.API_VERSION.partition("/")[0],
            "scope": "Cluster",
            "names": {**kinds, "plural": f"{singular}s", "singular": singular},
            "versions": [version],
        },
    }


def update(present: Object) -> Object | None:
    """The merge patch that adds the conditions to a definition (RKE2's); None if it has them.

    Everything else stays: the definition of a newer release may have more fields.
    """
    versions = deepcopy(present["spec"]["versions"])
    changed = False
    for version in versions:
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        status = (schema.get("properties") or {}).get("status") or {}
        if "properties" in status and "conditions" not in status["properties"]:
            status["properties"]["conditions"] = _CONDITIONS
            columns = version.get("additionalPrinterColumns") or []
            version["additionalPrinterColumns"] = [*columns, _VERIFIED_COLUMN]
            changed = True
    if not changed:
        return None
    return {
        "metadata": {"resourceVersion": present["metadata"]["resourceVersion"]},
        "spec": {"versions": versions},
    }
