"""Whether a folder may be rendered into: existing links there could redirect root's writes."""

import os
import stat
from collections.abc import Iterator

from rke2_units.doors import files
from rke2_units.errors import UserError
from rke2_units.model import Plan


def refuse_others(root: str, plan: Plan) -> None:
    """UserError if `root`, or an existing folder of the plan below it, is a link or another user's."""
    if (real := os.path.realpath(root)) != os.path.abspath(root):
        raise UserError(
            f"{root} leads through a link to {real}", hint="name the folder itself, if it is yours"
        )
    owners = {os.geteuid(), *(directory.user for directory in plan.directories if os.geteuid() == 0)}
    for folder in sorted({root, *_folders(root, plan)}):
        try:
            found = os.lstat(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        problem = ""
        if stat.S_ISLNK(found.st_mode):
            problem = "is a link"
        elif found.st_uid not in owners:
            problem = "belongs to another user"
        elif found.st_mode & stat.S_IWOTH:
            problem = "can be written to by everybody"
        if problem:
            raise UserError(
                f"{folder} {problem}: nothing is rendered into it", hint="give a new folder: --root DIR"
            )


def _folders(root: str, plan: Plan) -> Iterator[str]:
    for path in [
        *(each.path for each in plan.directories),
        *(os.path.dirname(each.path) for each in plan.files),
    ]:
        while path != "/":
            yield files.below(root, path)
            path = os.path.dirname(path)
