"""Only a server may receive a token: a certificate of the cluster's authority is not enough.

That authority also signs kubelets' certificates, and a kubelet could have one for a server's address.
The subject distinguishes them: no node chooses its own subject.
"""

from rke2_units import cluster_names

NOT_A_SERVERS = (
    f"its certificate is one of this cluster but not a server's (O={cluster_names.SUPERVISOR_SUBJECT}):"
    " no credentials are sent"
)
_SUBJECT = sorted((key, cluster_names.SUPERVISOR_SUBJECT) for key in ("commonName", "organizationName"))


def is_servers(certificate: object) -> bool:
    """Whether this verified certificate (ssl's getpeercert) is of a join API, RKE2's or this project's."""
    parts = certificate.get("subject", ()) if isinstance(certificate, dict) else ()
    return sorted(pair for part in parts for pair in part) == _SUBJECT
