"""The environment that RKE2 hands on: proxies to everything, CONTAINERD_* to containerd alone."""

import re
from collections.abc import Mapping

from rke2_units.model import NodeFacts
from rke2_units.plan.node import Node

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NO_PROXY = ("NO_PROXY", "no_proxy")
_CONTAINERD = "CONTAINERD_"
LOG_LEVEL = "CONTAINERD_LOG_LEVEL"


def proxies(node: Node) -> dict[str, str]:
    """Variables with "proxy" in their name, by name; connections inside the cluster are never proxied."""
    return _with_cluster_inside(_proxies(node.facts), node)


def containerd(node: Node) -> dict[str, str]:
    """containerd's own: proxies, and each CONTAINERD_<X> as <X>, which wins.

    What is inside the cluster is never proxied: containerd's children, network plugins, ask the apiserver.
    """
    own = {
        name.removeprefix(_CONTAINERD): value
        for name, value in node.facts.environment.items()
        if name.startswith(_CONTAINERD) and name != LOG_LEVEL
    }
    named = {name: value for name, value in own.items() if _NAME.fullmatch(name)}
    return _with_cluster_inside(_proxies(node.facts) | named, node)


def _proxies(facts: NodeFacts) -> dict[str, str]:
    return {
        name: value
        for name, value in facts.environment.items()
        if _is_of_a_proxy(name) and not name.startswith(_CONTAINERD) and _NAME.fullmatch(name)
    }


def _is_of_a_proxy(name: str) -> bool:
    return "proxy" in name.lower()


def _with_cluster_inside(variables: dict[str, str], node: Node) -> dict[str, str]:
    if not any(_is_of_a_proxy(name) for name in variables):
        return dict(sorted(variables.items()))
    inside = [
        *node.cluster_cidrs,
        *node.service_cidrs,
        ".svc",
        f".{node.config.text('cluster-domain')}",
    ]
    lists = {}
    for name in [name for name in _NO_PROXY if name in variables] or ["NO_PROXY"]:
        given = [entry for entry in variables.get(name, "").split(",") if entry]
        lists[name] = ",".join([*given, *(entry for entry in inside if entry not in given)])
    return dict(sorted((variables | lists).items()))


def file_text(variables: Mapping[str, str]) -> str:
    """The content of a file for systemd's EnvironmentFile= (systemd.exec(5): double quotes, backslashes)."""
    return "".join(f'{name}="{re.sub(_SPECIAL, _escape, value)}"\n' for name, value in variables.items())


_SPECIAL = r'["\\`$]'


def _escape(match: re.Match[str]) -> str:
    return "\\" + match[0]
