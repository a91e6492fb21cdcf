"""What snapshots take from objects of the cluster, which each operation reads anew.

Everything here may raise ApiUnavailable and ApiError.
"""

import base64
import binascii

from rke2_units.doors.kubernetes import ApiError, Client, path_to

_NAMESPACE = "/api/v1/namespaces/kube-system"
_SECRETS = f"{_NAMESPACE}/secrets"
_CONFIG_MAPS = f"{_NAMESPACE}/configmaps"
# Whose data an administrator wants to be kept with each snapshot.
_EXTRA_METADATA = "rke2-etcd-snapshot-extra-metadata"


def extra_metadata(client: Client) -> dict[str, str]:
    """The metadata for a snapshot that is taken now."""
    try:
        return _texts(client.get(path_to(_CONFIG_MAPS, _EXTRA_METADATA)).get("data"))
    except ApiError as error:
        if error.status == 404:
            return {}
        raise


def identifier(client: Client) -> str:
    """The cluster's: the UID of this namespace."""
    return str(client.get(_NAMESPACE).get("metadata", {}).get("uid", ""))


def secret(client: Client, name: str) -> dict[str, bytes]:
    """The data of a Secret in kube-system."""
    return _bytes(client.get(path_to(_SECRETS, name)).get("data"))


def config_map(client: Client, name: str) -> dict[str, bytes]:
    """The data of a ConfigMap in kube-system, its binary data too."""
    found = client.get(path_to(_CONFIG_MAPS, name))
    texts = {key: text.encode() for key, text in _texts(found.get("data")).items()}
    return texts | _bytes(found.get("binaryData"))


def _texts(values: object) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()} if isinstance(values, dict) else {}


def _bytes(values: object) -> dict[str, bytes]:
    """Without what is not base64, which the API does not store."""
    found = {}
    for key, value in _texts(values).items():
        try:
            found[key] = base64.b64decode(value)
        except binascii.Error:
            continue
    return found
