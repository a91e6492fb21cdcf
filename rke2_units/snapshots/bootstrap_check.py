"""Whether a snapshot has what servers are restored with: the cluster's authorities, under our token."""

import os

from rke2_units import layout
from rke2_units.certificates import bootstrap, token
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean.etcd import Etcd

# Without these no server of the cluster would be the cluster's: authorities, their keys, the service key.
_NEEDED = tuple(name for name, place in layout.BOOTSTRAP_FILES.items() if place.startswith("tls/"))


def faults(etcd: Etcd, token_file: str, server_directory: str) -> list[str]:
    """What is wrong with the bootstrap data in this etcd, in words; `server_directory` is DATA/server.

    ConfigurationError when the token or the files of this node cannot be read.
    """
    password = token.parse(_content(token_file).decode(errors="replace").strip(), token_file).password
    stored = etcd.get(bootstrap.key(password))
    if stored is None and etcd.keys(bootstrap.PREFIX):
        return [f"its bootstrap data is encrypted with another token than {token_file}"]
    if stored is None or not stored.text:
        return ["it has no bootstrap data"]
    try:
        files = bootstrap.unpack(bootstrap.unseal(password, stored.text))
    except UserError as error:
        return [f"its bootstrap data cannot be read with the token in {token_file}: {error.message}"]
    found = []
    for name in _NEEDED:
        path = f"{server_directory}/{layout.BOOTSTRAP_FILES[name]}"
        if name not in files:
            found.append(f"its bootstrap data has no {name}")
        elif os.path.exists(path) and files[name] != _content(path):
            found.append(f"{name} in its bootstrap data is not {path}")
    return found


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
