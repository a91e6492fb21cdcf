"""The layers of an image that files are taken from: out of an archive of the air-gap folder, or pulled."""

import hashlib
import json
import os
import shutil

from rke2_units.errors import UserError
from rke2_units.images import archive_files, archives
from rke2_units.images.references import spellings
from rke2_units.lean import architectures, console
from rke2_units.lean.settings import Settings

# Where a layer is: a file, its offset there and its size.
Place = tuple[str, int, int]


class Layers:
    """An image's layers from the lowest up, the digests of their content, and where the image came from."""

    def __init__(self, origin: str, places: list[Place], digests: list[str]) -> None:
        self.origin = origin
        self.places = places
        self.digests = digests


def find(settings: Settings, image: str, reference: str, work: str, pulled: str) -> Layers:
    """The layers for this machine, from an archive if possible; UserError names the places searched.

    `image` is the name in archives, `reference` the image to pull. `work` is an existing directory for files
    that are copied out of an archive, `pulled` a directory that a pull creates.
    """
    names = spellings(image)
    wanted = architectures.own()
    found = archive_files.archives(settings.content_archives)
    unreadable: set[str] = set()
    others: list[str] = []
    for name in names:
        for path in found:
            try:
                candidates = [saved for saved in archives.saved_images(path) if name in saved.names]
                with archives.damage_named(path):
                    candidates = [each for saved in candidates for each in archives.in_full(path, saved)]
                for saved in candidates:
                    layers = saved.layers or []
                    architecture, digests = _archived_configuration(path, saved.config, len(layers))
                    if architecture == wanted:
                        return _archived(path, layers, digests, work)
                    others.append(f"{path} has it for {architecture}")
            except UserError as error:
                if path not in unreadable:
                    console.say(str(error), console.WARNING)
                unreadable.add(path)
    looked = f"{len(found)} archives in {settings.content_archives}" if found else settings.content_archives
    detail = f", this machine is {wanted}: {'; '.join(dict.fromkeys(others))}" if others else ""
    missing = f"no archive has the image {image} (looked in {looked}){detail}"
    console.say(f"{missing}; pulling {reference}")
    try:
        return _pull(settings, reference, wanted, pulled)
    except UserError as error:
        raise UserError(
            f"{missing}, and {error.message}",
            hint=error.hint or f"put the archive of rke2-images-core for {wanted} there, or set a mirror",
        ) from None


def _pull(settings: Settings, reference: str, wanted: str, directory: str) -> Layers:
    from rke2_units.images import pull, registries
    from rke2_units.images.pulled_image import PulledImage

    endpoint = pull.fetch(
        registries.read(settings.registries), reference, directory,
        tell=console.say, progress=console.status,
    )  # fmt: skip
    image = PulledImage(reference, directory)
    with open(image.blobs[image.config], "rb") as file, archives.damage_named(reference):
        architecture, digests = _parse(file.read(), len(image.layers))
    if architecture != wanted:
        raise UserError(f"{reference} at {endpoint} is for {architecture}, this machine is {wanted}")
    files = [image.blobs[digest] for digest in image.layers]
    return Layers(
        f"{reference} from {endpoint}", [(file, 0, os.path.getsize(file)) for file in files], digests
    )


def _archived_configuration(path: str, config: str, layers: int) -> tuple[str, list[str]]:
    """The image's architecture and the digests of its layers, out of its checked configuration."""
    with archives.damage_named(path), archives.members(path) as archive:
        for member in archive:
            if os.path.normpath(member.name) == config:
                return _checked(config, archives.content(archive, member), layers)
    raise UserError(f"{path} is damaged: it lacks {config}", hint="fetch it again")


def _checked(path: str, content: bytes, layers: int) -> tuple[str, list[str]]:
    # The file's name is its digest: HEX.json, sha256:HEX or blobs/sha256/HEX.
    name = os.path.basename(path).removesuffix(".json").removeprefix("sha256:")
    if hashlib.sha256(content).hexdigest() != name:
        raise ValueError("the image's configuration does not match its digest")
    return _parse(content, layers)


def _parse(configuration: bytes, layers: int) -> tuple[str, list[str]]:
    """The architecture and the layers' digests that an image's configuration names."""
    values = json.loads(configuration)
    digests = values["rootfs"]["diff_ids"]
    if len(digests) != layers:
        raise ValueError("the image's configuration and its list of layers do not agree")
    return str(values["architecture"]), [str(digest) for digest in digests]


def _archived(path: str, names: list[str], digests: list[str], work: str) -> Layers:
    with archives.damage_named(path):
        places = _places(path, names, work)
        return Layers(path, [places[name] for name in names], digests)


def _places(path: str, wanted: list[str], directory: str) -> dict[str, Place]:
    """Where these layers are: in the archive, or copied out of a compressed one.

    `docker save` stores a layer that occurs twice as a link to the other one, before or after it: then the
    archive is read once more.
    """
    found: dict[str, Place] = {}
    links: dict[str, str] = {}
    missing = set(wanted)
    is_plain = not archive_files.unpacker(path)
    while missing:
        before = len(found) + len(links)
        with archives.members(path) as archive:
            for member in archive:
                name = os.path.normpath(member.name)
                if name not in missing:
                    continue
                if member.issym() or member.islnk():
                    base = os.path.dirname(name) if member.issym() else ""
                    links[name] = os.path.normpath(os.path.join(base, member.linkname))
                elif member.isreg():
                    found[name] = (path, member.offset_data, member.size)
                    if not is_plain:
                        copy = f"{directory}/layer-{len(found)}"
                        with open(copy, "wb") as file:
                            shutil.copyfileobj(archives.reader(archive, member), file, 1 << 20)
                        found[name] = (copy, 0, member.size)
                missing.discard(name)
                if not missing:
                    break
        missing |= {target for target in links.values() if target not in found and target not in links}
        if missing and len(found) + len(links) == before:
            raise ValueError(f"it lacks {sorted(missing)[0]}")
    for name in wanted:
        seen = name
        for _ in links:
            seen = links.get(seen, seen)
        if seen not in found:
            raise ValueError(f"{name} is a broken link")
        found[name] = found[seen]
    return found
