"""`python3 -Im rke2_units.controllers.bootstrap --settings FILE`: the cluster's bootstrap data in etcd.

A process of its own: what encrypts would stay in the memory of one that lives on. It creates what is not
there, and compares what is: files that differ between servers are a person's to look at.
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

# Who wants to fill the key creates it empty. One that stays empty for so long (s) was left so.
_PATIENCE = 15.0
_INTERVAL = 1.0
_OTHER_TOKEN = "bootstrap data already found and encrypted with different token"


def ensure(etcd: Etcd, password: str, files: Mapping[str, bytes]) -> bool:
    """True when the data was written, False when it was there and is the same.

    UserError names the files that differ, or says that the data is another token's.
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
            f"the cluster's bootstrap data has another {', '.join(differing)} than this server",
            hint="copy these files from another server",
        )
    return False


def main() -> int:
    """Returns the exit code; what is wrong is the last line on stderr."""
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
    """Those of the files that are there."""
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
