"""What is said before a reset, and what to type after it."""

import os
from collections.abc import Iterator

from rke2_units.config import derived
from rke2_units.layout import Paths
from rke2_units.node.cluster_reset.places import Places
from rke2_units.node.cluster_reset.request import Request
from rke2_units.plan import addresses
from rke2_units.plan.node import Node
from rke2_units.ports import SUPERVISOR_PORT
from rke2_units.unit_names import Role

_UNIT = Role.SERVER.unit.removesuffix(".service")


def announcement(paths: Paths, places: Places, request: Request) -> Iterator[str]:
    """What will be done, a line each."""
    if request.s3:
        yield f"download {request.snapshot} from the bucket {request.s3.bucket} to {request.file}"
    if request.snapshot:
        yield f"restore {request.file} into {places.new}, and check it and the token"
        yield "end the pods of this node's control plane"
    else:
        yield "end the pods of this node's control plane"
        yield f"copy {places.live} to {places.new}, and make this server the only member there"
    if places.has_data:
        yield f"move the data of etcd in {places.live} to {places.old}"
    yield f"move {places.new} to {places.live}"
    for source, target in places.kept(paths):
        yield f"copy {source} to {target}"
    yield f"overwrite the cluster's authorities, keys and token in {paths.server} with those in the data"


def after(node: Node, places: Places) -> Iterator[str]:
    """What to do here and on the other nodes."""
    data, db = node.paths.data, f"{node.paths.server}/db"
    url = addresses.url("https", addresses.node_ips(node)[0], SUPERVISOR_PORT)
    kept = [path for path in (places.old, places.tls, places.credentials) if os.path.exists(path)]
    yield (
        "Managed etcd cluster membership has been reset: this server is the only member. Start it now"
        f"{_without_keys(node)}:"
    )
    yield f"  systemctl start {_UNIT}"
    yield "On each other server of the cluster, when this one is up:"
    yield f"  systemctl stop {_UNIT}"
    yield "  rke2-units killall"
    # Their snapshots, which are beside it, stay.
    yield f"  mv {db}/etcd {db}/etcd-old-{os.path.basename(places.tls).rpartition('-')[2]}"
    yield f"  # in /etc/rancher/rke2/config.yaml: server: {url}"
    yield f"  systemctl start {_UNIT}"
    yield (
        "Agents need nothing as long as their `server`, or a server that they know, leads here. Nodes that "
        "are gone: kubectl delete node NAME."
    )
    if kept:
        yield f"Kept for you to remove: {' '.join(kept)}"
    yield f"(The data directory of the other servers is taken to be {data} as well.)"


def _without_keys(node: Node) -> str:
    keys = [key for key in ("cluster-reset", "cluster-reset-restore-path") if node.config.is_set(key)]
    if not keys or not derived.server_roles(node.config).etcd:
        return ""
    return f", without {' and '.join(keys)} in {node.config.source(keys[0])}"
