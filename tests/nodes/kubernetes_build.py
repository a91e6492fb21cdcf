"""Kubernetes 1.20.2 and its pause program, built once from Debian's source package."""

import shutil
import subprocess
from pathlib import Path

from tests.nodes import debian, host
from tests.nodes.cache import cached, progress, recipe_hash
from tests.nodes.errors import NodeError

VERSION = "v1.20.2"
# The last Debian release whose source package `kubernetes` holds the whole tree.
SUITE = "bookworm"
SCRIPT = Path(__file__).with_name("kubernetes_build.sh")
# A line of progress for so many packages.
_PACKAGES_SHOWN = 250


def recipe() -> str:
    """Changes whenever the programs have to be built again."""
    return recipe_hash(SCRIPT, SUITE)


def programs() -> Path:
    """A directory with kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy, kubelet, kubectl
    and pause, all statically linked. The first call takes about 4 minutes on two cores."""
    return cached("kubernetes", recipe(), _build)


def _build(directory: Path) -> None:
    host.prepare(host.BUILD_PACKAGES)
    work = directory / "work"
    work.mkdir()
    progress("kubernetes: fetching the source package")
    source = debian.fetch_source(work, SUITE, "kubernetes")
    build = subprocess.Popen(
        [SCRIPT, source, directory],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert build.stdout is not None
    compiled = 0
    for line in build.stdout:
        # The compiler names each package that it begins with.
        if " " in line:
            progress(f"kubernetes: {line.rstrip()}")
            continue
        compiled += 1
        if compiled % _PACKAGES_SHOWN == 0:
            progress(f"kubernetes: {compiled} packages")
    if build.wait() != 0:
        raise NodeError(f"building Kubernetes ended with {build.returncode}; see the lines above")
    shutil.rmtree(work)
