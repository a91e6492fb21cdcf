"""Who may be told a token: not whoever has a certificate of the cluster's authority, but a server.

That authority signs for kubelets as well, and one of them may have got a certificate for a server's address.
The subject tells them apart: no node chooses its own.
"""

from rke2_units import cluster_names

NOT_A_SERVERS = (
    f"its certificate is one of this cluster but not a server's (O={cluster_names.SUPERVISOR_SUBJECT}):"
    " whoever answers there is told nothing"
)
_SUBJECT = sorted((key, cluster_names.SUPERVISOR_SUBJECT) for key in ("commonName", "organizationName"))


def is_servers(certificate: object) -> bool:
    """Whether this verified certificate (ssl's getpeercert) is that of a join API: RKE2's or ours."""
    parts = certificate.get("subject", ()) if isinstance(certificate, dict) else ()
    return sorted(pair for part in parts for pair in part) == _SUBJECT
