"""The firewall rules that Kubernetes and its network plugins leave: found in a dump, and taken out by name.

Only deletions are handed to iptables: the rules of others are never read back in and written again.
"""

import re
from collections.abc import Callable

from rke2_units.doors.run import find, run

# What kube-proxy, the kubelet, canal, cilium, flannel and node-local DNS call theirs.
_KUBERNETES = re.compile(r"KUBE-|cali-|cali:|CILIUM_|flannel|FLANNEL-|NodeLocal DNS Cache")
# CNI's own plugins (portmap, bridge with ipMasq, firewall) serve every container runtime of the machine.
# They name the container in a comment of the rules that lead to its chains.
_CNI = re.compile(r"CNI-")
_CONTAINER = re.compile(r'id: \\"([^"\\]+)\\"')
_TARGET = re.compile(r" -j (CNI-\S+)")
_PROXY_TABLES = ("table ip kube-proxy", "table ip6 kube-proxy")
_TABLES = {"iptables": "/proc/net/ip_tables_names", "ip6tables": "/proc/net/ip6_tables_names"}


def deletions(dump: str, lives: Callable[[str], bool]) -> str:
    """What `iptables-restore --noflush` has to read to take our rules out of this `iptables-save` dump.

    "" when there are none. `lives(container)` says whether the container of this ID still runs: it is
    another runtime's then, and of the CNI plugins' rules only those of containers that are gone are taken.
    """
    lines = dump.splitlines()
    containers = {found[1] for line in lines if (found := _CONTAINER.search(line))}
    gone = {container for container in containers if not lives(container)}
    shared = gone != containers
    targets = {
        target[1]
        for line in lines
        if (found := _CONTAINER.search(line)) and found[1] in gone and (target := _TARGET.search(line))
    }

    def is_our_chain(name: str) -> bool:
        return bool(_KUBERNETES.search(name) or (name in targets if shared else _CNI.search(name)))

    def is_our_rule(line: str) -> bool:
        if not shared or _KUBERNETES.search(line):
            return bool(_KUBERNETES.search(line) or _CNI.search(line))
        container = _CONTAINER.search(line)
        return bool(container and container[1] in gone)

    result: list[str] = []
    table, chains, rules = "", [""], [""]
    for line in lines:
        if line.startswith("*"):
            table, chains, rules = line, [], []
        elif line.startswith(":"):
            chain = line[1:].split()[0]
            chains += [chain] if is_our_chain(chain) else []
        elif line.startswith("-A ") and line.split()[1] not in chains and is_our_rule(line):
            rules.append(f"-D {line[3:]}")
        elif line == "COMMIT" and (chains or rules):
            # A chain can be deleted only when no rule leads to it any more.
            emptied = [f"-F {chain}" for chain in chains]
            result += [table, *rules, *emptied, *(f"-X {chain}" for chain in chains), line]
    return "".join(f"{line}\n" for line in result)


def remove_rules(lives: Callable[[str], bool]) -> list[str]:
    """Takes our rules out of IPv4's and IPv6's tables, of both kinds of iptables; says what it did."""
    done = []
    for family, legacy_tables in _TABLES.items():
        for variant in ("nft", "legacy"):
            # Asking for the legacy tables would load their modules on a machine that does not use them.
            if variant == "legacy" and not _has_content(legacy_tables):
                continue
            if find(f"{family}-{variant}-save") is None:
                continue
            orders = deletions(run([f"{family}-{variant}-save"], check=False).output, lives)
            if orders:
                run([f"{family}-{variant}-restore", "--noflush", "--wait", "10"], input=orders)
                done.append(f"{family} ({variant}): {orders.count('-X ')} chains and their rules removed")
    return done + [f"{table} removed" for table in _remove_tables()]


def _remove_tables() -> list[str]:
    """Takes away the tables that kube-proxy has in its mode nftables."""
    if find("nft") is None:
        return []
    there = run(["nft", "list", "tables"], check=False).output.splitlines()
    ours = [table for table in there if table in _PROXY_TABLES]
    for table in ours:
        run(["nft", "delete", *table.split()])
    return ours


def _has_content(path: str) -> bool:
    try:
        with open(path, encoding="ascii") as file:
            return bool(file.read().strip())
    except OSError:
        return False
