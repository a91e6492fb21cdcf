"""Differences from RKE2 that surprise its users: shown at install, at a start and in status."""

import os

from rke2_units.errors import UserError
from rke2_units.images import archive_files
from rke2_units.layout import Paths
from rke2_units.lean.settings import Settings
from rke2_units.unit_names import IMAGES_UNIT

_NO_BACKUPS = (
    "nothing backs up etcd: snapshots like RKE2's are not implemented yet; back it up yourself "
    "(docs/administration.md, Back up); etcd-disable-snapshots: true turns this message off"
)
# RKE2's templates, and the version of the drop-ins that replace them here.
_TEMPLATES = {"config.toml.tmpl": 2, "config-v3.toml.tmpl": 3}


def of_configuration(paths: Paths, *, lacks_backups: bool) -> tuple[str, ...]:
    """One line for each remark, for `install` and the start of a node."""
    return *((_NO_BACKUPS,) if lacks_backups else ()), *_templates(paths)


def of_node(paths: Paths, settings: Settings | None, imported: float) -> tuple[str, ...]:
    """The remarks on the last planned node; `imported`: time of its image import (epoch, s), 0: never."""
    lacks_backups = settings is not None and settings.lacks_backups
    return *of_configuration(paths, lacks_backups=lacks_backups), *_newer_images(paths.images, imported)


def lacking_charts(paths: Paths) -> str:
    """The remark on a network plugin whose chart is missing, "" on a node without charts."""
    from rke2_units.lean import chart_staging

    try:
        return chart_staging.lacking_network(chart_staging.read(paths.applier_settings))
    except UserError:
        return ""


def _templates(paths: Paths) -> tuple[str, ...]:
    return tuple(
        f"{paths.containerd_etc}/{name} is not read: put its additions as TOML into a file in "
        f"{paths.containerd_drop_ins[version]}"
        for name, version in _TEMPLATES.items()
        if os.path.lexists(f"{paths.containerd_etc}/{name}")
    )


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
