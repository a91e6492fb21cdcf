"""Configures TLS like that of the apiserver, translated for OpenSSL."""

import ssl

from rke2_units.errors import ConfigurationError
from rke2_units.join_api.settings import Settings

# Go's names of TLS 1.2 suites, and OpenSSL's. Those of TLS 1.3 are not configurable in either.
_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}


def suites(names: tuple[str, ...]) -> str:
    """OpenSSL's cipher list for Go's names; all supported ones if there are no names.

    Suites without forward secrecy or authenticated encryption are left out, even if they are configured.
    """
    known = [_SUITES[name] for name in names or tuple(_SUITES) if name in _SUITES]
    if not known and not all(name.startswith(("TLS_AES_", "TLS_CHACHA20_")) for name in names):
        raise ConfigurationError(
            "port 9345 supports none of the suites in tls-cipher-suites",
            hint=f"it supports {', '.join(_SUITES)}",
        )
    return ":".join(dict.fromkeys(known or _SUITES.values()))


def context(settings: Settings) -> ssl.SSLContext:
    """The server's TLS context: client certificates are optional, and verified."""
    credentials = settings.credentials
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    newest = settings.min_tls_version == "VersionTLS13"
    made.minimum_version = ssl.TLSVersion.TLSv1_3 if newest else ssl.TLSVersion.TLSv1_2
    made.set_ciphers(suites(settings.cipher_suites))
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # A resumed session would save the client nothing worth its memory.
    made.num_tickets = 0
    made.set_alpn_protocols(["http/1.1"])
    made.verify_mode = ssl.CERT_OPTIONAL
    # The issuer of the client CA may be missing here.
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        made.load_cert_chain(credentials.path("serving.crt"), credentials.path("serving.key"))
        made.load_verify_locations(credentials.path("client-ca.crt"))
    except OSError as error:
        raise ConfigurationError(
            f"cannot load the supervisor's certificate or the client CA: {error}"
        ) from None
    return made
