"""The archives of agent/images: every format, one that is damaged, and what is there already.

On the server that tests share, beside the archives that it has.
"""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.helpers import product
from tests.node.helpers.product import BASIC_CONFIG, CONFIG
from tests.nodes.image_archive import Image, Text, write_archive
from tests.nodes.machine import Node

IMAGES = "rke2-images.service"
ARCHIVES = "/var/lib/rancher/rke2/agent/images"
# 27 is the longest window that zstd reads without being told.
FORMATS = {
    ".tar": ["cat"],
    ".tar.gz": ["gzip"],
    ".tar.bz2": ["bzip2"],
    ".tar.lz4": ["lz4"],
    ".tar.zst": ["zstd", "--long=27"],
}


def name_of(suffix: str) -> str:
    return f"docker.io/library/probe:{suffix.replace('.', '')}"


def image(suffix: str, text: str) -> Image:
    return Image(name_of(suffix), {"which": Text(text)})


@pytest.fixture
def folder(server: Node, tmp_path: Path) -> Iterator[Node]:
    """The server, with an archive of each format more, and one that ends in the middle."""
    for suffix, program in FORMATS.items():
        place(server, tmp_path, suffix, program, suffix * 1000)
    whole = tmp_path / "probe.tar"
    # Random, or half of it would be next to nothing.
    write_archive(image("damaged", random.Random(1).randbytes(200_000).hex()), whole)
    content = subprocess.run(["gzip", "--stdout", whole], capture_output=True, check=True).stdout
    (tmp_path / "damaged").write_bytes(content[: len(content) // 2])
    server.copy_in(tmp_path / "damaged", f"{ARCHIVES}/probe-damaged.tar.gz")
    yield server
    server.sh(f"rm -f {ARCHIVES}/probe*")
    names = [name_of(suffix) for suffix in FORMATS]
    server.ctr("images", "rm", "--sync", *names, check=False)
    server.systemctl("restart", IMAGES)
    product.wait_until_running(server)


def place(node: Node, work: Path, suffix: str, program: list[str], text: str) -> None:
    """Put an archive in this format into the folder, compressed on the node."""
    write_archive(image(suffix, text), work / "probe.tar")
    node.copy_in(work / "probe.tar", "/root/probe.tar")
    node.sh(f"{' '.join(program)} </root/probe.tar >{ARCHIVES}/probe{suffix}")


def restart(node: Node) -> str:
    """Start rke2-images anew; what it says."""
    since = node.now()
    node.systemctl("restart", IMAGES, check=False)
    return node.journal(IMAGES, since=since)


def stored(node: Node) -> dict[str, str]:
    """The probes that containerd has: their lines of `ctr images ls`, by name."""
    lines = node.ctr("images", "ls", "name~=probe").stdout.splitlines()[1:]
    return {line.split()[0]: line for line in lines}


def test_archives_of_each_format_are_imported_and_pinned_and_a_damaged_one_is_named(
    folder: Node, tmp_path: Path
) -> None:
    node = folder
    said = restart(node)
    found = stored(node)
    assert set(found) == {name_of(suffix) for suffix in FORMATS}
    for line in found.values():
        assert "io.cri-containerd.pinned=pinned" in line and "io.cattle.k3s.pinned=pinned" in line
    errors = [line for line in said.splitlines() if "damaged.tar.gz" in line]
    assert errors and "Traceback" not in said
    for suffix in FORMATS:
        assert f"importing {ARCHIVES}/probe{suffix} " in said

    # What is there with the same content is not imported again, whatever its date.
    node.sh(f"rm {ARCHIVES}/probe-damaged*; touch {ARCHIVES}/probe.tar")
    assert "importing" not in restart(node)

    # Other content under the same name is.
    place(node, tmp_path, ".tar.gz", FORMATS[".tar.gz"], "another")
    said = restart(node)
    assert said.count("importing") == 1 and "probe.tar.gz" in said
    assert stored(node)[name_of(".tar.gz")].split()[2] != found[name_of(".tar.gz")].split()[2]


def test_what_somebody_removed_from_containerd_is_imported_again(folder: Node) -> None:
    node = folder
    node.sh(f"rm {ARCHIVES}/probe-damaged*")
    restart(node)
    node.ctr("images", "rm", "--sync", name_of(".tar.zst"))
    said = restart(node)
    assert said.count("importing") == 1 and "probe.tar.zst" in said
    assert name_of(".tar.zst") in stored(node)


def test_images_have_the_names_of_extra_registries_too(folder: Node) -> None:
    node = folder
    node.sh(f"rm {ARCHIVES}/probe-damaged*")
    extra = name_of(".tar").replace("docker.io", "registry.example:5000")
    try:
        node.write(CONFIG, f"{BASIC_CONFIG}airgap-extra-registry: [registry.example:5000]\n")
        node.systemctl("restart", product.SERVER)
        product.wait_until_running(node)
        found = stored(node)
        assert found[extra].split()[2] == found[name_of(".tar")].split()[2]
        assert "io.cri-containerd.pinned=pinned" in found[extra]
    finally:
        node.write(CONFIG, BASIC_CONFIG)
        node.systemctl("restart", product.SERVER)
        product.wait_until_running(node)
    node.ctr("images", "rm", "--sync", extra)
