"""`python3 -Im rke2_units.controllers.bootstrap --settings FILE`: the cluster's bootstrap data in etcd.

It runs as a separate process, because the libraries for encryption would stay in the memory of a long-lived
one. It stores the data if there is none, else compares it: a person has to resolve a difference.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from rke2_units.certificates import bootstrap, token
from rke2_units.controllers import settings
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean.etcd import Etcd

# A server creates the key empty before it fills it. If it is empty for this long (s), that server has died.
_PATIENCE = 15.0
_INTERVAL = 1.0
_OTHER_TOKEN = "bootstrap data already found and encrypted with different token"


def ensure(etcd: Etcd, password: str, files: Mapping[str, bytes]) -> bool:
    """Returns True if the data was written, False if the same data was there already.

    Raises UserError with the names of files that differ, or if the data was encrypted with another token.
    """
    key = bootstrap.key(password)
    end = time.monotonic() + _PATIENCE
    locked = False
    while True:
        found = etcd.get(key)
        if found is None:
            if etcd.keys(bootstrap.PREFIX):
                raise ConfigurationError(_OTHER_TOKEN, hint="give this server the token of the cluster")
            locked = etcd.write(key, "", 0) or locked
        elif found.text:
            return _compare(bootstrap.unpack(bootstrap.unseal(password, found.text)), files)
        elif locked or time.monotonic() >= end:
            sealed = bootstrap.seal(password, bootstrap.pack(files, datetime.now(UTC)))
            if etcd.write(key, sealed, found.revision):
                return True
        else:
            time.sleep(_INTERVAL)


def _compare(stored: Mapping[str, bytes], files: Mapping[str, bytes]) -> bool:
    differing = sorted(name for name in files if files[name] != stored.get(name))
    if differing:
        raise UserError(
            f"the cluster's bootstrap data differs from this server's files: {', '.join(differing)}",
            hint="copy these files from another server",
        )
    return False


def main() -> int:
    """Returns the exit code; the last line on stderr is the error."""
    if len(sys.argv) != 3 or sys.argv[1] != "--settings":
        print("usage: python3 -m rke2_units.controllers.bootstrap --settings FILE", file=sys.stderr)
        return 2
    try:
        known = settings.read(sys.argv[2])
        password = _password(known.token_file)
        wrote = ensure(known.etcd(), password, _read(known.bootstrap_files))
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if wrote:
        print("written")
    return 0


def _password(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return token.parse(file.read().strip(), path).password
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None


def _read(files: Mapping[str, str]) -> dict[str, bytes]:
    """The contents of the existing files, by logical name."""
    found = {}
    for name, path in files.items():
        try:
            with open(path, "rb") as file:
                found[name] = file.read()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}") from None
    return found


if __name__ == "__main__":
    sys.exit(main())
