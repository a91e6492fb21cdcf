"""Copies of folders that are whole or not there."""

import os
import shutil

from rke2_units.doors.run import run
from rke2_units.errors import UserError
from rke2_units.snapshots import restore


def copy(source: str, target: str) -> None:
    """Copies the folder with owners and modes, unless the copy is there; on disk when it returns."""
    if os.path.exists(target):
        return
    part = f"{target}.part"
    shutil.rmtree(part, ignore_errors=True)
    # Blocks are shared where the file system can. A run that follows a killed one shall not meet its cp.
    run(["setpriv", "--pdeathsig=KILL", "cp", "-a", "--reflink=auto", "--", source, part], timeout=None)
    synchronise(part)
    os.rename(part, target)


def check_space(source: str, target: str) -> None:
    """UserError when the folder SOURCE does not fit a second time beside TARGET."""
    blocks = sum(
        os.lstat(f"{root}/{name}").st_blocks for root, _, names in os.walk(source) for name in names
    )
    restore.check_space(os.path.dirname(target), 512 * blocks)


def synchronise(folder: str) -> None:
    """Puts what is in the folder on the disk. UserError when the disk does not take it."""
    try:
        run(["sync", "--file-system", folder], timeout=None)
    except UserError as error:
        raise UserError(f"{folder} cannot be written to the disk: {error.message}") from None
