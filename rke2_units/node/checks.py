"""The checks of a machine before it becomes a node: one table, each entry with advice."""

import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from rke2_units import layout, ports, printable, unit_names
from rke2_units.config import derived
from rke2_units.doors import files
from rke2_units.doors.run import PACKAGES, find, run
from rke2_units.errors import UserError
from rke2_units.lean import architectures
from rke2_units.machine import kernel_parameters, listening, processes
from rke2_units.node import conflicts, facts, own_processes
from rke2_units.plan import static_pods, sysctl
from rke2_units.plan.node import Node
from rke2_units.unit_names import Role

OLDEST_SYSTEMD = 252
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
# What the kubelet, kube-proxy, CNI plugins and rke2-units call.
PROGRAMS = ("iptables", "ip6tables", "mount", "umount", "modprobe", "sysctl", "ip", "conntrack")
# Without these mounts, network namespaces, firewall rules or devices cannot be made (linux/capability.h).
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_SYS_PTRACE": 19, "CAP_DAC_OVERRIDE": 1}

_GIB = 1024**3
_DISK_MINIMUM, _DISK_WANTED = 1 * _GIB, 5 * _GIB
# RKE2 wants 4 GB for a server; a machine reports somewhat less than it was given.
_MEMORY_WANTED = {Role.SERVER: 3.5 * _GIB, Role.AGENT: 0.9 * _GIB}
_MEMORY_MINIMUM = 0.45 * _GIB
# A clock before this year was never set, and every certificate would have wrong dates.
_CLOCK_MINIMUM_YEAR = 2024

# The ports of a node other than those of its static pods (plan.static_pods.PORTS).
_AGENT_PORTS = (ports.KUBELET_PORT, ports.KUBELET_HEALTH_PORT, ports.CONTAINERD_STREAM_PORT)
# No manifest has etcd's port for HTTP, not even RKE2's.
_SERVER_PORTS = (*_AGENT_PORTS, ports.SUPERVISOR_PORT, ports.ETCD_HTTP_PORT)


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Check:
    """`run` yields the problems, one line each, none when all is well; `advice` is what to do about them."""

    name: str
    run: Callable[[Node], Iterator[str]]
    advice: str
    severity: Severity = Severity.ERROR
    # The severity in a container: the host provides these, and not all of them are visible there.
    in_container: Severity | None = None


@dataclass(frozen=True)
class Finding:
    check: Check
    problem: str
    severity: Severity


def failures(node: Node) -> list[Finding]:
    """Runs all checks; returns what they found, errors first."""
    container = in_container()
    found = []
    for check in CHECKS:
        severity = check.in_container if container and check.in_container else check.severity
        found += [Finding(check, problem, severity) for problem in check.run(node)]
    return sorted(found, key=lambda finding: finding.severity is not Severity.ERROR)


def table(findings: list[Finding]) -> str:
    """The findings as text: severity, check and problem, and below it what to do."""
    width = max((len(finding.check.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.severity:<8} {finding.check.name:<{width}}  {finding.problem}")
        lines.append(f"{'':<8} {'':<{width}}  -> {finding.check.advice}")
    # Other programs choose the names of their processes.
    return "\n".join(map(printable.visible, lines))


def in_container() -> bool:
    """Whether systemd says that this machine is a container (systemd-detect-virt --container)."""
    return os.path.exists("/run/systemd/container") or os.path.exists("/run/host/container-manager")


def _root(node: Node) -> Iterator[str]:
    if os.geteuid() != 0:
        yield f"running as user {os.geteuid()}"


def _systemd(node: Node) -> Iterator[str]:
    version = facts.systemd_version()
    if version is None:
        yield "systemctl is missing"
    elif version < OLDEST_SYSTEMD:
        yield f"systemd {version} is too old; version {OLDEST_SYSTEMD} or later is required"
    if not os.path.isdir("/run/systemd/system"):
        yield "systemd does not run as PID 1"


def _architecture(node: Node) -> Iterator[str]:
    machine = os.uname().machine
    if machine not in architectures.NAMES:
        yield f"this machine is {machine}"


def _state(unit: str) -> str:
    return run(["systemctl", "is-active", unit], check=False).output.strip()


def _other_role(node: Node) -> Iterator[str]:
    if not os.path.isdir("/run/systemd/system"):
        return
    state = _state(node.role.other.unit)
    if state in ("active", "activating", "reloading"):
        yield f"{node.role.other.unit} is {state}"


def _units(node: Node) -> Iterator[str]:
    for role in Role:
        place = f"{layout.UNIT_DIRECTORY}/{role.unit}"
        if os.path.lexists(place):
            yield f"{place} overrides the unit that this package installs"


def _cgroups(node: Node) -> Iterator[str]:
    version = facts.cgroup_version()
    missing = sorted(set(CONTROLLERS) - facts.cgroup_controllers())
    if missing:
        yield f"cgroup v{version} without {', '.join(missing)}"


def _cgroup_version(node: Node) -> Iterator[str]:
    if facts.cgroup_version() == 1:
        yield "cgroup v1, whose support Kubernetes is ending (no swap, no memory QoS)"


def _modules(node: Node) -> Iterator[str]:
    release = os.uname().release
    built_in = files.read_text(f"/lib/modules/{release}/modules.builtin") or ""
    for module in sysctl.modules(node.config):
        if os.path.isdir(f"/sys/module/{module}") or f"/{module}.ko" in built_in:
            continue
        if module == "overlay" and re.search(
            r"^nodev\toverlay$", files.read_text("/proc/filesystems") or "", re.M
        ):
            continue
        if find("modprobe") and run(["modprobe", "--dry-run", module], check=False).status == 0:
            continue
        yield f"kernel module {module} is not loaded and not available for kernel {release}"


def ports_of(node: Node) -> set[int]:
    """All that the node may listen on."""
    if node.role is Role.SERVER:
        return {*_SERVER_PORTS, *(port for pod in static_pods.PORTS.values() for port in pod.values())}
    return {
        *_AGENT_PORTS,
        *static_pods.PORTS[unit_names.KUBE_PROXY].values(),
        derived.apiserver_proxy_port(node.config),
        derived.supervisor_proxy_port(node.config),
    }


def _ports(node: Node) -> Iterator[str]:
    used = listening.read_listening(ports_of(node))
    if not used:
        return
    running = processes.read_processes()
    ours = own_processes.read_ours(node.paths, running)
    owners = listening.owners({inode for inodes in used.values() for inode in inodes}, running)
    if 1 in owners.values() and _state(unit_names.SUPERVISOR_SOCKET) == "active":
        # systemd holds the supervisor's port for it.
        ours = ours | {1}
    for port in sorted(used):
        holders = {owners[inode] for inode in used[port] if inode in owners}
        for pid in sorted(holders - ours):
            yield f"port {port} is in use by {running[pid].name} (PID {pid})"
        if not holders:
            yield f"port {port} is in use"


def _disk(node: Node, below: int, from_: int = 0) -> Iterator[str]:
    place = node.paths.data
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    free = shutil.disk_usage(place).free
    if from_ <= free < below:
        yield f"{free / _GIB:.1f} GiB are free for {node.paths.data}, {below / _GIB:.0f} GiB are needed"


def _memory(node: Node, below: float, from_: float = 0) -> Iterator[str]:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if from_ <= total < below:
        yield f"{total / _GIB:.1f} GiB of memory, {below / _GIB:.1f} GiB are needed"


def _swap(node: Node) -> Iterator[str]:
    areas = [line.split()[0] for line in (files.read_text("/proc/swaps") or "").splitlines()[1:] if line]
    if areas:
        yield f"swap is on: {', '.join(areas)}"


def _capabilities(node: Node) -> Iterator[str]:
    status = files.read_text("/proc/self/status") or ""
    if os.geteuid() != 0:
        return
    for name, number in CAPABILITIES.items():
        if not facts.has_capability(status, number):
            yield f"{name} is missing"


def _resources_capability(node: Node) -> Iterator[str]:
    if os.geteuid() == 0 and not facts.has_capability(
        files.read_text("/proc/self/status") or "", facts.CAP_SYS_RESOURCE
    ):
        yield "CAP_SYS_RESOURCE is missing: pods cannot be protected from the OOM killer"


def _name(node: Node) -> Iterator[str]:
    hostname = socket.gethostname()
    hosts = files.read_text("/etc/hosts") or ""
    names_in_hosts = {name for line in hosts.splitlines() for name in line.partition("#")[0].split()[1:]}
    if hostname in names_in_hosts:
        return
    # Follows /etc/nsswitch.conf, with myhostname; a process of its own, because it can take very long.
    try:
        found = run(["getent", "ahosts", hostname], timeout=5, check=False).status == 0
    except UserError:
        found = False
    if not found:
        yield f"the host name {hostname} does not resolve (within 5 seconds)"


def _programs(node: Node) -> Iterator[str]:
    for program in PROGRAMS:
        if find(program) is None:
            yield f"{program} is missing: apt install {PACKAGES[program]}"


def _clock(node: Node) -> Iterator[str]:
    if time.gmtime().tm_year < _CLOCK_MINIMUM_YEAR:
        yield f"the clock says {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC"


_CONFLICTS = "docs/administration.md, Known conflicts"

CHECKS = (
    Check("root", _root, "run it as root: sudo rke2-units install ..."),
    Check(
        "systemd",
        _systemd,
        "use Debian 12, Ubuntu 24.04 or later, booted",
    ),
    Check("architecture", _architecture, "use an amd64 or arm64 machine"),
    Check("other-role", _other_role, "stop it: rke2-units killall"),
    Check(
        "units",
        _units,
        "stop that RKE2 and remove its units, or run its rke2-uninstall.sh if its data may be deleted",
    ),
    Check(
        "cgroups",
        _cgroups,
        "boot without cgroup_disable=; on a Raspberry Pi add cgroup_enable=memory cgroup_memory=1",
    ),
    Check(
        "cgroup-version",
        _cgroup_version,
        "boot with systemd.unified_cgroup_hierarchy=1; Kubernetes 1.35 and later need failCgroupV1: false",
        Severity.WARNING,
    ),
    Check(
        "kernel-modules",
        _modules,
        "install the kernel's module package (linux-image-..., on Ubuntu linux-modules-extra-...)",
        in_container=Severity.WARNING,
    ),
    Check(
        "kernel-parameters",
        lambda node: iter(kernel_parameters.wrong(node.config)),
        kernel_parameters.ADVICE,
    ),
    Check(
        "firewall",
        lambda node: conflicts.firewalls(),
        f"disable it, or have it trust pods, services and nodes ({_CONFLICTS})",
        Severity.WARNING,
    ),
    Check(
        "network-manager",
        lambda node: conflicts.network_manager(),
        f"list them as unmanaged in /etc/NetworkManager/conf.d/rke2-canal.conf ({_CONFLICTS})",
        Severity.WARNING,
    ),
    Check(
        "nm-cloud-setup",
        lambda node: conflicts.cloud_setup(),
        "systemctl disable --now nm-cloud-setup.service nm-cloud-setup.timer, and reboot",
        Severity.WARNING,
    ),
    Check("ports", _ports, "stop the program that uses it, or let it use another port"),
    Check(
        "disk",
        lambda node: _disk(node, _DISK_MINIMUM),
        "free some space, or set data-dir to a larger disk",
    ),
    Check(
        "disk-room",
        lambda node: _disk(node, _DISK_WANTED, _DISK_MINIMUM),
        "a full disk stops etcd and evicts pods: free some space, or set data-dir to a larger disk",
        Severity.WARNING,
    ),
    Check(
        "memory",
        lambda node: _memory(node, _MEMORY_MINIMUM),
        "give the machine more memory",
    ),
    Check(
        "memory-room",
        lambda node: _memory(node, _MEMORY_WANTED[node.role], _MEMORY_MINIMUM),
        "give the machine more memory",
        Severity.WARNING,
    ),
    Check(
        "swap",
        _swap,
        "swapoff -a, and remove it from /etc/fstab; pods are meant to stay in memory",
        Severity.WARNING,
    ),
    Check(
        "capabilities",
        _capabilities,
        "grant it to the container or service in which rke2-units runs",
    ),
    Check(
        "cap-sys-resource",
        _resources_capability,
        "no action needed: containerd is configured to work without it",
        Severity.WARNING,
    ),
    Check(
        "name",
        _name,
        "add it to /etc/hosts; each look-up that fails delays the start by seconds",
        Severity.WARNING,
    ),
    Check("programs", _programs, "install its package"),
    Check(
        "clock",
        _clock,
        "set it (timedatectl), or wait for NTP: certificates carry dates",
    ),
)
