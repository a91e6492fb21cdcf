"""Nodes that are emulated machines: Debian's own kernel, cgroup v2, every capability, and a true reboot.

Most places where tests run have no hardware virtualisation, so QEMU emulates the processor: everything takes
10 to 25 times as long as in a container. Commands go over ssh, through the tests' own network.
`python3 -m tests.nodes.qemu NAME` becomes the machine.
"""

import os
import shlex
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Self

from tests.nodes import cache, debian, host, network, registry
from tests.nodes import root as roots
from tests.nodes.content import Content
from tests.nodes.debian import command
from tests.nodes.errors import NodeError
from tests.nodes.machine import Node, place_content_below
from tests.nodes.processes import kill
from tests.nodes.registry import Record

_PACKAGES = ("initramfs-tools", "linux-image-cloud-amd64", "openssh-server")
_DISK = "20G"
_MEMORY_MIB = 6000
# Without -cx16 QEMU 7.2 breaks current kernels: a double fault in kmalloc.
_CPU = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,-cx16"
_KERNEL_ARGUMENTS = "root=/dev/vda rw console=ttyS0 quiet mitigations=off panic=-1"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class QemuNode(Node):
    """A node in an emulated machine. Make it with `boot`, or find one that runs with `attach`."""

    slowness = 10.0

    def __init__(self, record: Record) -> None:
        super().__init__(record.name, record.suite, network.address(record.index))
        self._record = record
        self._directory = Path(record.directory)

    @classmethod
    def boot(cls, name: str, suite: str = "bookworm", content: Content | None = None) -> Self:
        """Make a machine and wait until it has booted (a minute or two when its root is cached).

        `content` is put on the disk that it boots from, which is much faster than `place_content` later.
        """
        host.prepare(host.QEMU_PACKAGES)
        template = _root(suite)
        directory = cache.DIRECTORY / "nodes" / name
        record = registry.add(name, "qemu", suite, directory)
        node = cls(record)
        try:
            # What a host that lost its power left of a node of this name.
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            node._make_disk(template, content)
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

    def shell_command(self, *command: str, terminal: bool = False) -> list[str]:
        environment = ["env", "-i", "-C", "/", f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8"]
        if terminal:
            environment.append(f"TERM={os.environ.get('TERM', 'dumb')}")
        words = shlex.join((*environment, *command))
        return [*self._ssh(), *(["-t"] if terminal else []), f"root@{self.address}", "--", words]

    def boot_id(self) -> str:
        return self.run("cat", "/proc/sys/kernel/random/boot_id", timeout=20).stdout

    def is_up(self) -> bool:
        return self._record.is_running()

    def power_on(self) -> None:
        if self.is_up():
            raise NodeError(f"{self.name} is up already")
        registry.set_process(self._record, 0)
        with (self._directory / "console.log").open("ab") as console:
            # A child of init from the start: it outlives this process, which never has to collect it.
            subprocess.run(
                ["setsid", "--fork", sys.executable, "-m", "tests.nodes.qemu", self.name],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                check=True,
            )
        self._wait_host("the machine to start", self._is_recorded, timeout=30)
        self.wait_booted()

    def wait_booted(self, timeout: float = 120) -> None:
        # Commands share one connection: a key exchange takes seconds on an emulated processor.
        self._wait_host("the machine to answer on ssh", self._connect, timeout)
        super().wait_booted(timeout)

    def remove(self) -> None:
        record = registry.find(self.name)
        if record is None:
            return
        self._disconnect()
        if record.is_running():
            kill(record.pid)
            self._wait_host("the machine to end", lambda: not record.is_running(), timeout=30)
        network.detach(self.name, record.index)
        shutil.rmtree(self._directory, ignore_errors=True)
        registry.forget(self.name)
        network.remove_unused()

    def _make_disk(self, template: Path, content: Content | None) -> None:
        made = self._directory / "root"
        command("cp", "--archive", "--reflink=auto", template, made)
        roots.personalise(made, self.name, self.address, network.GATEWAY, uuid.uuid4().hex)
        network_file = made / "etc/systemd/network/host.network"
        network_file.write_text(
            "[Match]\nDriver=virtio_net\n"
            f"[Network]\nAddress={self.address}/24\nGateway={network.GATEWAY}\nLinkLocalAddressing=no\n"
        )
        wants = made / "etc/systemd/system/multi-user.target.wants"
        (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
        key = self._directory / "ssh-key"
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        authorized = made / "root/.ssh/authorized_keys"
        authorized.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(key.with_suffix(".pub"), authorized)
        if content is not None:
            self.check_suite(content)
            place_content_below(made, content, self.data_directory)
        for file, pattern in (("kernel", "vmlinuz-*"), ("initrd", "initrd.img-*")):
            [found] = (made / "boot").glob(pattern)
            shutil.copyfile(found, self._directory / file)
        command("mkfs.ext4", "-q", "-d", made, self._directory / "disk.img", _DISK)
        shutil.rmtree(made)

    def _is_recorded(self) -> bool:
        record = registry.find(self.name)
        if record is None or record.pid == 0:
            return False
        self._record = record
        return True

    def _ssh(self) -> list[str]:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "ControlPath": f"{registry.DIRECTORY}/ssh-{self.name}",
            "IdentityFile": f"{self._directory}/ssh-key",
            "LogLevel": "ERROR",
            "ServerAliveInterval": "10",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["nsenter", f"--net=/run/netns/{network.NAMESPACE}", "ssh", *words]

    def _connect(self) -> bool:
        """Open the shared connection, in the background; whether it is there."""
        if not self.is_up():
            console = (self._directory / "console.log").read_text(errors="replace")
            raise NodeError(f"{self.name} has ended while it booted:\n{console[-2000:]}")
        target = f"root@{self.address}"
        if subprocess.run([*self._ssh(), "-O", "check", target], capture_output=True).returncode == 0:
            return True
        opened = subprocess.run(
            [*self._ssh(), "-M", "-N", "-f", target],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return opened.returncode == 0

    def _disconnect(self) -> None:
        subprocess.run([*self._ssh(), "-O", "exit", f"root@{self.address}"], capture_output=True)


def _root(suite: str) -> Path:
    recipe = cache.recipe_hash(Path(roots.__file__), Path(debian.__file__), suite, *_PACKAGES)
    name = f"machine-root-{suite}"
    return cache.cached(name, recipe, lambda made: roots.build(made, suite, _PACKAGES)) / "root"


def run_machine(name: str) -> None:
    """Become the QEMU process of the node."""
    record = registry.find(name)
    if record is None:
        raise NodeError(f"there is no node {name}")
    directory = Path(record.directory)
    network.attach_tap(record.index)
    registry.set_process(record, os.getpid())
    tap = f"tap,id=net0,ifname={network.port_of(record.index)},script=no,downscript=no"
    mac = f"52:54:00:00:00:{record.index:02x}"
    machine = [
        *("nsenter", f"--net=/run/netns/{network.NAMESPACE}", "qemu-system-x86_64"),
        *("-accel", "tcg,thread=multi", "-cpu", _CPU, "-smp", "2", "-m", str(_MEMORY_MIB)),
        *("-nodefaults", "-display", "none", "-serial", "stdio"),
        *("-kernel", str(directory / "kernel"), "-initrd", str(directory / "initrd")),
        *("-append", _KERNEL_ARGUMENTS),
        *("-drive", f"file={directory}/disk.img,format=raw,if=virtio,cache=unsafe"),
        *("-netdev", tap, "-device", f"virtio-net-pci,netdev=net0,mac={mac}"),
        *("-device", "virtio-rng-pci"),
    ]
    os.execvp(machine[0], machine)  # noqa: S606 (a shell is not wanted)


if __name__ == "__main__":
    run_machine(sys.argv[1])
