"""The firewall rules that Kubernetes and its network plugins leave: found in a dump, and taken out by name.

Only deletions are handed to iptables: the rules of others are never read back in and written again.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from rke2_units.doors.run import find, run

# What chains of kube-proxy, the kubelet, canal, calico, cilium (it renames old ones) and flannel begin with.
_CHAIN = re.compile(r"KUBE-|cali-|(OLD_)?CILIUM_|FLANNEL-")
# The whole comment of rules in the kernel's own chains that lead to none of theirs: calico's (a hash), those
# of flannel before 0.20, and node-local DNS'.
_COMMENT = re.compile(r"cali:[\w-]{16}|flanneld (masq|forward)|NodeLocal DNS Cache: .*")
# CNI's own plugins (portmap, bridge with ipMasq, firewall) serve every container runtime of the machine.
# They name the container in a comment of the rules that lead to its chains.
_CNI = "CNI-"
# Where the firewall plugin leaves room for rules of the administrator.
_CNI_ADMIN = "CNI-ADMIN"
_CONTAINER = re.compile(r'(?:^| )id: "([^"\\]+)"')
# What a rule consists of, as iptables-save prints it: a text in quotes may hold anything.
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
_TABLES_OF_NFTABLES = (
    *("table ip kube-proxy", "table ip6 kube-proxy"),
    *("table ip flannel-ipv4", "table ip6 flannel-ipv6"),
    *("table ip calico", "table ip6 calico"),
)
_TABLES = {"iptables": "/proc/net/ip_tables_names", "ip6tables": "/proc/net/ip6_tables_names"}


@dataclass(frozen=True)
class _Rule:
    """One line of the dump: its chain, where it jumps or goes to ("" for nowhere), and what comments say."""

    line: str
    chain: str
    target: str
    comments: tuple[str, ...]

    @property
    def container(self) -> str:
        """The ID of the container that a CNI plugin has made the rule for, "" for any other rule."""
        found = [match[1] for comment in self.comments if (match := _CONTAINER.search(comment))]
        return found[0] if found and self.target.startswith(_CNI) else ""


def _rule(line: str) -> _Rule:
    words = _WORD.findall(line)
    after: dict[str, list[str]] = {}
    for option, word in zip(words, words[1:], strict=False):
        after.setdefault(option, []).append(word)
    comments = [_unquoted(word) for word in after.get("--comment", [])]
    target = [*after.get("-j", []), *after.get("-g", []), ""][0]
    return _Rule(line, words[1], target, tuple(comments))


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word


def deletions(dump: str, lives: Callable[[str], bool]) -> str:
    """What `iptables-restore --noflush` has to read to take our rules out of this `iptables-save` dump.

    "" when there are none. `lives(container)` says whether the container of this ID still runs: it is
    another runtime's then, and of the CNI plugins' rules only those of containers that are gone are taken.
    A rule is ours by its chain, by where it leads, or by what its whole comment is: words in the comments,
    interfaces and chains' names of others are theirs.
    """
    # A comment may hold what splitlines() takes for the end of a line.
    lines = dump.split("\n")
    rules_there = {line: _rule(line) for line in lines if line.startswith("-A ")}
    containers = {rule.container for rule in rules_there.values()} - {""}
    gone = {container for container in containers if not lives(container)}
    shared = gone != containers
    targets = {rule.target for rule in rules_there.values() if rule.container in gone}
    admin_rules = any(rule.chain == _CNI_ADMIN for rule in rules_there.values())

    def is_our_chain(name: str) -> bool:
        if name.startswith(_CNI):
            return name in targets if shared else not (name == _CNI_ADMIN and admin_rules)
        return bool(_CHAIN.match(name))

    def is_our_rule(rule: _Rule) -> bool:
        if rule.target.startswith(_CNI):
            return not shared or rule.container in gone
        return bool(
            _CHAIN.match(rule.target) or any(_COMMENT.fullmatch(comment) for comment in rule.comments)
        )

    result: list[str] = []
    table, chains, rules = "", [""], [""]
    for line in lines:
        if line.startswith("*"):
            table, chains, rules = line, [], []
        elif line.startswith(":"):
            chain = line[1:].split()[0]
            chains += [chain] if is_our_chain(chain) else []
        elif line.startswith("-A ") and rules_there[line].chain not in chains:
            rules += [f"-D {line[3:]}"] if is_our_rule(rules_there[line]) else []
        elif line == "COMMIT" and (chains or rules):
            # A chain can be deleted only when no rule leads to it any more.
            emptied = [f"-F {chain}" for chain in chains]
            result += [table, *rules, *emptied, *(f"-X {chain}" for chain in chains), line]
    return "".join(f"{line}\n" for line in result)


def remove_rules(lives: Callable[[str], bool]) -> list[str]:
    """Removes our rules from the tables of IPv4 and IPv6, of both kinds of iptables; returns a report."""
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
    """Takes away the tables of kube-proxy, flannel and calico where these use nftables itself."""
    if find("nft") is None:
        return []
    there = run(["nft", "list", "tables"], check=False).output.splitlines()
    ours = [table for table in there if table in _TABLES_OF_NFTABLES]
    for table in ours:
        run(["nft", "delete", *table.split()])
    return ours


def _has_content(path: str) -> bool:
    try:
        with open(path, encoding="ascii") as file:
            return bool(file.read().strip())
    except OSError:
        return False
