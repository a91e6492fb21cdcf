"""The programs of etcd, for a node that does not run (one that does has them by rke2-etcdctl.service)."""

import sys
from dataclasses import dataclass

from rke2_units.doors.run import run
from rke2_units.errors import UserError
from rke2_units.lean.settings import Settings

_NAME = "etcdctl"
# From a slow registry.
_SECONDS = 1800


@dataclass(frozen=True)
class Programs:
    """Paths. There may be no etcdutl."""

    etcd: str
    etcdctl: str
    etcdutl: str


def places(settings: Settings) -> Programs:
    """Where the programs are, or will be."""
    folder = f"{settings.data_directory}/data/{settings.image_programs[_NAME].directory}"
    return Programs(*(f"{folder}/{name}" for name in ("etcd", "etcdctl", "etcdutl")))


def bring(settings: Settings) -> Programs:
    """The programs, out of the image in agent/images or of its registry when they are not there yet."""
    image = settings.image_programs[_NAME].image
    done = run(
        [
            *("setpriv", "--pdeathsig=KILL", sys.executable, "-Im", "rke2_units.programs.image_program"),
            *("--settings", settings.file, _NAME),
        ],
        timeout=_SECONDS,
        check=False,
    )
    if done.status != 0:
        lines = done.errors.strip().splitlines() or [f"exit status {done.status}"]
        # Lines for the journal begin with <PRIORITY>.
        reason = lines[-1].partition(">")[2] or lines[-1]
        raise UserError(f"the programs of etcd cannot be taken out of {image}: {reason}")
    return places(settings)
