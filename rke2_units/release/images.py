"""References of images, and the name of the folder that a runtime image is unpacked into (RKE2's rules)."""

import hashlib
import re

from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.errors import ConfigurationError
from rke2_units.release.model import Release

RUNTIME_IMAGE = "runtime-image"
DOCKER_HUB = "docker.io"
# What RKE2 writes into manifests for Docker Hub; containerd and the kubelet know it as docker.io.
DOCKER_HUB_INDEX = "index.docker.io"

_VERSION_TAG = re.compile(r"v[0-9]")
_REFERENCE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._\-]*(?::[0-9]+(?=/))?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}))?"
    r"(?:@(?P<digest>[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}))?"
)


def reference(config: Config, release: Release, key: str) -> str:
    """The image of a key such as "etcd-image", as it is written: what archives and RKE2's hash know it by.

    The user's own reference is taken as it is; the release's is put behind the path of
    system-default-registry, if that has one. A registry without a path is added by `image` alone.
    """
    given = config.text(key)
    if given:
        return given
    if key not in release.images:
        raise ConfigurationError(f"release {release.name} has no image for {key}", hint=f"set {key}")
    registry = derived.default_registry(config)
    return f"{registry}/{release.images[key]}" if "/" in registry else release.images[key]


def image(config: Config, release: Release, key: str) -> str:
    """The fully qualified reference of a key's image, as RKE2 writes it into manifests."""
    written = reference(config, release, key)
    registry = derived.default_registry(config)
    if not config.text(key) and registry and "/" not in registry and registry != DOCKER_HUB:
        return f"{registry}/{written}"
    return qualified(written)


def qualified(written: str) -> str:
    """A reference with its registry (index.docker.io for Docker Hub) and its tag (latest)."""
    name, separator, rest = _split(written)
    first, _, remainder = name.partition("/")
    if remainder and ("." in first or ":" in first or first == "localhost"):
        registry = DOCKER_HUB_INDEX if first == DOCKER_HUB else first
    else:
        registry, remainder = DOCKER_HUB_INDEX, name
    if registry == DOCKER_HUB_INDEX and "/" not in remainder:
        remainder = f"library/{remainder}"
    return f"{registry}/{remainder}{separator or ':'}{rest or 'latest'}"


def content_directory_name(written: str) -> str:
    """The folder below data/ for a runtime image, from the reference as it is written, not normalised.

    That of directory_name for a tag that begins as a version does, the hex of the digest for a digest;
    ConfigurationError for anything else.
    """
    _, separator, rest = _split(written)
    if separator == "@":
        return rest.partition(":")[2]
    if separator and _VERSION_TAG.match(rest):
        return directory_name(rest, written)
    raise ConfigurationError(
        f"runtime image {written!r} has neither a digest nor a tag that begins like v1",
        hint="set runtime-image to a tagged release, as in rancher/rke2-runtime:v1.36.4-rke2r1",
    )


def directory_name(name: str, written: str) -> str:
    """The folder below data/ for what is taken out of an image: another image has another folder.

    `<name>-<first 12 hex of SHA-256(reference)>`.
    """
    return f"{name}-{hashlib.sha256(written.encode()).hexdigest()[:12]}"


def _split(written: str) -> tuple[str, str, str]:
    """A reference's name, its separator (":", "@" or "") and its tag or digest; a digest beats a tag."""
    match = _REFERENCE.fullmatch(written)
    if match is None:
        raise ConfigurationError(f"{written!r} is no image reference", hint="write registry/repository:tag")
    if match["digest"] is not None:
        return match["name"], "@", match["digest"]
    if match["tag"] is not None:
        return match["name"], ":", match["tag"]
    return match["name"], "", ""
