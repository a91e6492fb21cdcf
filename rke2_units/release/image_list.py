"""RKE2's image lists as what is known of a release.

A release has several lists, rke2-images-NAME.linux-ARCH.txt: core, one for each network plugin and so on.
A line is docker.io/rancher/IMAGE:TAG.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from rke2_units import unit_names
from rke2_units.config import grammar
from rke2_units.config.derived import PRIME_REGISTRY
from rke2_units.errors import ConfigurationError
from rke2_units.release import images
from rke2_units.release.model import ALL, CHART, STATIC_POD, Release

_FILE = re.compile(r"rke2-images(?:-(?P<name>[a-z0-9-]+))?\.linux-(?P<architecture>[a-z0-9]+)\.txt")
_ETCD = re.compile(r"v([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9])")

# The images that a node cannot do without, and the keys that each of them serves.
_ESSENTIAL: dict[str, tuple[str, ...]] = {
    "rke2-runtime": (images.RUNTIME_IMAGE,),
    "hardened-kubernetes": tuple(
        f"{component}-image"
        for component in (
            unit_names.KUBE_APISERVER,
            unit_names.KUBE_CONTROLLER_MANAGER,
            unit_names.KUBE_SCHEDULER,
            unit_names.KUBE_PROXY,
        )
    ),
    "hardened-etcd": (f"{unit_names.ETCD}-image",),
    "mirrored-pause": ("pause-image",),
}
_OPTIONAL: dict[str, tuple[str, ...]] = {
    "rke2-cloud-provider": (f"{unit_names.CLOUD_CONTROLLER_MANAGER}-image",),
    "klipper-helm": ("helm-job-image",),
}
# Names that were other ones in early releases.
_RENAMED = {"pause": "mirrored-pause"}

# The first patch release of a minor version that brought it; in minor versions before the first one nothing
# has it, after the last one everything. Source: the containerd and kube-proxy of RKE2's releases.
_CONTAINERD_2 = {31: 6, 32: 2}
_KUBE_PROXY_AS_STATIC_POD = {20: 9, 21: 3}


def list_name(file: str, architecture: str | None = None) -> str | None:
    """Which list a file of this name holds; None for a name (or an architecture) that is not of a list.

    The list without a name is core and the default network plugin: with "all" it counts as a list of
    everything, which matters where there is no core.
    """
    match = _FILE.fullmatch(file)
    if match is None or architecture not in (None, match["architecture"]):
        return None
    return match["name"] or ALL


def parse(text: str, source: str) -> tuple[str, ...]:
    """The images of a list, qualified (docker.io/rancher/...), each once, sorted.

    Empty lines, comments (#) and byte order marks are ignored. ConfigurationError, with source and
    line, for anything else that is no reference.
    """
    found = set()
    for number, line in enumerate(text.splitlines(), 1):
        written = line.partition("#")[0].strip("\ufeff \t")
        if not written:
            continue
        try:
            found.add(canonical(written))
        except ConfigurationError as error:
            raise ConfigurationError(f"{source}:{number}: {error.message}", hint=error.hint) from None
    if not found:
        raise ConfigurationError(f"{source} names no image", hint="an image list has one reference per line")
    return tuple(sorted(found))


def canonical(written: str) -> str:
    """The qualified name of an image as lists have it; Rancher Prime's registry holds the same names."""
    registry, _, path = images.qualified(written).partition("/")
    on_hub = registry in (images.DOCKER_HUB_INDEX, PRIME_REGISTRY)
    return f"{images.DOCKER_HUB if on_hub else registry}/{path}"


def release(name: str, lists: Mapping[str, Iterable[str]]) -> Release:
    """The release of this name (v1.36.4+rke2r1), out of its lists as `parse` returns them, by their names.

    ConfigurationError when an image that a node cannot do without is missing or there twice, and when the
    lists are those of another release.
    """
    try:
        major, minor, patch = grammar.release(name)
    except ValueError as error:
        raise ConfigurationError(f"{name!r} must be {error}") from None
    kept = {key: tuple(lines) for key, lines in lists.items()}
    # In early releases the runtime image has a list of its own.
    found = _own_images(name, sorted({line for lines in kept.values() for line in lines}))
    runtime_tag = found[images.RUNTIME_IMAGE].rpartition(":")[2]
    if runtime_tag != name.replace("+", "-"):
        raise ConfigurationError(
            f"the image list is not that of {name}: its runtime image is {found[images.RUNTIME_IMAGE]}",
            hint="each release has image lists of its own",
        )
    etcd_tag = found[f"{unit_names.ETCD}-image"].rpartition(":")[2]
    etcd = _ETCD.match(etcd_tag)
    if etcd is None:
        raise ConfigurationError(f"the image list of {name} has an etcd of an unknown version: {etcd_tag}")
    return Release(
        name=name,
        kubernetes=(major, minor),
        etcd=(int(etcd[1]), int(etcd[2]), int(etcd[3])),
        containerd_config=3 if _has(_CONTAINERD_2, minor, patch) else 2,
        kube_proxy=STATIC_POD if _has(_KUBE_PROXY_AS_STATIC_POD, minor, patch) else CHART,
        rewrites=True,
        images=MappingProxyType(found),
        lists=MappingProxyType(kept),
    )


def _own_images(name: str, lines: Iterable[str]) -> dict[str, str]:
    """The node's own images by RKE2's keys, written as RKE2 writes them (without docker.io/)."""
    found: dict[str, str] = {}
    for line in lines:
        path = line.removeprefix(f"{images.DOCKER_HUB}/rancher/")
        repository = path.partition(":")[0].partition("@")[0]
        repository = _RENAMED.get(repository, repository)
        for key in (_ESSENTIAL | _OPTIONAL).get(repository, ()):
            written = f"rancher/{path}"
            if found.setdefault(key, written) != written:
                raise ConfigurationError(f"the image list of {name} has both {found[key]} and {written}")
    missing = [f"rancher/{image}" for image, keys in _ESSENTIAL.items() if keys[0] not in found]
    if missing:
        raise ConfigurationError(
            f"the image list of {name} lacks {', '.join(missing)}",
            hint="a node needs the images of rke2-images-core.linux-ARCH.txt",
        )
    return found


def _has(first: Mapping[int, int], minor: int, patch: int) -> bool:
    return minor > max(first) or patch >= first.get(minor, patch + 1)
