"""etcdctl, which comes out of the image of etcd: what joins members, and asks and promotes them."""

import hashlib
from dataclasses import dataclass

from rke2_units import unit_names
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.layout import Paths
from rke2_units.release import images
from rke2_units.release.model import Release

PROGRAM = "etcdctl"
_IMAGE_KEY = f"{unit_names.ETCD}-image"


@dataclass(frozen=True)
class Etcdctl:
    """`path` is where it is or will be, `image` what it is taken out of, `pull` what is pulled for that.

    `directory` is its folder below data/: no version's, which rke2-content would remove.
    """

    path: str
    image: str
    pull: str
    directory: str


def etcdctl(config: Config, release: Release) -> Etcdctl:
    """The etcdctl of this node."""
    image = images.reference(config, release, _IMAGE_KEY)
    directory = f"{PROGRAM}-{hashlib.sha256(image.encode()).hexdigest()[:12]}"
    folder = Paths(derived.data_directory(config)).content_directory(directory)
    return Etcdctl(f"{folder}/{PROGRAM}", image, images.image(config, release, _IMAGE_KEY), directory)
