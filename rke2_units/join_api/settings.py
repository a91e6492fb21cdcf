"""The join API's settings: the file that plan.supervisor_settings writes, and systemd's credentials."""

import os
from dataclasses import dataclass
from typing import Any

from rke2_units.errors import ConfigurationError
from rke2_units.lean import json_table
from rke2_units.lean.http import Identity


@dataclass(frozen=True)
class Credentials:
    """Files that systemd passes (LoadCredential=), by name; some servers lack some of them."""

    directory: str

    def path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    def read(self, name: str) -> bytes:
        """The content, b"" if the file does not exist."""
        try:
            with open(self.path(name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def text(self, name: str) -> str:
        """The content of a file that must be there; ConfigurationError without it."""
        content = self.read(name)
        if not content.strip():
            raise ConfigurationError(
                f"the credential {name} is missing",
                hint="rke2-supervisor.service lists it in LoadCredential=",
            )
        return content.decode(errors="replace")

    @property
    def apiserver(self) -> Identity:
        """The client certificate for requests to the apiserver."""
        return Identity(self.path("server-ca.crt"), self.path("client.crt"), self.path("client.key"))


@dataclass(frozen=True)
class Settings:
    """The settings file's content, and the credentials beside it."""

    node_name: str
    node_ips: tuple[str, ...]
    kubernetes_url: str
    # The answer to /v1-rke2/config, as it is.
    config: dict[str, Any]
    min_tls_version: str
    cipher_suites: tuple[str, ...]
    etcdctl: str
    etcd_url: str
    # The folder of what anyone may fetch.
    static: str
    apiservers_fallback: tuple[str, ...]
    connections: int
    # The folder with the sockets of programs that answer requests; "" on a server without etcd.
    requests: str
    credentials: Credentials

    @property
    def has_metrics(self) -> bool:
        """supervisor-metrics, which is equal on all servers of a cluster."""
        return self.config.get("SupervisorMetrics") is True


def read(path: str) -> Settings:
    """The settings in this file; ConfigurationError when it is missing or not what the plan writes."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise ConfigurationError(
            "systemd passed no credentials", hint="start this program with systemctl start rke2-supervisor"
        )
    table = json_table.read(path)
    connections = table.values.get("connections")
    if not isinstance(connections, int) or connections < 1:
        raise table.wrong("connections", "a number above 0")
    return Settings(
        table.text("node_name"),
        table.texts("node_ips"),
        table.table("kubernetes").text("url"),
        table.table("config").values,
        table.text("min_tls_version"),
        table.texts("cipher_suites"),
        table.text("etcdctl"),
        table.text("etcd_url"),
        table.text("static"),
        table.texts("apiservers_fallback"),
        connections,
        table.text("requests", ""),
        Credentials(directory),
    )
