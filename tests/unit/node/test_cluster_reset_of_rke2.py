"""A snapshot as servers of RKE2 (etcd 3.6) leave it, restored here: all formats from RKE2's descriptions."""

import base64
import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rke2_units.snapshots import restore
from tests.unit.node.cluster_reset_machine import PASSWORD, Cluster, Machine, node_object

# Before a machine puts a stand-in in its place.
RESTORE = restore.restore
VERSION = "v1.36.4+rke2r1"
NODE = "rke2-server-0.example"
# etcdutl's part: the database without the hash behind it becomes the member's.
ETCDUTL = """\
#!/bin/sh
case "$*" in *--help*) exit;; esac
for argument; do case "$argument" in --data-dir=*) target=${argument#*=};; esac; done
mkdir -p "$target/member/snap"
head -c -32 "$3" >"$target/member/snap/db"
"""


def sealed_by_rke2(plain: bytes) -> str:
    """PBKDF2 with the salt's hexadecimal text, AES-256-GCM with the nonce in front."""
    salt, nonce = os.urandom(8).hex(), os.urandom(12)
    key = hashlib.pbkdf2_hmac("sha1", PASSWORD.encode(), salt.encode(), 4096, 32)
    return f"{salt}:{base64.b64encode(nonce + AESGCM(key).encrypt(nonce, plain, None)).decode()}"


def bootstrap_data(files: dict[str, bytes], *, of_old_servers: bool) -> bytes:
    def entry(content: bytes) -> object:
        text = base64.b64encode(content).decode()
        return text if of_old_servers else {"Timestamp": "2026-08-21T10:11:12.123456789Z", "Content": text}

    return json.dumps({name: entry(content) for name, content in files.items()}).encode()


def snapshot_folder(machine: Machine, plain: bytes) -> Path:
    """db/snapshots with a compressed snapshot, its metadata in the folder beside it; returns the file."""
    stored = {
        f"/bootstrap/{hashlib.sha256(PASSWORD.encode()).hexdigest()[:12]}": sealed_by_rke2(plain),
        f"/registry/minions/{NODE}": node_object(VERSION),
        "/registry/configmaps/default/acknowledged": "a write",
        "rke2/apiaddresses": '["192.0.2.1:6443"]',
        "peer url": "",
    }
    database = json.dumps(stored).encode()
    database += b" " * (-len(database) % 4096)
    folder = machine.root / "from-rke2/db/snapshots"
    folder.mkdir(parents=True, mode=0o700)
    name = f"etcd-snapshot-{NODE}-1787306400"
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, database + hashlib.sha256(database).digest())
    metadata = folder.parent / ".metadata" / path.name
    metadata.parent.mkdir(mode=0o700)
    metadata.write_text('{"owner":"somebody"}')
    return path


@pytest.mark.parametrize("of_old_servers", [False, True])
def test_a_snapshot_of_rke2_is_restored_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_old_servers: bool
) -> None:
    cluster = Cluster(tmp_path / "rke2")
    machine = Machine(tmp_path / "ours", cluster, monkeypatch)
    monkeypatch.setattr(restore, "restore", RESTORE)
    etcdutl = Path(machine.paths.content, "etcdctl-0123/etcdutl")
    etcdutl.write_text(ETCDUTL)
    etcdutl.chmod(0o755)
    monkeypatch.setattr("rke2_units.node.cluster_reset.kubernetes_version.minor", lambda version: (1, 36))
    path = snapshot_folder(machine, bootstrap_data(cluster.files, of_old_servers=of_old_servers))
    lines = list(machine.reset(str(path)).steps())
    assert f"it is whole, the token fits, and it is of Kubernetes {VERSION}" in lines
    assert machine.data["/registry/configmaps/default/acknowledged"] == "a write"
    assert Path(machine.paths.tls, "server-ca.key").read_bytes() == cluster.files["ServerCAKey"]
    assert Path(machine.paths.credentials, "passwd").read_bytes() == cluster.files["PasswdFile"]
