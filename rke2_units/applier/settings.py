"""The settings file that plan.applier_settings writes for the applier (JSON, Paths.applier_settings).

The file also holds what rke2_units.lean.chart_staging reads.
"""

from rke2_units.lean import json_table
from rke2_units.lean.http import Identity
from rke2_units.lean.json_table import Table


class Settings:
    """What the applier knows of its node."""

    def __init__(self, table: Table) -> None:
        self.node_name = table.text("node_name")
        kubernetes = table.table("kubernetes")
        self.url = kubernetes.text("url")
        self.identity = Identity(
            kubernetes.text("authority"), kubernetes.text("certificate"), kubernetes.text("key")
        )
        # For helm.
        self.kubeconfig = table.text("kubeconfig")
        self.manifests = table.text("manifests")
        self.disabled = table.texts("disabled")
        self.helm = table.text("helm")
        self.work = table.text("work")


def read(path: str) -> Settings:
    """The settings in this file; ConfigurationError when it is missing or not what the plan writes."""
    return Settings(json_table.read(path))
