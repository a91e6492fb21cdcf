"""Snapshots of etcd, taken and restored as an administrator does it."""

import re
import shlex

from tests.node.helpers import product
from tests.nodes.machine import Node

FOLDER = "/var/lib/rancher/rke2/server/db/snapshots"
_DB = "/var/lib/rancher/rke2/server/db"


def save(node: Node, name: str, *options: str) -> str:
    """The name of the snapshot that was saved now."""
    done = node.run("rke2-units", "etcd-snapshot", "save", "--name", name, *options)
    return name_of(done.stdout + done.stderr)


def name_of(said: str) -> str:
    """The name in what `etcd-snapshot save` says."""
    found = re.findall(r"^Snapshot (\S+) saved\.$", said, re.MULTILINE)
    assert len(found) == 1, said
    return str(found[0])


def verify(node: Node, *words: str) -> str:
    """What is said of a good snapshot."""
    return node.run("rke2-units", "etcd-snapshot", "verify", *words, timeout=300).stdout


def reset(node: Node, *options: str) -> None:
    """Make the server the only one of its cluster, without asking. It is stopped then."""
    node.systemctl("stop", product.SERVER)
    node.run("rke2-units", "cluster-reset", "--yes", *options, timeout=600)


def confirmed(node: Node, script: str, timeout: float = product.PATIENCE) -> None:
    """Type the script's commands at a terminal, where they may ask, and say yes."""
    typed = shlex.join(["sh", "-ec", script])
    node.run(
        *("script", "--quiet", "--return", "--command", typed, "/dev/null"), input="y\n", timeout=timeout
    )


def come_back(node: Node) -> None:
    """Start the server after a reset."""
    product.start(node)
    product.wait_until_running(node)


def clean(node: Node) -> None:
    """Remove what resets have kept."""
    server = "/var/lib/rancher/rke2/server"
    node.sh(f"rm -rf {_DB}/etcd-old-* {server}/tls-* {server}/cred-*")


def nothing_is_half_made(node: Node) -> None:
    """No snapshot is left unfinished, nor what verifying makes."""
    left = node.sh(
        f"ls -A {FOLDER} | grep -e '[.]part$' -e '[.]tmp$' || true; ls -A {_DB}/verify 2>/dev/null || true"
    )
    assert left.stdout == "", left.stdout
