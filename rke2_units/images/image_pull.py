"""Pulls images into containerd. When several units need one image, one of them pulls it."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from rke2_units import layout
from rke2_units.errors import UserError
from rke2_units.images import image_store, pull, registries
from rke2_units.images.pulled_image import PulledImage
from rke2_units.images.references import normalise
from rke2_units.lean import console
from rke2_units.lean.containers import ctr
from rke2_units.lean.settings import Settings

_LOCKS = f"{layout.RUNTIME_DIRECTORY}/pulls"
_IMPORT_TIMEOUT = 3600.0


def bring(settings: Settings, reference: str) -> None:
    """Makes sure that containerd has the image; UserError with the failure of each endpoint."""
    name = normalise(reference)
    key = hashlib.sha256(name.encode()).hexdigest()[:16]
    pulls = f"{settings.data_directory}/agent/pulls"
    with _lock(key, name):
        _remove_left_overs(pulls, key)
        if name not in image_store.stored(settings, f"name=={name}"):
            console.say(f"pulling {reference}")
            os.makedirs(pulls, mode=0o700, exist_ok=True)
            directory = f"{pulls}/{key}"
            try:
                endpoint = pull.fetch(
                    registries.read(settings.registries), reference, directory,
                    tell=console.say, progress=console.status,
                )  # fmt: skip
                _import(settings, PulledImage(reference, directory), name)
                console.say(f"{reference} pulled from {endpoint}")
            finally:
                shutil.rmtree(directory, ignore_errors=True)
        image_store.note_present(name)


def _import(settings: Settings, image: PulledImage, name: str) -> None:
    """Streams the image into containerd, which unpacks it."""
    import threading

    reading, writing = os.pipe()

    def write() -> None:
        try:
            with open(writing, "wb") as output:
                image.write_archive(name, output)
        except BrokenPipeError:
            # ctr has ended, and says why.
            pass

    console.status(f"importing {name}")
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        finished = ctr(
            settings, "images", "import", "--snapshotter", settings.snapshotter, "-",
            timeout=_IMPORT_TIMEOUT,
            stdin=reading,
        )  # fmt: skip
    finally:
        # Without a reader the writer ends.
        os.close(reading)
        writer.join()
    if finished.code != 0:
        raise UserError(f"{name} was pulled but cannot be imported: {finished.last_words}")


@contextmanager
def _lock(key: str, name: str) -> Iterator[None]:
    """One pull of an image at a time, on this machine."""
    os.makedirs(_LOCKS, mode=0o700, exist_ok=True)
    # In /run, not in the pull's folder: the locked file must not be removed, and is gone after a reboot.
    with open(f"{_LOCKS}/{key}", "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.say(f"waiting for another unit, which is pulling {name}")
            console.status(f"waiting for another unit, which is pulling {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_left_overs(pulls: str, own: str) -> None:
    """Removes what killed pulls left: of this image, and of those that nobody pulls now."""
    for entry in os.listdir(pulls) if os.path.isdir(pulls) else ():
        key = entry.partition(".")[0]
        with open(f"{_LOCKS}/{key}", "wb") as file:
            try:
                if key != own:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(f"{pulls}/{entry}", ignore_errors=True)
