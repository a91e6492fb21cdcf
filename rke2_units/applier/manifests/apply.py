"""Applies one object of a manifest by server-side apply, and deletes objects that have left their file."""

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from rke2_units.applier.manifests import addon
from rke2_units.applier.manifests.documents import Manifest
from rke2_units.doors.kubernetes import (
    ApiError,
    Client,
    Discovery,
    Resource,
    UnknownKind,
    path_of,
    path_to,
)

MANAGER = "rke2-helm-applier"
# (group, kind, namespace, name): the same object whatever version of its API it is written in.
Key = tuple[str, str, str, str]

_NAMESPACE = ("v1", "Namespace")
_EXTENSIONS = "apiextensions.k8s.io"
_DEFINITIONS = f"/apis/{_EXTENSIONS}/v1/customresourcedefinitions"
# Only the server sets these. In a file they are left over from an export, and would act as preconditions.
_SERVER_SETS = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
# An object of these kinds is replaced if an immutable field has changed, as RKE2 does.
_REPLACED = {"Secret", "Job", "Deployment", "DaemonSet"}
# Server-side apply of Kubernetes 1.20 has no default for this field, although it is part of a port's key.
_NO_PROTOCOL = 'omits key field "protocol"'
_ESTABLISHED_WITHIN = 10.0


def group_of(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def comes_first(manifest: Manifest) -> bool:
    """Whether others need it: namespaces and the definitions of kinds."""
    return (manifest.api_version, manifest.kind) == _NAMESPACE or is_definition(manifest)


def is_definition(manifest: Manifest) -> bool:
    return manifest.kind == "CustomResourceDefinition" and group_of(manifest.api_version) == _EXTENSIONS


def identity(manifest: Manifest) -> Key:
    """The same for two manifests of the same object (and for hardly any others): the API is not asked."""
    return group_of(manifest.api_version), manifest.kind, manifest.namespace or "default", manifest.name


class Applier:
    """Applies and deletes objects. Thread-safe."""

    def __init__(self, client: Client, discovery: Discovery) -> None:
        self._client = client
        self._discovery = discovery

    def apply(self, manifest: Manifest, owner: str) -> Key:
        """Applies the object as part of the Addon `owner`. UserError, with the reason, if it is rejected."""
        resource = self._discovery.resource(manifest.api_version, manifest.kind)
        obj = json.loads(manifest.body)
        metadata = obj["metadata"]
        for name in _SERVER_SETS:
            metadata.pop(name, None)
        namespace = _namespace(resource, manifest.namespace)
        metadata.pop("namespace", None)
        if namespace:
            metadata["namespace"] = namespace
        addon.mark(obj, owner)
        path = path_of(resource, namespace, manifest.name)
        try:
            done = self._client.apply(path, obj, manager=MANAGER)
        except ApiError as error:
            if error.status == 422 and manifest.kind in _REPLACED and "immutable" in error.message:
                self._client.delete(path)
            elif _NO_PROTOCOL in error.message:
                _name_protocols(obj)
            else:
                raise
            done = self._client.apply(path, obj, manager=MANAGER)
        if self._adopt(path, done):
            self._client.apply(path, obj, manager=MANAGER)
        return resource.group, manifest.kind, namespace, manifest.name

    def _adopt(self, path: str, obj: dict[str, Any]) -> bool:
        """Takes over fields that RKE2 set, so that they can be removed later; False if there are none."""
        metadata = obj.get("metadata") or {}
        entries = metadata.get("managedFields") or []
        theirs = [entry for entry in entries if _is_rke2s(entry)]
        if not theirs:
            return False
        own: dict[str, Any] = next((entry for entry in entries if entry.get("manager") == MANAGER), {})
        fields: dict[str, Any] = own.get("fieldsV1") or {}
        for entry in theirs:
            fields = _union(fields, entry.get("fieldsV1") or {})
        others = [entry for entry in entries if entry is not own and entry not in theirs]
        patch = {
            "resourceVersion": metadata.get("resourceVersion"),
            "managedFields": [*others, own | {"fieldsV1": fields}],
        }
        try:
            self._client.merge_patch(path, {"metadata": patch})
        except ApiError as error:
            if error.status != 409:
                raise
            # Somebody changed the object at this moment; the next apply will take the fields over.
            return False
        return True

    def await_definition(self, manifest: Manifest, going_on: Callable[[], bool]) -> None:
        """Waits until the kind that it defines is served, at most 10 s: its objects are then retried."""
        await_definition(self._client, manifest.name, going_on)
        spec = json.loads(manifest.body).get("spec") or {}
        for version in spec.get("versions") or [{"name": spec.get("version")}]:
            self._discovery.forget(f"{spec.get('group')}/{version.get('name')}")

    def prune(
        self, kinds: Mapping[str, Iterable[addon.Kind]], keep: dict[str, Collection[Key]]
    ) -> dict[str, list[str]]:
        """Deletes objects that belong to one of the Addons in `keep` and are not named there.

        `kinds`: by Addon, the kinds of which it may have objects. Returns, by Addon, the errors of objects
        that could not be deleted. Kinds that the API no longer serves are skipped.
        """
        failed: dict[str, list[str]] = {}
        if not keep:
            return failed
        owners = {addon.owner_hash(name): name for name in keep}
        selector = addon.HASH_LABEL if len(owners) > 1 else f"{addon.HASH_LABEL}={next(iter(owners))}"
        gone: dict[str, tuple[Key, str]] = {}
        for api_version, kind in addon.joined(*kinds.values()):
            try:
                resource = self._discovery.resource(api_version, kind)
                found = list(
                    self._client.list(path_of(resource), label_selector=selector, metadata_only=True)
                )
            except UnknownKind:
                continue
            except ApiError as error:
                # 404: the kind was removed since it was looked up.
                self._discovery.forget(api_version)
                if error.status != 404:
                    # For example, an aggregated API server is down: objects of this kind may exist.
                    for name in keep:
                        if (api_version, kind) in kinds[name]:
                            failed.setdefault(name, []).append(f"{kind} cannot be listed: {error.message}")
                continue
            for obj in found:
                metadata = obj["metadata"]
                labels = metadata.get("labels") or {}
                owner = owners.get(labels.get(addon.HASH_LABEL, ""))
                key = (resource.group, kind, metadata.get("namespace", ""), metadata["name"])
                if owner is None or key in keep[owner] or labels.get(addon.PRUNE_LABEL) == "false":
                    continue
                gone[path_of(resource, key[2], key[3])] = key, owner
        for path, (key, owner) in sorted(gone.items(), key=lambda item: _last(item[1][0])):
            try:
                _tolerating(404, partial(self._client.delete, path))
            except ApiError as error:
                failed.setdefault(owner, []).append(f"{key[1]} {key[3]} cannot be deleted: {error.message}")
        return failed


def _namespace(resource: Resource, given: str) -> str:
    return (given or "default") if resource.namespaced else ""


def _name_protocols(value: Any) -> None:
    """Writes the API's default, TCP, into all ports of Services and containers that name no protocol."""
    if isinstance(value, list):
        for item in value:
            _name_protocols(item)
    elif isinstance(value, dict):
        for key, below in value.items():
            if key == "ports" and isinstance(below, list):
                for port in below:
                    if isinstance(port, dict):
                        port.setdefault("protocol", "TCP")
            else:
                _name_protocols(below)


def _last(key: Key) -> bool:
    """Whether to delete it last: namespaces and definitions, after the objects in them."""
    return key[1] in ("Namespace", "CustomResourceDefinition")


def _is_rke2s(entry: dict[str, Any]) -> bool:
    """Whether RKE2's (or k3s') deploy controller set these fields."""
    manager = str(entry.get("manager") or "")
    is_deploy = manager.startswith("deploy@") or manager in ("rke2", "k3s")
    return is_deploy and entry.get("operation") == "Update" and not entry.get("subresource")


def _union(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The union of two of the API's field sets (fieldsV1): nested maps, an empty map for a field."""
    joined = dict(one)
    for name, below in other.items():
        joined[name] = _union(joined.get(name) or {}, below or {})
    return joined


def _tolerating(status: int, action: Callable[[], object]) -> None:
    try:
        action()
    except ApiError as error:
        if error.status != status:
            raise


def write_addon(client: Client, wanted: addon.Addon) -> addon.Addon:
    """Creates or updates the Addon object; returns the result."""
    # Nobody else writes these objects, so the more expensive server-side apply has no use.
    if wanted.uid:
        try:
            return addon.Addon.of(client.merge_patch(wanted.path, wanted.object()))
        except ApiError as error:
            if error.status != 404:
                raise
    try:
        return addon.Addon.of(client.create(addon.COLLECTION, wanted.object()))
    except ApiError as error:
        if error.status != 409:
            raise
    return addon.Addon.of(client.merge_patch(wanted.path, wanted.object()))


def delete_addon(client: Client, known: addon.Addon) -> None:
    """Deletes the Addon object, if it exists."""
    _tolerating(404, lambda: client.delete(known.path))


def await_definition(client: Client, name: str, going_on: Callable[[], bool]) -> bool:
    """Waits until the API serves the kind of this CustomResourceDefinition; False if not within 10 s."""
    give_up = time.monotonic() + _ESTABLISHED_WITHIN
    while going_on() and time.monotonic() < give_up:
        status = client.get(path_to(_DEFINITIONS, name)).get("status") or {}
        conditions = status.get("conditions") or []
        if any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions):
            return True
        time.sleep(0.1)
    return False


def ensure_definition(client: Client, going_on: Callable[[], bool]) -> None:
    """Creates the CustomResourceDefinition of Addons; an existing one (RKE2's) is left as it is."""
    try:
        client.get(path_to(_DEFINITIONS, addon.CRD_NAME))
    except ApiError as error:
        if error.status != 404:
            raise
        _tolerating(409, lambda: client.create(_DEFINITIONS, addon.definition()))
    await_definition(client, addon.CRD_NAME, going_on)
