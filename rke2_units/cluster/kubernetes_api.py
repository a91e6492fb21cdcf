"""This node's ways to the Kubernetes API: what its own kubeconfigs name."""

import json
import re

from rke2_units.doors import files
from rke2_units.doors.http import Identity
from rke2_units.doors.kubernetes import Client

# One line each, in JSON's quotes, as rke2_units.certificates.kubeconfig writes them.
_FIELDS = re.compile(
    r'^ *(server|certificate-authority|client-certificate|client-key): (".*")$', re.MULTILINE
)


def way(kubeconfig: str) -> tuple[str, Identity] | None:
    """The API's URL and who asks, from this file; None when it is not there (yet)."""
    fields = {name: json.loads(text) for name, text in _FIELDS.findall(files.read_text(kubeconfig) or "")}
    if "server" not in fields:
        return None
    return fields["server"], Identity(
        fields.get("certificate-authority"), fields.get("client-certificate"), fields.get("client-key")
    )


def client(kubeconfig: str, timeout: float) -> Client | None:
    """A client with this identity; None when the file is not there (yet). `timeout`: s, for each answer."""
    found = way(kubeconfig)
    return Client(*found, timeout=timeout) if found else None
