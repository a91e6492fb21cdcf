"""The network namespaces and interfaces that pods leave, and taking them away."""

import ipaddress
import os
import re
import time
from collections.abc import Iterable

from rke2_units.doors import files
from rke2_units.doors.run import find, run
from rke2_units.machine import mounts

NAMESPACES = "/run/netns"
# RKE2's list: what flannel, canal, calico, cilium, kube-proxy (ipvs) and node-local DNS make.
INTERFACES = (
    "flannel.1",
    "flannel.4096",
    "flannel-v6.1",
    "flannel-v6.4096",
    "flannel-wg",
    "flannel-wg-v6",
    "vxlan.calico",
    "vxlan-v6.calico",
    "cilium_vxlan",
    "cilium_net",
    "cilium_wg0",
    "kube-ipvs0",
    "nodelocaldns",
)
# The bridge plugin's default: other runtimes may have containers at it too.
BRIDGE = "cni0"
_CALICO = re.compile(r"cali[0-9a-f]{11}")
_SYS = "/sys/class/net"
# The kernel takes down a namespace, and the veth pairs into it, in its own time.
_PATIENCE = 5.0
# The kernel's flags of a route (linux/route.h, ipv6_route.h): up, through another machine, rejecting, local.
_UP, _GATEWAY, _REJECT, _LOCAL = 0x1, 0x2, 0x200, 0x80000000
# Beginnings of interfaces that network plugins make: what is connected through them are the pods.
_OF_PLUGINS = ("antrea", "cali", "cilium", "cni", "flannel", "kube-", "ovn-k8s", "tunl", "weave")


def connected(ipv4: str, ipv6: str) -> tuple[tuple[str, str], ...]:
    """Interface and range of the networks that this machine is connected to, but for those of pods.

    The texts are /proc/net/route and /proc/net/ipv6_route. Routes through other machines are none, nor are
    those to one address or to everywhere.
    """
    found: list[tuple[str, ipaddress.IPv4Network | ipaddress.IPv6Network]] = []
    for line in ipv4.splitlines()[1:]:
        name, destination, _, flags, *_, mask = line.split()[:8]
        if int(flags, 16) & (_UP | _GATEWAY | _REJECT) == _UP:
            found.append((name, _network(bytes.fromhex(destination)[::-1], int(mask, 16).bit_count())))
    for line in ipv6.splitlines():
        destination, length, _, _, gateway, _, _, _, flags, name = line.split()
        if int(flags, 16) & (_UP | _GATEWAY | _REJECT | _LOCAL) == _UP and not int(gateway, 16):
            found.append((name, _network(bytes.fromhex(destination), int(length, 16))))
    return tuple(
        (name, str(network))
        for name, network in dict.fromkeys(found)
        if 1 < network.prefixlen < network.max_prefixlen
        and not (network.is_link_local or network.is_multicast or network.is_loopback)
        and name not in INTERFACES
        and not name.startswith(_OF_PLUGINS)
    )


def _network(first: bytes, length: int) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network((first, length), strict=False)


def remove_namespaces(pids: Iterable[int]) -> int:
    """Removes the CNI namespaces that no process (of `pids`) lives in; returns how many."""
    try:
        names = [name for name in os.listdir(NAMESPACES) if name.startswith("cni-")]
    except FileNotFoundError:
        return 0
    used = _inhabited(pids)
    removed = 0
    for name in names:
        path = f"{NAMESPACES}/{name}"
        if os.stat(path).st_ino not in used:
            mounts.unmount([path])
            files.remove(path)
            removed += 1
    return removed


def _inhabited(pids: Iterable[int]) -> set[int]:
    """The inodes of the network namespaces that these processes live in."""
    found = set()
    for pid in pids:
        try:
            found.add(os.stat(f"/proc/{pid}/ns/net").st_ino)
        except OSError:
            continue
    return found


def remove_interfaces() -> list[str]:
    """Removes the interfaces of pods and network plugins; returns their names.

    The bridge is removed unless something is still connected to it: that belongs to another runtime.
    """
    deadline = time.monotonic() + _PATIENCE
    while os.path.isdir(f"{_SYS}/{BRIDGE}") and _ports(BRIDGE) and time.monotonic() < deadline:
        time.sleep(0.05)
    present = sorted(os.listdir(_SYS))
    wanted = [name for name in present if name in INTERFACES or _CALICO.fullmatch(name)]
    if BRIDGE in present and not _ports(BRIDGE):
        wanted.append(BRIDGE)
    if wanted and find("ip") is None:
        run(["ip", "link"])  # raises, and names the package
    return [name for name in wanted if run(["ip", "link", "delete", name], check=False).status == 0]


def _ports(bridge: str) -> list[str]:
    try:
        return os.listdir(f"{_SYS}/{bridge}/brif")
    except FileNotFoundError:
        return []
