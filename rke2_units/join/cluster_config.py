"""The cluster's configuration from its servers (/v1-rke2/config): the values that every node uses.

The answer has Go's field names, and its ranges are Go's net.IPNet: {"IP": "10.42.0.0", "Mask": BASE64}.
Fields for servers only are ignored, and fields may be missing, so RKE2's own answer can be used.
"""

import base64
import binascii
import ipaddress
import json
from collections.abc import Callable, Mapping

from rke2_units.config.config import Config
from rke2_units.doors import files
from rke2_units.errors import UserError
from rke2_units.model import File

# Values by key, as they would be written in config.yaml; a key that the answer lacks is left out.
Values = Mapping[str, tuple[str, ...]]


def parse(answer: bytes) -> dict[str, object]:
    """The answer's fields; UserError if it is not a JSON object."""
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError("the server's configuration is not a JSON object")
    return found


def values(answer: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """The values in the answer's fields; UserError for a field that cannot be read."""
    found: dict[str, tuple[str, ...]] = {}
    for key, fields, read in _FIELDS:
        for name in fields:
            value = answer.get(name)
            if value in (None, "", []):
                continue
            try:
                found[key] = tuple(read(item) for item in (value if isinstance(value, list) else [value]))
            except (ValueError, KeyError, TypeError, binascii.Error):
                raise UserError(f"the server's configuration has a {name} that cannot be read") from None
            break
    return found


def file(path: str, found: Values) -> File:
    """The file that stores the values, for a start without servers."""
    return File(path, json.dumps(found, indent=2) + "\n", 0o600)


def kept(path: str) -> dict[str, tuple[str, ...]] | None:
    """The stored values; None if there are none or the file is damaged."""
    try:
        content = json.loads(files.read_text(path) or "")
        return {str(name): tuple(str(item) for item in items) for name, items in content.items()}
    except (ValueError, AttributeError, TypeError):
        return None


def over(config: Config, found: Values, source: str) -> Config:
    """The node's configuration with the cluster's values over it; ConfigurationError names `source`."""
    known = {key for key, _, _ in _FIELDS}
    return config.with_cluster({name: items for name, items in found.items() if name in known}, source)


def _range(value: object) -> str:
    if isinstance(value, str):
        return str(ipaddress.ip_network(value))
    if not isinstance(value, dict):
        raise TypeError
    mask = base64.b64decode(value["Mask"], validate=True)
    length = int.from_bytes(mask, "big").bit_count()
    network = ipaddress.ip_network(f"{value['IP']}/{length}")
    if network.netmask.packed != mask:
        raise ValueError
    return str(network)


def _address(value: object) -> str:
    return str(ipaddress.ip_address(_text(value)))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _boolean(value: object) -> str:
    if not isinstance(value, bool):
        raise TypeError
    return "true" if value else "false"


def _negated(value: object) -> str:
    return "false" if _boolean(value) == "true" else "true"


# Key, the answer's fields (the first that is there counts), and how one item is read.
_FIELDS: tuple[tuple[str, tuple[str, ...], Callable[[object], str]], ...] = (
    ("cluster-cidr", ("ClusterIPRanges", "ClusterIPRange"), _range),
    ("service-cidr", ("ServiceIPRanges", "ServiceIPRange"), _range),
    ("cluster-dns", ("ClusterDNSs", "ClusterDNS"), _address),
    ("cluster-domain", ("ClusterDomain",), _text),
    ("disable-kube-proxy", ("DisableKubeProxy",), _boolean),
    ("disable-cloud-controller", ("DisableCCM",), _boolean),
    ("enable-servicelb", ("DisableServiceLB",), _negated),
    ("system-default-registry", ("SystemDefaultRegistry",), _text),
)
