"""The images that containerd has, and what this start has found out about them."""

import json
import os

from rke2_units import names
from rke2_units.errors import UserError
from rke2_units.programs.containers import ctr
from rke2_units.programs.references import normalise
from rke2_units.programs.settings import Settings

# What images.py has seen in containerd since it was started last; gone with the machine's memory.
PRESENT_FILE = f"{names.RUNTIME_DIRECTORY}/images.json"
# The kubelet's image collection leaves these alone (the first is RKE2's, the second containerd's); the
# third is what containerd's CRI plugin gives to images that it may use.
LABELS = {
    "io.cattle.k3s.pinned": "pinned",
    "io.cri-containerd.pinned": "pinned",
    "io.cri-containerd.image": "managed",
}
_PULL_TIMEOUT = 600.0
# By this those who wait for an image know what is said about its archive.
NOT_IMPORTED = "cannot be imported"


class StoredImage:
    """An image in containerd: the digest of what its name leads to, and its labels as `ctr` prints them."""

    def __init__(self, digest: str, labels: str) -> None:
        self.digest = digest
        self.labels = labels

    @property
    def is_labelled(self) -> bool:
        return all(f"{key}={value}" in self.labels.split(",") for key, value in LABELS.items())


def stored(settings: Settings, *filters: str) -> dict[str, StoredImage]:
    """containerd's images by name."""
    finished = ctr(settings, "images", "ls", *filters, timeout=60)
    if finished.code != 0:
        raise UserError(
            f"containerd does not list its images: {finished.last_words}",
            hint="is rke2-containerd.service running?",
        )
    found = {}
    # REF TYPE DIGEST SIZE UNIT PLATFORMS LABELS, below a line of headings.
    for line in finished.output.splitlines()[1:]:
        words = line.split()
        if len(words) >= 4:
            found[words[0]] = StoredImage(words[2], words[-1])
    return found


def label(settings: Settings, name: str) -> None:
    """Keeps an image from being collected."""
    pairs = [f"{key}={value}" for key, value in LABELS.items()]
    finished = ctr(settings, "images", "label", name, *pairs, timeout=60)
    if finished.code != 0:
        raise UserError(f"{name} cannot be labelled: {finished.last_words}")


def pull(settings: Settings, reference: str) -> None:
    """Pulls an image through the registries that containerd is configured for; UserError with the reason."""
    hosts = f"{settings.data_directory}/agent/etc/containerd/certs.d"
    options = ["--hosts-dir", hosts] if os.path.isdir(hosts) else []
    name = normalise(reference)
    finished = ctr(
        settings,
        "images",
        "pull",
        "--snapshotter",
        settings.snapshotter,
        *options,
        name,
        timeout=_PULL_TIMEOUT,
    )
    if finished.code != 0:
        raise UserError(f"the image {reference} cannot be pulled: {finished.last_words}")


def write_present(images: list[str], path: str = PRESENT_FILE) -> None:
    """Notes which images (normalised names) are in containerd, for those who wait for one of them."""
    write_json(path, sorted(images))


def forget_present(path: str = PRESENT_FILE) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def read_present(path: str = PRESENT_FILE) -> list[str] | None:
    """What has been noted since the last start; None when nothing has."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (FileNotFoundError, ValueError):
        return None
    return [str(name) for name in found] if isinstance(found, list) else None


def write_json(path: str, value: object) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.rename(temporary, path)
