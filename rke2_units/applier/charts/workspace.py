"""The files of one run of helm: in a folder of its own (0700), mode 0600, removed afterwards."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from rke2_units.applier.charts import command
from rke2_units.applier.charts.chart import Release
from rke2_units.applier.charts.command import Paths
from rke2_units.errors import UserError

_PREFIX = "helm-"
_SET_VALUES = "values-2-000-HelmChart-Set.yaml"


def sweep(work: str) -> None:
    """Makes the folder `work` and removes what a killed process left there."""
    os.makedirs(work, mode=0o700, exist_ok=True)
    for name in os.listdir(work):
        if name.startswith(_PREFIX):
            shutil.rmtree(f"{work}/{name}", ignore_errors=True)


@contextmanager
def workspace(work: str, release: Release | None = None) -> Iterator[Paths]:
    """The folder in which helm runs, with the release's files; empty without a release (to uninstall)."""
    try:
        directory = tempfile.mkdtemp(prefix=_PREFIX, dir=work)
    except OSError as error:
        raise _unwritable(work, error) from error
    try:
        yield _fill(directory, release) if release else Paths(directory)
    except OSError as error:
        raise _unwritable(work, error) from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _unwritable(work: str, error: OSError) -> UserError:
    return UserError(f"cannot write helm's files in {work}: {error.strerror or error}")


def _fill(directory: str, release: Release) -> Paths:
    def put(name: str, content: str | bytes) -> str:
        path = f"{directory}/{name}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        return path

    values = [put(name, text) for name, text in release.values]
    if release.set_values.tree:
        values.append(put(_SET_VALUES, json.dumps(release.set_values.tree)))
    paths = Paths(
        directory,
        values=tuple(values),
        set_files=tuple(
            (key, put(f"set-{number:03d}", text))
            for number, (key, text) in enumerate(release.set_values.files)
        ),
        chart=put("chart.tgz", release.content) if release.content is not None else None,
        authority=put("ca-file.pem", release.authority) if release.authority else None,
    )
    credentials = release.credentials
    if release.repository:
        certificate = put("tls.crt", credentials.certificate) if credentials.certificate else ""
        key = put("tls.key", credentials.key) if credentials.key else ""
        put("repositories.yaml", json.dumps(command.repositories(release, paths, certificate, key)))
    if credentials.docker:
        put("registry.json", credentials.docker)
    return paths
