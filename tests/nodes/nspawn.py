"""Nodes that are containers of systemd-nspawn: a real systemd as PID 1, on the kernel of the host.

A supervising process runs each node, detached from whoever booted it: it makes the node's cgroups and
network, runs systemd-nspawn, and boots again when the node asks for a reboot.
"""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

from tests.nodes import cgroup, network, placement
from tests.nodes.content import Content
from tests.nodes.debian import command
from tests.nodes.errors import NodeError
from tests.nodes.machine import PATH, Node
from tests.nodes.processes import children, kill, process_start
from tests.nodes.registry import Record
from tests.nodes.root import personalise, root

# What systemd-nspawn exits with when its container wants to be booted again.
_REBOOT = 133


class NspawnNode(Node):
    """A node in a container. Make it with `boot`, or find one that runs with `attach`."""

    kind = "nspawn"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._leader_found = 0

    @property
    def root(self) -> Path:
        """The node's root directory on the host. What is mounted inside the node does not show in it."""
        return self.directory / "root"

    def shell_command(self, *command: str, terminal: bool = False) -> list[str]:
        environment = [f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8"]
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

    def place_content(self, content: Content) -> None:
        self.check_suite(content)
        placement.place_below(self.root, content, self.data_directory)

    def pause(self) -> None:
        """Let the whole machine stand still, as a virtual machine that its host suspends: its clock goes on,
        its connections stay. No command can be run in it."""
        cgroup.freeze(self.name, frozen=True)

    def resume(self) -> None:
        """Let it run again. Nothing happens when it does."""
        cgroup.freeze(self.name, frozen=False)

    def supervise(self) -> None:
        # From here on everything that runs is in the node's cgroups, where it can be found and ended.
        cgroup.enter(self.name)
        environment = {
            "PATH": PATH,
            # The host's systemd-nspawn would refuse what containerd and the kubelet need.
            "SYSTEMD_SECCOMP": "0",
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes",
        }
        namespace = f"/run/netns/{network.namespace_of(self.name)}"
        options = [
            f"--directory={self.root}",
            f"--machine={self.name}",
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
        if self.suite != "bookworm":
            # systemd 256 and newer want cgroup v2 and have to be told to take the host's v1 hierarchies.
            environment["SYSTEMD_NSPAWN_UNIFIED_HIERARCHY"] = "0"
            options.append("--setenv=SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1")
        while True:
            network.attach(self.name, self.record.index)
            # Started inside the namespace, as /sys shows the interfaces of the one in which it is mounted.
            start = ["nsenter", f"--net={namespace}", "systemd-nspawn", *options]
            ended = subprocess.run(start, env=environment, stdin=subprocess.DEVNULL)
            network.detach(self.name, self.record.index)
            cgroup.clear(self.name)
            if ended.returncode != _REBOOT:
                sys.exit(ended.returncode)

    @classmethod
    def _template(cls, suite: str) -> Path:
        return root(suite)

    def _make(self, template: Path, content: Content | None) -> None:
        command("cp", "--archive", "--reflink=auto", template, self.root)
        personalise(self.root, self.name, self.address, network.GATEWAY, uuid.uuid4().hex)
        if content is not None:
            self.place_content(content)

    def _answers(self) -> bool:
        try:
            self._leader()
        except NodeError:
            return False
        return True

    def _end(self) -> None:
        # SIGKILL to a PID namespace's init ends everything in it, at once and for sure. The supervisor goes
        # first, or it would take the end for a power-off; what is left in the cgroups is systemd-nspawn.
        if self.record.is_running():
            kill(self.record.pid)
        # No signal ends what is frozen.
        self.resume()
        deadline = time.monotonic() + 30
        while remaining := cgroup.processes(self.name):
            if time.monotonic() > deadline:
                raise NodeError(f"{self.name}: processes do not end: {sorted(remaining)}")
            for pid in remaining:
                kill(pid)
            time.sleep(0.05)
        cgroup.remove(self.name)

    def _leader(self) -> int:
        """The node's PID 1 as the host numbers it: systemd-nspawn's child that is 1 in its namespace."""
        if self._leader_found and _is_init(self._leader_found):
            return self._leader_found
        if self.record.is_running():
            for spawner in children(self.record.pid):
                for child in children(spawner):
                    if _is_init(child):
                        self._leader_found = child
                        return child
        raise NodeError(f"{self.name} is not running")


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
