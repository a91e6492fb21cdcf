"""Nodes that are emulated machines: Debian's own kernel, cgroup v2, every capability, and a true reboot.

Most places where tests run have no hardware virtualisation, so QEMU emulates the processor: everything takes
10 to 25 times as long as in a container. Commands go over ssh, through the tests' own network.
"""

import os
import shlex
import shutil
import subprocess
import uuid
from pathlib import Path

from tests.nodes import cache, debian, host, network, placement, registry
from tests.nodes import root as roots
from tests.nodes.content import Content
from tests.nodes.debian import command
from tests.nodes.machine import PATH, Node
from tests.nodes.processes import kill

_PACKAGES = ("initramfs-tools", "linux-image-cloud-amd64", "openssh-server")
_DISK = "20G"
_MEMORY_MIB = 6000
# Without -cx16 QEMU 7.2 breaks current kernels: a double fault in kmalloc.
_CPU = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,-cx16"
_KERNEL_ARGUMENTS = "root=/dev/vda rw console=ttyS0 quiet mitigations=off panic=-1"


class QemuNode(Node):
    """A node in an emulated machine. Make it with `boot`, or find one that runs with `attach`."""

    kind = "qemu"
    host_packages = host.QEMU_PACKAGES
    slowness = 10.0

    def shell_command(self, *command: str, terminal: bool = False) -> list[str]:
        environment = ["env", "-i", "-C", "/", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8"]
        if terminal:
            environment.append(f"TERM={os.environ.get('TERM', 'dumb')}")
        words = shlex.join((*environment, *command))
        return [*self._ssh(), *(["-t"] if terminal else []), f"root@{self.address}", "--", words]

    def boot_id(self) -> str:
        return self.run("cat", "/proc/sys/kernel/random/boot_id", timeout=20).stdout

    def supervise(self) -> None:
        network.attach_tap(self.record.index)
        tap = f"tap,id=net0,ifname={network.port_of(self.record.index)},script=no,downscript=no"
        mac = f"52:54:00:00:00:{self.record.index:02x}"
        machine = [
            *("nsenter", f"--net=/run/netns/{network.NAMESPACE}", "qemu-system-x86_64"),
            *("-accel", "tcg,thread=multi", "-cpu", _CPU, "-smp", "2", "-m", str(_MEMORY_MIB)),
            *("-nodefaults", "-display", "none", "-serial", "stdio"),
            *("-kernel", str(self.directory / "kernel"), "-initrd", str(self.directory / "initrd")),
            *("-append", _KERNEL_ARGUMENTS),
            *("-drive", f"file={self.directory}/disk.img,format=raw,if=virtio,cache=unsafe"),
            *("-netdev", tap, "-device", f"virtio-net-pci,netdev=net0,mac={mac}"),
            *("-device", "virtio-rng-pci"),
        ]
        os.execvp(machine[0], machine)  # noqa: S606 (a shell is not wanted)

    @classmethod
    def _template(cls, suite: str) -> Path:
        recipe = cache.recipe_hash(Path(roots.__file__), Path(debian.__file__), suite, *_PACKAGES)
        name = f"machine-root-{suite}"
        return cache.cached(name, recipe, lambda made: roots.build(made, suite, _PACKAGES)) / "root"

    def _make(self, template: Path, content: Content | None) -> None:
        made = self.directory / "root"
        command("cp", "--archive", "--reflink=auto", template, made)
        roots.personalise(made, self.name, self.address, network.GATEWAY, uuid.uuid4().hex)
        network_file = made / "etc/systemd/network/host.network"
        network_file.write_text(
            "[Match]\nDriver=virtio_net\n"
            f"[Network]\nAddress={self.address}/24\nGateway={network.GATEWAY}\nLinkLocalAddressing=no\n"
        )
        wants = made / "etc/systemd/system/multi-user.target.wants"
        (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
        # Debian's haproxy is built for processors with cx16, which this one lacks; servers do not need it.
        (wants / "haproxy.service").unlink()
        key = self.directory / "ssh-key"
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        authorized = made / "root/.ssh/authorized_keys"
        authorized.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(key.with_suffix(".pub"), authorized)
        if content is not None:
            self.check_suite(content)
            placement.place_below(made, content, self.data_directory)
        for file, pattern in (("kernel", "vmlinuz-*"), ("initrd", "initrd.img-*")):
            [found] = (made / "boot").glob(pattern)
            shutil.copyfile(found, self.directory / file)
        command("mkfs.ext4", "-q", "-d", made, self.directory / "disk.img", _DISK)
        shutil.rmtree(made)

    def _answers(self) -> bool:
        # Commands share one connection, as a key exchange takes seconds on an emulated processor.
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

    def _end(self) -> None:
        subprocess.run([*self._ssh(), "-O", "exit", f"root@{self.address}"], capture_output=True)
        if self.record.is_running():
            kill(self.record.pid)
            self._wait_host("the machine to end", lambda: not self.record.is_running(), timeout=30)

    def _ssh(self) -> list[str]:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "ControlPath": f"{registry.DIRECTORY}/ssh-{self.name}",
            "IdentityFile": f"{self.directory}/ssh-key",
            "LogLevel": "ERROR",
            "ServerAliveInterval": "10",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["nsenter", f"--net=/run/netns/{network.NAMESPACE}", "ssh", *words]
