"""What a reset means for the start of the node: it comes first, and the next start is a normal one."""

import os

from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError
from rke2_units.layout import Paths
from rke2_units.node.cluster_reset import progress


def refuse(config: Config) -> None:
    """ConfigurationError when a reset is asked for, or one was interrupted, instead of a start."""
    paths = derived.paths(config)
    if progress.read(paths.reset_progress) is not None:
        raise ConfigurationError(
            "a cluster-reset of this server was interrupted",
            hint="complete it: run rke2-units cluster-reset again, with the same options",
        )
    if config.boolean("cluster-reset"):
        if os.path.exists(paths.reset_flag):
            raise ConfigurationError(
                "Managed etcd cluster membership was previously reset, please remove cluster-reset "
                f"({config.source('cluster-reset')}) and start rke2-server normally",
                hint=another(paths),
            )
        raise config.error(
            "cluster-reset",
            "is a step and not a setting of the node",
            hint="run rke2-units cluster-reset, remove the key, and start rke2-server",
        )
    if config.is_set("cluster-reset-restore-path"):
        raise config.error(
            "cluster-reset-restore-path",
            "is set: invalid flag use; --cluster-reset required with --cluster-reset-restore-path",
            hint="to restore that snapshot, run rke2-units cluster-reset; then remove the key",
        )


def another(paths: Paths) -> str:
    """How to reset once more, in RKE2's words."""
    return (
        "If you need to perform another cluster reset, you must first manually delete the file at "
        f"{paths.reset_flag}"
    )


def forget(paths: Paths) -> None:
    """The node starts normally: another reset may be asked for."""
    files.remove(paths.reset_flag)
