"""helm's command lines and environment, and the features that old versions lack. Pure.

No value and no credential is on a command line. Every option with a text has the form --name=text, and all
names follow "--": nothing in a HelmChart can become an option of helm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rke2_units.applier.charts.chart import Release
from rke2_units.applier.charts.decision import Step
from rke2_units.applier.charts.records import HASH_LABEL
from rke2_units.errors import UserError

Version = tuple[int, int]

# Older versions do not have --labels, which record the configuration of a release.
OLDEST: Version = (3, 13)
_TAKE_OWNERSHIP: Version = (3, 17)
_SERVER_SIDE: Version = (4, 0)
_PROXIES = ("all_proxy", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Paths:
    """The files of one run; None for a file that it does not need."""

    directory: str  # private, also helm's own cache and configuration
    values: tuple[str, ...] = ()
    # Keys of spec.set with an index and the file of each text.
    set_files: tuple[tuple[str, str], ...] = ()
    chart: str | None = None
    authority: str | None = None


def check_version(version: Version) -> None:
    if version < OLDEST:
        raise UserError(
            f"helm {_text(version)} is too old: it cannot label releases",
            hint=f"install helm {_text(OLDEST)} or later",
        )


def lacking(release: Release, version: Version) -> list[str]:
    """The features that the chart requests and this helm lacks, as texts to show."""
    found = []
    if release.take_ownership and version < _TAKE_OWNERSHIP:
        found.append(f"takeOwnership (needs helm {_text(_TAKE_OWNERSHIP)})")
    if version < _SERVER_SIDE:
        if release.server_side == "true":
            found.append("serverSide (needs helm 4)")
        if release.force_conflicts and release.server_side != "false":
            found.append("forceConflicts (needs helm 4)")
    return found


def install_or_upgrade(
    step: Step, release: Release, paths: Paths, version: Version, *, applied_server_side: bool = False
) -> list[str]:
    """The arguments of helm install or upgrade. `applied_server_side`: how the last revision was applied."""
    arguments = ["install" if step is Step.INSTALL else "upgrade", f"--namespace={release.namespace}"]
    if step is Step.UPGRADE:
        # Without this, a chart without values would keep those of the last revision.
        arguments.append("--reset-values")
    if release.create_namespace:
        arguments.append("--create-namespace")
    if release.take_ownership and version >= _TAKE_OWNERSHIP:
        arguments.append("--take-ownership")
    if release.version:
        arguments.append(f"--version={release.version}")
    if release.timeout:
        arguments.append(f"--timeout={release.timeout}")
    arguments.append(f"--labels={HASH_LABEL}={release.hash}")
    if version >= _SERVER_SIDE:
        arguments += _server_side(step, release, applied_server_side)
    arguments += _connection(release, paths)
    arguments += [f"--values={path}" for path in paths.values]
    arguments += [f"--set={typed}" for typed in release.set_values.typed]
    arguments += [f"--set-file={key}={path}" for key, path in paths.set_files]
    return [*arguments, "--", release.name, _chart(release, paths)]


def uninstall(name: str, namespace: str, timeout: str = "") -> list[str]:
    waiting = [f"--timeout={timeout}"] if timeout else []
    return ["uninstall", f"--namespace={namespace}", "--wait", *waiting, "--", name]


def update_repository(release: Release, version: Version) -> list[str]:
    """The arguments that fetch the index of the chart's repository."""
    strict = ["--fail-on-repo-update-fail"] if version < (4, 0) else []
    return ["repo", "update", *strict, "--", release.name]


def repositories(release: Release, paths: Paths, certificate: str, key: str) -> dict[str, object]:
    """helm's repositories.yaml for the chart's repository; secret if it contains a password."""
    credentials = release.credentials
    return {
        "apiVersion": "",
        "repositories": [
            {
                "name": release.name,
                "url": release.repository,
                "username": credentials.username,
                "password": credentials.password,
                "certFile": certificate,
                "keyFile": key,
                "caFile": paths.authority or "",
                "insecure_skip_tls_verify": release.insecure_skip_tls_verify,
                "pass_credentials_all": credentials.pass_to_all,
            }
        ],
    }


def environment(directory: str, kubeconfig: str, driver: str, caller: Mapping[str, str]) -> dict[str, str]:
    """helm's whole environment; only the proxy variables are taken from `caller`."""
    proxies = {name: value for name, value in caller.items() if name.lower() in _PROXIES and value}
    return {
        **proxies,
        "HOME": directory,
        "TMPDIR": directory,
        "LANG": "C.UTF-8",
        "PATH": "/nonexistent",  # helm needs no other program
        "KUBECONFIG": kubeconfig,
        "HELM_DRIVER": driver,
        "HELM_CACHE_HOME": f"{directory}/cache",
        "HELM_CONFIG_HOME": f"{directory}/config",
        "HELM_DATA_HOME": f"{directory}/data",
        "HELM_REPOSITORY_CONFIG": f"{directory}/repositories.yaml",
        "HELM_REGISTRY_CONFIG": f"{directory}/registry.json",
        "NO_COLOR": "1",
    }


def _text(version: Version) -> str:
    return ".".join(map(str, version))


def _chart(release: Release, paths: Paths) -> str:
    if release.content is not None:
        return paths.chart or ""
    return f"{release.name}/{release.chart}" if release.repository else release.chart


def _server_side(step: Step, release: Release, applied_server_side: bool) -> list[str]:
    """helm rejects --server-side=auto for an install, and --force-conflicts without server-side apply."""
    chosen = release.server_side
    if step is Step.INSTALL and chosen == "auto":
        chosen = "true"
    arguments = [f"--server-side={chosen}"]
    if release.force_conflicts and (chosen == "true" or (chosen == "auto" and applied_server_side)):
        arguments.append("--force-conflicts")
    return arguments


def _connection(release: Release, paths: Paths) -> list[str]:
    arguments = []
    if paths.authority:
        arguments.append(f"--ca-file={paths.authority}")
    if release.insecure_skip_tls_verify:
        arguments.append("--insecure-skip-tls-verify")
    if release.plain_http:
        arguments.append("--plain-http")
    return arguments
