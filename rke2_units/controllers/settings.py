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
        # The server token, and the password by which servers know this node again.
        self.token_file = table.text("token_file")
        self.node_password_file = table.text("node_password_file")
        # Roles and bindings.
        self.rbac = table.text("rbac")
        self.control_plane = table.boolean("control_plane")
        # "" on a server without etcd.
        self.member_name = table.text("member_name")
        self.member_address = table.text("member_address")
        # profile: cis, and the same with flannel (canal).
        self.is_hardened = table.boolean("is_hardened")
        self.lets_flannel_in = table.boolean("lets_flannel_in")
        # What the node tells of itself, on its Node object.
        annotations = table.table("node_annotations")
        self.node_annotations = {name: annotations.text(name) for name in annotations.values}
        files = table.table("bootstrap_files")
        self.bootstrap_files = {name: files.text(name) for name in files.values}

    def etcd(self, endpoints: tuple[str, ...] = ()) -> Etcd:
        """etcd, through these of its members; without any, through this server's own."""
        return Etcd(self._etcdctl, list(endpoints or self.endpoints), **self._etcd_files)


def read(path: str) -> Settings:
    """The settings in this file; ConfigurationError when it is missing or not what the plan writes."""
    return Settings(json_table.read(path))
