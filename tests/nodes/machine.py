"""A node as the tests speak of it, whatever kind of machine carries it."""

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self

from tests.nodes import cache, host, network, placement, registry
from tests.nodes.containers import (
    LIST_CONTAINER_PROCESSES,
    LIST_CONTAINERS,
    Container,
    parse_container_processes,
    parse_containers,
)
from tests.nodes.content import Content
from tests.nodes.errors import NodeError
from tests.nodes.processes import descendants, kill
from tests.nodes.registry import Record

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CONTAINERD_SOCKET = "/run/k3s/containerd/containerd.sock"


class Node(ABC):
    """A throwaway machine with systemd as PID 1. A context manager that removes it at the end.

    slowness: about how many times longer than in a container everything takes; the waits of this class are
        multiplied by it.
    """

    kind: ClassVar[str]
    host_packages: ClassVar[tuple[str, ...]] = ()
    slowness: ClassVar[float] = 1.0

    def __init__(self, record: Record) -> None:
        self.name = record.name
        self.suite = record.suite
        self.address = network.address(record.index)
        self.data_directory = "/var/lib/rancher/rke2"
        self.directory = Path(record.directory)
        self.record = record

    @classmethod
    def boot(
        cls, name: str, suite: str = "bookworm", content: Content | None = None, *, replace: bool = False
    ) -> Self:
        """Make a node and wait until it has booted, with the content in its place if one is given.

        A node of this name is an error, or (replace) removed first: a test run that was killed leaves some.
        With the suite's root in the cache that takes about 5 s for a container, two minutes for a machine.
        """
        host.prepare(cls.host_packages)
        template = cls._template(suite)
        directory = cache.DIRECTORY / "nodes" / name
        if replace and registry.find(name) is not None:
            cls.attach(name).remove()
        node = cls(registry.add(name, cls.kind, suite, directory))
        try:
            # What a host that lost its power left of a node of this name.
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            node._make(template, content)
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """End the machine and everything that was made for it. Nothing happens when it is gone already."""
        record = registry.find(self.name)
        if record is None:
            return
        self.record = record
        self._end()
        network.detach(self.name, record.index)
        shutil.rmtree(self.directory, ignore_errors=True)
        registry.forget(self.name)
        network.remove_unused()

    # What a kind of machine has to bring.

    @abstractmethod
    def shell_command(self, *command: str, terminal: bool = False) -> list[str]:
        """The host command that runs COMMAND as root in the node, with an empty environment but for PATH,
        HOME, LANG, and, when it gets a terminal, TERM."""

    @abstractmethod
    def boot_id(self) -> str:
        """Differs between two boots; NodeError while the machine is down."""

    @abstractmethod
    def supervise(self) -> None:
        """Run the machine, from power-on to power-off; the process that does it has been recorded."""

    @classmethod
    @abstractmethod
    def _template(cls, suite: str) -> Path:
        """The root directory that nodes of this kind and suite start from."""

    @abstractmethod
    def _make(self, template: Path, content: Content | None) -> None:
        """Make the node's disk in its directory."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether commands can be run in the machine."""

    @abstractmethod
    def _end(self) -> None:
        """End the machine at once, with everything that runs in it."""

    # Commands and files.

    def run(
        self,
        *command: str,
        check: bool = True,
        input: str | None = None,
        timeout: float = 120,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as root in the node.

        Raises NodeError with the program's output when it fails and `check` is set, TimeoutError when it
        takes longer than `timeout` seconds.
        """
        if input is None:
            return self._execute(command, None, check, timeout, env or {})
        with tempfile.TemporaryFile() as stdin:
            stdin.write(input.encode())
            stdin.seek(0)
            return self._execute(command, stdin, check, timeout, env or {})

    def _execute(
        self,
        command: Sequence[str],
        stdin: IO[bytes] | None,
        check: bool,
        timeout: float,
        env: Mapping[str, str],
    ) -> subprocess.CompletedProcess[str]:
        settings = [f"{name}={value}" for name, value in env.items()]
        process = subprocess.Popen(
            self.shell_command(*(["env", *settings] if settings else []), *command),
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _end_command(process)
            words = shlex.join(command)
            raise TimeoutError(f"{self.name}: {words} took longer than {timeout:g} s") from None
        except BaseException:
            _end_command(process)
            raise
        done = subprocess.CompletedProcess(list(command), process.returncode, out, err)
        if check and done.returncode != 0:
            raise NodeError(
                f"{self.name}: {shlex.join(command)} ended with {done.returncode}\n{err}{out}".rstrip()
            )
        return done

    def sh(self, script: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a shell script (sh -e) in the node."""
        return self.run("sh", "-ec", script, check=check, timeout=timeout)

    def read(self, path: str) -> str:
        """The text of a file."""
        return self.run("cat", path).stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file atomically; its directories are made."""
        script = 'mkdir -p "${1%/*}"; umask 077; cat >"$1.new"; chmod "$2" "$1.new"; mv "$1.new" "$1"'
        self.run("sh", "-ec", script, "write", path, f"{mode:o}", input=text)

    def exists(self, path: str) -> bool:
        """Whether something is at the path, be it a dangling link."""
        done = self.run("sh", "-c", '[ -e "$1" ] || [ -L "$1" ]', "exists", path, check=False)
        return done.returncode == 0

    def copy_in(self, host_path: Path | str, node_path: str) -> None:
        """Copy a file or the content of a directory of the host to exactly NODE_PATH, with modes."""
        source = Path(host_path)
        if source.is_dir():
            with tempfile.TemporaryFile() as archive:
                subprocess.run(["tar", "-C", source, "-c", "."], stdout=archive, check=True)
                archive.seek(0)
                unpack = 'mkdir -p "$1"; tar -C "$1" --no-same-owner -x'
                self._execute(["sh", "-ec", unpack, "copy", node_path], archive, True, 600, {})
            return
        with source.open("rb") as file:
            script = 'mkdir -p "$(dirname "$1")"; cat >"$1"; chmod "$2" "$1"'
            mode = f"{source.stat().st_mode & 0o7777:o}"
            self._execute(["sh", "-ec", script, "copy", node_path, mode], file, True, 600, {})

    def place_content(self, content: Content) -> None:
        """Put the image archives into the air-gap folder, and the CNI plugins and their configuration into
        their places."""
        self.check_suite(content)
        for source, target in placement.places(content, self.data_directory):
            self.copy_in(source, target)
        self.write(placement.CONFLIST_PATH, placement.BRIDGE_CONFLIST)

    def check_suite(self, content: Content) -> None:
        """NodeError when the content's programs are not linked for this node."""
        if content.suite != self.suite:
            raise NodeError(f"{self.name} is {self.suite}: programs of {content.suite} do not run on it")

    # systemd.

    def systemctl(
        self, *arguments: str, check: bool = True, timeout: float = 180
    ) -> subprocess.CompletedProcess[str]:
        """Run systemctl."""
        return self.run("systemctl", *arguments, check=check, timeout=timeout)

    def unit(self, name: str) -> dict[str, str]:
        """The properties of a unit, as `systemctl show` names them."""
        lines = self.systemctl("show", "--all", name).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def main_pid(self, unit: str) -> int:
        """The unit's main process, 0 when it has none."""
        return int(self.systemctl("show", "--property=MainPID", "--value", unit).stdout)

    def kill(self, unit_or_pid: str | int, signal: str = "KILL") -> None:
        """Send a signal to a process, or to the main process of a unit."""
        pid = self.main_pid(unit_or_pid) if isinstance(unit_or_pid, str) else unit_or_pid
        if pid <= 0:
            raise NodeError(f"{self.name}: {unit_or_pid} has no process to kill")
        self.run("kill", "-s", signal, str(pid))

    def journal(self, unit: str | None = None, since: str | None = None, lines: int | None = None) -> str:
        """The journal of a unit, or of everything, since this boot. `since` is journalctl's --since."""
        options = [f"--unit={unit}"] if unit else []
        options += [f"--since={since}"] if since else []
        options += [f"--lines={lines}"] if lines is not None else []
        return self.run("journalctl", "--boot", "--no-pager", "--output=short-precise", *options).stdout

    def now(self) -> str:
        """The node's time, for `journal(since=...)`."""
        return self.run("date", "+%Y-%m-%d %H:%M:%S.%6N").stdout.strip()

    # Kubernetes and its containers.

    def kubectl(
        self, *arguments: str, check: bool = True, input: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run the node's kubectl as the administrator of the cluster."""
        return self.run(
            f"{self.data_directory}/bin/kubectl",
            *arguments,
            check=check,
            input=input,
            timeout=timeout,
            env={"KUBECONFIG": "/etc/rancher/rke2/rke2.yaml"},
        )

    def ctr(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the node's ctr in Kubernetes' namespace."""
        return self.run(*self._ctr(), *arguments, check=check)

    def _ctr(self) -> list[str]:
        return [f"{self.data_directory}/bin/ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io"]

    def containers(self) -> dict[str, Container]:
        """The containers that containerd knows, sandboxes included, by ID. NodeError when it is down."""
        function = f'ctr() {{ {shlex.join(self._ctr())} "$@"; }}\n'
        return parse_containers(self.sh(function + LIST_CONTAINERS).stdout)

    def container_processes(self) -> dict[str, set[int]]:
        """The PIDs of each container by ID, read from the kernel: works while containerd is down."""
        return parse_container_processes(self.sh(LIST_CONTAINER_PROCESSES).stdout)

    # Power, and waiting.

    def is_up(self) -> bool:
        """Whether the machine is powered on."""
        record = registry.find(self.name)
        return record is not None and record.is_running()

    def power_on(self, timeout: float = 120) -> None:
        """Boot the machine, and wait until it has booted, with every unit that starts at boot."""
        if self.is_up():
            raise NodeError(f"{self.name} is up already")
        registry.set_process(self.record, 0)
        with (self.directory / "console.log").open("ab") as console:
            # A child of init from the start: it outlives this process, which never has to collect it.
            subprocess.run(
                ["setsid", "--fork", sys.executable, "-m", "tests.nodes", "supervise", self.name],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                check=True,
            )
        self.wait_booted(timeout)

    def crash(self) -> None:
        """End the machine from one moment to the next. All that it has written stays on its disk, also what
        a machine that loses its power would not have written yet."""
        record = registry.find(self.name)
        if record is None or not record.is_running():
            raise NodeError(f"{self.name} is not running")
        self.record = record
        self._end()

    def unplug(self) -> None:
        """Take the machine off the network. It has its address still, and nothing answers."""
        network.unplug(self.record.index)

    def plug_in(self) -> None:
        """Put it on the network again; so does a boot."""
        network.plug_in(self.record.index)

    def reboot(self, timeout: float = 120) -> None:
        """Reboot through systemd, wait until the node has booted again."""
        before = self.boot_id()
        self.run("systemctl", "reboot", check=False)
        self._wait_host("the node to boot again", lambda: self._booted_since(before), timeout)
        self.wait_booted(timeout)

    def power_off(self, timeout: float = 120) -> None:
        """Power off through systemd, wait until the machine is down."""
        self.run("systemctl", "poweroff", check=False)
        self._wait_host("the node to power off", lambda: not self.is_up(), timeout)

    def wait_booted(self, timeout: float = 120) -> None:
        """Wait until systemd has finished booting; NodeError when units have failed."""
        self._wait_host("the machine to answer", self._started, timeout)
        self._wait_host("systemd to answer", self._systemd_answers, timeout)
        wait = ["is-system-running", "--wait"]
        state = self.systemctl(*wait, check=False, timeout=timeout * self.slowness).stdout.strip()
        if state != "running":
            failed = self.systemctl("--failed", "--no-legend", check=False).stdout
            raise NodeError(f"{self.name}: booted, but systemd says {state}\n{failed}")

    def wait_for(
        self,
        description: str,
        condition: Callable[[], object] | Sequence[str],
        timeout: float,
        interval: float | None = None,
    ) -> object:
        """Wait until a function returns something true (which is returned), or a command succeeds.

        A NodeError in the function means: not yet. TimeoutError after `timeout` seconds, with what was
        waited for and what the node looks like. It asks each `interval` seconds; without one, ever less
        often, so that what took long is noticed a tenth of that time later, a second at most: asking, with
        kubectl above all, takes from the node what it needs to get there.
        """
        began = time.monotonic()
        deadline = began + timeout
        last: object = None
        while True:
            try:
                if callable(condition):
                    last = condition()
                    if last:
                        return last
                else:
                    done = self.run(*condition, check=False, timeout=max(1.0, deadline - time.monotonic()))
                    last = (done.stdout + done.stderr).strip()
                    if done.returncode == 0:
                        return True
            except (NodeError, TimeoutError) as error:
                last = error
            if time.monotonic() > deadline:
                waited = f"{self.name}: waited {timeout:g} s for {description}; last: {last!r}"
                raise TimeoutError(f"{waited}\n{self._situation()}")
            time.sleep(interval or min(1.0, max(0.1, (time.monotonic() - began) / 10)))

    def _wait_host(self, description: str, condition: Callable[[], bool], timeout: float) -> None:
        timeout *= self.slowness
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: waited {timeout:g} s for {description}")
            time.sleep(0.05)

    def _booted_since(self, before: str) -> bool:
        try:
            return self.boot_id() != before
        except (NodeError, TimeoutError):
            return False

    def _started(self) -> bool:
        record = registry.find(self.name)
        if record is None or record.pid == 0:
            return False
        self.record = record
        if not record.is_running():
            console = (self.directory / "console.log").read_text(errors="replace")
            raise NodeError(f"{self.name} has ended while it booted:\n{console[-2000:]}")
        return self._answers()

    def _systemd_answers(self) -> bool:
        try:
            state = self.systemctl("is-system-running", check=False, timeout=20).stdout.strip()
        except (NodeError, TimeoutError):
            return False
        return state in ("initializing", "starting", "running", "degraded")

    def _situation(self) -> str:
        """What the node looks like, for the one who reads a failure."""
        parts = []
        for title, command in (
            ("failed units", ["systemctl", "--failed", "--no-legend", "--plain"]),
            ("jobs", ["systemctl", "list-jobs", "--no-legend"]),
            ("units of ours", ["systemctl", "list-units", "--all", "--no-legend", "--plain", "rke2-*"]),
            ("journal", ["journalctl", "--boot", "--no-pager", "--lines=30", "--output=short-precise"]),
        ):
            try:
                output = self.run(*command, check=False, timeout=20).stdout.rstrip()
            except (NodeError, TimeoutError) as error:
                output = str(error)
            if output:
                parts.append(f"-- {title}\n{output}")
        return "\n".join(parts)


def _end_command(process: subprocess.Popen[str]) -> None:
    """End a command of ours that took too long, and what it started."""
    # From the inside out: a process in a node whose parent on the host died first would be left a zombie
    # that keeps the node from shutting down, until the host's init collects it.
    for pid in descendants(process.pid):
        kill(pid)
    try:
        process.communicate(timeout=1)
    except subprocess.TimeoutExpired:
        kill(process.pid)
        process.communicate()
