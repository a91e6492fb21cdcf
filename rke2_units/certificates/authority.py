"""Certificate authorities: existing ones are used unchanged, missing ones are created."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID

from rke2_units.certificates import certificate, keys, pem, table
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.model import File


@dataclass(frozen=True)
class Authority:
    """An authority with the files that make it up. `bundle` is the whole text of its `.crt`.

    `existed`: it was on disk before this start.
    """

    certificate: x509.Certificate
    key: keys.PrivateKey | None
    bundle: str
    path: str
    existed: bool
    files: tuple[File, ...]

    def signing_key(self, purpose: str) -> keys.PrivateKey:
        """The private key; ConfigurationError if it is not on disk. `purpose`: what is to be signed."""
        if self.key is None:
            raise ConfigurationError(
                f"{_key_path(self.path)} is missing, and is needed to sign {purpose}",
                hint="put the key of this authority there",
            )
        return self.key


def ensure(
    entry: table.Authority, tls: str, issued: list[str], now: datetime, etcd_owner: tuple[int, int]
) -> Authority:
    """The authority of this entry, below the folder `tls`; nothing is written yet.

    `issued`: the existing certificate files that this authority issued. If there are any, a missing
    authority is an error, not a first start: every node and client that trusts the old one would reject a
    new one.
    """
    path = f"{tls}/{entry.name}.crt"
    bundle = _text(path)
    key_text = _text(_key_path(path))
    existed = bool(bundle.strip())
    if not existed:
        if issued:
            raise ConfigurationError(
                f"{path} is missing, but {issued[0]} was issued by it",
                hint=f"restore it; or, to start with a new authority, remove {_key_path(path)} and"
                " all certificates that it issued",
            )
        # A key without a certificate is what an interrupted first start leaves.
        key = _load_key(path, key_text) if key_text.strip() else None
        if key is None:
            made = keys.make()
            key, key_text = made, keys.text(made)
        bundle = _self_signed(entry, key, now)
        loaded = certificate.load_first(bundle)
    else:
        key = _load_key(path, key_text) if key_text.strip() else None
        loaded = _check(path, bundle, now)
    if loaded is None:
        raise ConfigurationError(f"{path} holds no certificate that can be read", hint=_RESTORE)
    if key is not None and not certificate.has_key(loaded, key.public_key()):
        raise ConfigurationError(
            f"{path} and {_key_path(path)} do not belong together", hint="put the matching pair there"
        )
    user, group = etcd_owner if entry.name in (table.ETCD_SERVER_CA, table.ETCD_PEER_CA) else (0, 0)
    written = []
    if key is not None:
        written.append(File(_key_path(path), key_text, 0o600, secret=True))
    written.append(File(path, bundle, 0o644, user, group))
    if entry.nochain:
        written.append(File(f"{tls}/{entry.name}.nochain.crt", pem.certificates(bundle)[0]))
    authority = Authority(loaded, key, bundle, path, existed, tuple(written))
    if entry.key_needed:
        authority.signing_key("certificates for nodes and for the controller-manager")
    return authority


_RESTORE = "restore it from a backup or from another server"


def _key_path(path: str) -> str:
    return f"{path.removesuffix('.crt')}.key"


def _text(path: str) -> str:
    return files.read_text(path) or ""


def _load_key(path: str, text: str) -> keys.PrivateKey:
    return keys.load(_key_path(path), text, hint=_RESTORE)


def _check(path: str, bundle: str, now: datetime) -> x509.Certificate:
    """The first certificate of a bundle; UserError unless all of them are valid now."""
    blocks = pem.certificates(bundle)
    if not blocks:
        raise ConfigurationError(f"{path} holds no certificate in PEM form", hint=_RESTORE)
    loaded = []
    for block in blocks:
        one = certificate.load(block)
        if one is None:
            raise ConfigurationError(f"{path} holds a certificate that cannot be read", hint=_RESTORE)
        if certificate.not_after(one) <= now:
            raise ConfigurationError(
                f"{path} expired on {_day(certificate.not_after(one))}",
                hint="put a renewed authority certificate for the same key there",
            )
        if certificate.not_before(one) > now:
            # Not a ConfigurationError: the clock may be corrected later without a person.
            raise UserError(
                f"{path} is not valid before {_day(certificate.not_before(one))}, and it is {_day(now)} now",
                hint="correct this machine's clock",
            )
        loaded.append(one)
    if not certificate.is_authority(loaded[0]):
        raise ConfigurationError(
            f"the first certificate of {path} is not a CA certificate",
            hint="it needs the basic constraint CA:TRUE; put the issuing authority first, the root last",
        )
    return loaded[0]


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _self_signed(entry: table.Authority, key: keys.PrivateKey, now: datetime) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{entry.prefix}-ca@{int(now.timestamp())}")])
    begin = now - timedelta(microseconds=now.microsecond)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + table.AUTHORITY_VALIDITY)
        .add_extension(certificate.key_usage(sign_certificates=True), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return certificate.text(builder.sign(key, keys.signature_hash(key)))
