"""`helm --settings FILE`: the program helm out of the klipper-helm image.

ExecStart= of rke2-helm.service. It goes to DATA/data/helm-HEX/helm, where HEX stands for the image, so that
another image is another place; those of other images go.
"""

import os
import shutil

from rke2_units.errors import UserError
from rke2_units.programs import console
from rke2_units.programs.settings import Settings

# Where images have it: klipper-helm, its early releases, and other images of helm.
PLACES = ("usr/bin/helm", "usr/bin/helm_v3", "usr/local/bin/helm", "bin/helm")
# Not that of rke2-content, which removes what begins so.
_TEMPORARY = ".rke2-helm"


def program(settings: Settings, arguments: list[str]) -> None:
    if arguments:
        raise UserError("helm takes no arguments", hint="helm --settings FILE")
    if not settings.helm_image:
        raise UserError(f"{settings.file} names no image of helm", hint="start rke2-server anew")
    root = f"{settings.data_directory}/data"
    target = f"{root}/{settings.helm_directory}/helm"
    if not os.path.exists(target):
        _stage(settings, root, target)
    for name in os.listdir(root):
        if name.startswith("helm-") and name != settings.helm_directory:
            shutil.rmtree(f"{root}/{name}")


def _stage(settings: Settings, root: str, target: str) -> None:
    """Puts helm in place in one step; whatever happens, nothing else is left."""
    temporary = f"{root}/{_TEMPORARY}"
    work, pulled = f"{temporary}/work", f"{temporary}/pulled"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        os.makedirs(work)
        _extract(settings, work, pulled, f"{temporary}/helm")
        version = _version(f"{temporary}/helm", settings.helm_image, temporary)
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        os.rename(f"{temporary}/helm", target)
    except OSError as error:
        free = shutil.disk_usage(root).free >> 20
        raise UserError(
            f"helm cannot be extracted to {target}: {error.strerror or error}",
            hint=f"{free} MiB are free there",
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    console.say(f"helm {version} of {settings.helm_image} is at {target}")


def _extract(settings: Settings, work: str, pulled: str, target: str) -> None:
    from rke2_units.programs import runtime_image
    from rke2_units.programs.archives import damage_named
    from rke2_units.programs.image_layers import Image, Part

    layers = runtime_image.find(settings, settings.helm_image, settings.helm_pull, work, pulled)
    console.status(f"extracting helm from {settings.helm_image}")
    image = Image(tuple({place.partition("/")[0] for place in PLACES}), work)
    with damage_named(layers.origin):
        for (file, start, size), digest in zip(layers.places, layers.digests, strict=True):
            with open(file, "rb") as opened:
                image.add_layer(Part(opened, start, size), digest)
    place = next((place for place in PLACES if place in image.entries), None)
    if place is None:
        raise UserError(
            f"the image {settings.helm_image} has no helm in /usr/bin",
            hint="helm-job-image must be one like rancher/klipper-helm; or set helm-path",
        )
    content = image.entries[image.resolve(place)].content
    os.chmod(content, 0o755)
    descriptor = os.open(content, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.link(content, target)


def _version(helm: str, image: str, home: str) -> str:
    """What helm says of itself; UserError when it does not run here."""
    from rke2_units.programs import processes

    # It looks for plugins and settings of its own in its home, and finds none.
    environment = {"HOME": home, "PATH": "/usr/bin:/bin"}
    try:
        finished = processes.run([helm, "version", "--short"], timeout=60, environment=environment)
    except (OSError, UserError) as error:
        raise UserError(f"helm of {image} does not run here: {error}") from None
    if finished.code != 0:
        raise UserError(f"helm of {image} does not run here: {finished.last_words}")
    return finished.output.strip()


if __name__ == "__main__":
    console.main(program, "helm --settings FILE")
