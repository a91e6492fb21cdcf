"""Puts the files of the rke2-runtime image in place: content's rare, slow part."""

import os
import shutil

from rke2_units.errors import UserError
from rke2_units.images import runtime_image
from rke2_units.images.archives import damage_named
from rke2_units.images.image_layers import Image, Part
from rke2_units.images.runtime_image import Layers
from rke2_units.lean import console
from rke2_units.lean.settings import Settings

_TOPS = ("bin", "charts")
_MARKER = ".extracted"


def stage(settings: Settings, directory: str, temporary_prefix: str) -> None:
    """Makes `directory` with bin, charts and the marker out of the image; whole, or not at all."""
    root = os.path.dirname(directory)
    temporary = f"{root}/{temporary_prefix}{settings.content_directory}"
    # On the same file system. The prefix lets the next run find and remove what a killed run left.
    pulled = f"{temporary}-pulled"
    for path in (temporary, pulled):
        shutil.rmtree(path, ignore_errors=True)
    try:
        os.makedirs(f"{temporary}/work")
        layers = runtime_image.find(
            settings, settings.content_image, settings.content_pull, f"{temporary}/work", pulled
        )
        console.say(f"extracting {settings.content_image} from {layers.origin}")
        console.status(f"extracting {settings.content_image}")
        _build(layers, temporary)
        with open(f"{temporary}/{_MARKER}", "w", encoding="utf-8") as marker:
            marker.write(settings.content_image + "\n")
        shutil.rmtree(f"{temporary}/work")
        _flush(temporary)
        if os.path.lexists(directory):
            # Another tool's unfinished work, or a damaged version.
            os.rename(directory, f"{temporary}-replaced")
        os.rename(temporary, directory)
        _flush(root)
    except OSError as error:
        # Measured before `finally` frees the space again.
        free = shutil.disk_usage(root).free >> 20
        raise UserError(
            f"{settings.content_image} cannot be extracted to {root}: {error.strerror or error}",
            hint=f"{free} MiB are free there",
        ) from None
    finally:
        for path in (temporary, pulled):
            shutil.rmtree(path, ignore_errors=True)
    console.say(f"extracted {settings.content_image} to {directory}")


def _build(layers: Layers, temporary: str) -> None:
    """Puts the image's files below `temporary`: bin without sub-directories, charts as they are."""
    image = Image(_TOPS, f"{temporary}/work")
    with damage_named(layers.origin):
        for (file, start, size), digest in zip(layers.places, layers.digests, strict=True):
            with open(file, "rb") as opened:
                image.add_layer(Part(opened, start, size), digest)
    for top in _TOPS:
        os.mkdir(f"{temporary}/{top}", 0o755)
    # When several programs have one name, the one in /bin itself is used.
    for entry_path in sorted(image.entries, key=lambda entry: (entry.count("/"), entry)):
        source = image.entries[image.resolve(entry_path)].content
        top, _, below = entry_path.partition("/")
        if not below:
            raise UserError(f"the image's {top} is not a directory", hint="use RKE2's own image")
        target = f"{temporary}/{top}/{os.path.basename(below) if top == 'bin' else below}"
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        if not os.path.lexists(target):
            os.chmod(source, 0o755 if top == "bin" else 0o644)
            # Links become hard links: the program exists under each of its names.
            os.link(source, target)
            _flush(target)
    if not os.listdir(f"{temporary}/bin"):
        raise UserError(f"{layers.origin}: the image has no programs in /bin", hint="use RKE2's own image")


def _flush(path: str) -> None:
    """Syncs a file's content, or a directory's entries, so that they survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
