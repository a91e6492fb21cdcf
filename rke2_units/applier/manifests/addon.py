"""Addon objects (k3s.cattle.io/v1, in kube-system) and the marks on what was applied, as k3s writes them.

An Addon represents a file: `spec.source` is its path, `spec.checksum` the hex SHA-256 of the content that
was applied completely, and the annotation `addon.k3s.cattle.io/gvks` lists the kinds in it. The objects
carry a label with a hash of their owner, by which those that have left the file are found; their annotations
name the owner for people.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rke2_units.doors.kubernetes import path_to

API_VERSION = "k3s.cattle.io/v1"
NAMESPACE = "kube-system"
COLLECTION = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/addons"
CRD_NAME = "addons.k3s.cattle.io"
HASH_LABEL = "objectset.rio.cattle.io/hash"
# Set to "false" by users: the object stays when it leaves its file.
PRUNE_LABEL = "objectset.rio.cattle.io/prune"
# RKE2's copy of the applied object, which it compares; server-side apply has no use for it.
APPLIED_ANNOTATION = "objectset.rio.cattle.io/applied"

_KINDS_ANNOTATION = "addon.k3s.cattle.io/gvks"
_OWNER = f"{API_VERSION}, Kind=Addon"

Kind = tuple[str, str]  # apiVersion, kind


@dataclass(frozen=True)
class Addon:
    """One file, as its Addon object records it."""

    name: str
    source: str
    checksum: str = ""
    kinds: tuple[Kind, ...] = ()
    uid: str = ""

    @classmethod
    def of(cls, obj: dict[str, Any]) -> "Addon":
        """The Addon in an object of the API; missing fields are empty."""
        spec = obj.get("spec") or {}
        annotations = obj["metadata"].get("annotations") or {}
        return cls(
            obj["metadata"]["name"],
            str(spec.get("source") or ""),
            str(spec.get("checksum") or ""),
            parse_kinds(annotations.get(_KINDS_ANNOTATION) or ""),
            str(obj["metadata"].get("uid") or ""),
        )

    def reference(self) -> dict[str, Any]:
        """The part of the object that an Event refers to."""
        metadata = {"name": self.name, "namespace": NAMESPACE, "uid": self.uid}
        return {"apiVersion": API_VERSION, "kind": "Addon", "metadata": metadata}

    @property
    def path(self) -> str:
        return path_to(COLLECTION, self.name)

    def object(self) -> dict[str, Any]:
        """The object to apply."""
        return {
            "apiVersion": API_VERSION,
            "kind": "Addon",
            "metadata": {
                "name": self.name,
                "namespace": NAMESPACE,
                "annotations": {_KINDS_ANNOTATION: ";".join(kind_text(*kind) for kind in self.kinds)},
            },
            # Without a checksum, not with an empty one: as k3s writes it.
            "spec": {"source": self.source} | ({"checksum": self.checksum} if self.checksum else {}),
        }


def kind_text(api_version: str, kind: str) -> str:
    """Go's text of a GroupVersionKind: `apps/v1, Kind=Deployment`, `/v1, Kind=Secret`."""
    return f"{api_version if '/' in api_version else '/' + api_version}, Kind={kind}"


def parse_kinds(text: str) -> tuple[Kind, ...]:
    parts = (part.partition(", Kind=") for part in text.split(";"))
    return tuple((version.removeprefix("/"), kind) for version, _, kind in parts if version and kind)


def joined(*kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    """Each kind once, in the order of its first appearance."""
    return tuple(dict.fromkeys(kind for some in kinds for kind in some))


def owner_hash(name: str) -> str:
    """The label's value: SHA-1 of the owner's kind, name and namespace; an identifier, no protection."""
    return hashlib.sha1(f"{_OWNER}{name}{NAMESPACE}".encode(), usedforsecurity=False).hexdigest()


def mark(obj: dict[str, Any], name: str) -> None:
    """Writes the owner, the Addon `name`, on the object."""
    metadata = obj["metadata"]
    metadata["labels"] = {**(metadata.get("labels") or {}), HASH_LABEL: owner_hash(name)}
    annotations = {
        **(metadata.get("annotations") or {}),
        "objectset.rio.cattle.io/id": "",
        "objectset.rio.cattle.io/owner-gvk": _OWNER,
        "objectset.rio.cattle.io/owner-name": name,
        "objectset.rio.cattle.io/owner-namespace": NAMESPACE,
    }
    annotations.pop(APPLIED_ANNOTATION, None)
    metadata["annotations"] = annotations


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition of Addons."""
    text = {"type": "string"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD_NAME},
        "spec": {
            "group": "k3s.cattle.io",
            "scope": "Namespaced",
            "names": {"kind": "Addon", "listKind": "AddonList", "plural": "addons", "singular": "addon"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [
                        {"name": "Source", "type": "string", "jsonPath": ".spec.source"},
                        {"name": "Checksum", "type": "string", "jsonPath": ".spec.checksum"},
                    ],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": "An applied manifest of server/manifests.",
                            "properties": {
                                "apiVersion": text,
                                "kind": text,
                                "metadata": {"type": "object"},
                                "spec": {
                                    "type": "object",
                                    "properties": {
                                        "source": text | {"description": "Path of the manifest."},
                                        "checksum": text
                                        | {"description": "SHA-256 of the applied content."},
                                    },
                                },
                            },
                        }
                    },
                }
            ],
        },
    }
