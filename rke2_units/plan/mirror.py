"""The images that a registry needs for a node: its own, and those of the charts that it would install."""

from dataclasses import dataclass

from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.plan import static_pods
from rke2_units.plan.image_programs import HELM_IMAGE
from rke2_units.release import features, image_list, images
from rke2_units.release.model import ALL, CORE, Release
from rke2_units.unit_names import Role


@dataclass(frozen=True)
class Needed:
    """`images` are qualified references (docker.io/...), sorted and without system-default-registry.

    `unlisted` are the network plugins and ingress controllers whose images the release has no list of.
    """

    images: tuple[str, ...]
    unlisted: tuple[str, ...]


def needed(config: Config, release: Release) -> Needed:
    """The images of this node. An agent's are its own only: charts are the servers' to choose."""
    keys = [f"{component}-image" for component in static_pods.components(config, release)]
    keys.append("pause-image")
    if not derived.uses_host_content(config):
        keys.append(images.RUNTIME_IMAGE)
    if config.role is Role.SERVER and not config.text("helm-path"):
        keys += [key for key in (HELM_IMAGE,) if config.text(key) or key in release.images]
    found = {image_list.canonical(config.text(key) or release.images[key]) for key in keys}
    if config.role is Role.AGENT:
        return Needed(tuple(sorted(found)), ())
    lists = release.lists
    if CORE not in lists:
        found.update(_of_charts(release, lists.get(ALL, ())))
        return Needed(tuple(sorted(found)), ())
    found.update(_of_charts(release, lists[CORE]))
    unlisted = []
    controllers = derived.ingress_controllers(config, features.default_ingress(release))
    for name in (*derived.cni(config), *controllers):
        if name in lists:
            found.update(_of_charts(release, lists[name]))
        elif not _is_in_core(name, lists[CORE]):
            unlisted.append(name)
    return Needed(tuple(sorted(found)), tuple(unlisted))


def source(config: Config, release: Release, image: str) -> str:
    """Where a node with this configuration pulls one of its images from.

    That is behind system-default-registry, but for an image that a key of its own names.
    """
    registry = derived.default_registry(config)
    given = {image_list.canonical(config.text(key)) for key in release.images if config.text(key)}
    host, _, path = image.partition("/")
    return f"{registry}/{path}" if registry and host == images.DOCKER_HUB and image not in given else image


def _of_charts(release: Release, listed: tuple[str, ...]) -> set[str]:
    """What is in a list beside the images that nodes themselves run, which follow the configuration."""
    own = {image_list.canonical(written) for written in release.images.values()}
    return set(listed) - own


def _is_in_core(name: str, core: tuple[str, ...]) -> bool:
    return any(name.removeprefix("ingress-") in reference for reference in core)
