"""Applies the roles and bindings that every cluster has. Only the holder of the lease does that."""

from __future__ import annotations

from rke2_units.controllers.nodes import MANAGER
from rke2_units.doors.kubernetes import ApiError, Client, Object, Resource, path_of
from rke2_units.errors import ConfigurationError

_GROUP, _VERSION = "rbac.authorization.k8s.io", "v1"
_PLURALS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}


# As for the apiserver's own roles: an administrator sets "false" to keep changes.
_AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"


def apply(client: Client, path: str) -> None:
    """Applies the roles and bindings in this file (YAML). Raises UserError."""
    for obj in read(path):
        place = path_in_api(obj)
        if not _is_kept(client, place):
            client.apply(place, obj, manager=MANAGER)


def _is_kept(client: Client, path: str) -> bool:
    try:
        metadata = client.get(path)["metadata"]
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return (metadata.get("annotations") or {}).get(_AUTOUPDATE) == "false"


def read(path: str) -> list[Object]:
    """The file's objects; ConfigurationError when it cannot be read."""
    # Needed only once after taking the lease, so not imported at the start.
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            return [obj for obj in yaml.safe_load_all(file) if obj]
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def path_in_api(obj: Object) -> str:
    """The object's path in the API; ConfigurationError if it is neither a role nor a binding."""
    kind = str(obj.get("kind"))
    if obj.get("apiVersion") != f"{_GROUP}/{_VERSION}" or kind not in _PLURALS:
        raise ConfigurationError(f"{kind} is not a role or binding of {_GROUP}/{_VERSION}")
    resource = Resource(_GROUP, _VERSION, _PLURALS[kind], namespaced=not kind.startswith("Cluster"))
    return path_of(resource, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
