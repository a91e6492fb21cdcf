"""How many objects of each kind an etcd holds.

A kind is known by what its keys begin with. etcd is asked for numbers alone, so that neither side has more
than one object of a large database in its memory.
"""

from collections.abc import Mapping

from rke2_units.lean.etcd import Etcd, EtcdError

ROOT = "/registry/"
# More than any cluster has; what lies below ROOT came with a file.
_MOST = 10_000
# Of the kinds whose keys do not have the name of their resource.
_RESOURCES = {
    "controllers": "replicationcontrollers",
    "ingress": "ingresses",
    "minions": "nodes",
    "services/endpoints": "endpoints",
    "services/specs": "services",
}
# These have a folder more before the namespace, as the resources of a group have.
_TWO_PARTS = ("services",)


def counted(etcd: Etcd, revision: int) -> dict[str, int]:
    """The number of keys of each kind at this revision, by the kind's prefix."""
    found: dict[str, int] = {}
    end = after(ROOT)
    rest = etcd.count(ROOT, end, revision=revision)
    while rest.number:
        prefix = prefix_of(rest.first)
        if prefix in found or len(found) == _MOST:
            raise EtcdError(f"unexpected key in etcd: {rest.first!r}")
        behind = etcd.count(after(prefix), end, revision=revision)
        found[prefix] = rest.number - behind.number
        rest = behind
    return found


def differences(etcd: Etcd, expected: Mapping[str, int], revision: int) -> list[str]:
    """What this etcd has another number of at this revision, in words; `expected` is what `counted` gave."""
    found = {prefix: etcd.count(prefix, after(prefix), revision=revision).number for prefix in expected}
    others = etcd.count(ROOT, after(ROOT), revision=revision).number - sum(found.values())
    words = [
        f"{resource(prefix)}: {number}, live etcd has {found[prefix]}"
        for prefix, number in expected.items()
        if number != found[prefix]
    ]
    return words + ([f"other kinds: 0, live etcd has {others}"] if others else [])


def after(prefix: str) -> str:
    """The first key that sorts behind all that begin with this."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def prefix_of(key: str) -> str:
    """What all keys of this key's kind begin with: /registry/pods/, /registry/apps.example.org/things/."""
    parts = key.removeprefix(ROOT).split("/")
    depth = 2 if "." in parts[0] or parts[0] in _TWO_PARTS else 1
    # A key that ends there is one of its own.
    return ROOT + "/".join(parts[:depth]) + ("/" if len(parts) > depth else "")


def resource(prefix: str) -> str:
    """The kind's name as kubectl has it: pods, things.apps.example.org."""
    name = prefix.removeprefix(ROOT).rstrip("/")
    group, _, plural = name.partition("/")
    return _RESOURCES.get(name) or (f"{plural}.{group}" if "." in group else name)
