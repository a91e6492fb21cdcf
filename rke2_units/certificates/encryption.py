"""Encryption of Secrets in etcd: the apiserver's configuration and the stage of a key rotation."""

import base64
import hashlib
import json
import os
import secrets

from rke2_units.doors import files
from rke2_units.errors import ConfigurationError
from rke2_units.layout import Paths
from rke2_units.model import File

_PROVIDERS = ("aescbc", "secretbox")


def ensure(paths: Paths, provider: str) -> tuple[File, File]:
    """Configuration (EncryptionConfiguration v1) and state (`<stage>-<SHA-256 of the configuration>`).

    Existing files are kept: only a rotation changes keys and provider. Nothing is written yet.
    """
    config = files.read_text(paths.encryption_config) or ""
    if config.strip():
        _check(paths.encryption_config, config)
    else:
        if os.path.isdir(f"{paths.etcd_data}/member"):
            raise ConfigurationError(
                f"{paths.encryption_config} is missing, and etcd holds Secrets encrypted with its keys",
                hint="restore it from a backup or from another server",
            )
        config = _new(provider)
    state = files.read_text(paths.encryption_state) or ""
    if not state.strip():
        state = f"start-{hashlib.sha256(config.encode()).hexdigest()}"
    return (
        File(paths.encryption_config, config, 0o600, secret=True),
        File(paths.encryption_state, state, 0o600),
    )


def _check(path: str, config: str) -> None:
    try:
        parsed = json.loads(config)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict) or parsed.get("kind") != "EncryptionConfiguration":
        raise ConfigurationError(
            f"{path} is not an EncryptionConfiguration in JSON",
            hint="restore it from a backup or from another server; without it, Secrets cannot be read",
        )


def _new(provider: str) -> str:
    if provider not in _PROVIDERS:
        raise ConfigurationError(
            f"secrets-encryption-provider: {provider!r} is unknown", hint=f"use {' or '.join(_PROVIDERS)}"
        )
    key = {
        "name": f"{provider}key",
        "secret": base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    # The provider `identity` reads Secrets that were stored without encryption.
    providers: list[dict[str, object]] = [{provider: {"keys": [key]}}, {"identity": {}}]
    return json.dumps(
        {
            "kind": "EncryptionConfiguration",
            "apiVersion": "apiserver.config.k8s.io/v1",
            "resources": [{"resources": ["secrets"], "providers": providers}],
        },
        separators=(",", ":"),
    )
