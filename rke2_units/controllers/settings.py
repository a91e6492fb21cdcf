"""The settings file that plan.controllers_settings writes for the controllers (JSON)."""

from rke2_units.lean import json_table
from rke2_units.lean.etcd import Etcd
from rke2_units.lean.http import Identity
from rke2_units.lean.json_table import Table


class Settings:
    """What the controllers know of their node."""

    def __init__(self, table: Table) -> None:
        self.file = table.where
        self.node_name = table.text("node_name")
        kubernetes = table.table("kubernetes")
        self.url = kubernetes.text("url")
        self.identity = Identity(*(kubernetes.text(key) for key in ("authority", "certificate", "key")))
        etcd = table.table("etcd")
        self._etcdctl = etcd.text("etcdctl")
        self.endpoints = etcd.texts("endpoints")
        self._etcd_files = {key: etcd.text(key) for key in ("authority", "certificate", "key")}
        # Files of the server token, and of the password with which the node identifies itself to servers.
        self.token_file = table.text("token_file")
        self.node_password_file = table.text("node_password_file")
        # Roles and bindings.
        self.rbac = table.text("rbac")
        self.control_plane = table.boolean("control_plane")
        # "" on a server without etcd.
        self.member_name = table.text("member_name")
        self.member_address = table.text("member_address")
        # Whether `profile: cis` is set, and also whether flannel (canal) is used with it.
        self.is_hardened = table.boolean("is_hardened")
        self.lets_flannel_in = table.boolean("lets_flannel_in")
        # The annotations that the node sets on its own Node object.
        annotations = table.table("node_annotations")
        self.node_annotations = {name: annotations.text(name) for name in annotations.values}
        files = table.table("bootstrap_files")
        self.bootstrap_files = {name: files.text(name) for name in files.values}

    def etcd(self, endpoints: tuple[str, ...] = ()) -> Etcd:
        """A client of etcd for these members' URLs; without any, for this server's own member."""
        return Etcd(self._etcdctl, list(endpoints or self.endpoints), **self._etcd_files)


def read(path: str) -> Settings:
    """The settings in this file; ConfigurationError when it is missing or not what the plan writes."""
    return Settings(json_table.read(path))
