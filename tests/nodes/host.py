"""What a test node needs on the machine that carries it."""

import os

from tests.nodes import debian
from tests.nodes.errors import NodeError

PACKAGES = (
    "iproute2",
    "mmdebstrap",
    "systemd-container",
    "util-linux",
)
# To make the content from source.
BUILD_PACKAGES = (
    "dpkg-dev",
    "gcc",
    "golang-1.19-go",
    "golang-github-modern-go-reflect2-dev",
    "libc6-dev",
)
QEMU_PACKAGES = (
    "e2fsprogs",
    "openssh-client",
    "qemu-system-x86",
)


def require_root() -> None:
    """NodeError when this process may not make nodes."""
    if os.geteuid() != 0:
        raise NodeError("test nodes are real machines: run as root (sudo)")


def prepare(*groups: tuple[str, ...]) -> None:
    """Install what is missing of the host packages, and of further groups of packages."""
    require_root()
    debian.install([package for group in (PACKAGES, *groups) for package in group])
