"""`image_program --settings FILE helm|etcdctl`: a program out of an image (rke2-helm, rke2-etcdctl).

It is extracted to DATA/data/NAME-HEX/NAME. HEX identifies the image, so that each image has its own folder;
the folders of other images are removed. Beside etcdctl are etcd and, where the image has it, etcdutl: with
them a snapshot is restored and opened while no pod of etcd runs.
"""

import os
import shutil
from typing import TYPE_CHECKING

from rke2_units.errors import UserError
from rke2_units.lean import console
from rke2_units.lean.settings import ImageProgram, Settings

if TYPE_CHECKING:
    from rke2_units.images.image_layers import Image


class Origin:
    """Where images have a program.

    `places`: the first that exists in the image is used. `version`: arguments with which the program prints
    its version, as the last word of the first line. `hint`: for an image without the program. `beside`:
    other programs of the same folder, which are taken too; `beside_if_any`: those that not every image has.
    """

    def __init__(
        self,
        places: tuple[str, ...],
        version: tuple[str, ...],
        hint: str,
        beside: tuple[str, ...] = (),
        beside_if_any: tuple[str, ...] = (),
    ) -> None:
        self.places = places
        self.version = version
        self.hint = hint
        self.beside = beside
        self.beside_if_any = beside_if_any


ORIGINS = {
    # klipper-helm, its early releases, and other images of helm.
    "helm": Origin(
        places=("usr/bin/helm", "usr/bin/helm_v3", "usr/local/bin/helm", "bin/helm"),
        version=("version", "--short"),
        hint="set helm-job-image to an image like rancher/klipper-helm, or set helm-path",
    ),
    # hardened-etcd, and other images of etcd.
    "etcdctl": Origin(
        places=("usr/local/bin/etcdctl", "usr/bin/etcdctl", "bin/etcdctl"),
        version=("version",),
        hint="set etcd-image to an image like rancher/hardened-etcd",
        beside=("etcd",),
        # Since etcd 3.5.
        beside_if_any=("etcdutl",),
    ),
}
_USAGE = f"image_program --settings FILE {'|'.join(ORIGINS)}"


def program(settings: Settings, arguments: list[str]) -> None:
    """Puts the program in its place unless it is there."""
    if len(arguments) != 1 or arguments[0] not in ORIGINS:
        raise UserError("image_program takes one of " + ", ".join(ORIGINS), hint=_USAGE)
    origin = ORIGINS[arguments[0]]
    wanted = settings.image_programs[arguments[0]]
    if not wanted.image:
        raise UserError(
            f"{settings.file} names no image of {wanted.name}", hint="systemctl restart rke2-server"
        )
    root = f"{settings.data_directory}/data"
    target = f"{root}/{wanted.directory}"
    # What not every image has is put there first: it is not missing when the others are there.
    if not all(os.path.exists(f"{target}/{name}") for name in (wanted.name, *origin.beside)):
        _stage(settings, wanted, origin, target)
    for name in os.listdir(root):
        if name.startswith(f"{wanted.name}-") and name != wanted.directory:
            shutil.rmtree(f"{root}/{name}")


def _stage(settings: Settings, wanted: ImageProgram, origin: Origin, target: str) -> None:
    """Puts the programs into the folder, each atomically; leaves no temporary files, whatever happens."""
    root = f"{settings.data_directory}/data"
    # Without the prefix of rke2-content, which removes everything that begins with it.
    temporary = f"{root}/.rke2-{wanted.name}"
    work, pulled = f"{temporary}/work", f"{temporary}/pulled"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        os.makedirs(work)
        found = _extract(settings, wanted, origin, work, pulled, temporary)
        said = _version([found[wanted.name], *origin.version], wanted, temporary)
        os.makedirs(target, mode=0o755, exist_ok=True)
        for name in (*origin.beside_if_any, wanted.name, *origin.beside):
            if name in found:
                os.rename(found[name], f"{target}/{name}")
    except OSError as error:
        free = shutil.disk_usage(root).free >> 20
        raise UserError(
            f"{wanted.name} cannot be extracted to {target}: {error.strerror or error}",
            hint=f"{free} MiB are free there",
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    console.say(f"{wanted.name} {said} of {wanted.image} is at {target}/{wanted.name}")


def _extract(
    settings: Settings, wanted: ImageProgram, origin: Origin, work: str, pulled: str, staged: str
) -> dict[str, str]:
    """The programs' files below `staged`, by name."""
    from rke2_units.images import runtime_image
    from rke2_units.images.archives import damage_named
    from rke2_units.images.image_layers import Image, Part

    layers = runtime_image.find(settings, wanted.image, wanted.pull, work, pulled)
    console.status(f"extracting {wanted.name} from {wanted.image}")
    image = Image(tuple({place.partition("/")[0] for place in origin.places}), work)
    with damage_named(layers.origin):
        for (file, start, size), digest in zip(layers.places, layers.digests, strict=True):
            with open(file, "rb") as opened:
                image.add_layer(Part(opened, start, size), digest)
    place = next((place for place in origin.places if place in image.entries), None)
    if place is None:
        raise _missing(wanted, wanted.name, os.path.dirname(origin.places[0]), origin)
    found = {wanted.name: _stage_file(image, place, f"{staged}/{wanted.name}")}
    for name in (*origin.beside, *origin.beside_if_any):
        other = f"{os.path.dirname(place)}/{name}"
        if other in image.entries:
            found[name] = _stage_file(image, other, f"{staged}/{name}")
        elif name in origin.beside:
            raise _missing(wanted, name, os.path.dirname(place), origin)
    return found


def _stage_file(image: "Image", place: str, target: str) -> str:
    """Puts the program at this place of the image there, executable and on the disk; returns `target`."""
    content = image.entries[image.resolve(place)].content
    os.chmod(content, 0o755)
    descriptor = os.open(content, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.link(content, target)
    return target


def _missing(wanted: ImageProgram, name: str, folder: str, origin: Origin) -> UserError:
    return UserError(f"the image {wanted.image} has no {name} in /{folder}", hint=origin.hint)


def _version(command: list[str], wanted: ImageProgram, home: str) -> str:
    """The version that the program prints; UserError when it does not run here."""
    from rke2_units.lean import processes

    # An empty home: no plugins and no settings.
    environment = {"HOME": home, "PATH": "/usr/bin:/bin"}
    try:
        finished = processes.run(command, timeout=60, environment=environment)
    except (OSError, UserError) as error:
        raise UserError(f"{wanted.name} of {wanted.image} does not run here: {error}") from None
    if finished.code != 0:
        raise UserError(f"{wanted.name} of {wanted.image} does not run here: {finished.last_words}")
    return (finished.output.partition("\n")[0].split() or ["(unknown version)"])[-1]


if __name__ == "__main__":
    console.main(program, _USAGE)
