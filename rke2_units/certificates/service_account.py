"""The keys to sign and verify service account tokens."""

from rke2_units.certificates import keys, pem
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError
from rke2_units.model import File


def ensure(tls: str) -> tuple[File, File]:
    """`service.key` (all keys, to check with) and `service.current.key` (the first, to sign with).

    Nothing is written yet.
    """
    path, current_path = f"{tls}/service.key", f"{tls}/service.current.key"
    all_keys = files.read_text(path) or ""
    current = files.read_text(current_path) or ""
    if not all_keys.strip():
        # Tokens stay valid as long as the key that signed them is in this file.
        all_keys = current if current.strip() else keys.text(keys.make_service_account_key())
    first = pem.first_private_key(all_keys)
    if first is None:
        raise ConfigurationError(
            f"{path} holds no private key in PEM form",
            hint="restore it from a backup or from another server",
        )
    if first != current:
        # Only a new key is parsed: checking an RSA key takes longer than the rest of a start.
        keys.load(path, first, hint="restore it from a backup or from another server")
    return (
        File(path, all_keys, 0o600, secret=True),
        File(current_path, first, 0o600, secret=True),
    )
