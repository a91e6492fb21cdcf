"""What who knows RKE2 would believe of a node and is not so, told at install, at a start and in status."""

import os

from rke2_units.errors import UserError
from rke2_units.images import archive_files
from rke2_units.layout import Paths
from rke2_units.lean.settings import Settings
from rke2_units.unit_names import IMAGES_UNIT

_NO_BACKUPS = (
    "nothing backs up etcd: RKE2's snapshots are not taken yet; save it yourself (docs/administration.md, "
    "Back up), and etcd-disable-snapshots: true ends this line"
)
# RKE2's templates, and the drop-ins that do here what is written in them.
_TEMPLATES = {"config.toml.tmpl": 2, "config-v3.toml.tmpl": 3}


def of_configuration(paths: Paths, *, lacks_backups: bool) -> tuple[str, ...]:
    """One line on each, for `install` and the start of a node."""
    return *((_NO_BACKUPS,) if lacks_backups else ()), *_templates(paths)


def of_node(paths: Paths, settings: Settings | None, imported: float) -> tuple[str, ...]:
    """The same of the node as it was planned last; `imported`: when its images were (epoch, s), 0: never."""
    lacks_backups = settings is not None and settings.lacks_backups
    return *of_configuration(paths, lacks_backups=lacks_backups), *_newer_images(paths.images, imported)


def lacking_charts(paths: Paths) -> str:
    """What there is to say of a network plugin whose chart is not there, "" on a node without charts."""
    from rke2_units.lean import chart_staging

    try:
        return chart_staging.lacking_network(chart_staging.read(paths.applier_settings))
    except UserError:
        return ""


def _templates(paths: Paths) -> tuple[str, ...]:
    return tuple(
        f"{paths.containerd_etc}/{name} is not read: write what it adds as TOML to a file in "
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
            # The change of the inode: what is moved or copied with its times there is new here.
            if os.stat(path).st_ctime > imported + 1:
                newer.append(os.path.basename(path))
        except OSError:
            continue
    if not newer:
        return ()
    names = newer[0] if len(newer) == 1 else f"{newer[0]} and {len(newer) - 1} more"
    return (f"{names} in {folder} came after the import: systemctl restart {IMAGES_UNIT}",)
