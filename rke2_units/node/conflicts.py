"""Finds other software of the machine that breaks the network of pods, and never changes it.

Each function yields the problems, one line each. What to do about them is in docs/administration.md.
"""

import fnmatch
import glob
import os
import re
from collections.abc import Iterator

from rke2_units.doors import files
from rke2_units.doors.run import run

# Interfaces that network plugins make: canal's and calico's, flannel's, and the bridge of others.
INTERFACES = ("cali0123456789a", "flannel.1", "vxlan.calico", "cni0")
_NETWORK_MANAGER = "NetworkManager.service"
# The folders of NetworkManager.conf(5); a file in an earlier folder replaces one with the same name in a
# later one.
_NETWORK_MANAGER_FOLDERS = (
    "/etc/NetworkManager/conf.d",
    "/run/NetworkManager/conf.d",
    "/usr/lib/NetworkManager/conf.d",
)
_NETWORK_MANAGER_FILE = "/etc/NetworkManager/NetworkManager.conf"
_UFW_CONFIGURATION = "/etc/ufw/ufw.conf"


def firewalls() -> Iterator[str]:
    """Firewalls that do not know the cluster's traffic, and drop it."""
    if _says("is-active", "firewalld.service") == "active":
        yield "firewalld is active"
    if re.search(r"^\s*ENABLED=[\"']?yes\b", files.read_text(_UFW_CONFIGURATION) or "", re.MULTILINE):
        yield "ufw is enabled"


def network_manager() -> Iterator[str]:
    """NetworkManager, if it would manage the interfaces of pods."""
    if _says("is-active", _NETWORK_MANAGER) != "active":
        return
    taken = unmanaged(_network_manager_files())
    managed = [name for name in INTERFACES if not any(fnmatch.fnmatchcase(name, each) for each in taken)]
    if managed:
        yield f"NetworkManager is active, and manages interfaces such as {', '.join(managed)}"


def cloud_setup() -> Iterator[str]:
    """The service that writes a cloud's addresses and routes, and removes all others."""
    units = ("nm-cloud-setup.timer", "nm-cloud-setup.service")
    for unit in units:
        # It mostly does harm at the next boot.
        if _says("is-active", unit) == "active" or _says("is-enabled", unit) == "enabled":
            yield f"{unit} is in use"


def unmanaged(texts: list[str]) -> list[str]:
    """The patterns of interfaces' names in unmanaged-devices of NetworkManager's files, in their order.

    The last file that has the key applies, `+=` adds to it. Entries that do not match by name (by MAC,
    driver, type) are left out: they cannot match interfaces that a plugin creates later.
    """
    entries: list[str] = []
    for text in texts:
        for adds, value in re.findall(r"^\s*unmanaged-devices\s*(\+?)=(.*)$", text, re.MULTILINE):
            entries = [*(entries if adds else []), *re.split(r"[;,]", value)]
    found = []
    for entry in (each.strip() for each in entries):
        if entry == "*":
            found.append(entry)
        elif entry.startswith("interface-name:"):
            # "~" is a pattern as well, "=" a name as it stands.
            found.append(entry.removeprefix("interface-name:").lstrip("~="))
    return found


def _network_manager_files() -> list[str]:
    by_name: dict[str, str] = {}
    for folder in _NETWORK_MANAGER_FOLDERS:
        for path in glob.glob(f"{folder}/*.conf"):
            by_name.setdefault(os.path.basename(path), path)
    # Those of /usr/lib come before NetworkManager.conf, the others after it.
    shipped = [path for _, path in sorted(by_name.items()) if "/usr/lib/" in path]
    others = [path for _, path in sorted(by_name.items()) if "/usr/lib/" not in path]
    return [files.read_text(path) or "" for path in (*shipped, _NETWORK_MANAGER_FILE, *others)]


def _says(question: str, unit: str) -> str:
    if not os.path.isdir("/run/systemd/system"):
        return ""
    return run(["systemctl", question, unit], check=False).output.strip()
