"""This node's ways to the Kubernetes API: what its own kubeconfigs name."""

import json
import re

from rke2_units.doors import files
from rke2_units.doors.kubernetes import Client
from rke2_units.lean.http import Identity

# One line each, in JSON's quotes, as rke2_units.certificates.kubeconfig writes them.
_FIELDS = re.compile(
    r'^ *(server|certificate-authority|client-certificate|client-key): (".*")$', re.MULTILINE
)


def client(kubeconfig: str, timeout: float) -> Client | None:
    """A client with this identity; None when the file is not there (yet). `timeout`: s, for each answer."""
    fields = {name: json.loads(text) for name, text in _FIELDS.findall(files.read_text(kubeconfig) or "")}
    if "server" not in fields:
        return None
    identity = Identity(
        fields.get("certificate-authority"), fields.get("client-certificate"), fields.get("client-key")
    )
    return Client(fields["server"], identity, timeout=timeout)
