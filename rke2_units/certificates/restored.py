"""Writes what servers of a cluster share out of its bootstrap data, when a server is restored."""

from rke2_units.certificates import bootstrap, credentials
from rke2_units.doors import files
from rke2_units.layout import Paths


def write(paths: Paths, sealed: str, password: str) -> bool:
    """Overwrites authorities, keys and credentials, and the token files that go with them.

    The next start issues certificates anew that other authorities have issued. Returns whether agents of the
    cluster have a token of their own. `sealed` is the data as etcd has it, encrypted with the password.
    """
    contents = bootstrap.unpack(bootstrap.unseal(password, sealed))
    for name, place in bootstrap.FILES.items():
        if name in contents:
            mode = 0o644 if place.endswith(".crt") else 0o600
            files.write_atomic(f"{paths.server}/{place}", contents[name], mode)
    tokens = credentials.of_cluster(paths, contents["ServerCA"].decode(), password)
    files.write_all(tokens)
    return any(file.path == paths.agent_token for file in tokens)
