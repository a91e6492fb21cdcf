"""Which packaged charts are copied from where to where, and with which values.

A part of the settings file (JSON) that plan.applier_settings writes for the applier.
"""

import os
from collections.abc import Iterator

from rke2_units.lean import json_table
from rke2_units.lean.json_table import Table

_SUFFIXES = (".yaml", ".yml")


class Staging:
    """The paths, the values and the API that rke2_units.programs.charts needs."""

    def __init__(self, table: Table) -> None:
        self.manifests = table.text("manifests")
        self.disabled = table.texts("disabled")
        kubernetes = table.table("kubernetes")
        self.url = kubernetes.text("url")
        self.authority = kubernetes.text("authority")
        self.certificate = kubernetes.text("certificate")
        self.key = kubernetes.text("key")
        staging = table.table("staging")
        # "" where there is no content.
        self.charts = staging.text("charts")
        values = staging.table("values")
        self.values = {name: values.text(name) for name in values.values}
        # The charts that `cni` asks for.
        self.network = staging.texts("network")
        # Ingress controllers; empty: the one whose chart is installed already, else the default one.
        self.ingress = staging.texts("ingress")
        self.default_ingress = staging.text("default_ingress")


def read(path: str) -> Staging:
    """The staging in this file; ConfigurationError when it is missing or not what the plan writes."""
    return Staging(json_table.read(path))


def lacking_network(staging: Staging) -> str:
    """The warning about a network plugin without a chart (packaged or the user's), else ""."""
    if not staging.charts:
        return ""
    there = {
        os.path.basename(path).rpartition(".")[0]
        for folder in (staging.charts, staging.manifests)
        for path in yaml_files(folder)
    }
    lacking = ", ".join(name for name in staging.network if name not in there)
    return lacking and (
        f"the runtime image has no chart {lacking}, which cni requires: use an image that has it, put the "
        f"chart into {staging.manifests}, or set cni: none"
    )


def yaml_files(folder: str) -> Iterator[str]:
    """The YAML files of a folder, as paths below it."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.endswith(_SUFFIXES) and not name.startswith("."):
                yield os.path.relpath(f"{place}/{name}", folder)
