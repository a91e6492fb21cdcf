"""rke2-units images: what a node needs, as a list and as an archive."""

import json
import shutil
import signal
import sys
from collections.abc import Sequence

import click

from rke2_units.cli import image_bundle
from rke2_units.cli.planning import Chosen, choose, take_proxies
from rke2_units.config import derived
from rke2_units.images.registries import Registries
from rke2_units.lean.json_table import Table
from rke2_units.node import releases
from rke2_units.plan import mirror, registries
from rke2_units.release import image_list
from rke2_units.release.model import Release
from rke2_units.unit_names import Role

_MIB = 1 << 20


def show(role: Role | None, release: str | None, config_file: str | None) -> None:
    """Prints the images that a registry must hold for this node, one qualified reference per line."""
    chosen = choose(role, release, config_file)
    for image in _needed(chosen, releases.find(chosen.release)):
        click.echo(image)


def bundle(
    output: str,
    role: Role | None,
    release_name: str | None,
    images: Sequence[str],
    image_lists: Sequence[str],
    config_file: str | None,
) -> None:
    """Writes an archive of these images and lists of images; without any, of all that the node needs."""
    chosen = choose(role, release_name, config_file)
    release = releases.find(chosen.release)
    listed = [image for path in image_lists for image in releases.read_list(path)]
    if not images and not image_lists:
        listed = list(_needed(chosen, release))
    sources = {image: mirror.source(chosen.config, release, image) for image in listed}
    # An image of --image is pulled from the registry in its name.
    sources.update({image: image for image in map(image_list.canonical, images)})
    # Without a handler they would leave behind a folder as large as all images.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    take_proxies(chosen.environment)
    with _Progress() as shown:
        size = image_bundle.write(
            output, sources, _registries(chosen, release), tell=shown.tell, progress=shown.progress
        )
    click.echo(f"{output}: {len(sources)} images, {size / _MIB:.1f} MiB")


def _needed(chosen: Chosen, release: Release) -> tuple[str, ...]:
    found = mirror.needed(chosen.config, release)
    for name in found.unlisted:
        click.echo(
            f"warning: {release.name} has no image list for {name}; its images are not included", err=True
        )
    return found.images


def _registries(chosen: Chosen, release: Release) -> Registries:
    """registries.yaml as the programs know it: what the plan would write for them."""
    path = derived.paths(chosen.config).program_registries
    files = {file.path: file for file in registries.files(chosen.config, release)}
    return Registries(Table(path, json.loads(files[path].content)))


class _Progress:
    """Lines on standard error and, on a terminal, a last line that is written over."""

    def __init__(self) -> None:
        self._over = "\r\x1b[K" if sys.stderr.isatty() else ""

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.progress("")

    def tell(self, text: str) -> None:
        click.echo(f"{self._over}{text}", err=True)

    def progress(self, text: str) -> None:
        if self._over:
            # A line that wraps could not be written over.
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"{self._over}{text[:width]}", err=True, nl=False)
