"""A server node to look at: what ./try runs."""

import argparse
import hashlib
import os
import subprocess
import sys
import time

from tests.nodes import NodeError, NspawnNode, content, registry
from tests.nodes.cache import progress
from tests.package import build_deb

NAME = "try"
SUITE = "bookworm"
CONFIG = "/etc/rancher/rke2/config.yaml"
UNIT = "rke2-server.service"
PACKAGE = "/root/rke2-units.deb"


def up() -> None:
    """Bring the node from whatever it is to Ready. Run again, it does what is left to do."""
    began = time.monotonic()
    release = content(SUITE)
    package = build_deb(SUITE)
    record = registry.find(NAME)
    if record is not None and record.is_running():
        node = NspawnNode.attach(NAME)
        progress(f"{NAME}: runs already")
    else:
        progress(f"{NAME}: booting Debian {SUITE} with the images and CNI plugins of {release.release}")
        if record is not None:
            NspawnNode.attach(NAME).remove()
        node = NspawnNode.boot(NAME, SUITE, release)

    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    if node.sh(f"sha256sum <{PACKAGE}", check=False).stdout.split(" ")[0] != digest:
        node.copy_in(package, "/root/rke2-units_new.deb")
        install = ["apt-get", "install", "--yes", "--reinstall", "--allow-downgrades"]
        _say(node, f"apt install ./{package.name}")
        node.run(*install, "/root/rke2-units_new.deb", env={"DEBIAN_FRONTEND": "noninteractive"})
        node.run("mv", "/root/rke2-units_new.deb", PACKAGE)
    if not node.exists(CONFIG):
        # The network of this node is a conflist of the standard bridge plugin.
        node.write(CONFIG, "cni: none\n")
    _say(node, f"rke2-units install --role server --release {release.release}")
    node.run("rke2-units", "install", "--role", "server", "--release", release.release)
    _say(node, "systemctl start rke2-server")
    started = time.monotonic()
    _start(node)
    progress(f"{NAME}: rke2-server is ready after {time.monotonic() - started:.0f} s")
    node.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s", timeout=130)
    progress(f"{NAME}: the node is Ready after {time.monotonic() - started:.0f} s")
    # The kubelet shows static pods to the apiserver some seconds after it has started them.
    progress(f"{NAME}: waiting until the apiserver knows all pods")
    node.wait_for("the pods of the control plane to be Ready", lambda: _pods_are_ready(node), timeout=120)
    show(node)
    print(f"\nDone in {time.monotonic() - began:.0f} s.")
    print("  get in:  sudo ./try shell            (then: rke2-units status, systemctl, kubectl, journalctl)")
    print("  one command:  sudo ./try shell rke2-units status")
    print("  remove:  sudo ./try down")


def show(node: NspawnNode) -> None:
    """Print the units, the nodes and the pods."""
    units = node.systemctl("list-units", "--all", "--no-pager", "--legend=no", "--plain", "rke2-*").stdout
    for title, text in (
        ("systemctl list-units 'rke2-*'", units),
        ("kubectl get nodes -o wide", node.kubectl("get", "nodes", "-o", "wide").stdout),
        ("kubectl get pods -A", node.kubectl("get", "pods", "-A").stdout),
    ):
        print(f"\n$ {title}\n{text.rstrip()}")


def shell(words: list[str]) -> int:
    """Run a command in the node, or a shell; its exit code."""
    node = NspawnNode.attach(NAME)
    path = f"PATH={node.data_directory}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    command = ["env", path, "KUBECONFIG=/etc/rancher/rke2/rke2.yaml", *(words or ["bash"])]
    return subprocess.call(node.shell_command(*command, terminal=os.isatty(0)))


def down() -> None:
    """Remove the node; nothing happens when there is none."""
    if registry.find(NAME) is None:
        print(f"there is no node {NAME}")
        return
    NspawnNode.attach(NAME).remove()
    print(f"{NAME} is gone")


def _start(node: NspawnNode) -> None:
    """systemctl start, telling what the node daemon waits for; NodeError when it fails."""
    start = subprocess.Popen(
        node.shell_command("systemctl", "start", UNIT),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    told = ""
    while start.poll() is None:
        status = node.unit(UNIT).get("StatusText", "")
        if status and status != told:
            progress(f"{NAME}: {status}")
            told = status
        time.sleep(0.2)
    output, _ = start.communicate()
    if start.returncode != 0:
        status = node.systemctl("status", "--no-pager", "--full", UNIT, check=False).stdout
        raise NodeError(f"systemctl start {UNIT} ended with {start.returncode}\n{output}{status}")


def _pods_are_ready(node: NspawnNode) -> bool:
    ready = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
    pods = node.kubectl(
        "get", "pods", "--namespace=kube-system", f"--output=jsonpath={ready}"
    ).stdout.split()
    units = node.systemctl("list-units", "--plain", "--legend=no", "rke2-static-pod@*").stdout.splitlines()
    return len(pods) >= len(units) and set(pods) == {"True"}


def _say(node: NspawnNode, command: str) -> None:
    progress(f"{node.name}: {command}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./try")
    parser.add_argument("command", nargs="?", choices=("up", "shell", "down"), default="up")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    arguments = parser.parse_args()
    try:
        match arguments.command:
            case "shell":
                return shell(arguments.words)
            case "down":
                down()
            case _:
                up()
    except (NodeError, TimeoutError) as error:
        print(f"try: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
