"""The Debian package: how it builds, installs, and goes."""

import pytest

from tests import package
from tests.nodes.content import SUITES
from tests.nodes.machine import Node

ROLE_UNITS = ("rke2-server.service", "rke2-agent.service")
DATA = "/var/lib/rancher/rke2/server/db/etcd/member"


def apt(node: Node, *arguments: str, check: bool = True) -> str:
    done = node.run("apt-get", "--yes", *arguments, check=check, env={"DEBIAN_FRONTEND": "noninteractive"})
    return done.stdout + done.stderr


@pytest.mark.parametrize("suite", SUITES)
def test_the_package_builds_on_its_suite_and_lintian_has_nothing_to_say(suite: str) -> None:
    assert package.lint(suite) == ""


def test_installing_the_package_starts_and_enables_nothing_and_purging_it_keeps_data(
    bare_node: Node,
) -> None:
    node = bare_node
    node.copy_in(package.build_deb(node.suite), "/root/rke2-units.deb")
    apt(node, "install", "/root/rke2-units.deb")
    for unit in ROLE_UNITS:
        shown = node.unit(unit)
        assert (shown["LoadState"], shown["ActiveState"], shown["UnitFileState"]) == (
            "loaded",
            "inactive",
            "disabled",
        )
    assert node.run("rke2-units", "--version").stdout.startswith("rke2-units ")

    node.run("mkdir", "-p", DATA)
    node.write(
        "/var/lib/rke2-units/written-files.json", '[\n  "/usr/local/lib/systemd/system/rke2-x.service"\n]\n'
    )
    node.write("/usr/local/lib/systemd/system/rke2-x.service", "[Service]\nExecStart=true\n")
    node.write("/usr/local/lib/systemd/system/foreign.service", "[Service]\nExecStart=true\n")
    said = apt(node, "purge", "rke2-units")
    assert "cluster data in /var/lib/rancher is kept" in said
    assert node.exists(DATA)
    assert node.exists("/usr/local/lib/systemd/system/foreign.service")
    assert not node.exists("/usr/local/lib/systemd/system/rke2-x.service")
    assert not node.exists("/var/lib/rke2-units")
    node.run("rm", "-r", "/var/lib/rancher/rke2/server", "/usr/local/lib/systemd/system/foreign.service")


def test_the_package_cannot_be_removed_from_a_node_that_runs(server: Node) -> None:
    before = server.main_pid("rke2-server.service")
    said = apt(server, "remove", "rke2-units", check=False)
    assert "not removed because this node is still running: rke2-server.service" in said
    assert "rke2-units killall" in said
    assert (
        server.run("dpkg-query", "--show", "--showformat=${db:Status-Status}", "rke2-units").stdout
        == "installed"
    )
    assert server.main_pid("rke2-server.service") == before
