"""Whether nodes join others: the one switch in front of all that it takes.

Read as `joining.JOINING`, so that a test can switch it on.
"""

from rke2_units import names
from rke2_units.config.config import Config
from rke2_units.config.settings import BY_NAME
from rke2_units.names import Role

JOINING = False

_WITHOUT = "rke2-units runs single servers yet: it has no supervisor API for other nodes to join through"
_CLOUD_CONTROLLER = "rke2-units does not run RKE2's cloud-controller-manager yet"
_KEYS = {
    **dict.fromkeys(("bind-address", "lb-server-port", "server", "token-require-ca-pin"), _WITHOUT),
    **dict.fromkeys(
        (
            "kube-cloud-controller-manager-arg",
            "node-external-dns",
            "node-internal-dns",
            *(f"{names.CLOUD_CONTROLLER_MANAGER}-{what}" for what in ("extra-env", "extra-mount", "image")),
        ),
        _CLOUD_CONTROLLER,
    ),
}


def refuse(config: Config) -> None:
    """ConfigurationError for a key that does nothing as long as nodes do not join others."""
    for name, reason in _KEYS.items():
        names_its_servers = name == "server" and config.role is Role.AGENT
        if config.is_set(name) and not names_its_servers and not _is_default(config, name):
            raise config.error(name, f"cannot be used: {reason}")


def _is_default(config: Config, name: str) -> bool:
    return config.text(name) == BY_NAME[name].default
