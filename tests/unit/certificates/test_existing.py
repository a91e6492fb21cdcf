"""What is on disk already: kept and used, completed, or refused with nothing changed."""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from rke2_units.certificates import credentials, pem, table
from rke2_units.certificates.token import authority_hash
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.model import File

if TYPE_CHECKING:
    from tests.unit.certificates.conftest import Node

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
DAY = timedelta(days=1)
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
RSA_KEY = rsa.generate_private_key(65537, 2048)


def private_text(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def custom(
    name: str,
    key: Key,
    issuer: tuple[str, Key] | None = None,
    *,
    is_authority: bool = True,
    end: datetime = BEGIN + 3650 * DAY,
) -> bytes:
    """An authority as people make them: without key identifiers."""
    issuer_name, issuer_key = issuer or (name, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer_name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    algorithm = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, algorithm).public_bytes(serialization.Encoding.PEM)


def put(folder: Path, name: str, certificate: bytes, key: Key | None) -> None:
    path = folder / f"{name}.crt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(certificate)
    if key is not None:
        path.with_suffix(".key").write_bytes(private_text(key))


def refused(node: "Node", *parts: str, error: type[UserError] = ConfigurationError) -> None:
    """Asserts that a start is refused in one line with these parts in it, and changes nothing."""
    before = node.state()
    with pytest.raises(UserError) as raised:
        node.ensure()
    assert type(raised.value) is error
    told = str(raised.value)
    assert "\n" not in told
    for part in parts:
        assert part in told
    assert raised.value.hint
    assert node.state() == before


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), RSA_KEY, ed25519.Ed25519PrivateKey.generate()],
    ids=["P-384", "RSA", "Ed25519"],
)
def test_authorities_placed_before_the_first_start_are_used(
    node: "Node", openssl: Callable[..., str], key: Key
) -> None:
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = custom("our root", root_key)
    chains = {}
    for entry in table.AUTHORITIES:
        chains[entry.name] = custom(f"our {entry.prefix}", key, ("our root", root_key)) + root
        put(node.tls, entry.name, chains[entry.name], key)

    node.ensure(names=("one", "192.0.2.5"))

    for name, chain in chains.items():
        assert (node.tls / f"{name}.crt").read_bytes() == chain
        assert (node.tls / f"{name}.key").read_bytes() == private_text(key)
        assert (node.tls / f"{name}.key").stat().st_mode & 0o777 == 0o600
    assert (node.tls / "server-ca.nochain.crt").read_text() == pem.certificates(
        chains["server-ca"].decode()
    )[0]
    (node.root / "root.crt").write_bytes(root)
    for leaf in table.SERVER_LEAVES:
        path = node.tls / f"{leaf.name}.crt"
        moment = str(int(node.start.timestamp()))
        told = openssl(
            "verify", "-attime", moment, "-CAfile", node.root / "root.crt", "-untrusted", path, path
        )
        assert told.strip() == f"{path}: OK"
    token = (node.server / "token").read_text()
    assert token.startswith(f"K10{authority_hash(chains['server-ca'])}::server:")
    assert node.ensure() == []


def test_keys_of_service_accounts_placed_before_the_first_start_are_used(node: "Node") -> None:
    old = ec.generate_private_key(ec.SECP256R1())
    text = private_text(RSA_KEY) + private_text(old)
    node.tls.mkdir(parents=True)
    (node.tls / "service.key").write_bytes(text)
    node.ensure()
    assert (node.tls / "service.key").read_bytes() == text
    assert (node.tls / "service.current.key").read_bytes() == private_text(RSA_KEY)
    # A rotation puts a new key in front.
    (node.tls / "service.key").write_bytes(private_text(old) + text)
    assert node.ensure() == ["server/tls/service.current.key"]
    assert (node.tls / "service.current.key").read_bytes() == private_text(old)


@pytest.mark.parametrize("name", ["request-header-ca", "etcd/server-ca", "etcd/peer-ca"])
def test_a_key_kept_elsewhere_is_missed_only_when_something_is_to_be_signed(node: "Node", name: str) -> None:
    node.ensure()
    (node.tls / f"{name}.key").unlink()
    assert node.ensure(DAY) == []
    node.start += 300 * DAY
    refused(node, f"{node.tls}/{name}.key is missing", "is needed to sign", "put the key")


@pytest.mark.parametrize("name", ["client-ca", "server-ca"])
def test_the_key_that_the_controller_manager_signs_with_is_always_needed(node: "Node", name: str) -> None:
    node.ensure()
    (node.tls / f"{name}.key").unlink()
    refused(node, f"{node.tls}/{name}.key is missing", "controller-manager")


def test_authority_and_key_that_do_not_belong_together_are_refused(node: "Node") -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    put(node.tls, "server-ca", custom("ours", key), ec.generate_private_key(ec.SECP256R1()))
    refused(node, "server-ca.crt", "server-ca.key", "do not belong together")


def test_an_expired_authority_is_refused_with_its_date(node: "Node") -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    put(node.tls, "etcd/peer-ca", custom("ours", key, end=BEGIN + 30 * DAY), key)
    refused(node, f"{node.tls}/etcd/peer-ca.crt expired on 2025-01-31 00:00 UTC")


def test_an_expired_root_in_a_bundle_is_refused(node: "Node") -> None:
    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = custom("ours", key, ("root", root)) + custom("root", root, end=BEGIN + 30 * DAY)
    put(node.tls, "client-ca", chain, key)
    refused(node, "client-ca.crt expired on 2025-01-31")


def test_a_clock_behind_is_said_and_can_be_mended_by_starting_again(node: "Node") -> None:
    node.ensure()
    node.start -= 400 * DAY
    refused(node, "is not valid before 2026-01-01", "it is 2024-11-27", "clock", error=UserError)


def test_a_certificate_that_is_no_authority_is_refused(node: "Node") -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    put(node.tls, "server-ca", custom("ours", key, is_authority=False), key)
    refused(node, "server-ca.crt is not a CA certificate", "CA:TRUE")


@pytest.mark.parametrize(
    ("path", "content", "parts"),
    [
        ("server/tls/server-ca.crt", b"junk", ["server-ca.crt holds no certificate in PEM form"]),
        ("server/tls/server-ca.key", b"junk", ["server-ca.key holds no private key"]),
        ("server/tls/server-ca.crt", b"\xff\xfe", ["server-ca.crt", "UTF-8"]),
        (
            "server/tls/client-admin.key",
            b"junk",
            ["client-admin.key holds no private key", "remove this file"],
        ),
        (
            "server/tls/client-admin.key",
            b"-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\n",
            ["client-admin.key holds a private key that cannot be read", "remove this file"],
        ),
        (
            "server/tls/server-ca.crt",
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            ["server-ca.crt holds a certificate that cannot be read"],
        ),
        ("server/tls/service.key", b"junk", ["service.key holds no private key"]),
        ("server/cred/encryption-config.json", b"{", ["encryption-config.json", "restore it"]),
        ("server/cred/encryption-config.json", b"[]", ["encryption-config.json", "restore it"]),
        ("server/cred/passwd", b"a,b\n", ["passwd has a line without the four fields"]),
        ("server/token", b"K10junk\n", ["server/token begins with K10"]),
        ("server/token", b"abcdef.0123456789abcdef\n", ["server/token", "bootstrap token"]),
    ],
)
def test_damaged_files_are_refused_by_name(
    node: "Node", path: str, content: bytes, parts: Sequence[str]
) -> None:
    node.ensure()
    (node.root / "data" / path).write_bytes(content)
    if "UTF-8" in parts:
        with pytest.raises(UserError, match=r"server-ca\.crt: not UTF-8"):
            node.ensure()
    else:
        refused(node, *parts)


@pytest.mark.parametrize("junk", [b"", b"\n", b"junk", b"-----BEGIN CERTIFICATE-----\nMIIB"])
@pytest.mark.parametrize("path", ["server/tls/client-admin.crt", "agent/client-kubelet.crt"])
def test_a_certificate_that_was_cut_off_is_made_again_for_its_key(
    node: "Node", path: str, junk: bytes
) -> None:
    node.ensure()
    file = node.root / "data" / path
    key = file.with_suffix(".key").read_bytes()
    file.write_bytes(junk)
    assert path in node.ensure()
    assert file.with_suffix(".key").read_bytes() == key
    assert node.ensure() == []


def test_an_empty_key_is_made_again_with_its_certificate(node: "Node") -> None:
    node.ensure()
    (node.tls / "client-scheduler.key").write_bytes(b"")
    assert node.ensure() == ["server/tls/client-scheduler.key", "server/tls/client-scheduler.crt"]


@pytest.mark.parametrize("lost", [["crt"], ["crt", "key"]])
def test_a_lost_authority_is_not_replaced_behind_the_back_of_those_who_trust_it(
    node: "Node", lost: Sequence[str]
) -> None:
    node.ensure()
    for suffix in lost:
        (node.tls / f"server-ca.{suffix}").write_bytes(b"")
    refused(node, f"{node.tls}/server-ca.crt is missing", "serving-kube-apiserver.crt", "restore it")


def test_lost_encryption_keys_are_not_replaced_once_etcd_has_data(node: "Node") -> None:
    node.ensure()
    (node.server / "cred/encryption-config.json").unlink()
    assert "server/cred/encryption-config.json" in node.ensure()
    (node.server / "db/etcd/member").mkdir()
    (node.server / "cred/encryption-config.json").unlink()
    refused(node, "encryption-config.json is missing", "restore it")


def test_stage_and_keys_of_a_rotation_are_kept(node: "Node") -> None:
    node.ensure()
    state = node.server / "cred/encryption-state.json"
    config = node.server / "cred/encryption-config.json"
    changed = json.loads(config.read_text())
    changed["resources"][0]["providers"][0]["aescbc"]["keys"][0]["name"] = "aescbckey-2026-01-01T00:00:00Z"
    config.write_text(json.dumps(changed, indent=1))
    state.write_text("rotate-0123")
    assert node.ensure(secrets_encryption_provider="secretbox") == []
    state.unlink()
    assert node.ensure() == ["server/cred/encryption-state.json"]


def test_a_lost_service_key_comes_back_from_the_current_one(node: "Node") -> None:
    text = private_text(RSA_KEY)
    node.tls.mkdir(parents=True)
    (node.tls / "service.key").write_bytes(text)
    node.ensure()
    (node.tls / "service.key").unlink()
    assert node.ensure() == ["server/tls/service.key"]
    assert (node.tls / "service.key").read_bytes() == text


class Killed(Exception):
    """The process ends here."""


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9, 12, 13, 14, 15, 25, 40, 50, 55, 60, 64, 66, 68, 70, 73])
def test_a_first_start_killed_at_any_file_is_completed_by_the_next(
    node: "Node", monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    write_all = files.write_all

    def killed(wanted: Sequence[File], root: str = "/") -> list[str]:
        write_all(wanted[:count], root)
        raise Killed

    monkeypatch.setattr(files, "write_all", killed)
    with pytest.raises(Killed):
        node.ensure()
    monkeypatch.setattr(files, "write_all", write_all)
    before = node.state()

    written = node.ensure(DAY)

    # Unix time is in an authority's name: one that lost its certificate gets another, all else stays.
    after = node.state()
    assert {path for path, found in before.items() if after[path] != found} == set()
    assert len(written) + count == 77
    assert (node.server / "node-token").exists()
    assert node.ensure(DAY) == []


def test_leftovers_of_a_killed_start_are_removed(node: "Node") -> None:
    node.ensure()
    ended = subprocess.Popen(["true"])
    ended.wait()
    leftover = node.tls / f"{files.TEMPORARY_PREFIX}client-admin.key.{ended.pid}"
    leftover.write_text("secret")
    assert node.ensure() == []
    assert not leftover.exists()


def test_the_name_of_the_etcd_member_is_kept(node: "Node") -> None:
    node.ensure()
    name = node.server / "db/etcd/name"
    name.write_text("elsewhere.example-0a1b2c3d")
    assert node.ensure() == []
    assert name.read_text() == "elsewhere.example-0a1b2c3d"


def test_a_link_in_etcds_folder_does_not_make_another_file_readable_there(node: "Node") -> None:
    node.ensure()
    name = node.server / "db/etcd/name"
    name.unlink()
    name.symlink_to(node.tls / "server-ca.key")
    refused(node, f"{name} does not hold the name of an etcd member")


def test_modes_are_mended(node: "Node") -> None:
    node.ensure()
    (node.tls / "client-admin.key").chmod(0o644)
    (node.server / "cred").chmod(0o755)
    assert node.ensure() == ["server/tls/client-admin.key"]
    assert (node.tls / "client-admin.key").stat().st_mode & 0o777 == 0o600
    assert (node.server / "cred").stat().st_mode & 0o777 == 0o700


def token(node: "Node", name: str = "token") -> str:
    return (node.server / name).read_text().strip()


def passwd(node: "Node") -> list[str]:
    return (node.server / "cred/passwd").read_text().splitlines()


def test_the_configured_password_is_used(node: "Node") -> None:
    node.ensure(token="sword,fish")
    digest = authority_hash((node.tls / "server-ca.crt").read_bytes())
    assert token(node) == f"K10{digest}::server:sword,fish"
    assert passwd(node) == ['"sword,fish",node,node,rke2:agent', '"sword,fish",server,server,rke2:server']
    # The long form of the same, and none at all, change nothing.
    assert node.ensure(token=token(node)) == []
    assert node.ensure(token="") == []


def test_an_agent_token_of_its_own_has_a_file_of_its_own(node: "Node") -> None:
    node.ensure(token="sword", agent_token="halibut")
    digest = authority_hash((node.tls / "server-ca.crt").read_bytes())
    assert not (node.server / "agent-token").is_symlink()
    assert token(node, "agent-token") == f"K10{digest}::node:halibut"
    assert (node.server / "agent-token").stat().st_mode & 0o777 == 0o600
    assert passwd(node) == ["halibut,node,node,rke2:agent", "sword,server,server,rke2:server"]
    assert node.ensure() == []
    assert node.ensure(agent_token=token(node, "agent-token")) == []
    # Without it, agents use the server's again.
    assert sorted(node.ensure(agent_token="")) == ["server/agent-token", "server/cred/passwd"]
    assert os.readlink(node.server / "agent-token") == "token"


def test_the_password_is_found_in_passwd_when_the_token_file_is_lost(node: "Node") -> None:
    node.ensure()
    before = token(node)
    (node.server / "token").unlink()
    assert node.ensure() == ["server/token"]
    assert token(node) == before


def test_other_rows_of_passwd_stay(node: "Node") -> None:
    node.ensure(token="sword")
    file = node.server / "cred/passwd"
    file.write_text(file.read_text() + "other,admin,admin,system:masters\n")
    assert node.ensure() == []
    (node.server / "cred/passwd").write_text(
        "old,server,server,rke2:server\nother,admin,admin,system:masters\n"
    )
    assert node.ensure() == ["server/cred/passwd"]
    assert passwd(node) == [
        "sword,node,node,rke2:agent",
        "sword,server,server,rke2:server",
        "other,admin,admin,system:masters",
    ]


def test_a_new_authority_gives_the_token_its_hash(node: "Node") -> None:
    node.ensure(token="sword")
    key = ec.generate_private_key(ec.SECP256R1())
    put(node.tls, "server-ca", custom("ours", key), key)
    assert "server/token" in node.ensure(token="")
    assert token(node) == f"K10{authority_hash((node.tls / 'server-ca.crt').read_bytes())}::server:sword"


@pytest.mark.parametrize("key", ["token", "agent-token"])
def test_a_long_token_is_refused_by_a_new_cluster(node: "Node", key: str) -> None:
    user = "server" if key == "token" else "node"
    changes: dict[str, Any] = {key.replace("-", "_"): f"K10{'0' * 64}::{user}:swordfish"}
    with pytest.raises(
        ConfigurationError, match=f"^{key} names the authority of an existing cluster"
    ) as raised:
        node.ensure(**changes)
    assert "swordfish" not in str(raised.value)
    assert node.state() == {}


def test_a_long_token_is_taken_when_its_authority_was_placed_here(node: "Node") -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    put(node.tls, "server-ca", custom("ours", key), key)
    digest = authority_hash((node.tls / "server-ca.crt").read_bytes())
    node.ensure(token=f"K10{digest}::server:sword")
    assert token(node) == f"K10{digest}::server:sword"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"token": f"K10{'0' * 64}::server:swordfish"}, "the hash in token does not match this server's"),
        ({"agent_token": f"K10{'0' * 64}::node:swordfish"}, "the hash in agent-token does not match"),
        ({"token": "K10::node:swordfish"}, "token is for the user 'node', not for 'server'"),
        (
            {"agent_token": "K10::server:swordfish"},
            "agent-token is for the user 'server', not for 'node'",
        ),
        ({"token": "abcdef.0123456789abcdef"}, "token has the form of a bootstrap token"),
        ({"agent_token": "abcdef.0123456789abcdef"}, "agent-token has the form of a bootstrap token"),
        ({"token": "K10swordfish"}, "token begins with K10"),
        ({"kubeconfig_group": "no-such-group"}, "write-kubeconfig-group: there is no group 'no-such-group'"),
        ({"node_name": "n" * 53}, "is too long for the subject of"),
        ({"names": ("bücher.example",)}, "cannot be a name in the certificate"),
    ],
)
def test_what_cannot_be_is_refused_with_nothing_changed(
    node: "Node", changes: dict[str, Any], complaint: str
) -> None:
    node.ensure()
    before = node.state()
    with pytest.raises(ConfigurationError) as raised:
        node.ensure(**changes)
    assert complaint in str(raised.value)
    assert "swordfish" not in str(raised.value)
    assert node.state() == before


def test_an_unknown_encryption_provider_is_refused(node: "Node") -> None:
    with pytest.raises(ConfigurationError, match="'rot13' is unknown"):
        node.ensure(secrets_encryption_provider="rot13")
    assert node.state() == {}


def test_another_token_is_refused_once_etcd_has_data(node: "Node") -> None:
    node.ensure(token="sword")
    assert "server/token" in node.ensure(token="halibut")
    (node.server / "db/etcd/member").mkdir()
    state = node.state()
    with pytest.raises(ConfigurationError, match="token differs from the one in .*/server/token") as refused:
        node.ensure(token="swordfish")
    assert "rke2-units token rotate --new-token-file FILE" in str(refused.value.hint)
    assert node.state() == state
    assert node.ensure(token="halibut") == []


def test_a_rotated_token_is_the_one_that_counts_from_then_on(node: "Node") -> None:
    node.ensure(token="halibut")
    (node.server / "db/etcd/member").mkdir()
    bundle = (node.tls / "server-ca.crt").read_text()
    files.write_all(credentials.rotated(node.request.paths, bundle, "halibut", "swordfish"))
    state = node.state()
    with pytest.raises(ConfigurationError, match="token differs from the one in .*/server/token"):
        node.ensure(token="halibut")
    for configured in ("swordfish", "", (node.server / "token").read_text().strip()):
        assert node.ensure(token=configured) == []
    assert node.state() == state
