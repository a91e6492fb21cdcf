"""The join URL and token for `install`: where they are given, and the files that store them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from rke2_units import layout
from rke2_units.cli.token_file import read as read_token
from rke2_units.config.keys import KEYS
from rke2_units.config.load import load
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError
from rke2_units.model import File
from rke2_units.node.environment import read_environment_files
from rke2_units.unit_names import Role

_DROP_IN = "50-rke2-units-join.yaml"
# The variables that install uses or stores.
_KEPT = ("RKE2_URL", "RKE2_TOKEN", "RKE2_TOKEN_FILE", "RKE2_RELEASE", "RKE2_RELEASE_ARTIFACT_URL")
_WRITTEN = "# Written by rke2-units install --server --token-file; run it again to change it.\n"


@dataclass(frozen=True)
class JoinOptions:
    """A join URL and a token; each is "" if it was not given."""

    server: str = ""
    token: str = field(default="", repr=False)

    @property
    def arguments(self) -> list[tuple[str, str]]:
        """As keys and values over all others. The token may take the place of a file's."""
        server = [("server", self.server)] if self.server else []
        return server + ([("token", self.token), ("token-file", "")] if self.token else [])


def read(server: str | None, token_file: str | None, environment: Mapping[str, str]) -> JoinOptions:
    """From the options, else from RKE2_URL, RKE2_TOKEN and RKE2_TOKEN_FILE; "-" is standard input."""
    token_file = token_file or environment.get("RKE2_TOKEN_FILE")
    return JoinOptions(
        server or environment.get("RKE2_URL", ""),
        read_token(token_file) if token_file else environment.get("RKE2_TOKEN", ""),
    )


def refuse_lost(role: Role, environment: Mapping[str, str]) -> None:
    """ConfigurationError for a key in this process's variables that no start of the node would find.

    Variables that are not RKE2's (AWS_...) may be there for another program.
    """
    of_unit = read_environment_files(role)
    for key in KEYS:
        name = key.environment or ""
        if not name.startswith("RKE2_") or name in _KEPT:
            continue
        if environment.get(name, "") in ("", of_unit.get(name)):
            continue
        raise ConfigurationError(
            f"{name} is set in this environment, and {role.unit} would start without it",
            hint=f"write it to /etc/default/{role.unit.removesuffix('.service')}, or unset it",
        )


def to_keep(role: Role, given: JoinOptions, environment: Mapping[str, str]) -> list[File]:
    """The files with which every start uses the given URL and token; [] when none was given.

    ConfigurationError when the configuration sets another token.
    """
    if given == JoinOptions():
        return []
    of_unit = read_environment_files(role)
    config_file = {**of_unit, **environment}.get("RKE2_CONFIG_FILE") or layout.CONFIG_FILE
    path = f"{config_file}.d/{_DROP_IN}"
    # Without this process's own variables: what the node's unit will find.
    found = load(
        role,
        config_file=_named(config_file),
        environment=of_unit,
        arguments=[("token-file", "")],
    )
    token = given.token
    if token and found.is_set("token"):
        if found.text("token") != token:
            raise ConfigurationError(
                f"{found.source('token')} sets token, but install was given another token",
                hint="remove one of them",
            )
        token = ""  # it is kept already
    before = files.read_text(path) or ""
    token_line = f"token-file: {json.dumps(layout.TOKEN_FILE)}\n"
    server = given.server or (found.text("server") if found.source("server").startswith(path) else "")
    lines = f"server: {json.dumps(server)}\n" if server else ""
    lines += token_line if token or token_line in before else ""
    kept = [File(layout.TOKEN_FILE, f"{token}\n", 0o600, secret=True)] if token else []
    return [*kept, *([File(path, _WRITTEN + lines, 0o600)] if lines else [])]


def keep(made: list[File]) -> list[str]:
    """Writes these files; returns the paths of those that changed."""
    return files.write_all(made)


def _named(config_file: str) -> str | None:
    # The default may be missing, one that was named may not.
    return None if config_file == layout.CONFIG_FILE else config_file
