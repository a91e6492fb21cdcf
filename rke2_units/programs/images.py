"""`images --settings FILE`: brings the images of the air-gap folder into containerd.

ExecStart= of rke2-images.service. An image that is there with the content that its archive has is skipped:
what an archive holds is remembered by the file's identity (inode, size, times), and what containerd made
of it by digest. A damaged archive is named, the others are imported all the same.
"""

import json
import os
import time

from rke2_units import names
from rke2_units.errors import UserError
from rke2_units.programs import archive_files, console, image_store
from rke2_units.programs.containers import ctr
from rke2_units.programs.references import normalise, spellings
from rke2_units.programs.settings import Settings

_MEMORY = f"{names.STATE_DIRECTORY}/image-archives.json"
_IMPORT_TIMEOUT = 3600.0


def program(settings: Settings, arguments: list[str]) -> None:
    if arguments:
        raise UserError("images takes no arguments", hint="images --settings FILE")
    # Those who wait for an image wait for what is found now, not for what an earlier run found.
    image_store.forget_present()
    began = time.monotonic()
    memory = Memory(_MEMORY)
    stored = image_store.stored(settings)
    failures: list[str] = []
    archived: set[str] = set()
    pending: list[tuple[str, list[Wanted]]] = []
    for path in archive_files.archives(settings.image_archives):
        try:
            images = [image for image in memory.images(path) if not _is_content(settings, image)]
        except UserError as error:
            failures.append(path)
            console.say(str(error), console.ERROR)
            continue
        archived.update(name for image in images for name in image.names)
        if not all(memory.is_stored(image, stored) for image in images):
            pending.append((path, images))
    pending.sort(key=lambda item: _rank(settings, item[1]))
    outdated = {name for _, images in pending for image in images for name in image.names}
    _settle(settings, stored, archived - outdated, outdated)
    for number, (path, images) in enumerate(pending, 1):
        if all(memory.is_stored(image, stored) for image in images):
            # Another archive has brought the same.
            continue
        try:
            _import(settings, path, f"{number} of {len(pending)}")
        except UserError as error:
            failures.append(path)
            console.say(str(error), console.ERROR)
            continue
        stored = image_store.stored(settings)
        memory.remember(images, stored)
        imported = {name for image in images for name in image.names}
        outdated -= imported
        _settle(settings, stored, imported, outdated)
    memory.save()
    failures += _pull_listed(settings, stored)
    if failures:
        raise UserError(
            f"images could not be brought into containerd from: {', '.join(failures)}",
            hint="each has its reason above; the others are there",
        )
    took = time.monotonic() - began
    console.say(f"{len(pending)} archives imported, the others were there ({took:.1f} s)")


class Wanted:
    """An image that an archive has: its configuration (by whose digest it is known) and names."""

    def __init__(self, config: str, *names_: str) -> None:
        self.config = config
        self.names = names_


class Memory:
    """What is in which archive, and what containerd made of it; kept from start to start.

    It saves reading compressed archives again. What it says is compared with containerd each time.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._archives: dict[str, object] = {}
        self._digests: dict[str, str] = {}
        self._seen: dict[str, object] = {}
        self._configs: set[str] = set()
        try:
            with open(path, encoding="utf-8") as file:
                known = json.load(file)
            self._archives = dict(known["archives"])
            self._digests = {str(key): str(value) for key, value in known["digests"].items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            # Without it the archives are read again.
            pass

    def images(self, path: str) -> list[Wanted]:
        """The images of this archive; UserError when it cannot be read."""
        status = os.stat(path)
        # ctime changes with the content and cannot be set, unlike mtime.
        identity = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        known = self._archives.get(path)
        if isinstance(known, list) and known[:1] == [identity]:
            images = known[1]
        else:
            # Slow to import, and needed for new archives only.
            from rke2_units.programs.archives import saved_images

            images = [[saved.config, *saved.names] for saved in saved_images(path)]
        self._seen[path] = [identity, images]
        wanted = [Wanted(*image) for image in images]
        self._configs.update(image.config for image in wanted)
        return wanted

    def is_stored(self, image: Wanted, stored: dict[str, image_store.StoredImage]) -> bool:
        """Whether containerd has, under all names of the image, what it made of this very content.

        containerd's CRI plugin keeps a second name for each image, the digest of its configuration: that
        serves when nothing is remembered.
        """
        digests = {self._digests.get(image.config, "")}
        if (by_configuration := stored.get(f"sha256:{_hex(image.config)}")) is not None:
            digests.add(by_configuration.digest)
        return all(name in stored and stored[name].digest in digests for name in image.names)

    def remember(self, images: list[Wanted], stored: dict[str, image_store.StoredImage]) -> None:
        for image in images:
            for name in image.names:
                if name in stored:
                    self._digests[image.config] = stored[name].digest

    def save(self) -> None:
        """Keeps what concerns the archives that are there now."""
        digests = {config: digest for config, digest in self._digests.items() if config in self._configs}
        if self._seen != self._archives or digests != self._digests or not os.path.exists(self._path):
            image_store.write_json(self._path, {"archives": self._seen, "digests": digests})


def _hex(config: str) -> str:
    return os.path.basename(config).removesuffix(".json").removeprefix("sha256:")


def _is_content(settings: Settings, image: Wanted) -> bool:
    """The runtime image: rke2-content takes its files, and no container is ever made of it."""
    return bool(image.names) and set(image.names) <= set(spellings(settings.content_image))


def _rank(settings: Settings, images: list[Wanted]) -> int:
    """The place of an archive in the queue: by the first of its images that a static pod waits for."""
    first = [normalise(reference) for reference in settings.images_first]
    places = [first.index(name) for image in images for name in image.names if name in first]
    return min(places, default=len(first))


def _settle(
    settings: Settings, stored: dict[str, image_store.StoredImage], ours: set[str], outdated: set[str]
) -> None:
    """Tells those who wait what is there, and keeps our images from being collected."""
    image_store.write_present([name for name in stored if name not in outdated])
    for name in sorted(ours):
        if name in stored and not stored[name].is_labelled:
            image_store.label(settings, name)


def _import(settings: Settings, path: str, place: str) -> None:
    """Imports and unpacks one archive, with its progress in the unit's status."""
    from rke2_units.programs.archives import opened

    size = os.path.getsize(path)
    console.say(f"importing {path} ({place}, {size >> 20} MiB)")
    with open(path, "rb") as source, opened(path, source, whole=True) as file:

        def progress() -> None:
            done = os.lseek(source.fileno(), 0, os.SEEK_CUR)
            console.status(f"importing {os.path.basename(path)} ({place}), {100 * done // max(size, 1)} %")

        finished = ctr(
            settings,
            "images", "import", "--snapshotter", settings.snapshotter, "-",
            timeout=_IMPORT_TIMEOUT,
            stdin=file.fileno(),
            tick=progress,
        )  # fmt: skip
        if finished.code != 0:
            raise UserError(
                f"{path} {image_store.NOT_IMPORTED}: {finished.last_words}",
                hint="fetch it again if it is damaged",
            )


def _pull_listed(settings: Settings, stored: dict[str, image_store.StoredImage]) -> list[str]:
    """Pulls what the lists name and containerd lacks; the lists that could not be fulfilled."""
    failures = []
    for path in archive_files.lists(settings.image_archives):
        with open(path, encoding="utf-8", errors="replace") as file:
            wanted = [line.strip() for line in file if line.strip() and not line.startswith("#")]
        for reference in wanted:
            if normalise(reference) in stored:
                continue
            console.say(f"pulling {reference} ({path})")
            console.status(f"pulling {reference}")
            try:
                image_store.pull(settings, reference)
            except UserError as error:
                failures.append(path)
                console.say(f"{path}: {error}", console.ERROR)
    return list(dict.fromkeys(failures))


if __name__ == "__main__":
    console.main(program, "images --settings FILE")
