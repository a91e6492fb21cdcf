"""What has to be so in the new data before a server starts with it.

It is checked and then changed in a throwaway etcd, as no API server runs. RKE2 changes the same, partly at
the reset and partly at the next start.
"""

from dataclasses import dataclass, field

from rke2_units import cluster_names
from rke2_units.certificates import bootstrap, node_passwords, token
from rke2_units.certificates.token import Token
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean.etcd import Etcd
from rke2_units.node.cluster_reset import kubernetes_version

# Keys in etcd.
_SECRETS = f"/registry/secrets/{node_passwords.NAMESPACE}/"
# Without these the cluster's other nodes and its clients would not trust this server.
_NEEDED = ("ServerCA", "ClientCA", "RequestHeaderCA", "ETCDServerCA", "ETCDPeerCA", "ServiceKey")


@dataclass(frozen=True)
class Wanted:
    """What the data is checked against, and for whom it is to be."""

    token: Token
    node_name: str
    peer_url: str
    # What the data may have been written by at most, "" when it is this server's own.
    release: str = ""


@dataclass(frozen=True)
class Found:
    """`bootstrap` is encrypted as in etcd. `version` is of the Kubernetes that wrote it, "" if unknown."""

    bootstrap: str = field(repr=False)
    version: str = ""


def check(etcd: Etcd, wanted: Wanted) -> Found:
    """UserError when the data cannot be used with this token and this release; changes nothing."""
    sealed = _bootstrap(etcd, wanted.token)
    contents = bootstrap.unpack(bootstrap.unseal(wanted.token.password, sealed))
    lacking = [name for name in _NEEDED if name not in contents]
    if lacking:
        raise UserError(
            f"the bootstrap data in it lacks {', '.join(lacking)}", hint="choose another snapshot"
        )
    if not wanted.token.names_authority(token.authority_hash(contents["ServerCA"])):
        raise ConfigurationError(
            "token CA hash does not match the Cluster CA certificate hash: the token is another cluster's",
            hint="use the token of the cluster of which the snapshot is",
        )
    version = kubernetes_version.newest(etcd)
    if wanted.release and kubernetes_version.minor(version) > kubernetes_version.minor(wanted.release):
        raise ConfigurationError(
            f"it is of Kubernetes {version}, and this server has {wanted.release}, which is older",
            hint=f"rke2-units install --role server --release {version}, or choose an older snapshot",
        )
    return Found(sealed, version)


def adapt(etcd: Etcd, wanted: Wanted) -> None:
    """Makes it this server's: its address, no address of an old API server, no password of an older node."""
    members = etcd.members()
    if len(members) != 1:
        raise UserError(f"etcd still has {len(members)} members, and should have this server's alone")
    if members[0].peer_urls != (wanted.peer_url,):
        etcd.move(members[0].identifier, wanted.peer_url)
    for key in (
        cluster_names.API_ADDRESSES_KEY,
        cluster_names.LEARNER_PROGRESS_KEY,
        # The password is this machine's, which may be another one of the same name.
        _SECRETS + node_passwords.secret_name(wanted.node_name),
    ):
        etcd.delete(key)


def _bootstrap(etcd: Etcd, given: Token) -> str:
    found = etcd.get(bootstrap.key(given.password))
    if found is not None and found.text:
        return found.text
    if found is None and etcd.keys(bootstrap.PREFIX):
        raise bootstrap.WrongPassword(
            "bootstrap data already found and encrypted with different token",
            hint="use the token that the cluster had when the snapshot was taken",
        )
    raise UserError(
        "it has no bootstrap data: it is not of a cluster of RKE2 or rke2-units",
        hint="choose another snapshot; or that cluster was never up",
    )
