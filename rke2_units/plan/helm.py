"""Which helm installs the charts: the one that is named, the machine's own, or that of an image."""

import hashlib
from dataclasses import dataclass

from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.layout import Paths
from rke2_units.model import NodeFacts
from rke2_units.release import images
from rke2_units.release.model import Release

IMAGE_KEY = "helm-job-image"
PROGRAM = "helm"
# What charts name that have none.
_WHERE_TO_PUT_IT = "/usr/local/bin/helm"


@dataclass(frozen=True)
class Helm:
    """`path` is where it is or would be.

    `image` is what it is taken out of, "" for one that is there already, and `pull` what is pulled then.
    """

    path: str
    image: str = ""
    pull: str = ""


def helm(config: Config, facts: NodeFacts, release: Release) -> Helm:
    """The helm of this node; ConfigurationError when `helm-path` names none."""
    named = config.text("helm-path")
    if named:
        if named not in facts.programs:
            raise config.error(
                "helm-path",
                f"must be an executable program, and there is no {named}",
                hint="put it there, or leave helm-path out",
            )
        return Helm(facts.programs[named])
    own = facts.programs.get(PROGRAM, "")
    if own and derived.uses_host_content(config):
        return Helm(own)
    if not config.text(IMAGE_KEY) and IMAGE_KEY not in release.images:
        return Helm(own or _WHERE_TO_PUT_IT)
    image = images.reference(config, release, IMAGE_KEY)
    directory = Paths(derived.data_directory(config)).content_directory(directory_name(image))
    return Helm(f"{directory}/{PROGRAM}", image, images.image(config, release, IMAGE_KEY))


def directory_name(image: str) -> str:
    """The folder below data/ for the helm of an image: no version's, which rke2-content would remove."""
    return f"helm-{hashlib.sha256(image.encode()).hexdigest()[:12]}"
