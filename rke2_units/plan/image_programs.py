"""The programs that a server takes out of images: helm, which installs the charts, and etcdctl."""

from dataclasses import dataclass

from rke2_units import unit_names
from rke2_units.config import derived
from rke2_units.plan.node import Node
from rke2_units.release import images

HELM = "helm"
HELM_IMAGE = "helm-job-image"
ETCDCTL = "etcdctl"
_ETCD_IMAGE = f"{unit_names.ETCD}-image"
# The path that is named as missing where there is no helm at all.
_WHERE_TO_PUT_HELM = "/usr/local/bin/helm"


@dataclass(frozen=True)
class ImageProgram:
    """`path` is where the program is or will be.

    `image` is what it is taken out of, `pull` what is pulled for that, and `directory` its folder below
    data/; all three are "" for a program that is there already.
    """

    name: str
    path: str
    image: str = ""
    pull: str = ""
    directory: str = ""


def helm(node: Node) -> ImageProgram:
    """The helm of helm-path, else the machine's own or that of an image.

    ConfigurationError when helm-path names none.
    """
    config, found = node.config, node.facts.programs
    named = config.text("helm-path")
    if named:
        if named not in found:
            raise config.error(
                "helm-path",
                f"must be an executable program, and there is no {named}",
                hint="put it there, or leave helm-path out",
            )
        return ImageProgram(HELM, found[named])
    own = found.get(HELM, "")
    if own and derived.uses_host_content(config):
        return ImageProgram(HELM, own)
    if not config.text(HELM_IMAGE) and HELM_IMAGE not in node.release.images:
        return ImageProgram(HELM, own or _WHERE_TO_PUT_HELM)
    return _of_image(HELM, HELM_IMAGE, node)


def etcdctl(node: Node) -> ImageProgram:
    """The etcdctl in the image of etcd, by which members are joined, asked and promoted."""
    return _of_image(ETCDCTL, _ETCD_IMAGE, node)


def _of_image(name: str, key: str, node: Node) -> ImageProgram:
    image = images.reference(node.config, node.release, key)
    # Not named as a version's folder is: rke2-content would remove it.
    directory = images.directory_name(name, image)
    path = f"{node.paths.content_directory(directory)}/{name}"
    return ImageProgram(name, path, image, node.image(key), directory)
