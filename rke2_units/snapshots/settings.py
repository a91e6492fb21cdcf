"""The settings file of snapshots, which plan.snapshot_settings writes (JSON, 0600)."""

from rke2_units.lean import json_table
from rke2_units.lean.etcd import Etcd
from rke2_units.lean.http import Identity
from rke2_units.snapshots import s3_config
from rke2_units.snapshots.s3_config import S3Config


class Settings:
    """What whoever works with this node's snapshots knows. Paths are absolute."""

    def __init__(self, path: str) -> None:
        table = json_table.read(path)
        self.file = path
        self.node_name = table.text("node_name")
        # Of the cluster's etcd: the member on this node.
        etcd = table.table("etcd")
        self.etcdctl = etcd.text("etcdctl")
        # "" when the image has none: etcdctl does its work then.
        self.etcdutl = etcd.text("etcdutl")
        self.etcd_program = etcd.text("program")
        self.endpoints = etcd.texts("endpoints")
        self.etcd_files = {key: etcd.text(key) for key in ("authority", "certificate", "key")}
        kubernetes = table.table("kubernetes")
        self.url = kubernetes.text("url")
        self.identity = Identity(*(kubernetes.text(key) for key in ("authority", "certificate", "key")))
        self.token_file = table.text("token_file")
        # The folder of snapshots, and whether that is the one that we make ourselves.
        self.directory = table.text("directory")
        self.is_own_directory = table.boolean("is_own_directory")
        self.base_name = table.text("base_name")
        self.retention = int(table.text("retention"))
        self.compress = table.boolean("compress")
        self.verify = table.boolean("verify")
        # What the last runs left (records.py).
        self.records = table.text("records")
        self.s3: S3Config | None = s3_config.of_settings(table.table("s3")) if "s3" in table.values else None

    def etcd(self) -> Etcd:
        return Etcd(self.etcdctl, list(self.endpoints), **self.etcd_files)
