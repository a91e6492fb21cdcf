"""The node's name from Amazon's instance metadata service (RKE2: node-name-from-cloud-provider-metadata)."""

from rke2_units.lean import http

SERVICE = "http://169.254.169.254:80"
# RKE2's value: a machine outside this cloud must not wait long for an answer.
_TIMEOUT = 1.0


def local_hostname() -> str | None:
    """The instance's local-hostname (IMDSv2: a token first); None when nobody answers."""
    _, host, port, _ = http.split(SERVICE)
    try:
        with http.Connection(host, port, timeout=_TIMEOUT) as connection:
            lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
            token = connection.ask("/latest/api/token", lifetime, method="PUT")
            if token.status != 200:
                return None
            name = connection.ask(
                "/latest/meta-data/local-hostname",
                {"X-aws-ec2-metadata-token": token.body.decode(errors="replace").strip()},
            )
    except (OSError, ValueError):
        # ValueError: a login page, say, in place of the token cannot be a header.
        return None
    return name.body.decode(errors="replace").strip() or None if name.status == 200 else None
