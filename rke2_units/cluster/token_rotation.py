"""Another server token: for the data that etcd keeps under it first, then for this server's own files.

What is left to do is on disk from before the first change on, so that whoever runs it again completes it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from rke2_units import unit_names
from rke2_units.certificates import bootstrap, credentials
from rke2_units.doors import files
from rke2_units.errors import UserError
from rke2_units.layout import Paths
from rke2_units.lean.etcd import Etcd
from rke2_units.model import File

if TYPE_CHECKING:
    from rke2_units.doors.dbus import Systemd

# Those that have the token in memory.
_READERS = (unit_names.CONTROLLERS_UNIT, unit_names.SUPERVISOR_UNIT)
_PATIENCE = 30.0


@dataclass(frozen=True)
class Rotation:
    """From one password of the server token to another."""

    before: str = field(repr=False)
    password: str = field(repr=False)


def begin(paths: Paths, wanted: str) -> Rotation | None:
    """The rotation that was interrupted here, else one to the token `wanted`, "" for a random one.

    None when this server has that token already. Nothing is changed yet.
    """
    bundle = _authority(paths)
    password = credentials.new_password(wanted, bundle) if wanted else ""
    left = files.read_text(_left(paths))
    if left is not None:
        rotation = Rotation(**json.loads(left))
        if password not in ("", rotation.password):
            raise UserError(
                "a rotation to another token was interrupted on this server",
                hint="complete it first: rke2-units token rotate, without --new-token-file",
            )
        return rotation
    before = credentials.server_password(paths)
    if not before:
        raise UserError("this server was never started", hint="systemctl start rke2-server")
    if password == before:
        return None
    return Rotation(before, password or secrets.token_hex(16))


def complete(
    paths: Paths,
    rotation: Rotation,
    now: datetime,
    *,
    etcd: Etcd | None,
    systemd: Systemd,
    copies: Sequence[str] = (),
) -> None:
    """Rotates the token, or completes an interrupted rotation.

    `etcd`: None where this server has none. `copies`: paths of other files that hold the server token.
    """
    bundle = _authority(paths)
    made = credentials.rotated(paths, bundle, rotation.before, rotation.password)
    passwd, token = made
    if etcd is not None:
        # When etcd does not answer, or the data is not this server's, nothing has been changed.
        _check(etcd, rotation)
    files.write_atomic(_left(paths), json.dumps(asdict(rotation)), 0o600)
    if etcd is not None:
        _reseal(etcd, rotation, passwd.content, now)
    files.write_all([*made, *(File(path, token.content, 0o600, secret=True) for path in copies)])
    running = [unit for unit, state in systemd.states(_READERS).items() if state.active != "inactive"]
    for unit in running:
        systemd.restart(unit)
    late = systemd.wait_until(running, "idle", _PATIENCE)
    if late:
        raise UserError(
            f"{' and '.join(late)} did not start again within {_PATIENCE:.0f} s",
            hint="see rke2-units status, then run this again: it completes the rotation",
        )
    if etcd is not None:
        # What knew the old token until just now may have sealed the data with it once more.
        _reseal(etcd, rotation, passwd.content, now)
    files.remove(_left(paths))


def _left(paths: Paths) -> str:
    return f"{paths.token}.rotation"


def _authority(paths: Paths) -> str:
    bundle = files.read_text(f"{paths.tls}/server-ca.crt")
    if bundle is None:
        raise UserError("this server was never started", hint="systemctl start rke2-server")
    return bundle


def _check(etcd: Etcd, rotation: Rotation) -> None:
    """Raises UserError when the data in etcd is sealed with neither of the two passwords."""
    keys = etcd.keys(bootstrap.PREFIX)
    if keys and not {bootstrap.key(rotation.before), bootstrap.key(rotation.password)} & set(keys):
        raise UserError(
            "the cluster's bootstrap data is sealed with another token, not this server's or the new one",
            hint="the token was rotated on another server: pass that new token with --new-token-file",
        )


def _reseal(etcd: Etcd, rotation: Rotation, passwd: str, now: datetime) -> None:
    """The data is under the new password and not under the old one, in one step; or nothing has changed."""
    old, new = bootstrap.key(rotation.before), bootstrap.key(rotation.password)
    before, present = etcd.get(old), etcd.get(new)
    if before is None:
        return
    if present is not None and present.text:
        bootstrap.unseal(rotation.password, present.text)
        sealed = present.text
    elif not before.text:
        raise UserError("a server is writing the cluster's bootstrap data just now", hint="run it again")
    else:
        contents = bootstrap.unpack(bootstrap.unseal(rotation.before, before.text))
        packed = bootstrap.pack({**contents, "PasswdFile": passwd.encode()}, now)
        sealed = bootstrap.seal(rotation.password, packed)
    if not etcd.write(new, sealed, present.revision if present else 0, remove=(old,)):
        raise UserError("another server wrote the cluster's bootstrap data meanwhile", hint="run it again")
