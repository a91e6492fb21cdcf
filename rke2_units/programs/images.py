"""`images --settings FILE`: brings the images of the air-gap folder into containerd.

ExecStart= of rke2-images.service. An image is skipped when containerd has it with the
content of its archive: the content of an archive is remembered by the file's identity (inode, size, times),
and the image that containerd made of it by digest. Then the images in lists (*.txt) are pulled. A damaged
archive, or an image that cannot be pulled, is reported; all others are imported all the same.
"""

import json
import os
import time
from collections.abc import Iterable

from rke2_units import layout
from rke2_units.errors import UserError
from rke2_units.images import archive_files, image_store
from rke2_units.images.references import listed, normalise, spellings
from rke2_units.lean import console
from rke2_units.lean.containers import ctr
from rke2_units.lean.settings import Settings

_MEMORY = f"{layout.STATE_DIRECTORY}/image-archives.json"
_IMPORT_TIMEOUT = 3600.0
_SHOWN = 10


def program(settings: Settings, arguments: list[str]) -> None:
    if arguments:
        raise UserError("images takes no arguments", hint="images --settings FILE")
    # Programs that wait for an image must not read the result of an earlier run.
    image_store.forget_present()
    began = time.monotonic()
    if others := archive_files.passed_over(settings.image_archives):
        shown = ", ".join(others[:_SHOWN]) + (
            f" and {more} more" if (more := len(others) - _SHOWN) > 0 else ""
        )
        console.say(
            f"ignored in {settings.image_archives}, because the name does not end in"
            f" {archive_files.endings()}: {shown}",
            console.WARNING,
        )
    memory = Memory(_MEMORY)
    failures: list[str] = []
    reasons: dict[str, str] = {}
    wanted: list[tuple[str, list[Wanted]]] = []
    for path in archive_files.archives(settings.image_archives):
        try:
            images = [image for image in memory.images(path) if not _is_content(settings, image)]
        except UserError as error:
            failures.append(path)
            reasons.setdefault(image_store.ANY, str(error))
            console.say(str(error), console.ERROR)
            continue
        wanted.append((path, images))
    archived_names = {name for _, images in wanted for image in images for name in image.names}
    store = _Store(settings, archived_names, reasons)
    pending = [(path, images) for path, images in wanted if not memory.are_stored(images, store.images)]
    pending.sort(key=lambda item: _rank(settings, [name for image in item[1] for name in image.names]))
    store.outdated = {name for _, images in pending for image in images for name in image.names}
    wanted_by_lists = _listed(settings, failures)
    store.settle(pending=store.outdated | {name for name in wanted_by_lists if name not in store.images})
    for number, (path, images) in enumerate(pending, 1):
        archived = {name for image in images for name in image.names}
        try:
            # Another archive may have brought the same.
            if not memory.are_stored(images, store.images):
                _import(settings, path, f"{number} of {len(pending)}")
                store.look()
                store.name_in_full(images)
                memory.remember(images, store.images)
            store.outdated -= archived
        except UserError as error:
            failures.append(path)
            store.reasons.update(dict.fromkeys(archived, str(error)))
            console.say(str(error), console.ERROR)
        store.settle(pending=store.pending - archived)
    memory.save()
    missing = [name for name in wanted_by_lists if name not in store.images]
    failures += _pull(settings, store, missing, wanted_by_lists)
    if failures:
        raise UserError(
            f"could not import the images of: {', '.join(dict.fromkeys(failures))}",
            hint="the reasons are above; all other images were imported",
        )
    store.unpin_others({*wanted_by_lists, *(normalise(reference) for reference in settings.images_first)})
    took = time.monotonic() - began
    done = f"{len(pending)} archives imported" + (f", {len(missing)} images pulled" if missing else "")
    console.say(f"{done}, the others were present ({took:.1f} s)")


class _Store:
    """containerd's images, and the file that tells other programs which images are present.

    `archived` are the names in archives, `outdated` the names of images that differ from those in their
    archive, `pending` the names that may still be imported or pulled. `reasons` as in image_store.Present.
    """

    def __init__(self, settings: Settings, archived: set[str], reasons: dict[str, str]) -> None:
        self._settings = settings
        self.archived = archived
        self.reasons = reasons
        self.outdated: set[str] = set()
        self.pending: set[str] = set()
        self.look()

    def look(self) -> None:
        self.images = image_store.stored(self._settings)

    def settle(self, *, pending: set[str], ours: Iterable[str] = ()) -> None:
        """Writes which images are present; protects those of archives, and `ours`, from collection."""
        self.pending = pending
        there = [name for name in self.images if name not in self.outdated]
        image_store.write_present(image_store.Present(there, list(pending), self.reasons))
        for name in sorted((self.archived - self.outdated).union(ours)):
            if name in self.images:
                self._keep(name)
                if name in self.archived:
                    self._name_elsewhere(name)

    def _keep(self, name: str) -> None:
        if not self.images[name].is_labelled:
            image_store.label(self._settings, name)
            self.images[name].is_labelled = True

    def _name_elsewhere(self, name: str) -> None:
        """Gives an archive's image the names of further registries (airgap-extra-registry)."""
        image = self.images[name]
        for other in _names_elsewhere(self._settings, name):
            if other not in self.images or self.images[other].digest != image.digest:
                image_store.tag(self._settings, name, other)
                self.images[other] = image_store.StoredImage(image.digest, "")
            self._keep(other)

    def name_in_full(self, images: Iterable["Wanted"]) -> None:
        """Gives images that were just imported the names that a kubelet asks for: docker.io/rancher/x."""
        for image in images:
            for written, name in zip(image.stored_names, image.names, strict=True):
                if written != name and written in self.images:
                    image_store.tag(self._settings, written, name)
                    self.images[name] = image_store.StoredImage(self.images[written].digest, "")

    def unpin_others(self, wanted: set[str]) -> None:
        """Allows garbage collection of every image that neither an archive nor `wanted` names."""
        wanted = wanted | self.archived
        wanted |= {other for name in self.archived for other in _names_elsewhere(self._settings, name)}
        for name, image in self.images.items():
            if image.is_pinned and name not in wanted:
                image_store.unpin(self._settings, name)
                console.say(f"{name} is no longer in an archive or a list: the kubelet may remove it")


def _names_elsewhere(settings: Settings, name: str) -> list[str]:
    path = name.partition("/")[2]
    return [] if "@" in name else [f"{registry}/{path}" for registry in settings.extra_registries]


class Wanted:
    """An image that an archive has: what it is known by (archives.SavedImage.config), and its names."""

    def __init__(self, config: str, *stored_names: str) -> None:
        self.config = config
        self.stored_names = stored_names
        self.names = tuple(normalise(name) for name in stored_names)


class Memory:
    """Which images are in which archive, and their digests in containerd; a file that survives restarts.

    It saves reading compressed archives again. It is compared with containerd's images at each start.
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
        try:
            status = os.stat(path)
        except OSError as error:
            raise UserError(
                f"{path} cannot be read: {error.strerror}", hint="correct or remove it"
            ) from None
        # ctime changes with the content and cannot be set, unlike mtime.
        identity = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        known = self._archives.get(path)
        if isinstance(known, list) and known[:1] == [identity]:
            images = known[1]
        else:
            # Slow to import, and needed for new archives only.
            from rke2_units.images.archives import saved_images

            images = [[saved.config, *saved.stored_names] for saved in saved_images(path)]
        self._seen[path] = [identity, images]
        wanted = [Wanted(*image) for image in images]
        self._configs.update(image.config for image in wanted)
        return wanted

    def is_stored(self, image: Wanted, stored: dict[str, image_store.StoredImage]) -> bool:
        """Whether containerd has this content under all names of the image.

        containerd's CRI plugin keeps a second name for each image, the digest of its configuration: that is
        compared when nothing is remembered.
        """
        # An image of an index is known by the same digest as in containerd.
        digests = {self._digests.get(image.config, ""), f"sha256:{_hex(image.config)}"}
        if (by_configuration := stored.get(f"sha256:{_hex(image.config)}")) is not None:
            digests.add(by_configuration.digest)
        return all(name in stored and stored[name].digest in digests for name in image.names)

    def are_stored(self, images: list[Wanted], stored: dict[str, image_store.StoredImage]) -> bool:
        return all(self.is_stored(image, stored) for image in images)

    def remember(self, images: list[Wanted], stored: dict[str, image_store.StoredImage]) -> None:
        for image in images:
            for name in image.names:
                if name in stored:
                    self._digests[image.config] = stored[name].digest

    def save(self) -> None:
        """Writes what is known about the archives that exist now."""
        digests = {config: digest for config, digest in self._digests.items() if config in self._configs}
        if self._seen != self._archives or digests != self._digests or not os.path.exists(self._path):
            image_store.write_json(self._path, {"archives": self._seen, "digests": digests})


def _hex(config: str) -> str:
    return os.path.basename(config).removesuffix(".json").removeprefix("sha256:")


def _is_content(settings: Settings, image: Wanted) -> bool:
    """Whether it is the runtime image: rke2-content extracts that, and no container runs from it."""
    return bool(image.names) and set(image.names) <= set(spellings(settings.content_image))


def _rank(settings: Settings, names_: list[str]) -> int:
    """The place in the queue: by the first of these images that a static pod waits for."""
    first = [normalise(reference) for reference in settings.images_first]
    return min((first.index(name) for name in names_ if name in first), default=len(first))


def _import(settings: Settings, path: str, place: str) -> None:
    """Imports and unpacks one archive, with its progress in the unit's status."""
    from rke2_units.images.archives import opened

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
                f"{path} cannot be imported: {finished.last_words}",
                hint="if it is damaged, fetch it again",
            )


def _listed(settings: Settings, failures: list[str]) -> dict[str, list[str]]:
    """The images (normalised names) of the lists, each with the lists that name it.

    A list that cannot be read is reported, and added to `failures`.
    """
    found: dict[str, list[str]] = {}
    for path in archive_files.lists(settings.image_archives):
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
        # NUL bytes: UTF-16, as Windows writes it.
        if any("\0" in line for line in lines):
            failures.append(path)
            console.say(f"{path} is not UTF-8 text: a list of images must be", console.ERROR)
            continue
        images = [image for line in lines if (image := listed(line))]
        for image in images:
            if not _is_content(settings, Wanted("", image)):
                found.setdefault(normalise(image), []).append(path)
    return found


def _pull(settings: Settings, store: _Store, missing: list[str], listed: dict[str, list[str]]) -> list[str]:
    """Pulls the images of the lists that containerd lacks; returns the lists of which an image failed."""
    failures = []
    for name in sorted(missing, key=lambda name: _rank(settings, [name])):
        from rke2_units.images import image_pull

        try:
            image_pull.bring(settings, name)
            store.look()
        except UserError as error:
            failures += listed[name]
            console.say(f"{', '.join(listed[name])}: {error}", console.ERROR)
        store.settle(pending=store.pending - {name})
    store.settle(pending=set(), ours=listed)
    return failures


if __name__ == "__main__":
    console.main(program, "images --settings FILE")
