"""Explains that a certificate is not valid now: the usual cause is a wrong clock."""

import ssl
from datetime import UTC, datetime

from rke2_units.certificates import certificate

# OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_NOT_YET, _EXPIRED = 9, 10
_TIMEOUT = 5.0


def said(error: ssl.SSLCertVerificationError, host: str, port: int) -> str:
    """OpenSSL's message; if it is about time, with the certificate's dates and this machine's clock."""
    if error.verify_code not in (_NOT_YET, _EXPIRED):
        return error.verify_message
    now = datetime.now(UTC)
    behind = error.verify_code == _NOT_YET
    guess = (
        "is it behind, or was the server's clock ahead when it issued its certificates?"
        if behind
        else "if it is right, restart rke2-server on that server to renew its certificates"
    )
    return (
        f"{error.verify_message}{_dates(host, port, now)}; this machine's clock says {_text(now)}: {guess}"
    )


def _dates(host: str, port: int, now: datetime) -> str:
    """The validity of the certificate at this address; "" if it is valid now, or cannot be fetched."""
    try:
        # Not verified: only its dates are shown.
        found = certificate.load(ssl.get_server_certificate((host, port), timeout=_TIMEOUT))
    except (OSError, ValueError):
        return ""
    if found is None:
        return ""
    first, last = certificate.not_before(found), certificate.not_after(found)
    return "" if first <= now <= last else f" (it is valid from {_text(first)} to {_text(last)})"


def _text(moment: datetime) -> str:
    # To the minute: a text that changed with each attempt would be logged each time.
    return f"{moment:%Y-%m-%d %H:%M} UTC"
