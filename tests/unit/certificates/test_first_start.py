"""What a server has on disk after its first start, against RKE2's tables."""

import base64
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rke2_units.certificates import certificate, pem, table
from rke2_units.unit_names import Role

if TYPE_CHECKING:
    from tests.unit.certificates.conftest import Node

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
STARTED = datetime(2026, 1, 1, 12, 30, 15, tzinfo=UTC)

AUTHORITIES = {
    "client-ca": "rke2-client",
    "server-ca": "rke2-server",
    "request-header-ca": "rke2-request-header",
    "etcd/server-ca": "etcd-server",
    "etcd/peer-ca": "etcd-peer",
}
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
ALL_NAMES = {"cluster.example", "one", "192.0.2.5", "10.43.0.1"} | LOOPBACK
SERVICE_NAMES = {
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
}
ETCD_NAMES = {"kine.sock"} | ALL_NAMES
KUBELET_NAMES = {"one", "192.0.2.5", "2001:db8::5"}

# Path below the data directory, issuer, common name, organization, usages, names.
LEAVES = [
    ("server/tls/client-admin", "client-ca", "system:admin", "system:masters", {CLIENT}, set()),
    (
        "server/tls/client-supervisor",
        "client-ca",
        "system:rke2-supervisor",
        "system:masters",
        {CLIENT},
        set(),
    ),
    ("server/tls/client-controller", "client-ca", "system:kube-controller-manager", None, {CLIENT}, set()),
    ("server/tls/client-scheduler", "client-ca", "system:kube-scheduler", None, {CLIENT}, set()),
    ("server/tls/client-kube-apiserver", "client-ca", "system:apiserver", "system:masters", {CLIENT}, set()),
    ("server/tls/client-kube-proxy", "client-ca", "system:kube-proxy", None, {CLIENT}, set()),
    ("server/tls/client-rke2-controller", "client-ca", "system:rke2-controller", None, {CLIENT}, set()),
    (
        "server/tls/client-rke2-cloud-controller",
        "client-ca",
        "rke2-cloud-controller-manager",
        None,
        {CLIENT},
        set(),
    ),
    ("server/tls/client-auth-proxy", "request-header-ca", "system:auth-proxy", None, {CLIENT}, set()),
    (
        "server/tls/serving-kube-apiserver",
        "server-ca",
        "kube-apiserver",
        None,
        {SERVER},
        SERVICE_NAMES | ALL_NAMES,
    ),
    ("server/tls/serving-supervisor", "server-ca", "rke2", "rke2", {SERVER}, ALL_NAMES),
    ("server/tls/kube-scheduler/kube-scheduler", "server-ca", "kube-scheduler", None, {SERVER}, LOOPBACK),
    (
        "server/tls/kube-controller-manager/kube-controller-manager",
        "server-ca",
        "kube-controller-manager",
        None,
        {SERVER},
        LOOPBACK,
    ),
    ("server/tls/etcd/client", "etcd/server-ca", "etcd-client", None, {CLIENT}, set()),
    ("server/tls/etcd/server-client", "etcd/server-ca", "etcd-server", None, {SERVER, CLIENT}, ETCD_NAMES),
    ("server/tls/etcd/peer-server-client", "etcd/peer-ca", "etcd-peer", None, {SERVER, CLIENT}, ETCD_NAMES),
    ("agent/serving-kubelet", "server-ca", "one", None, {SERVER}, KUBELET_NAMES),
    ("agent/client-kubelet", "client-ca", "system:node:one", "system:nodes", {CLIENT}, set()),
    ("agent/client-kube-proxy", "client-ca", "system:kube-proxy", None, {CLIENT}, set()),
    ("agent/client-rke2-controller", "client-ca", "system:rke2-controller", None, {CLIENT}, set()),
]
KEYS_ALONE = ["server/tls/client-kubelet.key", "server/tls/serving-kubelet.key"]


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def data(made: "Node") -> Path:
    return Path(made.request.paths.data)


def usages(one: x509.Certificate) -> set[str]:
    found = one.extensions.get_extension_for_class(x509.KeyUsage)
    assert found.critical
    names = ("digital_signature", "key_encipherment", "key_cert_sign", "crl_sign", "data_encipherment")
    return {name for name in names if getattr(found.value, name)}


@pytest.mark.parametrize(("name", "prefix"), AUTHORITIES.items())
def test_authority_is_self_signed_for_ten_years_and_named_after_its_time(
    made: "Node", name: str, prefix: str
) -> None:
    authority = read(made.tls / f"{name}.crt")

    assert authority.subject.rfc4514_string() == f"CN={prefix}-ca@{int(STARTED.timestamp())}"
    assert authority.issuer == authority.subject
    assert certificate.not_before(authority) == STARTED
    assert certificate.not_after(authority) == STARTED + timedelta(days=3650)
    assert usages(authority) == {"digital_signature", "key_encipherment", "key_cert_sign"}
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca
    key = authority.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert isinstance(authority.signature_hash_algorithm, hashes.SHA256)
    key.verify(authority.signature, authority.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    ("path", "issuer", "common_name", "organization", "extended", "names"),
    LEAVES,
    ids=[leaf[0] for leaf in LEAVES],
)
def test_certificate_is_as_tabled(
    made: "Node",
    path: str,
    issuer: str,
    common_name: str,
    organization: str | None,
    extended: set[x509.ObjectIdentifier],
    names: set[str],
) -> None:
    file = data(made) / f"{path}.crt"
    authority_text = (made.tls / f"{issuer}.crt").read_text()
    authority = read(made.tls / f"{issuer}.crt")
    leaf = read(file)

    assert certificate.subject_texts(leaf, NameOID.COMMON_NAME) == [common_name]
    expected = [organization] if organization else []
    assert certificate.subject_texts(leaf, NameOID.ORGANIZATION_NAME) == expected
    assert len(list(leaf.subject)) == 1 + len(expected)
    assert set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == extended
    assert certificate.alternative_names(leaf) == names
    assert usages(leaf) == {"digital_signature", "key_encipherment"}
    assert not certificate.is_authority(leaf)
    assert certificate.not_before(leaf) == STARTED
    assert certificate.not_after(leaf) == STARTED + timedelta(days=365)
    assert leaf.issuer == authority.subject
    assert certificate.authority_key_id(leaf) == certificate.key_id(authority)
    key = authority.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(leaf.signature, leaf.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
    # The file is the certificate and the whole bundle of its issuer.
    assert file.read_text() == pem.certificates(file.read_text())[0] + authority_text
    private = serialization.load_pem_private_key((data(made) / f"{path}.key").read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert certificate.has_key(leaf, private.public_key())


def test_every_certificate_and_no_other_is_there(made: "Node") -> None:
    found = {str(path.relative_to(data(made))) for path in data(made).rglob("*.crt")}
    authorities = {f"server/tls/{name}.crt" for name in AUTHORITIES}
    copies = {"agent/client-ca.crt", "agent/server-ca.crt"}
    nochain = {"server/tls/client-ca.nochain.crt", "server/tls/server-ca.nochain.crt"}
    assert found == authorities | copies | nochain | {f"{leaf[0]}.crt" for leaf in LEAVES}


def test_no_two_certificates_share_a_key_or_a_serial_number(made: "Node") -> None:
    paths = [data(made) / f"{leaf[0]}.crt" for leaf in LEAVES] + [made.tls / f"{a}.crt" for a in AUTHORITIES]
    keys = {
        read(path)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        for path in paths
    }
    assert len(keys) == len({read(path).serial_number for path in paths}) == len(paths)


def test_the_agent_part_has_copies_of_the_authorities(made: "Node") -> None:
    for name in ("client-ca.crt", "server-ca.crt"):
        assert (made.agent / name).read_bytes() == (made.tls / name).read_bytes()


def test_keys_are_written_in_the_forms_of_rke2(made: "Node") -> None:
    elliptic = [f"{leaf[0]}.key" for leaf in LEAVES] + KEYS_ALONE
    elliptic += [f"server/tls/{name}.key" for name in AUTHORITIES]
    for name in elliptic:
        assert (data(made) / name).read_text().startswith("-----BEGIN EC PRIVATE KEY-----\n"), name
    text = (made.tls / "service.key").read_text()
    assert text.startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    assert (made.tls / "service.current.key").read_text() == text
    key = serialization.load_pem_private_key(text.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048


def expected_mode(path: Path) -> int:
    if path.is_dir():
        private = "server" in path.parts and path.name != "static"
        return 0o700 if private else 0o755
    public = path.suffix == ".crt" and "tls" in path.parts
    return 0o644 if public else 0o600


def test_every_file_and_folder_has_its_mode_even_with_an_empty_umask(made: "Node") -> None:
    found = {
        path: stat.S_IMODE(path.lstat().st_mode) for path in made.root.rglob("*") if not path.is_symlink()
    }
    assert len(found) > 80
    assert found == {path: expected_mode(path) for path in found}


def test_secrets_are_in_private_files_only(made: "Node") -> None:
    password = (made.server / "token").read_text().rpartition(":")[2].strip().encode()
    for path in made.root.rglob("*"):
        if path.is_file() and (b"PRIVATE KEY" in path.read_bytes() or password in path.read_bytes()):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_no_temporary_file_stays(made: "Node") -> None:
    assert not [path for path in made.root.rglob(".*")]


def test_token_files_carry_the_hash_of_the_server_authority(made: "Node") -> None:
    digest = hashlib.sha256((made.tls / "server-ca.crt").read_bytes()).hexdigest()
    token = (made.server / "token").read_text()
    assert re.fullmatch(rf"K10{digest}::server:[0-9a-f]{{32}}\n", token)
    for name in ("node-token", "agent-token"):
        assert os.readlink(made.server / name) == "token"
        assert (made.server / name).read_text() == token
    password = token.strip().rpartition(":")[2]
    assert (made.server / "cred/passwd").read_text() == (
        f"{password},node,node,rke2:agent\n{password},server,server,rke2:server\n"
    )


def test_random_texts_have_their_lengths(made: "Node") -> None:
    assert re.fullmatch(r"[0-9a-f]{96}\n", (made.server / "cred/ipsec.psk").read_text())
    assert re.fullmatch(r"[0-9a-f]{32}\n", (made.root / "node/password").read_text())
    assert re.fullmatch(r"one-[0-9a-f]{8}", (made.server / "db/etcd/name").read_text())


@pytest.mark.parametrize(
    ("path", "identity"),
    [
        ("server/cred/admin.kubeconfig", "server/tls/client-admin"),
        ("server/cred/supervisor.kubeconfig", "server/tls/client-supervisor"),
        ("server/cred/controller.kubeconfig", "server/tls/client-controller"),
        ("server/cred/scheduler.kubeconfig", "server/tls/client-scheduler"),
        ("server/cred/api-server.kubeconfig", "server/tls/client-kube-apiserver"),
        ("server/cred/cloud-controller.kubeconfig", "server/tls/client-rke2-cloud-controller"),
        ("agent/kubelet.kubeconfig", "agent/client-kubelet"),
        ("agent/kubeproxy.kubeconfig", "agent/client-kube-proxy"),
        ("agent/rke2controller.kubeconfig", "agent/client-rke2-controller"),
    ],
)
def test_component_kubeconfig_names_the_files_of_its_identity(
    made: "Node", path: str, identity: str
) -> None:
    authority = "server/tls/server-ca.crt" if path.startswith("server") else "agent/server-ca.crt"
    assert yaml.safe_load((data(made) / path).read_text()) == {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "local",
                "cluster": {
                    "server": "https://127.0.0.1:6443",
                    "certificate-authority": str(data(made) / authority),
                },
            }
        ],
        "contexts": [
            {"name": "Default", "context": {"cluster": "local", "namespace": "default", "user": "user"}}
        ],
        "current-context": "Default",
        "preferences": {},
        "users": [
            {
                "name": "user",
                "user": {
                    "client-certificate": str(data(made) / f"{identity}.crt"),
                    "client-key": str(data(made) / f"{identity}.key"),
                },
            }
        ],
    }
    assert (data(made) / f"{identity}.key").is_file()


def test_administrator_kubeconfig_holds_all_it_needs(made: "Node") -> None:
    config = yaml.safe_load((made.root / "etc/rke2.yaml").read_text())
    cluster, context, user = config["clusters"][0], config["contexts"][0], config["users"][0]
    assert {cluster["name"], context["name"], user["name"], config["current-context"]} == {"default"}
    assert context["context"] == {"cluster": "default", "namespace": "default", "user": "default"}
    assert cluster["cluster"]["server"] == "https://127.0.0.1:6443"
    for found, path in [
        (cluster["cluster"]["certificate-authority-data"], "server-ca.crt"),
        (user["user"]["client-certificate-data"], "client-admin.crt"),
        (user["user"]["client-key-data"], "client-admin.key"),
    ]:
        assert base64.b64decode(found) == (made.tls / path).read_bytes()


def test_administrator_kubeconfig_has_the_mode_group_and_name_that_were_asked_for(
    node: "Node", written_files: list[Any]
) -> None:
    node.ensure(kubeconfig_mode=0o640, kubeconfig_group="adm", kubeconfig_name='pr"od: x')
    path = Path(node.request.kubeconfig_path)
    config = yaml.safe_load(path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert config["current-context"] == config["users"][0]["name"] == 'pr"od: x'
    written = next(file for file in written_files if file.path == str(path))
    assert (written.user, written.group) == (0, 4)
    # A number needs no entry in /etc/group.
    written_files.clear()
    node.ensure(kubeconfig_group="4321")
    assert next(file for file in written_files if file.path == str(path)).group == 4321


def test_a_server_with_ipv6_first_is_reached_over_ipv6(node: "Node") -> None:
    node.ensure(node_ips=("2001:db8::5", "192.0.2.5"))
    config = yaml.safe_load((node.server / "cred/admin.kubeconfig").read_text())
    assert config["clusters"][0]["cluster"]["server"] == "https://[::1]:6443"


@pytest.mark.parametrize("provider", ["aescbc", "secretbox"])
def test_secrets_are_encrypted_from_the_first_start(node: "Node", provider: str) -> None:
    node.ensure(secrets_encryption_provider=provider)
    config = (node.server / "cred/encryption-config.json").read_bytes()
    parsed = json.loads(config)
    key = parsed["resources"][0]["providers"][0][provider]["keys"][0]
    assert len(base64.b64decode(key["secret"], validate=True)) == 32
    assert parsed == {
        "kind": "EncryptionConfiguration",
        "apiVersion": "apiserver.config.k8s.io/v1",
        "resources": [
            {
                "resources": ["secrets"],
                "providers": [
                    {provider: {"keys": [{"name": f"{provider}key", "secret": key["secret"]}]}},
                    {"identity": {}},
                ],
            }
        ],
    }
    state = (node.server / "cred/encryption-state.json").read_text()
    assert state == f"start-{hashlib.sha256(config).hexdigest()}"


def test_a_server_without_etcd_has_no_member_of_its_own(node: "Node") -> None:
    node.ensure(etcd=False)
    assert sorted(path.name for path in (node.tls / "etcd").iterdir()) == [
        "client.crt", "client.key", "peer-ca.crt", "peer-ca.key", "server-ca.crt", "server-ca.key",
    ]  # fmt: skip
    assert not list((node.server / "db/etcd").iterdir())


def test_an_agent_makes_its_password_only(node: "Node") -> None:
    node.ensure(role=Role.AGENT)
    assert [path.name for path in node.root.rglob("*") if path.is_file()] == ["password"]
    assert node.ensure() == []


def test_files_of_the_etcd_pod_belong_to_its_user(node: "Node", written_files: list[Any]) -> None:
    node.ensure(etcd_owner=(995, 994))
    owned = {
        os.path.relpath(file.path, node.server)
        for file in written_files
        if (file.user, file.group) == (995, 994)
    }
    assert owned == {
        "tls/etcd/server-ca.crt",
        "tls/etcd/peer-ca.crt",
        "tls/etcd/server-client.crt",
        "tls/etcd/server-client.key",
        "tls/etcd/peer-server-client.crt",
        "tls/etcd/peer-server-client.key",
        "db/etcd/name",
    }
    assert {(file.user, file.group) for file in written_files} == {(0, 0), (995, 994)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_existing_etcd_data_go_to_the_user_of_a_profile_that_is_set_later(node: "Node") -> None:
    node.ensure()
    wal = node.server / "db/etcd/member/wal/0.wal"
    wal.parent.mkdir(parents=True)
    wal.write_bytes(b"log")
    assert "server/db/etcd/member/wal/0.wal" in node.ensure(etcd_owner=(995, 994))
    everything = [node.server / "db/etcd", *(node.server / "db/etcd").rglob("*")]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in everything} == {(995, 994)}
    assert node.ensure() == []


def test_the_table_speaks_of_known_authorities_only() -> None:
    names = {authority.name for authority in table.AUTHORITIES}
    every = table.SERVER_LEAVES + table.AGENT_LEAVES
    assert {leaf.authority for leaf in every} == names


@pytest.mark.parametrize(
    ("authority", "leaf", "purpose"),
    [
        ("client-ca", "client-admin", "sslclient"),
        ("server-ca", "serving-kube-apiserver", "sslserver"),
        ("etcd/server-ca", "etcd/server-client", "sslserver"),
        ("etcd/server-ca", "etcd/server-client", "sslclient"),
        ("etcd/peer-ca", "etcd/peer-server-client", "sslclient"),
        ("request-header-ca", "client-auth-proxy", "sslclient"),
    ],
)
def test_openssl_verifies(
    made: "Node", openssl: Callable[..., str], authority: str, leaf: str, purpose: str
) -> None:
    moment = str(int((made.start + timedelta(days=1)).timestamp()))
    path = made.tls / f"{leaf}.crt"
    trusted = made.tls / f"{authority}.crt"
    told = openssl(
        "verify", "-x509_strict", "-attime", moment, "-purpose", purpose, "-CAfile", trusted, path
    )
    assert told.strip() == f"{path}: OK"


def test_openssl_reads_the_same(made: "Node", openssl: Callable[..., str]) -> None:
    told = openssl("x509", "-in", made.tls / "serving-kube-apiserver.crt", "-noout", "-text")
    assert re.search(r"Subject: CN ?= ?kube-apiserver\n", told)
    assert "DNS:kubernetes.default.svc.cluster.local" in told
    assert "IP Address:192.0.2.5" in told
    assert "TLS Web Server Authentication" in told
    assert "NIST CURVE: P-256" in told
    told = openssl("x509", "-in", made.tls / "server-ca.crt", "-noout", "-text")
    assert "Digital Signature, Key Encipherment, Certificate Sign" in told
    assert "CA:TRUE" in told
    told = openssl("rsa", "-in", made.tls / "service.key", "-noout", "-check")
    assert "RSA key ok" in told


def test_a_request_does_not_show_its_tokens(node: "Node") -> None:
    node.ensure(token="swordfish", agent_token="halibut")
    assert "swordfish" not in repr(node.request)
    assert "halibut" not in repr(node.request)
