"""A real S3 server on a node of its own: SeaweedFS, with TLS from a private authority, for all nodes.

It survives the nodes that have put something into it. SeaweedFS checks keys, signatures and clocks. It knows
no session tokens but those that it has made itself, and no regions. A server that fails when it is told to
(faulty_s3.py) stands before it, on a port of its own.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.node.helpers.registries import Registry, have_unit
from tests.nodes import seaweedfs
from tests.nodes.machine import Node

ACCESS_KEY, SECRET_KEY = "AKIASNAPSHOTS", "secret-of-snapshots"
BUCKET, FOLDER = "snapshots", "cluster"
AUTHORITY = "/etc/s3/ca.crt"
_ADMIN, _ADMIN_SECRET = "AKIAADMIN", "secret-of-admin"
_ETC = "/etc/s3"
_HTTP, _HTTPS, _FAULTY = 8333, 8334, 8335
_DATA = "/srv/s3"
_FAULT_FILE = f"{_ETC}/fault"
# What a node's keys may do; not more, as in a real installation.
_ALLOWED = [f"{action}:{BUCKET}" for action in ("Read", "Write", "List")]
_CERTIFICATES = f"""\
cd {_ETC}
new="-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
openssl req $new -subj /CN=s3-ca -keyout ca.key -out ca.crt
signed="-CA ca.crt -CAkey ca.key -addext basicConstraints=critical,CA:false"
openssl req $new $signed -subj /CN=s3 -keyout tls.key -out tls.crt -addext subjectAltName=IP:$1
openssl req $new -subj /CN=other-ca -keyout other.key -out other.crt
"""
_WEED = f"""\
{_ETC}/weed -logtostderr=true server -dir={_DATA} -ip=127.0.0.1 -ip.bind=127.0.0.1 \\
    -master.volumeSizeLimitMB=256 -volume.max=40 -filer.localSocket={_ETC}/filer.sock \\
    -s3 -s3.ip.bind=0.0.0.0 -s3.port={_HTTP} -s3.port.https={_HTTPS} \\
    -s3.port.iceberg=0 -s3.port.lance=0 -s3.iam=false -s3.autoCreateBucket=false \\
    -s3.config={_ETC}/s3.json -s3.cert.file={_ETC}/tls.crt -s3.key.file={_ETC}/tls.key \\
    -s3.localSocket={_ETC}/s3.sock"""


@dataclass(frozen=True)
class S3Server(Registry):
    """`address` is HOST:PORT with TLS; `authority` the certificate of its authority, in PEM."""

    authority: str
    # A certificate that signed nothing.
    other_authority: str
    faulty: Registry

    def be(self, fault: str) -> None:
        """Has what answers at `faulty` fail so; "" ends it."""
        self.node.write(_FAULT_FILE, fault + "\n")

    def configuration(self, authority_path: str, *, faulty: bool = False) -> dict[str, object]:
        """config.yaml's keys for it; the authority's certificate is for the caller to write to the path."""
        return {
            "etcd-s3": True,
            "etcd-s3-endpoint": self.faulty.address if faulty else self.address,
            "etcd-s3-endpoint-ca": authority_path,
            "etcd-s3-access-key": ACCESS_KEY,
            "etcd-s3-secret-key": SECRET_KEY,
            "etcd-s3-bucket": BUCKET,
            "etcd-s3-folder": FOLDER,
        }

    def names(self, folder: str = FOLDER) -> list[str]:
        """The names of the objects in a folder of the bucket."""
        return self._shell(f"fs.ls /buckets/{BUCKET}/{folder}").splitlines()

    def make_bucket(self) -> None:
        self._shell(f"s3.bucket.create -name {BUCKET}")

    def remove_bucket(self) -> None:
        """With all that is in it."""
        self._shell(f"s3.bucket.delete -name {BUCKET}")

    def _shell(self, command: str) -> str:
        """What SeaweedFS's own shell says."""
        shell = (f"{_ETC}/weed", "shell", "-master=127.0.0.1:9333", "-filer=127.0.0.1:8888")
        return self.node.run(*shell, input=f"{command}\nexit\n").stdout


def run(node: Node) -> S3Server:
    """Start the server on a node, with an empty bucket."""
    node.copy_in(seaweedfs.program(), f"{_ETC}/weed")
    node.copy_in(Path(__file__).with_name("faulty_s3.py"), f"{_ETC}/faulty_s3.py")
    identities = [
        _identity("snapshots", ACCESS_KEY, SECRET_KEY, _ALLOWED),
        _identity("admin", _ADMIN, _ADMIN_SECRET, ["Admin"]),
    ]
    node.write(f"{_ETC}/s3.json", json.dumps({"identities": identities}), mode=0o600)
    node.write(_FAULT_FILE, "\n")
    node.run("mkdir", "-p", _DATA)
    node.run("sh", "-ec", _CERTIFICATES, "certificates", node.address)
    faulty = Registry(node, "faulty-s3.service", f"{node.address}:{_FAULTY}")
    authority, other = (node.read(f"{_ETC}/{name}.crt") for name in ("ca", "other"))
    server = S3Server(node, "s3.service", f"{node.address}:{_HTTPS}", authority, other, faulty)
    have_unit(server, _WEED)
    certificate = f"{_ETC}/tls.crt {_ETC}/tls.key"
    command = f"/usr/bin/python3 {_ETC}/faulty_s3.py {_FAULTY} {_HTTP} {_FAULT_FILE} {certificate}"
    have_unit(faulty, command)
    server.make_bucket()
    return server


def _identity(name: str, access_key: str, secret_key: str, actions: list[str]) -> dict[str, object]:
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    return {"name": name, "credentials": credentials, "actions": actions}
