"""Nodes that are containers of systemd-nspawn: a real systemd as PID 1, on the kernel of the host.

A supervising process runs each node, detached from whoever booted it: it makes the node's cgroups and
network, runs systemd-nspawn, and boots again when the node asks for a reboot. `python3 -m tests.nodes.nspawn
NAME` is that process.
"""

import os
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Self

from tests.nodes import cache, cgroup, host, network, registry
from tests.nodes.content import Content
from tests.nodes.debian import command
from tests.nodes.errors import NodeError
from tests.nodes.machine import Node, place_content_below
from tests.nodes.processes import children, kill, process_start
from tests.nodes.registry import Record
from tests.nodes.root import personalise, root

# What systemd-nspawn exits with when its container wants to be booted again.
_REBOOT = 133
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class NspawnNode(Node):
    """A node in a container. Make it with `boot`, or find one that runs with `attach`."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.name, record.suite, network.address(record.index))
        self._record = record
        self._directory = Path(record.directory)
        self._leader_found = 0

    @classmethod
    def boot(cls, name: str, suite: str = "bookworm", content: Content | None = None) -> Self:
        """Make a node and wait until it has booted (about 5 s when the root of the suite is cached).

        `content` is placed before the boot; `place_content` does it later.
        """
        host.prepare()
        template = root(suite)
        directory = cache.DIRECTORY / "nodes" / name
        record = registry.add(name, "nspawn", suite, directory)
        node = cls(record)
        try:
            # What a machine that lost its power left of a node of this name.
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            command("cp", "--archive", "--reflink=auto", template, directory / "root")
            personalise(node.root, name, node.address, network.GATEWAY, uuid.uuid4().hex)
            if content is not None:
                node.place_content(content)
            node.power_on()
        except BaseException:
            node.remove()
            raise
        return node

    @classmethod
    def attach(cls, name: str) -> Self:
        """The node of this name that some process has booted."""
        record = registry.find(name)
        if record is None:
            raise NodeError(f"there is no node {name}: python3 -m tests.nodes list")
        return cls(record)

    @property
    def root(self) -> Path:
        """The node's root directory on the host. What is mounted inside the node does not show in it."""
        return self._directory / "root"

    def shell_command(self, *command: str, terminal: bool = False) -> list[str]:
        environment = [f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8"]
        if terminal:
            environment.append(f"TERM={os.environ.get('TERM', 'dumb')}")
        # A process belongs to the cgroups of its machine, before it enters its namespaces.
        enter = 'leader=$1; shift; while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; '
        enter += 'exec nsenter --target "$leader" --all -- env -i -C / "$@"'
        leader = self._leader()
        groups = [str(directory / "cgroup.procs") for directory in cgroup.payload(self.name)]
        return ["sh", "-c", enter, "enter", str(leader), *groups, "--", *environment, *command]

    def boot_id(self) -> str:
        leader = self._leader()
        return f"{leader} {process_start(leader)}"

    def is_up(self) -> bool:
        return self._record.is_running()

    def power_on(self) -> None:
        if self.is_up():
            raise NodeError(f"{self.name} is up already")
        registry.set_process(self._record, 0)
        with (self._directory / "console.log").open("ab") as console:
            # A child of init from the start: it outlives this process, which never has to collect it.
            subprocess.run(
                ["setsid", "--fork", sys.executable, "-m", "tests.nodes.nspawn", self.name],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                check=True,
            )
        self._wait_host("the container to start", self._has_leader, timeout=30)
        self.wait_booted()

    def place_content(self, content: Content) -> None:
        self.check_suite(content)
        place_content_below(self.root, content, self.data_directory)

    def remove(self) -> None:
        record = registry.find(self.name)
        if record is None:
            return
        # SIGKILL to a PID namespace's init ends everything in it, at once and for sure. The supervisor goes
        # first, or it would take the end for a power-off; what is left in the cgroups is systemd-nspawn.
        own = {os.getpid()}
        deadline = time.monotonic() + 30
        while remaining := cgroup.processes(self.name) - own:
            if time.monotonic() > deadline:
                raise NodeError(f"{self.name}: processes do not end: {sorted(remaining)}")
            if record.is_running():
                kill(record.pid)
            for pid in remaining:
                kill(pid)
            time.sleep(0.05)
        cgroup.remove(self.name)
        network.detach(self.name, self._record.index)
        shutil.rmtree(self._directory, ignore_errors=True)
        registry.forget(self.name)
        network.remove_unused()

    def _has_leader(self) -> bool:
        record = registry.find(self.name)
        if record is None or record.pid == 0:
            return False
        self._record = record
        if not record.is_running():
            console = (self._directory / "console.log").read_text(errors="replace")
            raise NodeError(f"{self.name} did not start:\n{console[-2000:]}")
        try:
            self._leader()
        except NodeError:
            return False
        return True

    def _leader(self) -> int:
        """The node's PID 1 as the host numbers it: systemd-nspawn's child that is 1 in its namespace."""
        if self._leader_found and _is_init(self._leader_found):
            return self._leader_found
        if self._record.is_running():
            for spawner in children(self._record.pid):
                for child in children(spawner):
                    if _is_init(child):
                        self._leader_found = child
                        return child
        raise NodeError(f"{self.name} is not running")


def supervise(name: str) -> None:
    """Run the node until it powers off. This process becomes part of the node's cgroups."""
    record = registry.find(name)
    if record is None:
        raise NodeError(f"there is no node {name}")
    cgroup.enter(name)
    registry.set_process(record, os.getpid())
    environment = {
        "PATH": _PATH,
        # The host's systemd-nspawn would refuse what containerd and the kubelet need.
        "SYSTEMD_SECCOMP": "0",
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes",
    }
    namespace = f"/run/netns/{network.namespace_of(name)}"
    options = [
        f"--directory={record.directory}/root",
        f"--machine={name}",
        f"--network-namespace-path={namespace}",
        "--register=no",
        "--keep-unit",
        "--capability=all",
        "--bind=/dev/kmsg",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--boot",
    ]
    if record.suite != "bookworm":
        # systemd 256 and newer want cgroup v2 and have to be told to take the host's v1 hierarchies.
        environment["SYSTEMD_NSPAWN_UNIFIED_HIERARCHY"] = "0"
        options.append("--setenv=SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1")
    while True:
        network.attach(name, record.index)
        # Started inside the namespace, as /sys shows the interfaces of the one in which it is mounted.
        start = ["nsenter", f"--net={namespace}", "systemd-nspawn", *options]
        ended = subprocess.run(start, env=environment, stdin=subprocess.DEVNULL)
        network.detach(name, record.index)
        cgroup.clear(name)
        if ended.returncode != _REBOOT:
            sys.exit(ended.returncode)


def _is_init(pid: int) -> bool:
    """Whether a process is the first of a PID namespace below ours, and alive."""
    if process_start(pid) is None:
        return False
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
    return len(numbers) > 1 and numbers[-1] == "1"


if __name__ == "__main__":
    supervise(sys.argv[1])
