"""Finds the rke2-runtime image in the archives and puts its files in place: content's rare, slow part."""

import hashlib
import json
import os
import shutil

from rke2_units.errors import UserError
from rke2_units.programs import archive_files, archives, console
from rke2_units.programs.archive_files import is_plain
from rke2_units.programs.image_layers import Image, Part
from rke2_units.programs.references import spellings
from rke2_units.programs.settings import Settings

_TOPS = ("bin", "charts")
_MARKER = ".extracted"
# Go's names of machines, as image configurations have them.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def stage(settings: Settings, directory: str, temporary_prefix: str) -> None:
    """Makes `directory` with bin, charts and the marker out of the image; whole, or not at all."""
    root = os.path.dirname(directory)
    temporary = f"{root}/{temporary_prefix}{settings.content_directory}"
    shutil.rmtree(temporary, ignore_errors=True)
    os.makedirs(f"{temporary}/work")
    try:
        archive, image = _find(settings)
        console.say(f"extracting {settings.content_image} from {archive}")
        console.status(f"extracting {settings.content_image}")
        _build(archive, image, temporary)
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
        shutil.rmtree(temporary, ignore_errors=True)
        free = shutil.disk_usage(root).free >> 20
        raise UserError(
            f"{settings.content_image} cannot be extracted to {root}: {error.strerror or error}",
            hint=f"{free} MiB are free there",
        ) from None
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    console.say(f"{settings.content_image} is extracted to {directory}")


def _find(settings: Settings) -> tuple[str, archives.SavedImage]:
    """The archive that has the image, and the image in it, for this machine.

    Here is the place for registries: what no archive has could be pulled.
    """
    names = spellings(settings.content_image)
    machine = os.uname().machine
    wanted = _ARCHITECTURES.get(machine, machine)
    found = archive_files.archives(settings.content_archives)
    unreadable: set[str] = set()
    others: list[str] = []
    for name in names:
        for path in found:
            try:
                candidates = [image for image in archives.saved_images(path) if name in image.names]
                for image in candidates:
                    architecture = _configuration(path, image)[0]
                    if architecture == wanted:
                        return path, image
                    others.append(f"{path} has it for {architecture}")
            except UserError as error:
                if path not in unreadable:
                    console.say(str(error), console.WARNING)
                unreadable.add(path)
    looked = f"{len(found)} archives in {settings.content_archives}" if found else settings.content_archives
    detail = f", this machine is {wanted}: {'; '.join(dict.fromkeys(others))}" if others else ""
    raise UserError(
        f"the image {settings.content_image} is in none of the archives (looked in {looked}){detail}",
        hint=f"put the archive of rke2-images-core for {wanted} there",
    )


def _configuration(path: str, image: archives.SavedImage) -> tuple[str, list[str]]:
    """The image's architecture and the digests of its layers, out of its checked configuration."""
    with archives.damage_named(path), archives.members(path) as archive:
        for member in archive:
            if os.path.normpath(member.name) == image.config:
                return _parsed_configuration(image, archives.content(archive, member))
    raise UserError(f"{path} is damaged: {image.config} is missing in it", hint="fetch it again")


def _parsed_configuration(image: archives.SavedImage, content: bytes) -> tuple[str, list[str]]:
    # The file's name is its digest: HEX.json, sha256:HEX or blobs/sha256/HEX.
    name = os.path.basename(image.config).removesuffix(".json").removeprefix("sha256:")
    if hashlib.sha256(content).hexdigest() != name:
        raise ValueError("the image's configuration does not match its digest")
    configuration = json.loads(content)
    digests = configuration["rootfs"]["diff_ids"]
    if len(digests) != len(image.layers):
        raise ValueError("the image's configuration and its list of layers do not agree")
    return str(configuration["architecture"]), [str(digest) for digest in digests]


def _build(path: str, saved: archives.SavedImage, temporary: str) -> None:
    """Puts the image's files below `temporary`: bin without sub-directories, charts as they are."""
    _, digests = _configuration(path, saved)
    image = Image(_TOPS, f"{temporary}/work")
    with archives.damage_named(path):
        layers = _layers(path, saved.layers, f"{temporary}/work")
        for name, digest in zip(saved.layers, digests, strict=True):
            file, start, size = layers[name]
            with open(file, "rb") as opened:
                image.add_layer(Part(opened, start, size), digest)
    for top in _TOPS:
        os.mkdir(f"{temporary}/{top}", 0o755)
    # Of programs with one name the one in /bin itself counts.
    for entry_path in sorted(image.entries, key=lambda entry: (entry.count("/"), entry)):
        source = image.entries[image.resolve(entry_path)].content
        top, _, below = entry_path.partition("/")
        if not below:
            raise UserError(f"the image's {top} is not a directory", hint="use RKE2's own image")
        target = f"{temporary}/{top}/{os.path.basename(below) if top == 'bin' else below}"
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        if not os.path.lexists(target):
            os.chmod(source, 0o755 if top == "bin" else 0o644)
            # A program that links lead to is there under each name.
            os.link(source, target)
            _flush(target)
    if not os.listdir(f"{temporary}/bin"):
        raise UserError(f"{path}: the image has no programs in /bin", hint="use RKE2's own image")


def _layers(path: str, wanted: list[str], directory: str) -> dict[str, tuple[str, int, int]]:
    """Where these layers are (file, offset, size): in the archive, or copied out of a compressed one.

    `docker save` stores a layer that occurs twice as a link to the other one, before or after it: then the
    archive is read once more.
    """
    found: dict[str, tuple[str, int, int]] = {}
    links: dict[str, str] = {}
    missing = set(wanted)
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
                    if not is_plain(path):
                        copy = f"{directory}/layer-{len(found)}"
                        with open(copy, "xb") as file:
                            shutil.copyfileobj(archives.reader(archive, member), file, 1 << 20)
                        found[name] = (copy, 0, member.size)
                missing.discard(name)
                if not missing:
                    break
        missing |= {target for target in links.values() if target not in found and target not in links}
        if missing and len(found) + len(links) == before:
            raise ValueError(f"{sorted(missing)[0]} is missing in it")
    for name in wanted:
        seen = name
        for _ in links:
            seen = links.get(seen, seen)
        if seen not in found:
            raise ValueError(f"{name} is a link that leads nowhere")
        found[name] = found[seen]
    return found


def _flush(path: str) -> None:
    """After a power failure this file's content, or this directory's names, are what they are now."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
