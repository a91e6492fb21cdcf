"""A server node to explore: what ./try runs."""

import argparse
import hashlib
import os
import subprocess
import sys
import time

from tests.nodes import NodeError, NspawnNode, content, registry
from tests.nodes.cache import DIRECTORY, progress
from tests.nodes.content import BUSYBOX_IMAGE
from tests.nodes.debian_packages import debs
from tests.package import build_deb

NAME = "try"
SUITE = "bookworm"
CONFIG = "/etc/rancher/rke2/config.yaml"
UNIT = "rke2-server.service"
PACKAGE = "/root/rke2-units.deb"
# Every unit refers to a man page, and the nodes of tests have no `man`. In order of dependencies.
MANUALS = ("libgdbm6", "libpipeline1", "libuchardet0", "bsdextrautils", "groff-base", "less", "man-db")


def up() -> None:
    """Bring the node to Ready from any state. A second run does only what is left to do."""
    began = time.monotonic()
    release = content(SUITE)
    package = build_deb(SUITE)
    record = registry.find(NAME)
    if record is not None and record.is_running():
        node = NspawnNode.attach(NAME)
        progress(f"{NAME}: is already running")
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
    if not node.exists("/usr/bin/man"):
        _install_manuals(node)
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
    _show(node, "systemctl", "list-units", "--all", "--no-pager", "--legend=no", "--plain", "rke2-*")
    _show(node, "kubectl", "get", "nodes", "-o", "wide")
    progress(
        f"{NAME}: ready to use; waiting until `kubectl get pods` shows the control plane, which this old "
        "kubelet reports up to half a minute later"
    )
    node.wait_for("the pods of the control plane to be Ready", lambda: _pods_are_ready(node), timeout=120)
    _show(node, "kubectl", "get", "pods", "-A")
    print(f"\nDone in {time.monotonic() - began:.0f} s.\n{invitation(_images(node))}")


def invitation(images: list[str]) -> str:
    """The closing words: what a user can do in the node, which has these images."""
    return f"""\
  open a shell: sudo ./try shell    (then: rke2-units status, systemctl, journalctl, kubectl, man rke2-units)
  one command:  sudo ./try shell rke2-units status
  a workload:   sudo ./try shell kubectl create deployment web --image={BUSYBOX_IMAGE} -- sleep infinity
  remove:       sudo ./try down
The node cannot reach registries. Its images: {", ".join(images)}.
Its network (cni: none in {CONFIG}) is a bridge: pods and Services have addresses, but there is no DNS,
and no chart is installed."""


def _show(node: NspawnNode, *command: str) -> None:
    """Print a command and its output."""
    done = node.kubectl(*command[1:]) if command[0] == "kubectl" else node.run(*command)
    print(f"\n$ {' '.join(command)}\n{done.stdout.rstrip()}\n", flush=True)


def _images(node: NspawnNode) -> list[str]:
    """The names of the images that pods can use."""
    ctr = f"{node.data_directory}/bin/ctr --address /run/k3s/containerd/containerd.sock --namespace k8s.io"
    names = node.sh(f"{ctr} images ls --quiet").stdout.split()
    return sorted(name for name in names if "@" not in name and not name.startswith("sha256:"))


def _install_manuals(node: NspawnNode) -> None:
    _say(node, "apt install man-db")
    for package in debs(SUITE, *MANUALS):
        node.copy_in(package, f"/root/manuals/{package.name}")
    node.run("sh", "-ec", "dpkg --install /root/manuals/*.deb && rm -r /root/manuals", timeout=120)


def shell(words: list[str]) -> int:
    """Run a command in the node, or a shell; its exit code."""
    if registry.find(NAME) is None:
        raise NodeError("there is no node: sudo ./try creates one")
    node = NspawnNode.attach(NAME)
    path = f"PATH={node.data_directory}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    command = ["env", path, "KUBECONFIG=/etc/rancher/rke2/rke2.yaml", *(words or ["bash"])]
    return subprocess.call(node.shell_command(*command, terminal=os.isatty(0)))


def down() -> None:
    """Remove the node, if there is one."""
    if registry.find(NAME) is None:
        print("there is no node: sudo ./try creates one")
        return
    progress(f"{NAME}: stopping the node and removing its files")
    NspawnNode.attach(NAME).remove()
    print(f"{NAME} is removed; build results stay in {DIRECTORY}")


def _start(node: NspawnNode) -> None:
    """systemctl start, which shows what the node daemon is waiting for; NodeError if it fails."""
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
