"""The images that containerd has, and a file about them that is written at each start."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from rke2_units import layout
from rke2_units.errors import UserError
from rke2_units.lean import write
from rke2_units.lean.containers import ctr, named
from rke2_units.lean.settings import Settings

# The images that images.py has found in containerd since it was started last; gone after a reboot.
PRESENT_FILE = f"{layout.RUNTIME_DIRECTORY}/images.json"
# The kubelet's image collection leaves these alone (the first is RKE2's, the second containerd's); the
# third is what containerd's CRI plugin gives to images that it may use.
_PIN = "io.cattle.k3s.pinned"
LABELS = {
    _PIN: "pinned",
    "io.cri-containerd.pinned": "pinned",
    "io.cri-containerd.image": "managed",
}
# In place of an image's name: an archive that cannot be read may have any image.
ANY = ""


class StoredImage:
    """An image in containerd: the digest of what its name leads to, and its labels as `ctr` prints them."""

    def __init__(self, digest: str, labels: str) -> None:
        self.digest = digest
        found = set(labels.split(","))
        self.is_labelled = {f"{key}={value}" for key, value in LABELS.items()} <= found
        # By RKE2 or by us, not by containerd itself.
        self.is_pinned = f"{_PIN}={LABELS[_PIN]}" in found


def stored(settings: Settings, *filters: str) -> dict[str, StoredImage]:
    """containerd's images by name."""
    finished = ctr(settings, "images", "ls", *filters, timeout=60)
    if finished.code != 0:
        raise UserError(
            f"cannot list the images of containerd: {finished.last_words}",
            hint=f"is {named(settings)} running?",
        )
    found = {}
    # REF TYPE DIGEST SIZE UNIT PLATFORMS LABELS, below a line of headings.
    for line in finished.output.splitlines()[1:]:
        words = line.split()
        if len(words) >= 4:
            found[words[0]] = StoredImage(words[2], words[-1])
    return found


def label(settings: Settings, name: str) -> None:
    """Protects an image from garbage collection."""
    _change(settings, name, "label", name, *(f"{key}={value}" for key, value in LABELS.items()))


def unpin(settings: Settings, name: str) -> None:
    """Allows the kubelet to collect an image again."""
    _change(settings, name, "label", name, *(f"{key}=" for key in LABELS if key.endswith(".pinned")))


def tag(settings: Settings, name: str, other: str) -> None:
    """Gives an image another name, whatever image had it."""
    _change(settings, name, "tag", "--force", name, other)


def _change(settings: Settings, name: str, *arguments: str) -> None:
    finished = ctr(settings, "images", *arguments, timeout=60)
    if finished.code != 0:
        raise UserError(f"cannot change the labels or names of the image {name}: {finished.last_words}")


class Present:
    """What is known since the start: the images that are present, and those still to be imported or pulled.

    `reasons`: why an image could not be imported from its archive, by its name or ANY.
    """

    def __init__(self, images: list[str], pending: list[str], reasons: dict[str, str]) -> None:
        self.images = images
        self.pending = pending
        self.reasons = reasons

    def write(self, path: str) -> None:
        write_json(
            path,
            {"images": sorted(self.images), "pending": sorted(self.pending), "reasons": self.reasons},
        )


def write_present(present: Present, path: str = PRESENT_FILE) -> None:
    """Records, for programs that wait for an image, the present and the pending ones (normalised names)."""
    with _locked(path):
        present.write(path)


def note_present(name: str, path: str = PRESENT_FILE) -> None:
    """Records one more present image; does nothing before the first record."""
    with _locked(path):
        present = read_present(path)
        if present is not None and name not in present.images:
            present.images.append(name)
            present.write(path)


def forget_present(path: str = PRESENT_FILE) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def read_present(path: str = PRESENT_FILE) -> Present | None:
    """What has been recorded since the last start; None when nothing has."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        return Present(
            [str(name) for name in found["images"]],
            [str(name) for name in found["pending"]],
            {str(name): str(reason) for name, reason in found["reasons"].items()},
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


@contextmanager
def _locked(path: str) -> Iterator[None]:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(f"{path}.lock", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_json(path: str, value: object) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    # What is lost with the machine's power is found out again.
    with write.replace(path, 0o644, on_disk=False) as file:
        file.write(json.dumps(value).encode())
