"""`image_program --settings FILE helm|etcdctl`: a program out of an image (rke2-helm, rke2-etcdctl).

It is extracted to DATA/data/NAME-HEX/NAME. HEX identifies the image, so that each image has its own folder;
the folders of other images are removed.
"""

import os
import shutil

from rke2_units.errors import UserError
from rke2_units.lean import console
from rke2_units.lean.settings import ImageProgram, Settings


class Origin:
    """Where images have a program.

    `places`: the first that exists in the image is used. `version`: arguments with which the program prints
    its version, as the last word of the first line. `hint`: for an image without the program.
    """

    def __init__(self, places: tuple[str, ...], version: tuple[str, ...], hint: str) -> None:
        self.places = places
        self.version = version
        self.hint = hint


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
    target = f"{root}/{wanted.directory}/{wanted.name}"
    if not os.path.exists(target):
        _stage(settings, wanted, origin, target)
    for name in os.listdir(root):
        if name.startswith(f"{wanted.name}-") and name != wanted.directory:
            shutil.rmtree(f"{root}/{name}")


def _stage(settings: Settings, wanted: ImageProgram, origin: Origin, target: str) -> None:
    """Puts the program in place atomically; leaves no temporary files, whatever happens."""
    root = f"{settings.data_directory}/data"
    # Without the prefix of rke2-content, which removes everything that begins with it.
    temporary = f"{root}/.rke2-{wanted.name}"
    staged = f"{temporary}/{wanted.name}"
    work, pulled = f"{temporary}/work", f"{temporary}/pulled"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        os.makedirs(work)
        _extract(settings, wanted, origin, work, pulled, staged)
        said = _version([staged, *origin.version], wanted, temporary)
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        os.rename(staged, target)
    except OSError as error:
        free = shutil.disk_usage(root).free >> 20
        raise UserError(
            f"{wanted.name} cannot be extracted to {target}: {error.strerror or error}",
            hint=f"{free} MiB are free there",
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    console.say(f"{wanted.name} {said} of {wanted.image} is at {target}")


def _extract(
    settings: Settings,
    wanted: ImageProgram,
    origin: Origin,
    work: str,
    pulled: str,
    target: str,
) -> None:
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
        raise UserError(
            f"the image {wanted.image} has no {wanted.name} in /{origin.places[0]}", hint=origin.hint
        )
    content = image.entries[image.resolve(place)].content
    os.chmod(content, 0o755)
    descriptor = os.open(content, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.link(content, target)


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
