"""What systemd itself says about the units: nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rke2_units.layout import UNIT_DIRECTORY, Paths
from rke2_units.release.table import DEFAULT, RELEASES
from rke2_units.unit_names import CONTAINERD_UNIT, CONTENT_UNIT, Role
from tests import plain_nodes
from tests.nodes.content import content
from tests.nodes.machine import Node
from tests.package import build_deb

CONFIG = {
    Role.SERVER: "cni: none\n",
    Role.AGENT: "server: https://10.199.0.1:9345\ntoken: verified\n",
}
# So that none is left out unseen.
UNITS = {
    Role.SERVER: plain_nodes.unit_files(plain_nodes.SERVER),
    Role.AGENT: plain_nodes.unit_files(plain_nodes.AGENT),
}


@pytest.fixture(scope="module")
def packaged(bare_node: Node) -> Iterator[Node]:
    """A node with the package, and with the programs of its suite's release at hand."""
    bare_node.copy_in(build_deb(bare_node.suite), "/root/rke2-units.deb")
    bare_node.run("apt-get", "install", "--yes", "-qq", "/root/rke2-units.deb", timeout=300)
    bare_node.copy_in(content(bare_node.suite).programs, "/root/programs")
    yield bare_node
    bare_node.run("apt-get", "purge", "--yes", "-qq", "rke2-units")
    bare_node.run("rm", "-rf", Paths().content)


def render(node: Node, role: Role, release: str, more: str = "") -> str:
    """The folder of the rendered units, with the programs that they name in the place of the content."""
    root = f"/root/rendered-{role}-{release}-{len(more)}"
    config = f"/root/{role}.yaml"
    node.write(config, CONFIG[role] + more)
    options = {"--role": role, "--release": release, "--root": root, "--config": config}
    node.run("rke2-units", "render", *[word for pair in options.items() for word in pair])
    units = f"{root}{UNIT_DIRECTORY}"
    node.sh(
        f"grep -ho '{Paths().content}/[^/:]*/bin' {units}/*.service | sort -u | while read -r folder; do"
        ' mkdir -p "${folder%/*}"; ln -sfn /root/programs "$folder"; done'
    )
    return units


def verify(node: Node, role: Role, units: str, missing: frozenset[str] = frozenset()) -> str:
    """What systemd-analyze says about all units of the folder, those of the role but for the missing ones,
    and the role's own."""
    files = node.sh(f"find {units} -maxdepth 1 -type f").stdout.split()
    assert {Path(file).name for file in files} == UNITS[role] - missing
    said = node.run(
        *("systemd-analyze", "verify", "--man=no", role.unit),
        *(file.replace("@.service", "@etcd.service") for file in files),
        check=False,
        env={"SYSTEMD_UNIT_PATH": f"{units}:"},
    )
    return said.stdout + said.stderr


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("role", Role)
def test_systemd_has_nothing_to_say_about_any_rendered_unit(
    packaged: Node, role: Role, release: str
) -> None:
    assert verify(packaged, role, render(packaged, role, release)) == ""


@pytest.fixture
def with_programs(packaged: Node) -> Iterator[Node]:
    """The packaged node with a containerd, runc and kubelet of its own."""
    packaged.sh("ln -s /root/programs/* /usr/local/bin/")
    yield packaged
    packaged.sh("find /usr/local/bin -lname '/root/programs/*' -delete")


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ("content: host\n", {CONTENT_UNIT}),
        ("container-runtime-endpoint: /run/containerd/containerd.sock\n", {CONTAINERD_UNIT}),
        (
            "content: host\ncontainer-runtime-endpoint: /run/containerd/containerd.sock\n",
            {CONTENT_UNIT, CONTAINERD_UNIT},
        ),
    ],
    ids=["content", "containerd", "both"],
)
def test_systemd_has_nothing_to_say_about_units_of_the_machines_own_programs(
    with_programs: Node, role: Role, more: str, missing: set[str]
) -> None:
    units = render(with_programs, role, DEFAULT, more)
    assert verify(with_programs, role, units, frozenset(missing)) == ""


@pytest.mark.parametrize("unit", ["rke2-kubelet.service", "rke2-static-pod@.service"])
def test_systemd_would_tell_of_an_option_that_it_does_not_know(packaged: Node, unit: str) -> None:
    units = render(packaged, Role.SERVER, DEFAULT)
    packaged.sh(f"echo NoSuchOption=yes >>{units}/{unit}")
    assert "NoSuchOption" in verify(packaged, Role.SERVER, units)


def test_systemd_has_nothing_to_say_about_what_it_has_loaded(server: Node) -> None:
    said = [line for line in server.journal().splitlines() if " systemd[1]: /" in line]
    ours = ("/rke2-", "50-rke2-units.conf")
    assert not [line for line in said if any(name in line for name in ours)]
