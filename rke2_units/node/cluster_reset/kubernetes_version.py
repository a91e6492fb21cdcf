"""Which Kubernetes wrote the data in etcd, as its nodes say it.

Nothing in etcd names the API server's version. No kubelet is newer than its API server, and the servers'
kubelets have its version: the newest kubelet's is the cluster's.
"""

import re
from collections.abc import Iterator

from rke2_units.lean.etcd import Etcd

_NODES, _AFTER_NODES = "/registry/minions/", "/registry/minions0"
# A node's object has some 10 KB.
_AT_ONCE = 100
_VERSION = r"v(\d{1,3})\.(\d{1,3})\.\d{1,3}(?:[-+][0-9A-Za-z.+-]*)?"
# In NodeSystemInfo (protobuf): field 7, kubeletVersion, with its length; field 8 follows, even when empty.
_FIELD, _NEXT_FIELD = ":", "B"
_PROTOBUF = re.compile(f"{_FIELD}(.)v[0-9]", re.DOTALL)
_JSON = re.compile(f'"kubeletVersion":"({_VERSION})"')


def newest(etcd: Etcd) -> str:
    """The newest kubelet's version, such as v1.36.4+rke2r1; "" when no node says one."""
    return max((version for text in _nodes(etcd) for version in versions(text)), key=minor, default="")


def versions(text: str) -> Iterator[str]:
    """The kubelet's version in the Node object in this text, which is protobuf or JSON."""
    for match in _PROTOBUF.finditer(text):
        begin = match.start() + len(_FIELD) + 1
        end = begin + ord(match[1])
        if re.fullmatch(_VERSION, text[begin:end]) and text[end : end + 1] == _NEXT_FIELD:
            yield text[begin:end]
    yield from (match[1] for match in _JSON.finditer(text))


def minor(version: str) -> tuple[int, int]:
    """Major and minor number of a version or a release of RKE2; (0, 0) for another text."""
    match = re.match(_VERSION, version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _nodes(etcd: Etcd) -> Iterator[str]:
    start, known = _NODES, ""
    while found := [(key, text) for key, text in etcd.range(start, _AFTER_NODES, _AT_ONCE) if key != known]:
        yield from (text for _, text in found)
        start = known = found[-1][0]
