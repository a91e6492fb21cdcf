"""The node's name from Amazon's instance metadata service (RKE2: node-name-from-cloud-provider-metadata)."""

from rke2_units.doors import http

SERVICE = "http://169.254.169.254"
# RKE2's: a machine that is in no such cloud must not wait long for an answer that never comes.
_TIMEOUT = 1.0


def local_hostname() -> str | None:
    """The instance's local-hostname (IMDSv2: a token first); None when nobody answers."""
    try:
        status, token = http.ask(
            f"{SERVICE}/latest/api/token",
            method="PUT",
            headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"},
            timeout=_TIMEOUT,
        )
        if status != 200:
            return None
        status, name = http.ask(
            f"{SERVICE}/latest/meta-data/local-hostname",
            headers={"X-aws-ec2-metadata-token": token.strip()},
            timeout=_TIMEOUT,
        )
    except (OSError, ValueError):
        # ValueError: a token that is none, such as a login page, cannot be a header.
        return None
    return name.strip() or None if status == 200 else None
