"""boto3's client for S3, as the configuration wants it: the one importer of boto3 and botocore.

Both are slow to import, and are no dependency of the package: they are imported when S3 is used, by
processes that end soon.
"""

import base64
import binascii
import logging
import os
import re
import ssl
import warnings
from typing import Any

from rke2_units import __version__
from rke2_units.config.snapshot_grammar import NO_PROXY
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.snapshots.s3_config import ENDPOINT, S3Config

# Seconds for a connection, and without a byte of an answer. A whole operation has etcd-s3-timeout.
_CONNECT_TIMEOUT, _READ_TIMEOUT = 20, 60
# Of each request, with pauses of up to 20 s that grow.
_ATTEMPTS = 4
_LARGEST_BUNDLE = 1 << 20
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# Those whose certificates and DNS have a name for each bucket, as RKE2's library knows them.
_VIRTUAL_HOSTS = re.compile(
    r"(.*\.)?(amazonaws\.com|amazonaws\.com\.cn)|storage\.googleapis\.com|.*aliyun.*"
)
# Of later versions of boto3 than Debian 12's. Many servers do not know the checksums that they send and
# expect by default; and what else is configured on this machine is not meant for us.
_LATER_OPTIONS = {
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
    "ignore_configured_endpoint_urls": True,
}


class Client:
    """`api` is boto3's client. It has to be closed."""

    def __init__(self, config: S3Config) -> None:
        self._authorities = -1
        try:
            self.api: Any = self._made(config, *library())
        except BaseException:
            self._forget_authorities()
            raise

    def close(self) -> None:
        self.api.close()
        self._forget_authorities()

    def _made(self, config: S3Config, boto3: Any, options: Any) -> Any:
        wanted: dict[str, Any] = {
            "signature_version": "s3v4",
            "connect_timeout": _CONNECT_TIMEOUT,
            "read_timeout": _READ_TIMEOUT,
            "retries": {"mode": "standard", "total_max_attempts": _ATTEMPTS},
            "s3": {"addressing_style": addressing_style(config)},
            "user_agent_extra": f"rke2-units/{__version__}",
        }
        wanted |= {name: value for name, value in _LATER_OPTIONS.items() if name in options.OPTION_DEFAULTS}
        if config.proxy:
            proxy = None if config.proxy == NO_PROXY else config.proxy
            wanted["proxies"] = {scheme: proxy for scheme in ("http", "https") if proxy}
        # Without keys, boto3 looks where RKE2's library does too: ~/.aws/credentials, the instance's role.
        session = boto3.session.Session(
            aws_access_key_id=config.access_key or None,
            aws_secret_access_key=config.secret_key or None,
            aws_session_token=config.session_token or None,
        )
        return session.client(
            "s3",
            region_name=config.region,
            # AWS's own is one for each region.
            endpoint_url=None if config.endpoint == ENDPOINT else config.url,
            use_ssl=not config.insecure,
            verify=self._trust(config),
            config=options(**wanted),
        )

    def _trust(self, config: S3Config) -> bool | str:
        """Whom to trust: the system's authorities, nobody in particular, or those in the file at a path."""
        if config.skip_ssl_verify:
            warnings.filterwarnings("ignore", "Unverified HTTPS request")
            return False
        if not config.endpoint_ca or config.insecure:
            return True
        # boto3 reads a file for each connection. This one vanishes with the process, however that ends.
        self._authorities = os.memfd_create("endpoint-ca")
        with os.fdopen(os.dup(self._authorities), "wb") as file:
            file.write(authorities(config.endpoint_ca))
        return f"/proc/self/fd/{self._authorities}"

    def _forget_authorities(self) -> None:
        if self._authorities >= 0:
            os.close(self._authorities)
            self._authorities = -1


def addressing_style(config: S3Config) -> str:
    """How the bucket is named in requests: "virtual" in the host's name, "path" in the path."""
    if config.bucket_lookup != "auto":
        return "virtual" if config.bucket_lookup == "dns" else "path"
    host = config.endpoint.partition(":")[0].lower()
    # A wildcard certificate is for one more label alone.
    has_certificate = config.insecure or "." not in config.bucket
    return "virtual" if _VIRTUAL_HOSTS.fullmatch(host) and has_certificate else "path"


def authorities(endpoint_ca: str) -> bytes:
    """The certificates of etcd-s3-endpoint-ca: paths of files, or base64 of PEM, with blanks between them.

    They are trusted instead of the system's, as in RKE2.
    """
    found = [
        certificate for item in endpoint_ca.split() for certificate in _CERTIFICATE.findall(_bundle(item))
    ]
    text = b"\n".join(found)
    try:
        if found:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text.decode())
            return text + b"\n"
    except (ssl.SSLError, UnicodeDecodeError):
        pass
    raise ConfigurationError(
        "no certificates loaded from etcd-s3-endpoint-ca",
        hint="it takes paths of PEM files, or PEM in base64 (base64 --wrap=0 FILE)",
    )


def _bundle(item: str) -> bytes:
    try:
        content = base64.b64decode(item, validate=True)
        if b"-----BEGIN" in content:
            return content
    except binascii.Error:
        pass
    if not item.startswith("/"):
        raise ConfigurationError(
            "etcd-s3-endpoint-ca has a part that is neither an absolute path nor PEM in base64"
        )
    try:
        with open(item, "rb") as file:
            return file.read(_LARGEST_BUNDLE)
    except OSError as error:
        raise ConfigurationError(f"etcd-s3-endpoint-ca: cannot read {item}: {error.strerror}") from None


def library() -> tuple[Any, Any]:
    """boto3 and its class of options; UserError when it is not installed."""
    try:
        import boto3.session
        from botocore.config import Config
    except ImportError:
        raise UserError(
            "snapshots in S3 need boto3, which is not installed", hint="apt install python3-boto3"
        ) from None
    for name in ("boto3", "botocore", "urllib3"):
        # What they log has headers, keys' identifiers and tokens in it.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return boto3, Config
