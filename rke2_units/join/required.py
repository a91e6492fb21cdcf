"""The configuration that a person must set on a node that joins."""

from rke2_units.config.config import Config
from rke2_units.errors import ConfigurationError
from rke2_units.unit_names import Role


def check(config: Config) -> None:
    """Raises ConfigurationError if an agent has no server, or a node that joins has no token."""
    if config.role is Role.AGENT and not config.is_set("server"):
        raise ConfigurationError(
            "server is not set, and an agent needs one to join",
            hint="rke2-units install --role agent --server https://HOST:9345 --token-file FILE",
        )
    if config.is_set("server") and not config.is_set("token"):
        raise ConfigurationError(
            "token is not set, and a node needs one to join a cluster",
            hint="rke2-units install --token-file FILE; the token is in server/token of a server",
        )
