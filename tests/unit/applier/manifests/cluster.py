"""A cluster in a dict: as much of the API as the deploy controller asks of it."""

import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

from rke2_units.coordination.events import Events
from rke2_units.doors.kubernetes import ApiError, Client, Discovery, Resource, UnknownKind

Object = dict[str, Any]

KINDS = {
    ("v1", "ConfigMap"): Resource("", "v1", "configmaps", True),
    ("v1", "Secret"): Resource("", "v1", "secrets", True),
    ("v1", "Namespace"): Resource("", "v1", "namespaces", False),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): Resource(
        "apiextensions.k8s.io", "v1", "customresourcedefinitions", False
    ),
}


class Cluster:
    """`objects` by path; `calls` as "METHOD path"; `hinder` may raise what a call shall end with."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.calls: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.hinder: Callable[[str, str], None] = lambda method, path: None
        self._versions = 0
        self._lock = threading.Lock()

    def client(self) -> Client:
        return cast(Client, self)

    def discovery(self) -> Discovery:
        return cast(Discovery, self)

    def recorder(self) -> Events:
        return cast(Events, self)

    def names(self, plural: str) -> list[str]:
        return sorted(path.rpartition("/")[2] for path in self.objects if path.split("/")[-2] == plural)

    def writes(self) -> list[str]:
        return [call for call in self.calls if not call.startswith("GET")]

    def _begin(self, method: str, path: str) -> None:
        self.calls.append(f"{method} {path}")
        self.hinder(method, path)

    def _put(self, path: str, obj: Object) -> Object:
        with self._lock:
            self._versions += 1
            obj = copy.deepcopy(obj)
            obj["metadata"] |= {
                "resourceVersion": str(self._versions),
                "uid": obj["metadata"].get("uid") or path,
            }
            if obj["kind"] == "CustomResourceDefinition":
                obj["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
            self.objects[path] = obj
            return copy.deepcopy(obj)

    def get(self, path: str) -> Object:
        self._begin("GET", path)
        if path not in self.objects:
            raise ApiError(404, "NotFound", f"{path} not found")
        return copy.deepcopy(self.objects[path])

    def list(self, path: str, *, label_selector: str = "", metadata_only: bool = False) -> Iterator[Object]:
        self._begin("GET", path)
        label, _, wanted = label_selector.partition("=")
        for place, obj in list(self.objects.items()):
            given = (obj["metadata"].get("labels") or {}).get(label)
            is_there = place.split("/")[-2] == path.rpartition("/")[2]
            if is_there and (not label or given == wanted or (given and not wanted)):
                yield copy.deepcopy(obj)

    def create(self, path: str, obj: Object) -> Object:
        self._begin("POST", path)
        place = f"{path}/{obj['metadata']['name']}"
        if place in self.objects:
            raise ApiError(409, "AlreadyExists", f"{place} already exists")
        return self._put(place, obj)

    def apply(self, path: str, obj: Object, *, manager: str) -> Object:
        self._begin("PATCH", path)
        fields = self.objects.get(path, {"metadata": {}})["metadata"].get("managedFields")
        obj = copy.deepcopy(obj)
        if fields:
            obj["metadata"]["managedFields"] = fields
        return self._put(path, obj)

    def merge_patch(self, path: str, patch: Object) -> Object:
        self._begin("PATCH", path)
        if path not in self.objects:
            raise ApiError(404, "NotFound", f"{path} not found")

        def merged(old: Any, new: Any) -> Any:
            if not isinstance(new, dict) or not isinstance(old, dict):
                return new
            return old | {key: merged(old.get(key), value) for key, value in new.items()}

        return self._put(path, merged(self.objects[path], patch))

    def delete(self, path: str) -> None:
        self._begin("DELETE", path)
        if self.objects.pop(path, None) is None:
            raise ApiError(404, "NotFound", f"{path} not found")

    def resource(self, api_version: str, kind: str) -> Resource:
        if (api_version, kind) in KINDS:
            return KINDS[api_version, kind]
        for name in self.names("customresourcedefinitions"):
            spec = self.objects[f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"]["spec"]
            if api_version == f"{spec['group']}/v1" and kind == spec["names"]["kind"]:
                return Resource(spec["group"], "v1", spec["names"]["plural"], True)
        raise UnknownKind(f"the API has no kind {kind} in {api_version}")

    def forget(self, api_version: str) -> None:
        self.calls.append(f"GET {api_version}")

    def record(self, obj: Object, reason: str, message: str, *, warning: bool = False) -> None:
        self.events.append((obj["metadata"]["name"], reason))
