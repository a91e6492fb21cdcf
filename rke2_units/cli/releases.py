"""rke2-units release: lists, shows and fetches releases."""

from collections.abc import Sequence

import click

from rke2_units.cli.planning import Chosen, choose, take_proxies
from rke2_units.config import grammar
from rke2_units.errors import UserError
from rke2_units.lean import architectures
from rke2_units.node import installation, releases
from rke2_units.node.releases import Fetched
from rke2_units.release.model import STATIC_POD, Release
from rke2_units.release.table import DEFAULT, RELEASES
from rke2_units.unit_names import Role

_BUILT_IN = "built in"


def show_all() -> None:
    """Prints a line for every known release: its name, its source, and whether it is pinned or default."""
    installed = installation.read()
    pinned = installed.release if installed else None
    names = [*RELEASES, *(name for name in releases.fetched_names() if name not in RELEASES)]
    width = max(len(name) for name in names)
    for name in names:
        marks = [mark for mark, is_so in (("pinned", name == pinned), ("default", name == DEFAULT)) if is_so]
        try:
            source = _source(name)
        except UserError as error:
            source = error.message
        click.echo(f"{name:{width}}  {source}" + (f"  ({', '.join(marks)})" if marks else ""))


def show(name: str | None, config_file: str | None) -> None:
    """Prints a release's versions, images and lists; without a name, of the release of this node."""
    chosen = releases.find(name or choose(None, None, config_file).release)
    click.echo("\n".join(_described(chosen)))


def fetch(name: str, image_lists: Sequence[str], config_file: str | None) -> None:
    """Stores a release's image lists: those in files, or else from release-artifact-url in config.yaml."""
    if image_lists:
        fetched = releases.of_files(name, image_lists)
    else:
        fetched = fetch_release(choose(None, name, config_file))
    is_new = releases.keep(fetched)
    installed = installation.read()
    role = installed.role if installed else Role.SERVER
    lists = fetched.release.lists
    click.echo(
        f"{name}: {sum(map(len, lists.values()))} images in {len(lists)} lists"
        + ("" if is_new else ", unchanged")
        + f"; to install it: rke2-units install --role {role} --release {name}"
    )


def fetch_release(chosen: Chosen) -> Fetched:
    """The chosen release, from release-artifact-url in config.yaml; not stored yet."""
    take_proxies(chosen.environment)
    url = grammar.artifact_url(chosen.config.text("release-artifact-url"))
    machine = architectures.own()
    return releases.fetch(chosen.release, url, machine, lambda line: click.echo(line, err=True))


def _source(name: str) -> str:
    kept = None if name in RELEASES else releases.read(name)
    return kept.source if kept else _BUILT_IN


def _described(release: Release) -> list[str]:
    facts = {
        "from": _source(release.name),
        "Kubernetes": ".".join(map(str, release.kubernetes)),
        "etcd": ".".join(map(str, release.etcd)),
        "containerd": "2" if release.containerd_config == 3 else "1",
        "kube-proxy": "static pod" if release.kube_proxy == STATIC_POD else "chart",
    }
    width = max(map(len, (*facts, *release.images))) + 2
    lines = [release.name]
    lines += [f"  {name:{width}}{text}" for name, text in facts.items()]
    lines += [f"  {key:{width}}{written}" for key, written in sorted(release.images.items())]
    for name, images in release.lists.items():
        lines += [f"  {name} ({len(images)} images)", *(f"    {image}" for image in images)]
    return lines
