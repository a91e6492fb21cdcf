"""Differences from RKE2 that surprise its users: shown at install, at a start and in status."""

import os

from rke2_units.errors import UserError
from rke2_units.images import archive_files
from rke2_units.layout import Paths
from rke2_units.unit_names import IMAGES_UNIT

# RKE2's templates, and the version of the drop-ins that replace them here.
_TEMPLATES = {"config.toml.tmpl": 2, "config-v3.toml.tmpl": 3}


def of_configuration(paths: Paths) -> tuple[str, ...]:
    """One line for each remark, for `install` and the start of a node."""
    return tuple(
        f"{paths.containerd_etc}/{name} is not read: put its additions as TOML into a file in "
        f"{paths.containerd_drop_ins[version]}"
        for name, version in _TEMPLATES.items()
        if os.path.lexists(f"{paths.containerd_etc}/{name}")
    )


def of_node(paths: Paths, imported: float) -> tuple[str, ...]:
    """The remarks on a node that is installed; `imported`: time of its image import (epoch, s), 0: never."""
    return *of_configuration(paths), *_newer_images(paths.images, imported)


def lacking_charts(paths: Paths) -> str:
    """The remark on a network plugin whose chart is missing, "" on a node without charts."""
    from rke2_units.lean import chart_staging

    try:
        return chart_staging.lacking_network(chart_staging.read(paths.applier_settings))
    except UserError:
        return ""


def _newer_images(folder: str, imported: float) -> tuple[str, ...]:
    if not imported:
        return ()
    newer = []
    for path in (*archive_files.archives(folder), *archive_files.lists(folder)):
        try:
            # The change time of the inode: files keep other times when they are moved or copied here.
            if os.stat(path).st_ctime > imported + 1:
                newer.append(os.path.basename(path))
        except OSError:
            continue
    if not newer:
        return ()
    names = newer[0] if len(newer) == 1 else f"{newer[0]} and {len(newer) - 1} more"
    return (f"{names} in {folder}, added after the import: systemctl restart {IMAGES_UNIT}",)
